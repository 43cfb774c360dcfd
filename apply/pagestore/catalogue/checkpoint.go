package catalogue

import (
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Dirty yields, in ascending order, the items of all leaves in memory: every
// item changed since the last Rebase and the neighbours of each. Through it a
// checkpoint finds the live values.
func (c Catalogue) Dirty() iter.Seq[Item] {
	return func(yield func(Item) bool) { dirty(c.root.n, yield) }
}

func dirty(n *treeNode, yield func(Item) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.vals {
		if !yield(Item{n.keys[i], n.vals[i]}) {
			return false
		}
	}
	for i := range n.kids {
		if !dirty(n.kids[i].n, yield) {
			return false
		}
	}
	return true
}

// Freeze gives a slot to every node of c that has none, under the sequencer's
// mutex and after the last Edit of c's epoch. From then on a newer version
// that replaces one of these nodes reports its slot Dead; for those that the
// newest version has replaced already Freeze itself does, to dead. After an
// error of alloc it may be called again and goes on where it stopped. Cost:
// O(nodes changed), 50 nanoseconds each.
func (c Catalogue) Freeze(alloc func(heap.Class) (heap.Slot, error), dead func(node.Dead)) error {
	return freeze(c.root.n, alloc, dead)
}

// freeze assigns children first: a node with a slot has only such below it.
func freeze(n *treeNode, alloc func(heap.Class) (heap.Slot, error), dead func(node.Dead)) error {
	if n == nil || n.slot != 0 {
		return nil
	}
	for i := range n.kids {
		if err := freeze(n.kids[i].n, alloc, dead); err != nil {
			return err
		}
	}
	slot, err := alloc(heap.ClassFor(n.size))
	if err != nil {
		return fmt.Errorf("catalogue: no slot for a node of %d bytes: %w", n.size, err)
	}
	n.slot = slot
	if n.died != 0 {
		dead(node.Dead{Addr: uint64(slot), Birth: n.birth, Death: n.died})
	}
	return nil
}

// Write writes every node of the frozen c that is not yet written, children
// first. It takes no lock: readers and an Edit of a newer version may run
// beside it. write must not keep the bytes, which fill the slot. After an
// error Write may be called again. When it returned nil, Root names c.
func (c Catalogue) Write(write func(heap.Slot, []byte) error) error {
	return writeNode(c.root.n, make([]byte, maxBytes), write)
}

func writeNode(n *treeNode, buf []byte, write func(heap.Slot, []byte) error) error {
	if n == nil || n.written {
		return nil
	}
	for i := range n.kids {
		if err := writeNode(n.kids[i].n, buf, write); err != nil {
			return err
		}
	}
	slot, err := encode(buf, n)
	if err != nil {
		return err
	}
	if err := write(n.slot, slot); err != nil {
		return fmt.Errorf("catalogue: writing the node in slot %s: %w", n.slot, err)
	}
	n.check = wal.HashPage(uint64(n.slot), slot)
	n.written = true
	return nil
}

// Memo lets several versions that share nodes share them after Rebase, too.
// The zero Memo is ready; it belongs to one checkpoint.
type Memo struct{ done map[*treeNode]*treeNode }

// Rebase returns c with each written node replaced by where it lies, so that
// memory holds only what is not in the heap. Nodes above these that are not
// written are copied, their values passed through value, which turns a live
// value into a clean one of the same Size, or returns it. c itself stays as it
// is for those who read it. It runs under the sequencer's mutex after Write.
// Cost: O(nodes changed since Freeze), 2 microseconds each.
func (c Catalogue) Rebase(value func(Value) Value, memo *Memo) Catalogue {
	if memo.done == nil {
		memo.done = make(map[*treeNode]*treeNode)
	}
	return Catalogue{memo.rebase(&c.root, value)}
}

func (m *Memo) rebase(k *kid, value func(Value) Value) kid {
	if k.n == nil {
		return *k
	}
	if k.n.written {
		ref := k.where()
		return kid{ref: &ref}
	}
	n, ok := m.done[k.n]
	if !ok {
		n = k.n.copy(k.n.epoch, k.n.birth)
		n.slot, n.died = k.n.slot, k.n.died
		for i := range n.vals {
			n.vals[i] = value(n.vals[i])
		}
		for i := range n.kids {
			n.kids[i] = m.rebase(&n.kids[i], value)
		}
		m.done[k.n] = n
	}
	return kid{n: n}
}
