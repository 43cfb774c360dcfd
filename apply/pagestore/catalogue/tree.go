package catalogue

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// treeNode is a node in memory. Level 0 is a leaf with keys and vals; above it
// keys and kids, keys[i] being the lower bound of what lies below kids[i] and
// keys[0] always empty.
//
// Readers look at the first group of fields only. Those change while epoch is
// that of the Edit in progress and never afterwards.
type treeNode struct {
	level int
	size  int // encoded, in bytes
	keys  []string
	vals  []Value
	kids  []kid
	epoch uint64  // of the Edit that may change it in place; 0 when decoded
	birth wal.LSN // of the first entry that changed it in that epoch

	// Guarded by the sequencer's mutex. A newer version may replace a node
	// before a checkpoint freezes an older one and gives it a slot: only died
	// then knows that this slot is dead from the start.
	slot heap.Slot // set once, by Freeze
	died wal.LSN   // the entry that replaced it; 0 while the newest version has it

	check   wal.PageHash // the checkpointer's, as is written: set once, by Write
	written bool
}

// kid points to a node: in memory when n is set, in the heap when ref is. Two
// pointers, since copying kids is most of the cost of copying a node.
type kid struct {
	n   *treeNode
	ref *node.Ref // never changed
}

const anyLevel = -1

func (k *kid) none() bool { return k.n == nil && k.ref == nil }

// known is where the node lies, with a zero Check before Write.
func (k *kid) known() node.Ref {
	switch {
	case k.none():
		return node.Ref{}
	case k.n == nil:
		return *k.ref
	}
	return node.Ref{Slot: k.n.slot, Birth: k.n.birth, Check: k.n.check}
}

// where is the Ref of a node that has been written.
func (k *kid) where() node.Ref {
	if k.n != nil && !k.n.written {
		panic("catalogue: the place of a node was asked for before Write wrote it")
	}
	return k.known()
}

// load returns the node, which must be of the given level: that bounds the
// depth of any walk, whatever the heap holds.
func (k *kid) load(src node.Source, level int) (*treeNode, error) {
	if k.n != nil {
		return k.n, nil
	}
	v, err := src.Load(*k.ref, decode)
	if err != nil {
		return nil, loadError(*k.ref, err)
	}
	n, ok := v.(*treeNode)
	if !ok || level != anyLevel && n.level != level {
		return nil, corrupt(*k.ref, errors.New("a node of another kind or level than its parent says"))
	}
	return n, nil
}

// loadError gives a malformed node its place; all other errors have one.
func loadError(ref node.Ref, err error) error {
	var bad malformed
	if errors.As(err, &bad) {
		return corrupt(ref, bad)
	}
	return fmt.Errorf("catalogue: node in slot %s: %w", ref.Slot, err)
}

// route is the index of the kid below which key belongs.
func (n *treeNode) route(key string) int {
	i, exact := slices.BinarySearch(n.keys, key)
	if exact || i == 0 {
		return i
	}
	return i - 1
}

// span is the half-open range of indices that [from, to) touches.
func (n *treeNode) span(from, to string) (first, last int) {
	last = len(n.keys)
	if to != "" {
		last, _ = slices.BinarySearch(n.keys, to)
	}
	if n.level > 0 {
		return n.route(from), last
	}
	first, _ = slices.BinarySearch(n.keys, from)
	return first, last
}

// names are the keys that n itself brings: the first of an inner node is its
// parent's.
func (n *treeNode) names() []string {
	if n.level > 0 {
		return n.keys[1:]
	}
	return n.keys
}

// itemSize is what index i adds to the encoded size.
func (n *treeNode) itemSize(i int) int {
	if n.level > 0 {
		return innerItemSize + len(n.keys[i])
	}
	return leafItemSize + len(n.keys[i]) + n.vals[i].Size()
}

// measure is the encoded size counted anew.
func (n *treeNode) measure() int {
	size := headerSize
	for i := range n.keys {
		size += n.itemSize(i)
	}
	return size
}

// put sets key in a leaf and returns its index.
func (n *treeNode) put(key string, v Value) int {
	i, ok := slices.BinarySearch(n.keys, key)
	if ok {
		n.size += v.Size() - n.vals[i].Size()
		n.vals[i] = v
		return i
	}
	n.keys = slices.Insert(n.keys, i, key)
	n.vals = slices.Insert(n.vals, i, v)
	n.size += n.itemSize(i)
	return i
}

// insertKid makes k the kid of index i, lower bound key.
func (n *treeNode) insertKid(i int, key string, k kid) {
	n.keys = slices.Insert(n.keys, i, key)
	n.kids = slices.Insert(n.kids, i, k)
	n.size += n.itemSize(i)
}

// remove takes index i out.
func (n *treeNode) remove(i int) {
	n.size -= n.itemSize(i)
	n.keys = slices.Delete(n.keys, i, i+1)
	if n.level == 0 {
		n.vals = slices.Delete(n.vals, i, i+1)
		return
	}
	n.kids = slices.Delete(n.kids, i, i+1)
	if i == 0 && len(n.keys) > 0 {
		n.size -= len(n.keys[0])
		n.keys[0] = ""
	}
}

// cutAt moves the indices from i on to a new node, whose lower bound is sep.
func (n *treeNode) cutAt(i int) (right *treeNode, sep string) {
	right = &treeNode{level: n.level, epoch: n.epoch, birth: n.birth}
	right.keys, n.keys = cut(n.keys, i)
	if n.level == 0 {
		right.vals, n.vals = cut(n.vals, i)
		sep = separator(n.keys[i-1], right.keys[0])
	} else {
		right.kids, n.kids = cut(n.kids, i)
		sep, right.keys[0] = right.keys[0], ""
	}
	n.size, right.size = n.measure(), right.measure()
	return right, sep
}

// cut splits s at i; nothing keeps alive what moved.
func cut[T any](s []T, i int) (tail, head []T) {
	tail = slices.Clone(s[i:])
	clear(s[i:])
	return tail, s[:i]
}

// middle is the index at which the bytes before it first reach half.
func (n *treeNode) middle() int {
	size, i := headerSize, 0
	for ; size < n.size/2 && i < len(n.keys)-1; i++ {
		size += n.itemSize(i)
	}
	return max(i, 1)
}

// separator is the shortest s with a < s <= b.
func separator(a, b string) string {
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	return b[:i+1]
}

// absorb appends r, whose lower bound is sep.
func (n *treeNode) absorb(r *treeNode, sep string) {
	at := len(n.keys)
	n.keys = append(n.keys, r.keys...)
	n.vals = append(n.vals, r.vals...)
	n.kids = append(n.kids, r.kids...)
	n.size += r.size - headerSize
	if n.level > 0 {
		n.keys[at] = sep
		n.size += len(sep)
	}
}

// copy is a node of its own with the same content, without a slot. It reads
// none of the checkpointer's fields.
func (n *treeNode) copy(epoch uint64, birth wal.LSN) *treeNode {
	return &treeNode{
		level: n.level, size: n.size, epoch: epoch, birth: birth,
		keys: slices.Clone(n.keys), vals: slices.Clone(n.vals), kids: slices.Clone(n.kids),
	}
}
