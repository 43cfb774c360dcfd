package catalogue

import "iter"

// Seen remembers which nodes were looked at, for versions that share most of
// them. The zero Seen is ready.
type Seen struct{ done map[*treeNode]struct{} }

// DirtyOnce is Dirty without the items of leaves that were seen before.
func (c Catalogue) DirtyOnce(seen *Seen) iter.Seq[Item] {
	if seen.done == nil {
		seen.done = make(map[*treeNode]struct{})
	}
	return func(yield func(Item) bool) { seen.dirty(c.root.n, yield) }
}

func (s *Seen) dirty(n *treeNode, yield func(Item) bool) bool {
	if n == nil {
		return true
	}
	if _, ok := s.done[n]; ok {
		return true
	}
	s.done[n] = struct{}{}
	for i := range n.vals {
		if !yield(Item{n.keys[i], n.vals[i]}) {
			return false
		}
	}
	for i := range n.kids {
		if !s.dirty(n.kids[i].n, yield) {
			return false
		}
	}
	return true
}

// Clean reports whether nothing of c is in memory only.
func (c Catalogue) Clean() bool { return c.root.n == nil }
