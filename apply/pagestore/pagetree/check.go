package pagetree

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Use is something a tree reaches.
type Use struct {
	Page   uint64 // the page, or the first one below the node
	Height int    // 0 is a page
	Addr   uint64 // zero for a node that has no slot yet
	Birth  wal.LSN
	Hash   wal.PageHash // of the page; check of a node in the heap
	Class  heap.Class   // of a node's slot; zero for a page, the volume knows
}

// Check verifies all of t: what each node holds against what its parent says
// of it (sum, count, birth, check, height), and the size. visit hears of every
// node and page reached, a parent before what is below it, and may stop it
// with an error. Whether images hash to what the tree says is the caller's to
// check. Violations are *wal.CorruptError.
func Check(t Tree, src node.Source, visit func(Use) error) error {
	return CheckAfter(t, Tree{}, 0, src, visit)
}

// CheckAfter is Check of a tip that follows another, base, which has been
// checked: what is not younger than after must be base's, in the same place and
// slot, and is not read again. visit hears of what is younger.
func CheckAfter(t, base Tree, after wal.LSN, src node.Source, visit func(Use) error) error {
	c := checker{src: src, pages: t.pages, after: after, visit: visit}
	if h := t.Height(); h > 0 && t.root.knot != nil {
		on, err := c.lower(base.side(), h)
		if err != nil {
			return err
		}
		return c.node(t.root, h, 0, on)
	}
	if (t.only.Addr != 0) != (t.root.count == 1) || t.root.sum != sumOf(t.only) {
		return corrupt(node.Ref{}, "a tree of at most one page has another count or sum")
	}
	if t.only.Addr == 0 {
		return nil
	}
	on, err := c.lower(base.side(), 0)
	if err != nil {
		return err
	}
	return c.page(0, t.only, on, node.Ref{})
}

func sumOf(e Entry) wal.Sum {
	if e.Addr == 0 {
		return wal.Sum{}
	}
	return wal.Sum{}.Add(e.Hash)
}

type checker struct {
	src   node.Source
	pages uint64
	after wal.LSN
	visit func(Use) error
}

// lower is the leftmost part, of height h, of a tree that may be higher.
func (c *checker) lower(s side, h int) (side, error) {
	for s.height > h {
		b, err := s.load(c.src, s.height)
		if err != nil {
			return side{}, err
		}
		s = s.at(b, 0, s.height)
	}
	return s, nil
}

// node verifies the node of height h at l, beside what base has in its place.
func (c *checker) node(l link, h int, first uint64, on side) error {
	ref := node.Ref{Slot: heap.Slot(l.knot.slot.Load()), Birth: l.knot.birth}
	if l.knot.body == nil {
		ref.Check = l.knot.check
	}
	if c.after != 0 && ref.Birth <= c.after {
		if !(side{link: l, height: h}).shares(on) || l.sum != on.sum || l.count != on.count {
			return corrupt(ref, "it is older than the tip it is reached by, and not that of the tip before")
		}
		return nil
	}
	b, err := l.knot.load(c.src, h)
	if err != nil {
		return err
	}
	use := Use{Page: first, Height: h, Addr: uint64(ref.Slot), Birth: ref.Birth, Hash: ref.Check, Class: heap.ClassFor(b.size())}
	if err := c.visit(use); err != nil {
		return err
	}
	below, err := c.below(b, h, first, ref, on)
	if err != nil {
		return err
	}
	if below.sum != l.sum || below.count != l.count {
		return corrupt(ref, fmt.Sprintf("%d pages with sum %v below, its parent says %d with %v", below.count, below.sum, l.count, l.sum))
	}
	return nil
}

// below verifies what is in a node and adds it up.
func (c *checker) below(b *body, h int, first uint64, ref node.Ref, on side) (sum link, err error) {
	other, err := on.load(c.src, h)
	if err != nil {
		return link{}, err
	}
	for place, pos := range b.places {
		l, err := c.place(b, pos, h, first+uint64(place)*span(h-1), ref, on.at(other, place, h))
		if err != nil {
			return link{}, err
		}
		sum.add(l.sum, l.count)
	}
	return sum, nil
}

// place verifies what lies at pos of b and returns what is below it.
func (c *checker) place(b *body, pos, h int, first uint64, ref node.Ref, on side) (link, error) {
	if first >= c.pages {
		return link{}, corrupt(ref, fmt.Sprintf("page %d is beyond the size of %d pages", first, c.pages))
	}
	if h > 1 {
		kid := b.kids[pos]
		if kid.knot.birth > ref.Birth {
			return link{}, corrupt(ref, fmt.Sprintf("its child from page %d on is younger, born at %d", first, kid.knot.birth))
		}
		return kid, c.node(kid, h-1, first, on)
	}
	p := b.leaf[pos]
	if p.Birth > ref.Birth {
		return link{}, corrupt(ref, fmt.Sprintf("its page %d is younger, born at %d", first, p.Birth))
	}
	return link{sum: sumOf(p), count: 1}, c.page(first, p, on, ref)
}

func (c *checker) page(no uint64, p Entry, on side, ref node.Ref) error {
	if c.after != 0 && p.Birth <= c.after {
		if on.page != p {
			return corrupt(ref, fmt.Sprintf("its page %d, born at %d, is not that of the tip before", no, p.Birth))
		}
		return nil
	}
	return c.visit(Use{Page: no, Addr: p.Addr, Birth: p.Birth, Hash: p.Hash})
}
