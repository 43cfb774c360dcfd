package txn

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// Errors of tags and forks.
var (
	ErrNoTag    = errors.New("txn: no such tag")
	ErrTagged   = errors.New("txn: what a tag points to does not change; fork it, or reset the volume to it")
	ErrNotYet   = errors.New("txn: a fork or a tag is there once the transaction has committed")
	ErrHeldOnly = errors.New("txn: only an open transaction holds that state, no tag does; Manager.Fork and Manager.SetTag carry what is needed")
	ErrReserved = errors.New("txn: names of tags that begin with \"quire.\" are reserved")
)

// OriginTag is the tag under which a fork has the tip that it was forked from.
// Deleting it detaches the fork: nothing names its origin any more. What the two
// share stays shared.
const OriginTag = "origin"

// reservedTags is the prefix of the names of tags that are Quire's own.
const reservedTags = "quire."

// TagInfo describes a tag.
type TagInfo struct {
	Volume  wal.VolumeID
	Name    string
	Tip     wal.LSN // of the state it points to
	Changed wal.LSN // the entry that set it last
	Created wal.LSN
	Time    time.Time // of that entry
	Seq     uint64    // how often it was set
	State   wal.State
	Present uint64 // pages present
}

func tagInfo(t pagestore.Volume) TagInfo {
	return TagInfo{
		Volume: t.ID, Name: string(t.Ref), Tip: t.Tip, Changed: t.Changed, Created: t.Created, Seq: t.Seq, Time: time.Unix(0, t.Set),
		State: t.State(), Present: t.Tree.Count(),
	}
}

// Tags yields the tags of a volume by name, as they are in the snapshot. That
// these are all counts as read. Errors: ErrNoVolume.
func (tx *Tx) Tags(volume string) iter.Seq2[TagInfo, error] {
	return func(yield func(TagInfo, error) bool) {
		list, err := tx.listTags(volume)
		if err != nil {
			yield(TagInfo{}, err)
			return
		}
		for _, t := range list {
			if !yield(t, nil) {
				return
			}
		}
	}
}

func (tx *Tx) listTags(volume string) ([]TagInfo, error) {
	v, err := tx.Volume(volume)
	if err != nil {
		return nil, err
	}
	if err := v.use(); err != nil {
		return nil, err
	}
	defer tx.mu.Unlock()
	if v.created {
		return nil, nil
	}
	v.listed = true
	var list []TagInfo
	for t, err := range tx.snap.Tags(v.id) {
		if err != nil {
			return nil, fmt.Errorf("txn: tags of volume %q: %w", volume, err)
		}
		list = append(list, tagInfo(t))
	}
	return list, nil
}

// At opens what a tag of a volume points to, to be read, compared, forked or
// reset to. Writing it is ErrTagged. Where the tag points counts as read. Errors:
// ErrNoVolume, ErrNoTag; ErrNotYet for one that this transaction sets.
func (tx *Tx) At(volume, tag string) (*Volume, error) {
	v, err := tx.Volume(volume)
	if err != nil {
		return nil, err
	}
	if err := v.use(); err != nil {
		return nil, err
	}
	defer tx.mu.Unlock()
	ref := wal.RefName(tag)
	switch set := tx.sets(v.id, ref); {
	case tag == "" || set != nil && set.drop:
		return nil, noTag(volume, tag)
	case set != nil:
		return nil, fmt.Errorf("%w: tag %q of %q", ErrNotYet, tag, volume)
	}
	if at := v.views[ref]; at != nil {
		return at, nil
	}
	t, ok, err := v.tagAt(ref)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, noTag(volume, tag)
	}
	at := &Volume{tx: tx, id: v.id, ref: ref, base: t, volumeState: stateOf(t)}
	v.views[ref] = at
	return at, nil
}

// noTag does not repeat a name that no tag can have.
func noTag(volume, tag string) error {
	if err := wal.ValidName(tag); err != nil {
		return fmt.Errorf("%w: %w", ErrNoTag, err)
	}
	return fmt.Errorf("%w: %q of volume %q", ErrNoTag, tag, volume)
}

// tagAt finds a tag of the volume in the snapshot; where it points counts as
// read.
func (v *Volume) tagAt(ref wal.RefName) (pagestore.Volume, bool, error) {
	if v.created || wal.ValidName(string(ref)) != nil {
		return pagestore.Volume{}, false, nil
	}
	t, ok, err := v.tx.snap.Tag(wal.Ref{Volume: v.id, Name: ref})
	if err != nil {
		return t, false, fmt.Errorf("txn: look up tag %q of volume %q: %w", ref, v.attrs.Name, err)
	}
	if v.tagRead == nil {
		v.tagRead, v.views = map[wal.RefName]wal.LSN{}, map[wal.RefName]*Volume{}
	}
	v.tagRead[wal.RefName(strings.Clone(string(ref)))] = t.Changed
	return t, ok, nil
}

