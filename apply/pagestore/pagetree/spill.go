package pagetree

import "iter"

// LogAddrs yields the addresses, in nodes of t that Write has not written yet,
// of images that lie in the log, with their pages, ascending.
func LogAddrs(t Tree) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		if t.only.Addr != 0 && IsLog(t.only.Addr) && !yield(Item{0, t.only}) {
			return
		}
		logAddrs(t.root.knot, 0, yield)
	}
}

func logAddrs(k *knot, base uint64, yield func(Item) bool) bool {
	if k == nil || k.body == nil || k.body.written {
		return true
	}
	b := k.body
	for place, pos := range b.places {
		first := base + uint64(place)*span(int(b.height)-1)
		if b.height > 1 && !logAddrs(b.kids[pos].knot, first, yield) {
			return false
		}
		if b.height == 1 && IsLog(b.leaf[pos].Addr) && !yield(Item{first, b.leaf[pos]}) {
			return false
		}
	}
	return true
}
