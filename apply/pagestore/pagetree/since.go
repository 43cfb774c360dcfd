package pagetree

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/wal"
)

// Part is what one place of a tree of any shape holds: 64 pages, or 64 ranges of
// pages of equal length, of which each is there, in part or in full, or absent.
//
// The parts that Since yields, put in place one after the other with Edit.Patch,
// make of the tree before the tree of which they are. They name no node and no
// slot, so that the two trees need not be of one store.
type Part struct {
	Height int    // 0: page 0 of a tree of one page; 1: pages; above: ranges of 64^(Height-1) pages
	First  uint64 // page
	Bits   uint64 // place i is not absent
	New    uint64 // of pages that are there: place i has the next of Entries, not what was there before
	Pages  []Entry
}

// Since yields parts of t that tell it from a tree before, of the same lineage or
// of what that was forked from: everything that changed after an LSN at which the
// tree was that one. New entries are those born since. After 0 it is all there
// is, to be put into an empty tree. Parts come in the order of their first pages,
// wider ones first. Cost: the nodes that are younger.
func (t Tree) Since(src node.Source, after wal.LSN) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		switch h := t.Height(); {
		case h == 0:
			var b body
			if t.only.Addr != 0 {
				b.put(0, t.only)
			}
			yield(b.part(0, 0, after), nil)
		case t.root.knot == nil:
			yield(Part{Height: h}, nil)
		default:
			since(t.root.knot, src, h, 0, after, yield)
		}
	}
}

// since yields the parts of k, of height h, and below it; false ends it.
func since(k *knot, src node.Source, h int, base uint64, after wal.LSN, yield func(Part, error) bool) bool {
	if k.birth <= after {
		return true // nothing below is younger
	}
	b, err := k.load(src, h)
	if err != nil {
		yield(Part{}, fmt.Errorf("pagetree: read what changed from page %d on: %w", base, err))
		return false
	}
	if !yield(b.part(h, base, after), nil) {
		return false
	}
	for pos, rest := 0, b.bits; h > 1 && rest != 0; pos++ {
		first := base + uint64(bits.TrailingZeros64(rest))*span(h-1)
		if !since(b.kids[pos].knot, src, h-1, first, after, yield) {
			return false
		}
		rest &= rest - 1
	}
	return true
}

func (b *body) part(h int, base uint64, after wal.LSN) Part {
	p := Part{Height: h, First: base, Bits: b.bits}
	for place, pos := range b.places {
		if h < 2 && b.leaf[pos].Birth > after {
			p.New |= 1 << place
			p.Pages = append(p.Pages, b.leaf[pos])
		}
	}
	return p
}

// Check says what of a part cannot be, for a tree of that many pages; empty when
// it can. It bounds what Patch does.
func (p Part) Check(pages uint64) string {
	h := heightFor(pages)
	switch {
	case p.Height < 0 || p.Height > h || (p.Height == 0) != (h == 0):
		return fmt.Sprintf("height %d in a tree of %d pages", p.Height, pages)
	case p.First%span(max(p.Height, 1)) != 0 || p.First > 0 && p.First >= pages:
		return fmt.Sprintf("it begins with page %d of %d", p.First, pages)
	case p.Height > 1 && p.New != 0, p.New&^p.Bits != 0, bits.OnesCount64(p.New) != len(p.Pages):
		return fmt.Sprintf("of the places %#x the places %#x are new, and it has %d pages", p.Bits, p.New, len(p.Pages))
	}
	if last := 63 - bits.LeadingZeros64(p.Bits); last >= 0 && p.First+uint64(last)*span(max(p.Height, 1)-1) >= pages {
		return fmt.Sprintf("place %d from page %d on is beyond the %d pages", last, p.First, pages)
	}
	return ""
}

// Patch puts a part that Check finds nothing wrong with in its place. The tree has
// its size already. An error is the source's, or wal.ErrCorrupt when the tree is not
// one that the part can be put into; the tree is not to be used then.
func (e *Edit) Patch(t *Tree, p Part) error {
	if p.Height > 1 {
		return e.patchRanges(t, p)
	}
	if err := e.loadAgain(t, p.First, p.First); err != nil {
		return err
	}
	next := 0
	for i := range uint64(fan) {
		no, bit := p.First+i, uint64(1)<<i
		switch {
		case p.New&bit != 0:
			e.Set(t, no, p.Pages[next])
			next++
		case p.Bits&bit == 0:
			e.Remove(t, no)
		default:
			if _, ok, _ := t.Lookup(unloaded{}, no); !ok {
				return &wal.CorruptError{File: "snapshot", Offset: -1, Reason: fmt.Sprintf("page %d is said to be as it was before, and was absent", no)}
			}
		}
	}
	return nil
}

// patchRanges makes the ranges absent that the part does not have.
func (e *Edit) patchRanges(t *Tree, p Part) error {
	each := span(p.Height - 1)
	for gone := ^p.Bits; gone != 0 && t.root.count > 0; {
		i := bits.TrailingZeros64(gone)
		n := bits.TrailingZeros64(^(gone >> i))
		from := p.First + uint64(i)*each
		to := min(from+uint64(n)*each, t.pages)
		if from >= to {
			return nil
		}
		if err := e.loadAgain(t, from, to-1); err != nil {
			return err
		}
		e.RemoveRange(t, from, to)
		gone &^= (1<<n - 1) << i
	}
	return nil
}

// loadAgain is Load of two pages where an earlier part may have made nodes of this
// LSN, which a copy of their parent must not be older than.
func (e *Edit) loadAgain(t *Tree, first, last uint64) error {
	again := *e
	again.LSN++
	return again.Load(t, func(yield func(uint64) bool) { _ = yield(first) && yield(last) })
}
