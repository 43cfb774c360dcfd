package pagetree

import (
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Freeze gives a slot to every node of t that has none, children first. The
// epoch of t must be closed, t rebased by every checkpoint since it was made,
// and the sequencer's mutex held. dead hears of slots given to nodes that a
// later tree has replaced already. After an error (alloc's) some nodes have
// slots; Freeze may be called again. Cost: 50 ns a node in memory.
func Freeze(t Tree, alloc func(heap.Class) (heap.Slot, error), dead func(node.Dead)) error {
	return freeze(t.root.knot, alloc, dead)
}

// A node that has a slot has only descendants that do.
func freeze(k *knot, alloc func(heap.Class) (heap.Slot, error), dead func(node.Dead)) error {
	if k == nil || k.slot.Load() != 0 {
		return nil
	}
	for _, kid := range k.body.kids {
		if err := freeze(kid.knot, alloc, dead); err != nil {
			return err
		}
	}
	slot, err := alloc(heap.ClassFor(k.body.size()))
	if err != nil {
		return fmt.Errorf("pagetree: freeze: %w", err)
	}
	k.slot.Store(uint64(slot))
	if k.body.death != 0 {
		dead(node.Dead{Addr: uint64(slot), Birth: k.birth, Death: k.body.death})
	}
	return nil
}

// LogPages yields the pages of t whose images lie in the log, ascending. They
// are in nodes that are in memory, so it reads no disk and cannot fail. What
// another tree of the same round, a number above zero, shares with t is left
// out: it was yielded for that one. A round is the checkpointer's.
func LogPages(t Tree, round uint64) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		if t.only.Addr != 0 && IsLog(t.only.Addr) && !yield(Item{0, t.only}) {
			return
		}
		logPages(t.root.knot, 0, round, yield)
	}
}

func logPages(k *knot, base, round uint64, yield func(Item) bool) bool {
	if k == nil || k.body == nil || k.body.round == round {
		return true
	}
	b := k.body
	b.round = round
	for place, pos := range b.places {
		first := base + uint64(place)*span(int(b.height)-1)
		if b.height > 1 && !logPages(b.kids[pos].knot, first, round, yield) {
			return false
		}
		if b.height == 1 && IsLog(b.leaf[pos].Addr) && !yield(Item{first, b.leaf[pos]}) {
			return false
		}
	}
	return true
}

// Moved says in which slots a checkpoint put images that lay in the log, by
// log address.
type Moved map[uint64]heap.Slot

// entry is p at its place in the heap; ok is false when it has none.
func (m Moved) entry(p Entry) (_ Entry, ok bool) {
	if !IsLog(p.Addr) {
		return p, true
	}
	slot, ok := m[p.Addr]
	if ok {
		p.Addr = uint64(slot)
	}
	return p, ok
}

// Write hands every node of the frozen tree t that is not yet written to
// write, children first, each as its whole slot; write must not keep the
// bytes. moved must know all log pages of t. It needs no lock and runs beside
// readers and the sequencer, but once at a time. After an error it may be
// called again, or given up for a later checkpoint, but moved must then hold
// the same and more: nodes already written name those slots.
func Write(t Tree, moved Moved, write func(heap.Slot, []byte) error) error {
	return writeNode(t.root.knot, moved, write, make([]byte, 0, maxNode))
}

func writeNode(k *knot, moved Moved, write func(heap.Slot, []byte) error, buf []byte) error {
	if k == nil || k.body == nil || k.body.written {
		return nil
	}
	for _, kid := range k.body.kids {
		if err := writeNode(kid.knot, moved, write, buf); err != nil {
			return err
		}
	}
	slot := heap.Slot(k.slot.Load())
	b, err := appendNode(buf, k.body, moved)
	if err != nil {
		return fmt.Errorf("pagetree: encode node for slot %v: %w", slot, err)
	}
	if err := write(slot, b); err != nil {
		return fmt.Errorf("pagetree: write node to slot %v: %w", slot, err)
	}
	k.check = wal.HashPage(uint64(slot), b)
	k.body.written = true
	return nil
}

// Memo remembers rebased nodes, so that trees that shared nodes still do. One
// Memo serves all Rebase calls of one checkpoint, and no later one.
type Memo struct{ done map[*knot]*knot }

// Rebase is t with less in memory: nodes that were written are reached through
// the heap, and images that were moved at their new place. t stays as it is
// for those who read it. A written tree becomes clean at no cost: the value
// whose AppendRoot the catalogue keeps. Of another, the nodes in memory are
// looked at, once a memo. Trees that will be edited or frozen later are
// rebased under the sequencer's mutex, after what was written is durable.
func Rebase(t Tree, moved Moved, memo *Memo) Tree {
	if memo.done == nil {
		memo.done = make(map[*knot]*knot)
	}
	t.only, _ = moved.entry(t.only)
	if t.root.knot != nil {
		t.root.knot = memo.rebase(t.root.knot, moved)
	}
	return t
}

func (m *Memo) rebase(k *knot, moved Moved) *knot {
	if k.body == nil {
		return k
	}
	n, ok := m.done[k]
	if ok {
		return n
	}
	if k.body.written {
		n = stub(k.ref())
	} else {
		n = m.rebuild(k, moved)
	}
	m.done[k] = n
	return n
}

// rebuild is k over rebased children: k itself when nothing below changed. A
// copy is the same version of the node: it keeps birth, epoch, death and slot.
func (m *Memo) rebuild(k *knot, moved Moved) *knot {
	n := k
	own := func() *body {
		if n == k {
			n = copyOf(k.body, k.body.epoch, k.birth)
			n.body.death = k.body.death
			n.slot.Store(k.slot.Load())
		}
		return n.body
	}
	for i, p := range k.body.leaf {
		if at, ok := moved.entry(p); ok && at.Addr != p.Addr {
			own().leaf[i] = at
		}
	}
	for i, kid := range k.body.kids {
		if r := m.rebase(kid.knot, moved); r != kid.knot {
			own().kids[i].knot = r
		}
	}
	return n
}

// Clean reports whether nothing of t is in memory only, so that AppendRoot
// takes it.
func (t Tree) Clean() bool {
	return !IsLog(t.only.Addr) && (t.root.knot == nil || t.root.knot.body == nil)
}
