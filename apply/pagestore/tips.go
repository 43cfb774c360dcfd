package pagestore

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/wal"
)

// # Kept tips
//
// A tag, and the origin of a fork, keep a tip of a lineage for as long as they
// last, across restarts. The first of them makes a tip record of the lineage's
// current tree, which is a value: nothing is copied. The records of a lineage
// form a chain by age, with the lineage's own record, the current tip, at its
// end; each says behind which LSN what it reaches is its own:
//
//	origin <- Fork | kept tip | kept tip | current tip
//	                 .After     .After     .After
//
//  1. A record reaches slots born in (After, the next record's After] that the
//     one before it does not reach, and beside them only what that one reaches.
//  2. An edit of the current tip takes After for pagetree's Edit.Origin: what it
//     replaces is dead only if it is younger. The rest is a kept tip's.
//  3. Only a current tip, or one that is kept already, can be pinned. So every
//     store that applies the entry has it, whatever it has reclaimed.
//  4. The first pin ends the epoch: a kept tree is never changed in place.
//  5. A tip without pins stays in the chain until the sweep before the next
//     checkpoint takes it out and buries what only it reached (sweep.go). What
//     a store still has of it is its own affair; no entry can name it.
//  6. A lineage whose name is gone has ended. Its record stays while it has kept
//     tips, and pins its origin until the last of them is swept.
//
// After is an LSN of the entry before the one that pinned, not of the tip: nodes
// that were copied for a transaction which was then refused are younger than the
// tip and reached by it.

// draftTip is a tip record as the draft has it.
type draftTip struct {
	id     tipID
	rec    lineageRecord
	exists bool
	ending bool // the catalogue lists it among those without pins
	dirty  bool
}

// tip finds a kept tip, or the place for one.
func (d *Draft) tip(id tipID) (*draftTip, error) {
	if t, ok := d.tips[id]; ok {
		return t, nil
	}
	rec, ok, err := lookupTip(d.store, d.cat, id)
	if err != nil {
		return nil, err
	}
	t := &draftTip{id: id, exists: ok}
	if ok {
		t.rec, t.ending = rec.unwritten(), rec.Pins == 0
	}
	d.tips[id] = t
	return t, nil
}

// kept finds a tip that a record says is pinned.
func (d *Draft) kept(id tipID) (*draftTip, error) {
	t, err := d.tip(id)
	if err == nil && (!t.exists || t.rec.Pins == 0) {
		err = badRecord("tip", fmt.Sprintf("tip %d of lineage %v is named, and not kept", id.Tip, id.Lineage))
	}
	return t, err
}

func (t *draftTip) state() wal.State { return stateOf(t.rec.PageSize, t.rec.Tree) }

func (t *draftTip) unpin() {
	t.rec.Pins--
	t.dirty = true
}

func (t *draftTip) flush(e catalogue.Edit, c *catalogue.Catalogue) error {
	if !t.dirty {
		return nil
	}
	rec := t.rec
	if err := e.Put(c, t.id.key(prefixTip), &rec); err != nil {
		return err
	}
	var err error
	switch ending := rec.Pins == 0; {
	case ending && !t.ending:
		err = e.Put(c, t.id.key(prefixEnding), catalogue.Raw{})
	case !ending && t.ending:
		_, err = e.Delete(c, t.id.key(prefixEnding))
	}
	return err
}

// Base is the tip that a fork or a tag begins from: the one a ref points to.
type Base struct {
	Tip   wal.LSN
	State wal.State

	draft *Draft
	vol   *DraftVolume // whose current tip it is; nil when a tag names it
	kept  *draftTip    // its record, or the place for one
}

// Base finds the tip that a ref points to; ok is false when there is no such
// ref. It holds until the next entry is applied.
func (d *Draft) Base(ref wal.Ref) (b *Base, ok bool, err error) {
	if ref.Name != "" {
		t, err := d.Tag(ref)
		if err != nil || !t.Exists {
			return nil, false, err
		}
		return &Base{Tip: t.Tip(), State: t.State(), draft: d, kept: t.tip}, true, nil
	}
	v, err := d.Volume(ref.Volume)
	if err != nil || !v.Exists {
		return nil, false, err
	}
	kept, err := d.tip(tipID{v.ref.Lineage, v.lin.Tip})
	return &Base{Tip: v.lin.Tip, State: v.State(), draft: d, vol: v, kept: kept}, err == nil, err
}

