package pagetree

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/quire-db/quire/apply/pagestore/node"
)

// Item is a present page.
type Item struct {
	Page uint64
	Entry
}

// Ascend yields the present pages of [from, to), ascending. An error ends it.
func (t Tree) Ascend(src node.Source, from, to uint64) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for c, err := range Diff(src, Tree{}, t, from, to) {
			if !yield(Item{c.Page, c.B}, err) || err != nil {
				return
			}
		}
	}
}

// Change is a page that differs between two trees; the absent side is zero.
type Change struct {
	Page uint64
	A, B Entry
}

// Diff yields the pages of [from, to) whose image is not the same in a and b,
// ascending: another birth, another hash, or present in one only. Subtrees
// shared in memory or by slot are skipped, so the cost is that of the changes,
// one node a level and side each. Both trees must be held. An error ends it.
func Diff(src node.Source, a, b Tree, from, to uint64) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := walker{src: src, from: from, to: to, yield: yield, same: side.shares}
		w.walk(a.side(), b.side(), max(a.Height(), b.Height()), 0)
	}
}

// DiffContent is Diff by content alone: it yields the pages that read
// differently, whoever wrote them. Subtrees of equal sum and count are skipped,
// so that of two trees without a common history only the paths to differences
// are read. Equal sums are evidence against faults, not against forgers: see
// DESIGN, "sum".
func DiffContent(src node.Source, a, b Tree, from, to uint64) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := walker{src: src, from: from, to: to, yield: yield, same: side.equals}
		w.walk(a.side(), b.side(), max(a.Height(), b.Height()), 0)
	}
}

// side is one tree's half of a walk: a subtree, a page, or nothing.
type side struct {
	link
	height int
	page   Entry // of height 0
}

func (t Tree) side() side { return side{t.root, t.Height(), t.only} }

func (s side) empty() bool { return s.knot == nil && s.page.Addr == 0 }

// shares reports whether both are the same subtree or image.
func (s side) shares(o side) bool {
	if s.height != o.height {
		return s.empty() && o.empty()
	}
	if s.height == 0 {
		return s.page.same(o.page) // a checkpoint may have moved one of them
	}
	if s.knot == nil || o.knot == nil {
		return s.knot == o.knot
	}
	slot := s.knot.slot.Load()
	return s.knot == o.knot || slot != 0 && slot == o.knot.slot.Load()
}

// equals reports whether both read the same, as far as that can be told without
// reading below.
func (s side) equals(o side) bool {
	switch {
	case s.shares(o):
		return true
	case s.height != o.height:
		return false
	case s.height == 0:
		return (s.page.Addr == 0) == (o.page.Addr == 0) && s.page.Hash == o.page.Hash
	}
	return s.count == o.count && s.sum == o.sum
}

// places are those taken in the node of height h that covers s, whose body is
// b. s may be lower than that, being the leftmost part of a smaller tree.
func (s side) places(b *body, h int) uint64 {
	switch {
	case s.height < h:
		return 1
	case b == nil:
		return 0
	}
	return b.bits
}

// at is what lies at place i of that node.
func (s side) at(b *body, i, h int) side {
	if s.height < h && i == 0 {
		return s
	}
	if s.places(b, h)&(1<<i) == 0 {
		return side{height: h - 1}
	}
	pos, _ := b.find(i)
	if h == 1 {
		return side{page: b.leaf[pos]}
	}
	return side{link: b.kids[pos], height: h - 1}
}

func (s side) load(src node.Source, h int) (*body, error) {
	if s.knot == nil || s.height < h {
		return nil, nil
	}
	return s.knot.load(src, h)
}

type walker struct {
	src      node.Source
	from, to uint64
	yield    func(Change, error) bool
	same     func(a, b side) bool // nothing below needs to be looked at
}

// walk yields the differences below height h from page base on; false ends it.
func (w *walker) walk(a, b side, h int, base uint64) bool {
	if w.same(a, b) || base >= w.to || base+span(h) <= w.from {
		return true
	}
	if h == 0 {
		return w.yield(Change{base, a.page, b.page}, nil)
	}
	an, err := a.load(w.src, h)
	if err != nil {
		return w.fail(base, err)
	}
	bn, err := b.load(w.src, h)
	if err != nil {
		return w.fail(base, err)
	}
	for rest := a.places(an, h) | b.places(bn, h); rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if !w.walk(a.at(an, i, h), b.at(bn, i, h), h-1, base+uint64(i)*span(h-1)) {
			return false
		}
	}
	return true
}

func (w *walker) fail(base uint64, err error) bool {
	w.yield(Change{}, fmt.Errorf("pagetree: read tree from page %d on: %w", base, err))
	return false
}
