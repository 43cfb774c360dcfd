package pagestore

import (
	"errors"
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/pagetree"
)

// ErrIncomparable: two volumes of different page sizes, or of different
// stores, have no pages in common to be compared.
var ErrIncomparable = errors.New("pagestore: the volumes cannot be compared page by page")

// Diff yields the pages of [from, to) that read differently in v and o,
// ascending. Both are of one store, in snapshots that are held. Its cost is that
// of the differences, also where the volumes have no common history.
func (v Volume) Diff(o Volume, from, to uint64) iter.Seq2[pagetree.Change, error] {
	return func(yield func(pagetree.Change, error) bool) {
		switch {
		case v.snap.store != o.snap.store:
			yield(pagetree.Change{}, fmt.Errorf("%w: they are of different stores", ErrIncomparable))
			return
		case v.Attrs.PageSize != o.Attrs.PageSize:
			yield(pagetree.Change{}, fmt.Errorf("%w: pages have %d bytes in %q and %d in %q", ErrIncomparable,
				v.Attrs.PageSize, v.Attrs.Name, o.Attrs.PageSize, o.Attrs.Name))
			return
		}
		for c, err := range pagetree.DiffContent(v.snap.store.nodes, v.Tree, o.Tree, from, to) {
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}
