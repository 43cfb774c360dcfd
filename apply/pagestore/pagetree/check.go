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
	c := checker{src: src, pages: t.pages, visit: visit}
	if h := t.Height(); h > 0 && t.root.knot != nil {
		return c.node(t.root, h, 0)
	}
	if (t.only.Addr != 0) != (t.root.count == 1) || t.root.sum != sumOf(t.only) {
		return corrupt(node.Ref{}, "a tree of at most one page has another count or sum")
	}
	if t.only.Addr == 0 {
		return nil
	}
	return visit(Use{Addr: t.only.Addr, Birth: t.only.Birth, Hash: t.only.Hash})
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
	visit func(Use) error
}

func (c *checker) node(l link, h int, base uint64) error {
	ref := node.Ref{Slot: heap.Slot(l.knot.slot.Load()), Birth: l.knot.birth}
	if l.knot.body == nil {
		ref.Check = l.knot.check
	}
	b, err := l.knot.load(c.src, h)
	if err != nil {
		return err
	}
	use := Use{Page: base, Height: h, Addr: uint64(ref.Slot), Birth: ref.Birth, Hash: ref.Check, Class: heap.ClassFor(b.size())}
	if err := c.visit(use); err != nil {
		return err
	}
	var found link
	for place, pos := range b.places {
		first := base + uint64(place)*span(h-1)
		below, err := c.place(b, pos, h, first, ref)
		if err != nil {
			return err
		}
		found.add(below.sum, below.count)
	}
	if found.sum != l.sum || found.count != l.count {
		return corrupt(ref, fmt.Sprintf("%d pages with sum %v below, its parent says %d with %v", found.count, found.sum, l.count, l.sum))
	}
	return nil
}

// place verifies what lies at pos of b and returns what is below it.
func (c *checker) place(b *body, pos, h int, first uint64, ref node.Ref) (link, error) {
	if first >= c.pages {
		return link{}, corrupt(ref, fmt.Sprintf("page %d is beyond the size of %d pages", first, c.pages))
	}
	if h > 1 {
		kid := b.kids[pos]
		if kid.knot.birth > ref.Birth {
			return link{}, corrupt(ref, fmt.Sprintf("its child from page %d on is younger, born at %d", first, kid.knot.birth))
		}
		return kid, c.node(kid, h-1, first)
	}
	p := b.leaf[pos]
	if p.Birth > ref.Birth {
		return link{}, corrupt(ref, fmt.Sprintf("its page %d is younger, born at %d", first, p.Birth))
	}
	return link{sum: sumOf(p), count: 1}, c.visit(Use{Page: first, Addr: p.Addr, Birth: p.Birth, Hash: p.Hash})
}
