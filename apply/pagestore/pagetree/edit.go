package pagetree

import (
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/wal"
)

// Edit changes trees on behalf of one entry of the log. It belongs to the
// sequencer and is used under its mutex.
type Edit struct {
	// Epoch names the group of entries whose nodes may be changed in place. It
	// is never zero and never used again once any tree made in it was
	// published, or copied to be kept.
	Epoch  uint64
	LSN    wal.LSN     // the entry, or the next one to be: birth of what it makes, death of what it replaces
	Origin wal.LSN     // what is not younger belongs to a kept tip before this one, or to the origin, and is not reported
	Source node.Source // used by Load only
	Dead   func(node.Dead)
}

// Load makes the paths to pages, in ascending order, resident and owned by
// this epoch. It is the fallible half of an edit: after it the changes work in
// memory and cannot fail. The content of t does not change and t is whole
// after an error too; but nodes it was made of are dead, so t as it is
// afterwards takes the place of t before, also if the entry is refused and
// its LSN goes to another. Pages whose path does not exist need none.
func (e *Edit) Load(t *Tree, pages iter.Seq[uint64]) error {
	last := uint64(wal.MaxPages)
	for no := range pages {
		if no/fan == last || no >= span(t.Height()) {
			continue
		}
		last = no / fan
		if err := e.loadPath(t, no); err != nil {
			return fmt.Errorf("pagetree: load path to page %d: %w", no, err)
		}
	}
	return nil
}

// loadPath gives copies the birth of the entry before this one, which may yet
// be refused: then they are published with the state before it.
func (e *Edit) loadPath(t *Tree, no uint64) (err error) {
	birth := max(e.LSN-1, e.Origin+1)
	l := &t.root
	for h := t.Height(); h > 0 && l != nil && l.knot != nil; h-- {
		if l.knot, err = e.own(e.Source, l.knot, h, birth); err != nil {
			return err
		}
		if h > 1 {
			l = l.knot.body.kid(index(no, h))
		}
	}
	return nil
}

// own is k, or a copy of it, that this epoch may change. On an error it is k.
func (e *Edit) own(src node.Source, k *knot, height int, birth wal.LSN) (*knot, error) {
	if e.owns(k) {
		k.birth = max(k.birth, birth) // a parent is never older than its children
		return k, nil
	}
	b, err := k.load(src, height)
	if err != nil {
		return k, err
	}
	e.discard(k)
	return copyOf(b, e.Epoch, birth), nil
}

func (e *Edit) owns(k *knot) bool {
	return k.body != nil && k.body.epoch == e.Epoch && k.slot.Load() == 0
}

// change is k to be changed now: made when nil, copied when not ours. It must
// have been loaded.
func (e *Edit) change(k *knot, height int) *knot {
	if k == nil {
		return newKnot(height, e.Epoch, e.LSN)
	}
	k, _ = e.own(unloaded{}, k, height, e.LSN)
	return k
}

// unloaded is the source of edits that must not need one.
type unloaded struct{}

func (unloaded) Load(ref node.Ref, _ func([]byte) (any, int, error)) (any, error) {
	panic(fmt.Sprintf("pagetree: edit of a path that was not loaded: node in slot %v", ref.Slot))
}

// discard says that k's version ends here. One without a slot needs none
// unless a checkpoint of an older tree gives it one later: Freeze reports it
// then.
func (e *Edit) discard(k *knot) {
	switch slot := k.slot.Load(); {
	case k.birth <= e.Origin:
	case slot != 0:
		e.Dead(node.Dead{Addr: slot, Birth: k.birth, Death: e.LSN})
	default:
		k.body.death = e.LSN
	}
}

func (e *Edit) discardPage(p Entry) {
	if p.Addr != 0 && p.Birth > e.Origin {
		e.Dead(node.Dead{Addr: p.Addr, Birth: p.Birth, Death: e.LSN})
	}
}