// Pin keeps the tip from now on, one pin more.
func (b *Base) Pin() {
	t := b.kept
	if !t.exists {
		v := b.vol
		t.exists = true
		t.rec = lineageRecord{After: v.lin.After, Tip: v.lin.Tip, PageSize: v.ref.Attrs.PageSize, Tree: v.lin.Tree}
		v.lin.After = b.draft.Head.LSN
		v.loaded = true // its record changed, and no tip was made
		b.draft.epoch++
	} else if t.rec.Pins == 0 && b.vol != nil {
		// Where it was swept already, the lineage's record changes. It does everywhere,
		// so that increments have it (Snapshot.Export).
		b.vol.loaded = true
	}
	t.rec.Pins++
	t.dirty = true
}

// line is the record of a lineage that begins at the base.
func (b *Base) line() lineageRecord {
	l := lineageRecord{Origin: b.kept.id, Fork: b.draft.Head.LSN, After: b.draft.Head.LSN, PageSize: b.State.PageSize}
	if l.Tree = b.kept.rec.Tree; !b.kept.exists {
		l.Tree = b.vol.lin.Tree
	}
	return l
}

// ForkFrom makes the place of a volume that does not exist yet begin as base,
// or empty when that is nil. Nothing lasts before Create.
func (v *DraftVolume) ForkFrom(b *Base) {
	v.lin, v.borrowed = lineageRecord{}, b != nil
	if b != nil {
		v.lin = b.line()
	}
}

// Carry is a place for the content of a tip that is to be kept but has no name:
// base, or nothing when that is nil, to be changed as a volume is.
func (d *Draft) Carry(b *Base, pageSize uint32) *DraftVolume {
	v := d.place(wal.VolumeID{})
	v.ref.Attrs.PageSize = pageSize
	v.ForkFrom(b)
	v.Exists, v.lin.PageSize = true, pageSize
	return v
}

// DraftTag is a named ref of a Draft.
type DraftTag struct {
	Ref    wal.Ref
	Exists bool

	draft *Draft
	rec   tagRecord
	tip   *draftTip // that it points to, when it exists
	dirty bool
}

// Tag finds a named ref, or the place of one that does not exist.
func (d *Draft) Tag(ref wal.Ref) (*DraftTag, error) {
	if t, ok := d.tags[ref]; ok {
		return t, nil
	}
	rec, ok, err := lookupTag(d.store, d.cat, ref)
	if err != nil {
		return nil, err
	}
	t := &DraftTag{Ref: ref, Exists: ok, draft: d, rec: rec}
	if ok {
		if t.tip, err = d.kept(rec.At); err != nil {
			return nil, err
		}
	}
	d.tags[ref] = t
	return t, nil
}

// Tags are all named refs of a volume, in no order.
func (d *Draft) Tags(id wal.VolumeID) ([]*DraftTag, error) {
	var tags []*DraftTag
	for it, err := range scanTags(d.store, d.cat, id) {
		if err != nil {
			return nil, err
		}
		if _, err := d.Tag(it.Ref); err != nil {
			return nil, err
		}
	}
	for ref, t := range d.tags {
		if ref.Volume == id && t.Exists {
			tags = append(tags, t)
		}
	}
	return tags, nil
}

// State is the content it points to; Tip the LSN of that tip, Changed of the
// entry that set it. All are zero when it does not exist.
func (t *DraftTag) State() wal.State {
	if !t.Exists {
		return wal.State{}
	}
	return t.tip.state()
}
func (t *DraftTag) Tip() wal.LSN     { return t.rec.At.Tip }
func (t *DraftTag) Changed() wal.LSN { return t.rec.Changed }
func (t *DraftTag) Seq() uint64      { return t.rec.Seq }

