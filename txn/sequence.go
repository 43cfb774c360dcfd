package txn

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// trySequence validates a transaction against the logical tips, applies it to
// them and encodes its record into the open group. It fails with a conflict, for
// lack of space, or because the record is too large; then it leaves no trace.
// With wal.ErrGroupFull it returns the group that is full.
func (m *Manager) trySequence(t *ticket) (*group, error) {
	m.seq.mu.Lock()
	defer m.seq.mu.Unlock()
	s := t.s
	if err := m.poisoned(); err != nil {
		return nil, err
	}
	g, err := m.openGroup()
	if err != nil {
		return nil, err
	}
	d := m.seq.draft
	lsn := d.Head.LSN + 1
	if err := s.isNew(d); err != nil {
		return nil, err
	}
	if err := s.validate(d); err != nil {
		return nil, err
	}
	changes := make([]apply.Change, len(s.vols))
	for i := range s.vols {
		changes[i] = s.vols[i].change(s)
	}
	plan, err := apply.Prepare(d, lsn, changes)
	if err != nil {
		return nil, s.conflictOf(err)
	}
	e := s.entry(d, m.opts.Now(), plan.Results())
	body, err := m.bodyOf(g, s)
	if err != nil {
		return nil, err
	}
	inline, err := g.log.Foresee(e, body)
	if err != nil {
		return g, s.adviseOn(err)
	}
	ready, err := s.addresses(m, g, inline)
	if err != nil {
		return nil, err
	}
	if err := s.admit(d); err != nil {
		return nil, err
	}

	// From here on nothing is refused: the logical tips change.
	for i, r := range plan.Apply(ready.Addr) {
		e.Sections[i].Result = r.After
	}
	p, err := g.log.Add(e, body)
	if err == nil && len(body.Inline) > 0 && p.Inline != inline {
		err = fmt.Errorf("txn: entry %d lies at byte %d of the log, not at %d as foreseen", lsn, p.Inline, inline)
	}
	if err != nil {
		m.poison(err)
		return nil, m.poisoned()
	}
	d.Born(ready.Extents...)
	for _, x := range ready.Index {
		d.Died(lsn, x)
	}
	d.Advance(e, p.Hash)
	t.p = placed{pos: d.Head.Position, time: e.Time}
	m.join(g, t, len(body.Inline))
	return g, nil
}

// openGroup is the group that transactions join now. Under m.seq.mu.
func (m *Manager) openGroup() (*group, error) {
	if m.seq.group != nil {
		return m.seq.group, nil
	}
	lg, err := m.wal.NewGroup(m.store.ManifestSeq())
	if err != nil {
		return nil, err
	}
	m.seq.group = &group{log: lg, done: make(chan struct{})}
	return m.seq.group, nil
}

// bodyOf says where the body lies: in its slots when it has some, else in the
// log as long as the group's share of it lasts.
func (m *Manager) bodyOf(g *group, s *sealed) (wal.Body, error) {
	if s.image != nil && s.slots == nil {
		if g.inline+len(s.image) <= m.opts.InlineBytes {
			return wal.Body{Inline: s.image}, nil
		}
		if err := s.allocate(); err != nil {
			return wal.Body{}, err
		}
	}
	b := wal.Body{Exempt: s.synced, Extents: make([]wal.Extent, len(s.slots))}
	for i, e := range s.slots {
		class, err := m.store.Heap().Class(e.First.File())
		if err != nil {
			return wal.Body{}, err
		}
		b.Extents[i] = wal.Extent{Slot: uint64(e.First), Length: uint64(e.Count) << class}
	}
	return b, nil
}

// adviseOn says of a record that is too large what its limits are and what the
// caller can do.
func (s *sealed) adviseOn(err error) error {
	if !errors.Is(err, wal.ErrTooLarge) {
		return err
	}
	return fmt.Errorf("txn: the transaction changes %d volumes, and one is one log record of at most %d bytes, room for about 4900 volumes "+
		"or 60000 runs of discarded pages; it was rolled back and nothing was written, commit in parts: %w", len(s.vols), wal.MaxRecord, err)
}

// addresses says where each byte of the body will be.
func (s *sealed) addresses(m *Manager, g *group, inline int64) (apply.Body, error) {
	if s.slots == nil {
		ordinal := m.ordinals.of(g.log.Gen())
		return apply.Body{Addr: func(off uint64) uint64 { return pagetree.LogAddr(ordinal, inline+int64(off)) }}, nil
	}
	return apply.InHeap(m.store.Heap(), s.slots, s.indexed())
}

// indexed is where the index chunks begin in the body.
func (s *sealed) indexed() uint64 {
	from := uint64(wal.MaxBody)
	for i := range s.vols {
		for _, c := range s.vols[i].chunks {
			from = min(from, c.Offset)
		}
	}
	return from
}

// join makes the transaction a member of the group.
func (m *Manager) join(g *group, t *ticket, inline int) {
	s := t.s
	g.members = append(g.members, t)
	g.inline += inline
	if s.body != nil {
		g.payload += int64(s.body.Size())
		m.stats.payload.Add(s.body.Size())
	}
	for i := range s.vols {
		if s.vols[i].v.from != nil {
			g.pins++
		}
	}
	g.synced = g.synced || s.tx.opts.Durability == Synced
	if len(s.slots) > 0 {
		s.owned = true
		s.body.Adopt()
		g.heap = g.heap || !s.synced
		if s.image != nil {
			g.images = s.pieces(g.images)
		}
	}
}

