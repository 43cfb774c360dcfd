package pagetree

import (
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// knot is a node as its parent holds it: in memory, or, when body is nil, only
// in the heap. Who may touch what once the epoch that made it is closed:
//
//	birth, body   nobody changes them, anyone reads
//	slot          set once, by Freeze under the sequencer's mutex; anyone reads
//	check         set by Write; where body is set nobody but Write and Rebase looks
type knot struct {
	slot  atomic.Uint64 // heap.Slot; zero until frozen
	birth wal.LSN       // the entry that made this version
	check wal.PageHash
	body  *body
}

// body is a node's content: packed, entry i is that of the i-th set bit.
//
//	bits, leaf, kids, height  changed only in the epoch that made it
//	epoch, death              the sequencer's, under its mutex
//	written, round            the checkpointer's
type body struct {
	bits    uint64
	leaf    []Entry // of height 1
	kids    []link  // above
	height  uint8
	written bool    // lies at its slot, with the hash in check
	round   uint64  // of LogPages, the last one that came by
	epoch   uint64  // zero: decoded from the heap, never changed
	death   wal.LSN // a later version replaced it before it had a slot
}

// link is an inner entry: a child, and what lies below it.
type link struct {
	knot  *knot
	sum   wal.Sum
	count uint64 // present pages
}

// ref is where k lies once it is written.
func (k *knot) ref() node.Ref {
	return node.Ref{Slot: heap.Slot(k.slot.Load()), Birth: k.birth, Check: k.check}
}

// load is the content of k, from memory or from src.
func (k *knot) load(src node.Source, height int) (*body, error) {
	if k.body != nil {
		return k.body, nil
	}
	v, err := src.Load(k.ref(), decodeNode)
	if err != nil {
		return nil, err
	}
	b, ok := v.(*body)
	if !ok || int(b.height) != height {
		return nil, corrupt(k.ref(), fmt.Sprintf("not a page tree node of height %d, which its parent names", height))
	}
	return b, nil
}

func corrupt(ref node.Ref, reason string) error {
	return &wal.CorruptError{File: fmt.Sprintf("heap/%08x", ref.Slot.File()), Offset: -1, LSN: ref.Birth,
		Reason: fmt.Sprintf("tree node in slot %v: %s", ref.Slot, reason)}
}

// find is the packed position of place i, and whether it is taken.
func (b *body) find(i int) (int, bool) {
	bit := uint64(1) << i
	return bits.OnesCount64(b.bits & (bit - 1)), b.bits&bit != 0
}

// kid is the link at place i, or nil.
func (b *body) kid(i int) *link {
	if p, ok := b.find(i); ok {
		return &b.kids[p]
	}
	return nil
}

// makeKid is the link at place i, an empty one if there was none.
func (b *body) makeKid(i int) *link {
	p, ok := b.find(i)
	if !ok {
		b.kids = slices.Insert(b.kids, p, link{})
		b.bits |= 1 << i
	}
	return &b.kids[p]
}

// put stores e at place i and returns what was there.
func (b *body) put(i int, e Entry) (old Entry) {
	p, ok := b.find(i)
	if !ok {
		b.leaf = slices.Insert(b.leaf, p, e)
		b.bits |= 1 << i
		return Entry{}
	}
	old, b.leaf[p] = b.leaf[p], e
	return old
}

// clear empties place i, which is taken.
func (b *body) clear(i int) {
	p, _ := b.find(i)
	b.bits &^= 1 << i
	if b.height == 1 {
		b.leaf = slices.Delete(b.leaf, p, p+1)
	} else {
		b.kids = slices.Delete(b.kids, p, p+1)
	}
}

// size of the encoded node in bytes.
func (b *body) size() int {
	return nodeHeader + len(b.leaf)*leafEntry + len(b.kids)*innerEntry
}

// places yields place and packed position of all that is taken.
func (b *body) places(yield func(place, pos int) bool) {
	for rest, pos := b.bits, 0; rest != 0; pos++ {
		if !yield(bits.TrailingZeros64(rest), pos) {
			return
		}
		rest &= rest - 1
	}
}

// newKnot is an empty node; knot and body in one allocation, since a commit
// makes one of each a level.
func newKnot(height int, epoch uint64, birth wal.LSN) *knot {
	n := &struct {
		knot knot
		body body
	}{}
	n.knot.birth, n.knot.body = birth, &n.body
	n.body.height, n.body.epoch = uint8(height), epoch
	return &n.knot
}

// copyOf is a changeable copy of b.
func copyOf(b *body, epoch uint64, birth wal.LSN) *knot {
	k := newKnot(int(b.height), epoch, birth)
	k.body.bits = b.bits
	k.body.leaf = slices.Clone(b.leaf)
	k.body.kids = slices.Clone(b.kids)
	return k
}
