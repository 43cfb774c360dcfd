package catalogue

import (
	"iter"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/wal"
)

// Change is one step from a catalogue of the past to a later one: an item that may
// be new, or, when Last is not empty, that between First and Last, both of which
// are there, nothing was changed. What is neither is gone.
type Change struct {
	Item
	First, Last string
}

// Kept reports whether nothing was changed from First to Last.
func (c Change) Kept() bool { return c.Last != "" }

// Since yields the changes with from <= key < to, ascending, from what c was
// before the first change on behalf of LSN at. Other items of changed nodes come
// with them. An empty to is no bound; at 0 every item is a change. Cost: the changed
// nodes, and a node a level for each one beside them.
func (c Catalogue) Since(src node.Source, from, to string, at wal.LSN) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if !c.root.none() {
			since(&c.root, anyLevel, src, from, to, at, yield)
		}
	}
}

// since reports whether the iteration goes on.
func since(k *kid, level int, src node.Source, from, to string, at wal.LSN, yield func(Change, error) bool) bool {
	if k.known().Birth < at {
		return kept(k, level, src, from, to, yield)
	}
	n, err := k.load(src, level)
	if err != nil {
		yield(Change{}, err)
		return false
	}
	first, last := n.span(from, to)
	for i := first; i < last; i++ {
		if n.level == 0 {
			if !yield(Change{Item: Item{n.keys[i], n.vals[i]}}, nil) {
				return false
			}
		} else if !since(&n.kids[i], n.level-1, src, from, to, at, yield) {
			return false
		}
	}
	return true
}

// kept yields the range of what lies below k, if anything does.
func kept(k *kid, level int, src node.Source, from, to string, yield func(Change, error) bool) bool {
	var c Change
	var err error
	scan(k, level, src, from, to, func(it Item, e error) bool {
		c.First, err = it.Key, e
		return false
	})
	if err == nil && c.First != "" {
		c.Last, err = lastKey(k, level, src, from, to)
	}
	if err == nil && c.First == "" {
		return true
	}
	return yield(c, err) && err == nil
}

// lastKey is the last key below k with from <= key < to; empty when there is none.
func lastKey(k *kid, level int, src node.Source, from, to string) (string, error) {
	n, err := k.load(src, level)
	if err != nil {
		return "", err
	}
	first, last := n.span(from, to)
	for i := last - 1; i >= first; i-- {
		if n.level == 0 {
			return n.keys[i], nil
		}
		key, err := lastKey(&n.kids[i], n.level-1, src, from, to)
		if key != "" || err != nil {
			return key, err
		}
	}
	return "", nil
}
