package pagestore

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Draft is the store's next state while entries are applied to it: the
// logical tips. One goroutine at a time uses it, and there is one Draft a
// store. Entries are applied between two calls of Cut, which ends a group;
// within a group changed nodes are changed in place.
type Draft struct {
	Head Head // of the last entry applied

	store *Store
	epoch uint64
	cutAt wal.LSN // Head at the last Cut
	cat   catalogue.Catalogue
	vols  map[wal.VolumeID]*DraftVolume // touched since the last Cut
	names map[string]wal.VolumeID       // changed since the last Cut; zero for gone
	count int64                         // volumes made less volumes deleted since the last Cut
	tags  map[wal.Ref]*DraftTag         // touched since the last Cut
	tips  map[tipID]*draftTip           // the same
	lines map[LineageID]*lineageRecord  // ended since the last Cut; nil for gone

	pointed []*DraftTag // by the entry that is being applied

	requests draftRequests

	// What the next Freeze takes over.
	births births
	deaths deaths
}

// DraftVolume is one volume of a Draft. Load and Pages read and may fail; the
// methods that change it cannot, once Load has been told every page concerned.
type DraftVolume struct {
	ID     wal.VolumeID
	Exists bool

	draft  *Draft
	ref    refRecord
	lin    lineageRecord
	died   func(node.Dead)
	loaded bool // its tree's nodes may be the draft's
	dirty  bool // its records changed
	gone   goneVolume

	borrowed bool // its tree is that of the base it begins from
}

// Volume finds a volume, or the place of one that does not exist yet.
func (d *Draft) Volume(id wal.VolumeID) (*DraftVolume, error) {
	if v, ok := d.vols[id]; ok {
		return v, nil
	}
	ref, lin, ok, err := lookupRef(d.store, d.cat, wal.Ref{Volume: id})
	if err != nil {
		return nil, err
	}
	v := d.place(id)
	v.Exists, v.ref = ok, ref
	if ok {
		v.lin = lin.unwritten()
	}
	d.vols[id] = v
	return v, nil
}

func (d *Draft) place(id wal.VolumeID) *DraftVolume {
	v := &DraftVolume{ID: id, draft: d}
	v.died = func(x node.Dead) { d.deaths.add(x, v.ref.Attrs.PageSize) }
	return v
}

// VolumeID finds the volume that has a name.
func (d *Draft) VolumeID(name string) (wal.VolumeID, bool, error) {
	if id, ok := d.names[name]; ok {
		return id, id != wal.VolumeID{}, nil
	}
	return lookupName(d.store, d.cat, name)
}

// State is the content of the volume; zero when it does not exist.
func (v *DraftVolume) State() wal.State {
	if !v.Exists {
		return wal.State{}
	}
	return stateOf(v.ref.Attrs.PageSize, v.lin.Tree)
}

// Tip is the LSN of the volume's tip, Seq the number of changes of its
// current ref; both are zero when it does not exist.
func (v *DraftVolume) Tip() wal.LSN           { return v.ref.Changed }
func (v *DraftVolume) Seq() uint64            { return v.ref.Seq }
func (v *DraftVolume) Attrs() wal.VolumeAttrs { return v.ref.Attrs }

// Size is in pages.
func (v *DraftVolume) Size() uint64 { return v.lin.Tree.Pages() }

// Lookup finds a page.
func (v *DraftVolume) Lookup(no uint64) (pagetree.Entry, bool, error) {
	return v.lin.Tree.Lookup(v.draft.store.nodes, no)
}

// Pages yields the present pages in [from, to), ascending.
func (v *DraftVolume) Pages(from, to uint64) iter.Seq2[pagetree.Item, error] {
	return v.lin.Tree.Ascend(v.draft.store.nodes, from, to)
}

// Differs reports the first page in [from, to) in which the volume differs
// from a tree it descends from.
func (v *DraftVolume) Differs(base pagetree.Tree, from, to uint64) (no uint64, differs bool, err error) {
	for c, err := range pagetree.Diff(v.draft.store.nodes, base, v.lin.Tree, from, to) {
		return c.Page, err == nil, err
	}
	return 0, false, nil
}

// Load makes resident what a change of these pages, ascending, and of the
// size needs. The content stays as it is: a change given up after Load leaves
// no more than copies of nodes. It ends the epoch when the tree is another's,
// whose nodes may be open.
func (v *DraftVolume) Load(pages iter.Seq[uint64], size uint64) error {
	if v.loaded = true; v.borrowed {
		v.draft.epoch++
		v.borrowed = false
	}
	e := v.edit(v.draft.Head.LSN + 1)
	if err := e.Load(&v.lin.Tree, pages); err != nil {
		return err
	}
	return e.Load(&v.lin.Tree, func(yield func(uint64) bool) { yield(size) })
}

// Create makes the volume, with the content that ForkFrom gave it.
func (v *DraftVolume) Create(lsn wal.LSN, section uint32, a wal.VolumeAttrs) {
	v.Exists = true
	v.ref = refRecord{Lineage: LineageID{lsn, section}, Created: lsn, Attrs: a}
	v.lin.PageSize = a.PageSize
	v.draft.names[a.Name] = v.ID
	v.draft.count++
}

// Rename gives the volume another name. The old one may be another volume's by
// now: a transaction can exchange names.
func (v *DraftVolume) Rename(name string) {
	old := v.ref.Attrs.Name
	if id, changed := v.draft.names[old]; !changed || id == v.ID {
		v.draft.names[old] = wal.VolumeID{}
	}
	v.draft.names[name] = v.ID
	v.ref.Attrs.Name = name
}

