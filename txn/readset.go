package txn

import (
	"slices"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// readSet is what a transaction read of a volume's base. It is bounded: past
// maxReadPages single pages it counts whole stretches as read, which can only
// make more conflicts.
type readSet struct {
	size   bool // the exact size
	pages  map[uint64]struct{}
	beyond uint64 // one more than the highest page read
	ranges []wal.PageRange
}

const (
	maxReadPages  = 64 << 10
	maxReadRanges = 1 << 10
)

func (r *readSet) addPage(no uint64) {
	r.beyond = max(r.beyond, no+1)
	if r.pages == nil {
		r.pages = make(map[uint64]struct{})
	}
	r.pages[no] = struct{}{}
	if len(r.pages) > maxReadPages {
		r.coarsen()
	}
}

// coarsen replaces single pages by one range around all of them.
func (r *readSet) coarsen() {
	lo, hi := ^uint64(0), uint64(0)
	for no := range r.pages {
		lo, hi = min(lo, no), max(hi, no+1)
	}
	clear(r.pages)
	r.addRange(lo, hi)
}

func (r *readSet) addRange(from, to uint64) {
	if from >= to {
		return
	}
	r.beyond = max(r.beyond, to)
	r.ranges = append(r.ranges, wal.PageRange{First: from, Count: to - from})
	if len(r.ranges) > maxReadRanges {
		r.joinRanges()
	}
}

// joinRanges sorts the ranges and joins those that touch; if that does not
// halve them, all of them.
func (r *readSet) joinRanges() {
	slices.SortFunc(r.ranges, func(a, b wal.PageRange) int {
		if a.First < b.First {
			return -1
		}
		return 1
	})
	first := r.ranges[0].First
	end := first
	joined := r.ranges[:0]
	for _, x := range r.ranges {
		end = max(end, x.First+x.Count)
		if n := len(joined); n > 0 && x.First <= joined[n-1].First+joined[n-1].Count {
			last := &joined[n-1]
			last.Count = max(last.First+last.Count, x.First+x.Count) - last.First
			continue
		}
		joined = append(joined, x)
	}
	r.ranges = joined
	if len(r.ranges) > maxReadRanges/2 {
		r.ranges = []wal.PageRange{{First: first, Count: end - first}}
	}
}

// check compares what was read of base with the logical volume now.
func (r *readSet) check(base pagestore.Volume, now *pagestore.DraftVolume) (*ConflictError, error) {
	conflict := func(what string, no uint64) *ConflictError {
		return &ConflictError{Volume: base.ID, Name: base.Attrs.Name, Page: no, What: what}
	}
	if size := now.Size(); size != base.Tree.Pages() && (r.size || size < r.beyond) {
		return conflict("size", 0), nil
	}
	for no := range r.pages {
		same, err := samePage(base, now, no)
		if err != nil {
			return nil, err
		}
		if !same {
			return conflict("page", no), nil
		}
	}
	for _, x := range r.ranges {
		no, differs, err := now.Differs(base.Tree, x.First, x.First+x.Count)
		if err != nil {
			return nil, err
		}
		if differs {
			return conflict("range", no), nil
		}
	}
	return nil, nil
}

// samePage compares a page of the base with the logical one; absent equals
// absent.
func samePage(base pagestore.Volume, now *pagestore.DraftVolume, no uint64) (bool, error) {
	a, was, err := base.Lookup(no)
	if err != nil {
		return false, err
	}
	b, is, err := now.Lookup(no)
	if err != nil {
		return false, err
	}
	return was == is && (!was || a.Birth == b.Birth && a.Hash == b.Hash), nil
}
