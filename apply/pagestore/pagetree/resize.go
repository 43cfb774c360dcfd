package pagetree

import (
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/wal"
)

// Resize makes the size pages, at most wal.MaxPages. To shrink, page pages-1
// or page pages must be loaded; it cannot fail. Pages at and above the new
// size are dead; a subtree of them that is not in memory dies as one, with
// Dead.Subtree, to be expanded later. Cost: one node a level, and the dropped
// nodes that are in memory.
func (e *Edit) Resize(t *Tree, pages uint64) {
	if pages > wal.MaxPages {
		panic(fmt.Sprintf("pagetree: resize to %d pages", pages))
	}
	if pages < t.pages {
		e.RemoveRange(t, pages, t.pages)
	}
	from, to := t.Height(), heightFor(pages)
	for ; from < to; from++ {
		e.raise(t, from)
	}
	for ; from > to; from-- {
		e.lower(t, from)
	}
	t.pages = pages
}

// raise puts a root of height h+1 over what there is.
func (e *Edit) raise(t *Tree, h int) {
	if t.root.count == 0 {
		return
	}
	k := newKnot(h+1, e.Epoch, e.LSN)
	if h == 0 {
		k.body.put(0, t.only)
		t.only = Entry{}
	} else {
		*k.body.makeKid(0) = t.root
	}
	t.root.knot = k
}

// lower takes away the root, of height h, below which only place 0 is left.
func (e *Edit) lower(t *Tree, h int) {
	k := t.root.knot
	if k == nil {
		return
	}
	b, _ := k.load(unloaded{}, h)
	if h == 1 {
		t.only, t.root.knot = b.leaf[0], nil
	} else {
		t.root = b.kids[0]
	}
	if !e.owns(k) {
		e.discard(k)
	}
}

// RemoveRange makes the pages [from, to) absent. The pages from and to-1 must
// be loaded; it cannot fail. Cost and dead as of Resize.
func (e *Edit) RemoveRange(t *Tree, from, to uint64) {
	switch h := t.Height(); {
	case from >= to || t.root.count == 0:
	case h > 0:
		if to >= t.pages {
			to = span(h)
		}
		e.cut(&t.root, h, 0, from, to)
	case from == 0:
		e.discardPage(t.only)
		t.only, t.root = Entry{}, link{}
	}
}

// cut removes [from, to) from the node of height h at l, whose first page is
// base. An empty link is left of one that loses all.
func (e *Edit) cut(l *link, h int, base, from, to uint64) {
	if from <= base && base+span(h) <= to {
		e.drop(l.knot, h)
		*l = link{}
		return
	}
	l.knot = e.change(l.knot, h)
	b, below := l.knot.body, span(h-1)
	for place := range fan {
		first := base + uint64(place)*below
		pos, ok := b.find(place)
		if !ok || first >= to || first+below <= from {
			continue
		}
		if e.cutPlace(l, b, pos, first, from, to) {
			b.clear(place)
		}
	}
	if l.count == 0 {
		*l = link{}
	}
}

// cutPlace cuts what lies at pos of b and reports whether nothing is left.
func (e *Edit) cutPlace(l *link, b *body, pos int, first, from, to uint64) bool {
	if b.height == 1 {
		e.discardPage(b.leaf[pos])
		l.sum, l.count = l.sum.Sub(b.leaf[pos].Hash), l.count-1
		return true
	}
	kid := &b.kids[pos]
	l.sum, l.count = l.sum.Minus(kid.sum), l.count-kid.count
	e.cut(kid, int(b.height)-1, first, from, to)
	l.add(kid.sum, kid.count)
	return kid.count == 0
}

// drop says that k and all below it ends here.
func (e *Edit) drop(k *knot, h int) {
	if k.birth <= e.Origin {
		return // nothing below is younger
	}
	if k.body == nil {
		e.Dead(k.died(e.LSN, e.Origin, h))
		return
	}
	if !e.owns(k) {
		e.discard(k)
	}
	for _, p := range k.body.leaf {
		e.discardPage(p)
	}
	for _, kid := range k.body.kids {
		e.drop(kid.knot, h-1)
	}
}

// Expand yields what died with the node d.Subtree, one level: its pages, or
// its child nodes as subtrees of their own. The node's own slot is d itself.
// They are at most 64, so reclaiming proceeds in bounded steps. The slots of d
// must not be reused before.
func Expand(src node.Source, d node.Dead) iter.Seq2[node.Dead, error] {
	return func(yield func(node.Dead, error) bool) {
		b, err := stub(d.Subtree).load(src, d.Height)
		if err != nil {
			yield(node.Dead{}, fmt.Errorf("pagetree: expand a dead subtree: %w", err))
			return
		}
		for _, p := range b.leaf {
			if p.Birth > d.Origin && !yield(node.Dead{Addr: p.Addr, Birth: p.Birth, Death: d.Death}, nil) {
				return
			}
		}
		for _, kid := range b.kids {
			if kid.knot.birth > d.Origin && !yield(kid.knot.died(d.Death, d.Origin, d.Height-1), nil) {
				return
			}
		}
	}
}

// died is the death of k, which is not in memory, and all below it.
func (k *knot) died(death, origin wal.LSN, height int) node.Dead {
	return node.Dead{Addr: k.slot.Load(), Birth: k.birth, Death: death, Subtree: k.ref(), Height: height, Origin: origin}
}

// stub is the node at ref, not in memory.
func stub(ref node.Ref) *knot {
	k := &knot{birth: ref.Birth, check: ref.Check}
	k.slot.Store(uint64(ref.Slot))
	return k
}

// End leaves nothing of t: the name of its lineage is gone. It needs no Load
// and cannot fail. Cost and dead as of Resize.
func (e *Edit) End(t *Tree) {
	if t.root.knot != nil {
		e.drop(t.root.knot, t.Height())
	}
	e.discardPage(t.only)
	*t = Tree{}
}
