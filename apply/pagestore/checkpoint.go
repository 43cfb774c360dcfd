package pagestore

import (
	"errors"
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Frozen is a snapshot on its way to the disk: Freeze, Write, Rebase, Bury;
// or Freeze, Thaw when it is given up.
type Frozen struct {
	Snap *Snapshot

	lineages []*lineageRecord // those with nodes or images that are not in the heap
	births   births
	deaths   deaths
	left     []deadImage // died in the log, before the snapshot
	held     held
	low      wal.LSN // low-water mark of the checkpoint, once it is written
}

// Freeze prepares the snapshot that Cut has just returned for a checkpoint:
// every node of it that lies only in memory is assigned its slot, so that what
// supersedes the node from now on knows which slot dies. Memory only, as long
// as the heap has room (Store.Reserve).
func (d *Draft) Freeze(s *Snapshot) (*Frozen, error) {
	f := &Frozen{Snap: s}
	t := newTaker(d.store.heap)
	err := f.assign(s, t.take, d.died)
	if err == nil {
		err = d.assignHeld(f, t.take)
	}
	if e := t.batch.Close(); err == nil {
		err = e
	}
	d.births.nodes = append(d.births.nodes, t.used...)
	if err != nil {
		return nil, fmt.Errorf("pagestore: freeze LSN %d: %w", s.LSN(), err)
	}
	f.births, d.births = d.births, births{}
	f.deaths, d.deaths = d.deaths, deaths{}
	d.store.dirty.Store(0)
	// What an earlier attempt moved and has died since.
	f.left = f.deaths.follow(f.births.moved)
	if f.births.moved == nil {
		f.births.moved = make(pagetree.Moved)
	}
	return f, nil
}

func (f *Frozen) assign(s *Snapshot, take func(heap.Class) (heap.Slot, error), dead func(node.Dead)) error {
	for it := range s.cat.Dirty() {
		lin, ok := it.Value.(*lineageRecord)
		if !ok {
			continue
		}
		f.lineages = append(f.lineages, lin)
		if err := pagetree.Freeze(lin.Tree, take, dead); err != nil {
			return err
		}
	}
	return s.cat.Freeze(take, dead)
}

// Thaw gives a checkpoint up. The next one covers what this one would have:
// nodes keep the slots they were assigned, and images those they were moved
// to, since nodes that name them may have been written.
func (d *Draft) Thaw(f *Frozen) {
	d.deaths.before(f.deaths)
	d.births.entries = append(f.births.entries, d.births.entries...)
	d.births.nodes = append(f.births.nodes, d.births.nodes...)
	d.births.images = f.births.images
	d.births.moved = f.births.moved
	d.births.buffered = f.births.buffered
	d.deaths.inLog = append(f.left, d.deaths.inLog...)
}

// Write makes a frozen snapshot durable: images that lie in the log, newest
// version once, then nodes, children first, then the heap's sync, then one
// manifest record, which is the checkpoint. Its entries must be durable.
// retain says which log generations recovery still needs; those that a consumer
// has still to read are kept, too. Nothing is freed yet.
func (s *Store) Write(f *Frozen, retain func(wal.Generation) bool) error {
	if err := s.write(f); err != nil {
		return fmt.Errorf("pagestore: checkpoint at LSN %d: %w", f.Snap.LSN(), err)
	}
	return s.EditManifest(func(facts manifest.Facts) manifest.Edit {
		head := f.Snap.Head
		f.low = facts.Needed(head.LSN)
		gens := keep(facts.Generations, func(g wal.Generation) bool { return retain(g) || g.Last >= f.low })
		return manifest.Edit{
			Timeline:    timelineAt(facts, head),
			LowWater:    f.low,
			Checkpoint:  &manifest.Checkpoint{LSN: head.LSN, Hash: head.Hash, Time: head.Time, Root: f.Snap.cat.Root()},
			Generations: &gens,
			Heap:        s.heapFiles(),
			Used:        f.births.extents(),
			Free:        f.deaths.extents(),
		}
	})
}

// timelineAt is the timeline at the checkpoint, if an entry has begun another
// since the one before.
func timelineAt(facts manifest.Facts, head Head) *manifest.Timeline {
	if facts.Timeline == head.Timeline && facts.Epoch == head.Epoch {
		return nil
	}
	return &manifest.Timeline{ID: head.Timeline, Epoch: head.Epoch}
}

func (s *Store) write(f *Frozen) error {
	for _, out := range f.births.buffered { // its nodes pass for written
		if err := out.flush(); err != nil {
			return err
		}
	}
	f.births.buffered = nil
	if err := s.moveImages(f); err != nil {
		return fmt.Errorf("move images from the log: %w", err)
	}
	if err := s.writeNodes(f); err != nil {
		return fmt.Errorf("write nodes: %w", err)
	}
	if err := f.deaths.walk(s.nodes); err != nil {
		return err
	}
	if err := f.deaths.bury(s.nodes); err != nil {
		return err
	}
	f.left = append(f.left, f.deaths.follow(f.births.moved)...)
	if err := s.writeHeld(f); err != nil { // knows by now what died in the log
		return fmt.Errorf("write what is held: %w", err)
	}
	return s.heap.Sync()
}

func (f *Frozen) newWriter(h *heap.Heap) *slotWriter {
	out := newSlotWriter(h)
	f.births.buffered = append(f.births.buffered, out)
	return out
}

// moveImages copies the images that the snapshot reaches in the log to slots.
func (s *Store) moveImages(f *Frozen) error {
	t, out := newTaker(s.heap), f.newWriter(s.heap)
	err := s.moveAll(f, t, out)
	if e := t.batch.Close(); err == nil {
		err = e
	}
	f.births.images = append(f.births.images, t.used...)
	if err != nil {
		return err
	}
	return out.flush()
}

func (s *Store) moveAll(f *Frozen, t *taker, out *slotWriter) error {
	buf := make([]byte, wal.MaxPageSize)
	s.round++
	for _, lin := range f.lineages {
		class, image := heap.ClassFor(int(lin.PageSize)), buf[:lin.PageSize]
		for p := range pagetree.LogPages(lin.Tree, s.round) {
			if _, done := f.births.moved[p.Addr]; done {
				continue // for another tip, or by an attempt whose writer is flushed by now
			}
			if err := s.ReadImage(p.Page, p.Entry, image); err != nil {
				return err
			}
			slot, err := t.take(class)
			if err != nil {
				return err
			}
			if err := out.write(slot, image); err != nil {
				return errors.Join(err, t.giveBack(s.heap, slot))
			}
			f.births.moved[p.Addr] = slot
		}
	}
	return nil
}

func (s *Store) writeNodes(f *Frozen) error {
	out := f.newClassWriter(s.heap)
	for _, lin := range f.lineages {
		if err := pagetree.Write(lin.Tree, f.births.moved, out.write); err != nil {
			return err
		}
		lin.written = pagetree.Rebase(lin.Tree, f.births.moved, new(pagetree.Memo))
	}
	if err := f.Snap.cat.Write(out.write); err != nil {
		return err
	}
	return out.flush()
}

// Rebase ends a checkpoint that is durable: the draft and the published
// snapshot now reach what it wrote by slot instead of by pointer and through
// the log, so that memory and log generations can go. No group is in flight.
func (d *Draft) Rebase(f *Frozen) error {
	if err := d.flush(); err != nil {
		return fmt.Errorf("pagestore: rebase on the checkpoint at LSN %d: %w", f.Snap.LSN(), err)
	}
	trees, nodes := new(pagetree.Memo), new(catalogue.Memo)
	clean := func(v catalogue.Value) catalogue.Value {
		lin, ok := v.(*lineageRecord)
		if !ok {
			return v
		}
		r := lin.with(pagetree.Rebase(lin.Tree, f.births.moved, trees))
		if r.Tree.Clean() {
			r.written = r.Tree
			return catalogue.Raw(r.Append(nil))
		}
		return &r
	}
	d.cat = d.cat.Rebase(clean, nodes)
	pub := d.store.holds.rebased()
	d.store.holds.publish(&Snapshot{Head: pub.Head, store: d.store, cat: pub.cat.Rebase(clean, nodes)})
	d.rebaseHeld(func(c catalogue.Catalogue) catalogue.Catalogue { return c.Rebase(clean, nodes) })
	// What is left was born behind the snapshot: its generation stays.
	d.deaths.inLog = d.deaths.follow(f.births.moved)
	return nil
}

// Bury lets what the checkpoint no longer needs be reused, once a frame that
// names the manifest record of the checkpoint is durable: from then on no
// older manifest passes for the newest.
func (s *Store) Bury(f *Frozen) {
	s.limbo.raise(f.low)
	s.limbo.bury(f.deaths.runs)
	s.logs.moved(f.births.moved, f.left)
}

func keep(gens []wal.Generation, retain func(wal.Generation) bool) []wal.Generation {
	kept := make([]wal.Generation, 0, len(gens))
	for _, g := range gens {
		if retain(g) {
			kept = append(kept, g)
		}
	}
	return kept
}
