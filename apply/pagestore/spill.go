package pagestore

import (
	"errors"
	"slices"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// A checkpoint also writes what only holds reach (DESIGN 6): nodes and images of
// snapshots between the last checkpoint and this one, which are in no tree any
// more. So a hold, however long, costs no memory but its own, and slots in limbo:
//
//	in memory  taken since the last checkpoint, or while it was written; its
//	           nodes are reached by pointers, some by it alone
//	settled    all of it is reached by slots; readers of the log's files need not
//	           wait for it
//	stale      made of what only a transaction had held across a checkpoint:
//	           nodes of it may have a newer copy, so they can get no slots. It
//	           stays in memory, as the transaction's snapshot does
//
//	step    does, for the holds in memory
//	Freeze  assigns slots to the nodes that have none, newest snapshot first: each
//	        is dead at once, since the newest state has replaced it
//	Write   moves their images from the log, and writes the nodes
//	Rebase  gives each hold a snapshot that reaches by slot what was written
//
// The manifest's record has these slots as born and dead, so after a restart they
// are free. Transactions are left as they are: they end within their deadline.

// pin is a snapshot that holds have, any number of them.
type pin struct {
	snap  *Snapshot // replaced when a checkpoint has written it
	holds int
	stale bool
}

// counts reports whether the pin keeps nodes in memory that a checkpoint would
// write. Callers hold holds.mu.
func (p *pin) counts() bool { return !p.stale && !p.snap.settled }

// pinned adds a hold of s, which is held. Callers hold h.mu.
func (h *holds) pinned(s *Snapshot) *pin {
	if s.pin == nil {
		s.pin = &pin{snap: s, stale: !s.settled && s.basis != h.rebases}
		if s.pin.counts() {
			h.unsettled++
		}
	}
	s.pin.holds++
	return s.pin
}

// unpin ends a hold, and drops the snapshot's. Callers hold h.mu.
func (h *holds) unpin(p *pin) (oldest bool) {
	if p.holds--; p.holds == 0 {
		p.snap.pin = nil
		if p.counts() {
			h.unsettled--
		}
	}
	return h.drop(p.snap)
}

// inMemory lists the pins that a checkpoint settles, the newest first.
func (h *holds) inMemory() (pins []*pin, snaps []*Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unsettled == 0 {
		return nil, nil
	}
	for s := h.newest; s != nil; s = s.prev {
		if s.pin != nil && s.pin.counts() {
			pins, snaps = append(pins, s.pin), append(snaps, s)
		}
	}
	return pins, snaps
}

// rebased begins the end of a checkpoint, and returns the published snapshot.
func (h *holds) rebased() *Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rebases++
	return h.published
}

// replace gives the holds of a pin another snapshot of the same content, if
// there are any left.
func (h *holds) replace(p *pin, with *Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.holds == 0 {
		return
	}
	old := p.snap
	with.number, with.basis, with.settled = old.number, h.rebases, with.cat.Clean()
	with.pin, with.readers = p, p.holds
	h.insert(with, old)
	if p.snap = with; with.settled {
		h.unsettled--
	}
	if old.pin, old.readers = nil, old.readers-p.holds; old.readers == 0 {
		h.remove(old)
	}
}

// insert puts s behind a snapshot of the list.
func (h *holds) insert(s, behind *Snapshot) {
	h.length++
	s.prev, s.next = behind, behind.next
	if behind.next != nil {
		behind.next.prev = s
	} else {
		h.newest = s
	}
	behind.next = s
}

// HeldInMemory is the number of held LSNs whose nodes are in memory until the
// next checkpoint writes them.
func (s *Store) HeldInMemory() int {
	s.holds.mu.Lock()
	defer s.holds.mu.Unlock()
	return s.holds.unsettled
}

// held is what a checkpoint writes for holds.
type held struct {
	snaps    []*Snapshot // the newest first
	lineages []*lineageRecord
}

// assignHeld gives slots to the nodes that holds have in memory.
func (d *Draft) assignHeld(f *Frozen, take func(heap.Class) (heap.Slot, error)) error {
	_, f.held.snaps = d.store.holds.inMemory()
	if len(f.held.snaps) == 0 {
		return nil
	}
	var seen catalogue.Seen
	known := make(map[*lineageRecord]bool, len(f.lineages))
	for _, lin := range f.lineages {
		known[lin] = true
	}
	for _, s := range f.held.snaps {
		for it := range s.cat.DirtyOnce(&seen) {
			lin, ok := it.Value.(*lineageRecord)
			if !ok || known[lin] {
				continue
			}
			known[lin] = true
			f.held.lineages = append(f.held.lineages, lin)
			if err := pagetree.Freeze(lin.Tree, take, d.died); err != nil {
				return err
			}
		}
		if err := s.cat.Freeze(take, d.died); err != nil {
			return err
		}
	}
	return nil
}

// writeHeld writes what assignHeld gave slots to, and the images it needs.
func (s *Store) writeHeld(f *Frozen) error {
	if len(f.held.snaps) == 0 {
		return nil
	}
	t, out := newTaker(s.heap), f.newClassWriter(s.heap)
	err := s.writeAllHeld(f, t, out)
	if e := t.batch.Close(); err == nil {
		err = e
	}
	f.births.images = append(f.births.images, t.used...)
	// What was moved died before: it is in no tree any more.
	f.deaths.inLog = f.left
	f.left = f.deaths.follow(f.births.moved)
	if err != nil {
		return err
	}
	return out.flush()
}

func (s *Store) writeAllHeld(f *Frozen, t *taker, out *classWriter) error {
	buf, died := make([]byte, wal.MaxPageSize), make(map[uint64]bool, len(f.left))
	for _, x := range f.left {
		died[x.Addr] = true
	}
	for _, lin := range f.held.lineages {
		for p := range pagetree.LogAddrs(lin.Tree) {
			if _, ok := f.births.moved[p.Addr]; ok {
				continue
			}
			if err := s.moveHeld(f, p, buf[:lin.PageSize], t, out); err != nil {
				return err
			}
			if !died[p.Addr] { // before an earlier checkpoint, which did not know of the hold
				f.deaths.addRun(deadRun{heap.Extent{First: f.births.moved[p.Addr], Count: 1}, p.Birth, f.Snap.LSN() + 1})
			}
		}
		if err := pagetree.Write(lin.Tree, f.births.moved, out.write); err != nil {
			return err
		}
		lin.written = pagetree.Rebase(lin.Tree, f.births.moved, new(pagetree.Memo))
	}
	for _, snap := range f.held.snaps {
		if err := snap.cat.Write(out.write); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) moveHeld(f *Frozen, p pagetree.Item, image []byte, t *taker, out *classWriter) error {
	if err := s.ReadImage(p.Page, p.Entry, image); err != nil {
		return err
	}
	slot, err := t.take(heap.ClassFor(len(image)))
	if err != nil {
		return err
	}
	if err := out.write(slot, image); err != nil {
		return errors.Join(err, t.giveBack(s.heap, slot))
	}
	f.births.moved[p.Addr] = slot
	return nil
}

// rebaseHeld gives the holds snapshots that reach what was written by slot.
func (d *Draft) rebaseHeld(rebase func(catalogue.Catalogue) catalogue.Catalogue) {
	pins, snaps := d.store.holds.inMemory()
	for i, p := range slices.Backward(pins) { // each goes behind the one it replaces
		d.store.holds.replace(p, &Snapshot{Head: snaps[i].Head, store: d.store, cat: rebase(snaps[i].cat)})
	}
}