// Unpin lets go of the tip that it points to, before it is set anew.
func (t *DraftTag) Unpin() {
	if t.Exists {
		t.tip.unpin()
	}
}

// Point makes it point to the base, which has been pinned for it.
func (t *DraftTag) Point(lsn wal.LSN, b *Base) { t.point(lsn, b.kept) }

// Keep makes it point to what v, of Carry, holds now: the tip of a lineage
// without a name, begun by a section of entry lsn. The base of v has been pinned.
func (t *DraftTag) Keep(lsn wal.LSN, section uint32, v *DraftVolume) {
	d, line := t.draft, LineageID{lsn, section}
	at := &draftTip{id: tipID{line, lsn}, exists: true, dirty: true}
	at.rec = lineageRecord{After: v.lin.After, Tip: lsn, Pins: 1, PageSize: v.lin.PageSize, Tree: v.lin.Tree}
	d.tips[at.id] = at
	d.lines[line] = &lineageRecord{Ended: true, Origin: v.lin.Origin, Fork: v.lin.Fork, After: lsn, Tip: lsn, PageSize: v.lin.PageSize}
	t.point(lsn, at)
}

func (t *DraftTag) point(lsn wal.LSN, at *draftTip) {
	if !t.Exists {
		t.rec = tagRecord{Created: lsn}
	}
	t.Exists, t.tip, t.dirty = true, at, true
	t.rec.At, t.rec.Changed = at.id, lsn
	t.rec.Seq++
	t.draft.pointed = append(t.draft.pointed, t)
}

// Delete drops the ref, whose tip has been unpinned.
func (t *DraftTag) Delete() { t.Exists, t.rec, t.tip, t.dirty = false, tagRecord{}, nil, true }

func (t *DraftTag) flush(e catalogue.Edit, c *catalogue.Catalogue) error {
	switch {
	case !t.dirty:
		return nil
	case t.Exists:
		return e.Put(c, refKey(t.Ref), t.rec.encode())
	}
	_, err := e.Delete(c, refKey(t.Ref))
	return err
}

// goneVolume is what goes with a volume.
type goneVolume struct {
	tags   []*DraftTag
	origin *draftTip // nil when it has none
}

// LoadDelete reads what deleting the volume needs: its tags, which go with it,
// and its origin.
func (v *DraftVolume) LoadDelete() (err error) {
	if v.gone.tags, err = v.draft.Tags(v.ID); err != nil {
		return err
	}
	v.gone.origin = nil
	if v.lin.Origin != (tipID{}) {
		v.gone.origin, err = v.draft.kept(v.lin.Origin)
	}
	return err
}

// endLine takes the name of the volume's lineage away.
func (v *DraftVolume) endLine() {
	for _, t := range v.gone.tags {
		t.Unpin()
		t.Delete()
	}
	if v.lin.After != v.lin.Fork { // it has kept tips
		ended := v.lin.unwritten()
		ended.Ended = true
		v.draft.lines[v.ref.Lineage] = &ended
		return
	}
	v.draft.lines[v.ref.Lineage] = nil
	if v.gone.origin != nil {
		v.gone.origin.unpin()
	}
}

// flushTips puts what the group did to tags, kept tips and ended lineages into
// the catalogue.
func (d *Draft) flushTips(e catalogue.Edit) error {
	for _, t := range d.tags {
		if err := t.flush(e, &d.cat); err != nil {
			return err
		}
	}
	for _, t := range d.tips {
		if err := t.flush(e, &d.cat); err != nil {
			return err
		}
	}
	for id, l := range d.lines {
		if err := d.flushLine(e, id, l); err != nil {
			return err
		}
	}
	d.tags, d.tips, d.lines = emptied(d.tags), emptied(d.tips), emptied(d.lines)
	return nil
}

func (d *Draft) flushLine(e catalogue.Edit, id LineageID, l *lineageRecord) error {
	if l != nil {
		return e.Put(&d.cat, lineageKey(id), l)
	}
	_, err := e.Delete(&d.cat, lineageKey(id))
	return err
}