// Fork makes a volume that begins as from is: a volume, in its state when the
// transaction commits, or what a tag points to (At). It copies no page, whatever
// from holds, and keeps the tip that it was forked from for as long as it lives;
// its tag OriginTag says which. It can be opened once the transaction has
// committed. Writing from meanwhile is no conflict.
//
// Errors: ErrVolumeExists, ErrHeldOnly for a volume of another transaction (see
// Manager.Fork), ErrStaged for one with changes, an invalid name. Changing it
// afterwards makes Commit fail with ErrStaged.
func (tx *Tx) Fork(name string, from *Volume) (wal.VolumeID, error) {
	if err := wal.ValidName(name); err != nil {
		return wal.VolumeID{}, fmt.Errorf("txn: fork: %w", err)
	}
	if err := tx.useForWriting(); err != nil {
		return wal.VolumeID{}, err
	}
	defer tx.mu.Unlock()
	source, err := tx.source(from)
	if err != nil {
		return wal.VolumeID{}, fmt.Errorf("txn: fork as %q: %w", name, err)
	}
	if err := tx.wantFree(name); err != nil {
		return wal.VolumeID{}, err
	}
	return tx.fork(name, from.attrs, source).id, nil
}

// fork stages a fork and the tag that names its origin.
func (tx *Tx) fork(name string, attrs wal.VolumeAttrs, source *apply.From) *Volume {
	attrs.Name = name
	v := &Volume{tx: tx, id: wal.VolumeID(tx.m.newUUID()), created: true, from: source}
	v.attrs = attrs
	v.key = v.id
	tx.vols = append(tx.vols, v)
	tx.names[name] = v
	tx.vols = append(tx.vols, &Volume{
		tx: tx, id: v.id, ref: OriginTag, created: true, from: source, volumeState: volumeState{attrs: attrs},
	})
	return v
}

// staged reports whether there is something of the volume that is not committed
// yet, so that nothing can begin from it.
func (v *Volume) staged() bool {
	return v.from != nil || v.deleted || v.created || v.ref == "" && v.changes()
}

// source says where a fork or a tag of this transaction begins.
func (tx *Tx) source(from *Volume) (*apply.From, error) {
	switch {
	case from.tx != tx:
		return nil, ErrHeldOnly
	case from.staged():
		return nil, fmt.Errorf("%w: %q", ErrStaged, from.attrs.Name)
	}
	s := &apply.From{Ref: wal.Ref{Volume: from.id, Name: from.ref}}
	if from.ref != "" {
		s.Tip, s.State = from.base.Tip, from.base.State()
	}
	return s, nil
}

// SetTag makes a tag of a volume point to from: a volume, mostly that one, in
// its state when the transaction commits, or what a tag points to (At). An
// existing tag moves. That the tag is as the snapshot has it counts as read, in
// any isolation: of two who move it at once, one gets a conflict. No page is
// copied, and what the tag points to is kept until it is moved or deleted.
//
// Errors: as of Fork; ErrReserved; ErrPageSize when from has another page size.
func (tx *Tx) SetTag(v *Volume, tag string, from *Volume) error {
	if err := tx.mayTag(tag); err != nil {
		return err
	}
	return tx.setTag(v, wal.RefName(tag), from)
}

func (tx *Tx) mayTag(tag string) error {
	if err := wal.ValidName(tag); err != nil {
		return fmt.Errorf("txn: tag: %w", err)
	}
	if strings.HasPrefix(tag, reservedTags) {
		return fmt.Errorf("%w: %q", ErrReserved, tag)
	}
	return nil
}

func (tx *Tx) setTag(v *Volume, tag wal.RefName, from *Volume) error {
	if err := v.useForTag(tx); err != nil {
		return err
	}
	defer tx.mu.Unlock()
	source, err := tx.source(from)
	if err != nil {
		return fmt.Errorf("txn: tag %q of volume %q: %w", tag, v.attrs.Name, err)
	}
	if err := v.likePagesOf(from); err != nil {
		return err
	}
	_, err = tx.pointTag(v, tag, source)
	return err
}

// likePagesOf refuses what a tag of the volume cannot point to.
func (v *Volume) likePagesOf(from *Volume) error {
	if from.attrs.PageSize == v.attrs.PageSize {
		return nil
	}
	return fmt.Errorf("%w: %q has pages of %d bytes, %q of %d", ErrPageSize, v.attrs.Name, v.attrs.PageSize, from.attrs.Name, from.attrs.PageSize)
}

// useForTag locks the transaction if tags of the volume may be set in it.
func (v *Volume) useForTag(tx *Tx) error {
	if v.tx != tx || v.ref != "" {
		return fmt.Errorf("txn: tags belong to volumes that the transaction opened, %q is not one", v.attrs.Name)
	}
	return v.useForWriting()
}