// Set makes p the entry of page no, which must be below the size and loaded.
// The entry it replaces is dead. It cannot fail.
func (e *Edit) Set(t *Tree, no uint64, p Entry) {
	c := cursor{edit: e, tree: t}
	c.put(no, p)
	c.flush()
}

// SetSorted is Set for pages in ascending order. Cost: 50 ns a page when they
// are dense.
func (e *Edit) SetSorted(t *Tree, pages iter.Seq2[uint64, Entry]) {
	c := cursor{edit: e, tree: t}
	for no, p := range pages {
		c.put(no, p)
	}
	c.flush()
}

// Remove makes page no, which must be loaded, absent and reports whether it
// was present. It cannot fail.
func (e *Edit) Remove(t *Tree, no uint64) bool {
	old, ok, _ := t.Lookup(unloaded{}, no)
	if !ok {
		return false
	}
	c := cursor{edit: e, tree: t}
	c.remove(no, old)
	return true
}

// cursor is an open path to one leaf. Changes gather in it and reach the links
// above when it leaves the leaf.
type cursor struct {
	edit  *Edit
	tree  *Tree
	path  [maxHeight]*link // root first
	depth int
	first uint64 // page of the leaf open
	sum   wal.Sum
	count uint64 // wraps around below zero
}

func (c *cursor) put(no uint64, p Entry) {
	if no >= c.tree.pages || p.Addr == 0 {
		panic(fmt.Sprintf("pagetree: set page %d of %d to address %#x", no, c.tree.pages, p.Addr))
	}
	old := c.swap(no, p)
	if old.Addr != 0 {
		c.sum, c.count = c.sum.Sub(old.Hash), c.count-1
	}
	if old.Addr != p.Addr {
		c.edit.discardPage(old)
	}
	c.sum, c.count = c.sum.Add(p.Hash), c.count+1
}

func (c *cursor) swap(no uint64, p Entry) (old Entry) {
	if c.tree.Height() == 0 {
		old, c.tree.only = c.tree.only, p
		return old
	}
	return c.seek(no).put(int(no%fan), p)
}

func (c *cursor) remove(no uint64, old Entry) {
	c.sum, c.count = wal.Sum{}.Sub(old.Hash), ^uint64(0)
	c.edit.discardPage(old)
	if c.tree.Height() == 0 {
		c.tree.only = Entry{}
		c.flush()
		return
	}
	c.seek(no).clear(int(no % fan))
	c.flush()
	c.prune(no)
}

// prune unlinks the nodes of the path that became empty. They are this
// epoch's own, so nobody needs to hear of it.
func (c *cursor) prune(no uint64) {
	for i := c.depth - 1; i >= 0 && c.path[i].count == 0; i-- {
		if i == 0 {
			c.tree.root = link{}
			return
		}
		c.path[i-1].knot.body.clear(index(no, c.tree.Height()-i+1))
	}
}

// seek opens the leaf of page no, making the nodes that are missing.
func (c *cursor) seek(no uint64) *body {
	if c.depth > 0 && no-c.first < fan {
		return c.path[c.depth-1].knot.body
	}
	if c.depth > 0 {
		c.flush()
	}
	c.first, c.depth = no&^(fan-1), 0
	l := &c.tree.root
	for h := c.tree.Height(); ; h-- {
		l.knot = c.edit.change(l.knot, h)
		c.path[c.depth] = l
		c.depth++
		if h == 1 {
			return l.knot.body
		}
		l = l.knot.body.makeKid(index(no, h))
	}
}

// flush brings what gathered to the links above the leaf.
func (c *cursor) flush() {
	if c.depth == 0 { // height 0
		c.tree.root.add(c.sum, c.count)
	}
	for _, l := range c.path[:c.depth] {
		l.add(c.sum, c.count)
	}
	c.sum, c.count = wal.Sum{}, 0
}

func (l *link) add(sum wal.Sum, count uint64) {
	l.sum, l.count = l.sum.Plus(sum), l.count+count
}