// entry is the record of the transaction, but for the states it results in.
func (s *sealed) entry(d *pagestore.Draft, now time.Time, results []apply.Result) *wal.Entry {
	head := d.Head
	e := &wal.Entry{
		Kind: wal.KindTransaction, First: head.LSN + 1, Last: head.LSN + 1, Timeline: head.Timeline,
		Epoch: head.Epoch, Prev: head.Hash, Txn: s.tx.id, Time: max(now.UnixNano(), head.Time+1),
		Actor: s.tx.opts.Actor, Seq: s.tx.opts.Seq, Sections: make([]wal.Section, len(s.vols)),
	}
	if s.tx.opts.Message != "" {
		e.Exts = append(e.Exts, wal.Extension{Type: wal.ExtMessage, Bytes: []byte(s.tx.opts.Message)})
	}
	if len(s.tx.opts.Metadata) > 0 {
		e.Exts = append(e.Exts, wal.Extension{Type: wal.ExtMetadata, Bytes: s.tx.opts.Metadata})
	}
	if len(s.tx.opts.RequestDigest) > 0 {
		e.Exts = append(e.Exts, wal.Extension{Type: wal.ExtRequestDigest, Bytes: s.tx.opts.RequestDigest})
	}
	for i := range s.vols {
		e.Sections[i] = s.vols[i].section(results[i])
	}
	return e
}

func (sv *sealedVolume) section(r apply.Result) wal.Section {
	s := wal.Section{
		Ref: wal.Ref{Volume: sv.v.id, Name: sv.v.ref}, Action: wal.ActionSet,
		Expect: wal.Expect{LSN: r.Expect, State: r.Before},
		Seq:    r.Seq, PrevChange: r.Changed,
	}
	if sv.v.deleted || sv.v.drop {
		s.Action = wal.ActionDelete
		return s
	}
	s.Base = r.Base
	if sv.v.setsAttrs() {
		attrs := sv.v.attrs
		s.Attrs = &attrs
	}
	s.Result = wal.State{PageSize: sv.v.attrs.PageSize, Pages: r.Size}
	s.Delta = wal.Delta{Discards: r.Discards, Rows: sv.rows, Chunks: sv.chunks, Digest: sv.digest}
	return s
}

// validate compares what the transaction read with the logical tips.
func (s *sealed) validate(d *pagestore.Draft) error {
	tx := s.tx
	for name, id := range tx.nameRead {
		now, _, err := d.VolumeID(name)
		if err != nil {
			return err
		}
		if now != id && (tx.opts.Isolation == Serializable || tx.gives(name)) {
			return &ConflictError{Volume: id, Name: name, What: "name"}
		}
	}
	for _, v := range tx.vols {
		if err := s.validateTags(v, d, tx.opts.Isolation); err != nil {
			return err
		}
		if v.created || tx.opts.Isolation == Snapshot && !v.changes() {
			continue
		}
		if err := v.validate(d, tx.opts.Isolation); err != nil {
			return err
		}
	}
	return nil
}

func (v *Volume) validate(d *pagestore.Draft, iso Isolation) error {
	now, err := d.Volume(v.id)
	if err != nil {
		return err
	}
	if !now.Exists {
		return &ConflictError{Volume: v.id, Name: v.base.Attrs.Name, What: "existence"}
	}
	if now.Tip() == v.base.Changed {
		return nil // nothing has changed since
	}
	if now.Attrs().Name != v.base.Attrs.Name {
		return &ConflictError{Volume: v.id, Name: v.base.Attrs.Name, What: "name"}
	}
	var c *ConflictError
	if iso == Serializable {
		c, err = v.reads.check(v.base, now)
	} else {
		c, err = v.checkWrites(now)
	}
	if c != nil {
		return c
	}
	return err
}

// checkWrites is first committer wins: no page that the transaction writes may
// have changed.
func (v *Volume) checkWrites(now *pagestore.DraftVolume) (*ConflictError, error) {
	conflict := &ConflictError{Volume: v.id, Name: v.base.Attrs.Name, What: "page"}
	if v.deleted || v.exact {
		conflict.What = "size"
		return conflict, nil // it was changed, and all of it is written
	}
	if v.pages == nil {
		return nil, nil
	}
	for no := range v.touched() {
		same, err := samePage(v.base, now, no)
		if err != nil {
			return nil, err
		}
		if !same {
			conflict.Page = no
			return conflict, nil
		}
	}
	return nil, nil
}

// touched yields the pages written or discarded.
func (v *Volume) touched() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for no := range v.pages.Present(0, wal.MaxPages) {
			if !yield(no) {
				return
			}
		}
		for r := range v.pages.Discards() {
			for no := r.First; no < r.First+r.Count; no++ {
				if !yield(no) {
					return
				}
			}
		}
	}
}

// conflictOf makes a conflict of a change that does not fit any more: a volume
// gone, or a name taken meanwhile.
func (s *sealed) conflictOf(err error) error {
	var mismatch *apply.MismatchError
	if !errors.As(err, &mismatch) {
		return err
	}
	c := &ConflictError{Volume: mismatch.Volume, What: "existence"}
	if mismatch.What == "name" || mismatch.What == "base" {
		c.What = mismatch.What
	}
	for i := range s.vols {
		if v := s.vols[i].v; v.id == c.Volume {
			c.Name = v.attrs.Name
		}
	}
	return c
}