// Delete drops the volume with all its pages and tags; LoadDelete has been
// called. What tags of others and forks keep stays.
func (v *DraftVolume) Delete(lsn wal.LSN) {
	e := v.edit(lsn)
	e.End(&v.lin.Tree)
	v.endLine()
	v.draft.names[v.ref.Attrs.Name] = wal.VolumeID{}
	v.draft.count--
	v.Exists = false
	v.dirty = true
}

// Resize sets the size in pages; pages from there on are gone.
func (v *DraftVolume) Resize(lsn wal.LSN, pages uint64) {
	e := v.edit(lsn)
	e.Resize(&v.lin.Tree, pages)
}

// Set puts page images in place, ascending by page.
func (v *DraftVolume) Set(lsn wal.LSN, pages iter.Seq2[uint64, pagetree.Entry]) {
	e := v.edit(lsn)
	e.SetSorted(&v.lin.Tree, pages)
}

// Discard makes a page absent.
func (v *DraftVolume) Discard(lsn wal.LSN, no uint64) {
	e := v.edit(lsn)
	e.Remove(&v.lin.Tree, no)
}

// Touch counts one change of the volume's current ref.
func (v *DraftVolume) Touch(lsn wal.LSN) {
	v.ref.Seq++
	v.ref.Changed, v.lin.Tip = lsn, lsn
	v.dirty = true
}

// Born says that an entry applied to the draft owns these slots now.
func (d *Draft) Born(extents ...heap.Extent) { d.births.entries = append(d.births.entries, extents...) }

// Died says that slots which no tree reaches are needed by the log only: they
// held the index of an entry.
func (d *Draft) Died(lsn wal.LSN, e heap.Extent) { d.deaths.addRun(deadRun{e, lsn, lsn}) }

// edit changes the volume's tree on behalf of entry lsn.
func (v *DraftVolume) edit(lsn wal.LSN) pagetree.Edit {
	return pagetree.Edit{Epoch: v.draft.epoch, LSN: lsn, Origin: v.lin.After, Source: v.draft.store.nodes, Dead: v.died}
}

// died hears of nodes; they are never in the log.
func (d *Draft) died(x node.Dead) {
	d.deaths.nodes++
	d.deaths.add(x, 0)
}

// Cut ends the group: what was applied since the last Cut becomes a snapshot
// that shares everything with the draft and that nothing changes any more. The
// one that a checkpoint freezes must be published before Bury, even when no entry
// is new in it: the one before reaches nodes that this one has lost. An error
// means that a node could not be read; the draft is not usable then.
func (d *Draft) Cut() (*Snapshot, error) {
	if err := d.flush(); err != nil {
		return nil, fmt.Errorf("pagestore: end the group at LSN %d: %w", d.Head.LSN, err)
	}
	d.epoch++
	d.cutAt = d.Head.LSN
	d.store.dirty.Store(d.deaths.nodes)
	return &Snapshot{Head: d.Head, store: d.store, cat: d.cat}, nil
}

// edit changes the catalogue. Where no entry was applied since the last Cut, a
// state at the same LSN is published and may be held: what it reaches dies with
// the next entry.
func (d *Draft) edit() catalogue.Edit {
	e := catalogue.Edit{Epoch: d.epoch, LSN: d.Head.LSN, Source: d.store.nodes, Dead: d.died}
	if d.Head.LSN == d.cutAt {
		e.Death = d.Head.LSN + 1
	}
	return e
}

// flush puts the touched volumes into the catalogue.
func (d *Draft) flush() error {
	e := d.edit()
	for name, id := range d.names {
		if err := d.flushName(e, name, id); err != nil {
			return err
		}
	}
	for _, v := range d.vols {
		if err := v.flush(e); err != nil {
			return err
		}
	}
	if err := d.flushTips(e); err != nil {
		return err
	}
	if err := d.flushCount(e); err != nil {
		return err
	}
	if err := d.flushRequests(e); err != nil {
		return err
	}
	d.names, d.vols = emptied(d.names), emptied(d.vols)
	return nil
}

func (d *Draft) flushName(e catalogue.Edit, name string, id wal.VolumeID) error {
	if id == (wal.VolumeID{}) {
		_, err := e.Delete(&d.cat, nameKey(name))
		return err
	}
	return e.Put(&d.cat, nameKey(name), catalogue.Raw(append([]byte(nil), id[:]...)))
}

func (d *Draft) flushCount(e catalogue.Edit) error {
	if d.count == 0 {
		return nil
	}
	n, err := volumeCount(d.store, d.cat)
	if err != nil {
		return err
	}
	n += uint64(d.count)
	d.count = 0
	return e.Put(&d.cat, keyVolumes, catalogue.Raw(binary.LittleEndian.AppendUint64(nil, n)))
}

func (v *DraftVolume) flush(e catalogue.Edit) error {
	cat := &v.draft.cat
	ref := wal.Ref{Volume: v.ID}
	switch {
	case !v.dirty && !(v.loaded && v.Exists): // only looked at
		return nil
	case !v.Exists:
		_, err := e.Delete(cat, refKey(ref))
		return err
	}
	if v.dirty {
		if err := e.Put(cat, refKey(ref), v.ref.encode()); err != nil {
			return err
		}
	}
	lin := v.lin
	return e.Put(cat, lineageKey(v.ref.Lineage), &lin)
}

// Advance makes an entry, whose changes have been applied, the draft's last.
// When the entry is an actor's request, Admit must have been asked before.
func (d *Draft) Advance(e *wal.Entry, hash wal.Hash) {
	if e.Seq != 0 {
		d.record(e, hash)
	}
	for _, t := range d.pointed {
		t.rec.Time = e.Time
	}
	d.pointed = d.pointed[:0]
	d.Head = Head{
		Position: wal.Position{Timeline: e.Timeline, LSN: e.Last, Hash: hash},
		Epoch:    e.Epoch,
		Time:     e.Time,
	}
}