// pointTag stages the change of a tag; nil when it stays where it is in the
// snapshot, since no entry says that.
func (tx *Tx) pointTag(v *Volume, tag wal.RefName, source *apply.From) (*Volume, error) {
	if _, _, err := v.tagAt(tag); err != nil {
		return nil, err
	}
	if source != nil && source.Ref == (wal.Ref{Volume: v.id, Name: tag}) {
		tx.withdraw(v.id, tag)
		return nil, nil
	}
	op := &Volume{tx: tx, id: v.id, ref: tag, created: true, from: source, volumeState: volumeState{attrs: v.attrs}}
	tx.replace(op)
	return op, nil
}

// DeleteTag drops a tag; what it pointed to is let go. Errors: ErrNoTag.
func (tx *Tx) DeleteTag(v *Volume, tag string) error {
	if err := v.useForTag(tx); err != nil {
		return err
	}
	defer tx.mu.Unlock()
	ref := wal.RefName(tag)
	t, ok, err := v.tagAt(ref)
	if err != nil {
		return err
	}
	staged := tx.sets(v.id, ref)
	switch {
	case staged != nil && staged.drop, staged == nil && !ok:
		return noTag(v.attrs.Name, tag)
	case staged != nil && !ok: // set by this transaction only
		staged.deleted = true
		return nil
	}
	tx.dropTag(v, t)
	return nil
}

// dropTag stages that a tag of the volume is dropped.
func (tx *Tx) dropTag(v *Volume, t pagestore.Volume) {
	tx.replace(&Volume{tx: tx, id: v.id, ref: t.Ref, created: true, drop: true, base: t, volumeState: volumeState{attrs: v.attrs}})
}

// replace stages the change of a tag instead of an earlier one.
func (tx *Tx) replace(op *Volume) {
	tx.withdraw(op.id, op.ref)
	tx.vols = append(tx.vols, op)
}

// withdraw takes a staged change of a tag back.
func (tx *Tx) withdraw(id wal.VolumeID, ref wal.RefName) {
	if before := tx.sets(id, ref); before != nil {
		before.deleted = true
	}
}

// sets is the change of a tag that is staged, or nil.
func (tx *Tx) sets(id wal.VolumeID, ref wal.RefName) *Volume {
	for _, v := range tx.vols {
		if v.id == id && v.ref == ref && !v.deleted {
			return v
		}
	}
	return nil
}

// drops reports whether the transaction deletes the volume of a tag, and the tag
// with it.
func (tx *Tx) drops(id wal.VolumeID) bool {
	for _, v := range tx.vols {
		if v.id == id && v.ref == "" {
			return v.deleted
		}
	}
	return false
}

// checkSources refuses what begins from a volume, or a tag, that the transaction
// changes; from one that it drops it may.
func (s *sealed) checkSources() error {
	for i := range s.vols {
		from := s.vols[i].v.from
		if from == nil {
			continue
		}
		if v := s.sets(from.Ref.Volume, from.Ref.Name); v != nil && !v.deleted && !v.drop {
			return fmt.Errorf("%w: %q", ErrStaged, v.attrs.Name)
		}
	}
	return nil
}

// validateTags compares what was read and is set of a volume's tags with the
// logical tips. Under snapshot isolation only those set count.
func (s *sealed) validateTags(v *Volume, d *pagestore.Draft, iso Isolation) error {
	for ref, was := range v.tagRead {
		if iso == Snapshot && s.sets(v.id, ref) == nil {
			continue
		}
		t, err := d.Tag(wal.Ref{Volume: v.id, Name: ref})
		if err != nil {
			return err
		}
		if t.Changed() != was {
			return &ConflictError{Volume: v.id, Name: v.base.Attrs.Name, Tag: string(ref), What: "tag"}
		}
	}
	if !v.listed || iso == Snapshot {
		return nil
	}
	return v.validateList(d)
}

// validateList makes sure that the volume has the tags that were listed.
func (v *Volume) validateList(d *pagestore.Draft) error {
	now, err := d.Tags(v.id)
	if err != nil {
		return err
	}
	tags := make(map[wal.RefName]wal.LSN, len(now))
	for _, t := range now {
		tags[t.Ref.Name] = t.Changed()
	}
	for t, err := range v.tx.snap.Tags(v.id) {
		if err != nil {
			return err
		}
		if tags[t.Ref] != t.Changed {
			return &ConflictError{Volume: v.id, Name: v.base.Attrs.Name, Tag: string(t.Ref), What: "tag"}
		}
		delete(tags, t.Ref)
	}
	for name := range tags {
		return &ConflictError{Volume: v.id, Name: v.base.Attrs.Name, Tag: string(name), What: "tag"}
	}
	return nil
}
