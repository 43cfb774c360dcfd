package apply

import (
	"slices"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// normalise lists, as maximal ascending runs, every page of the base that is
// absent from a result of size pages: those discarded, and those a cut drops
// below a size that grew again. Pages from size on are absent by the size.
func normalise(v *pagestore.DraftVolume, c *Change, size uint64) ([]wal.PageRange, error) {
	var runs []wal.PageRange
	if c.Discards != nil {
		for r := range c.Discards {
			for no := r.First; no < min(r.First+r.Count, size, v.Size(), c.Cut); no++ {
				_, present, err := v.Lookup(no)
				if err != nil {
					return nil, err
				}
				if present {
					runs = addPage(runs, no)
				}
			}
		}
	}
	if c.Cut < min(size, v.Size()) {
		staged := stagedFrom(c, c.Cut)
		for p, err := range v.Pages(c.Cut, size) {
			if err != nil {
				return nil, err
			}
			if _, again := slices.BinarySearch(staged, p.Page); !again {
				runs = addPage(runs, p.Page)
			}
		}
	}
	return runs, nil
}

// stagedFrom lists the pages of the change from page from on.
func stagedFrom(c *Change, from uint64) []uint64 {
	var pages []uint64
	for im := range c.Images {
		if im.Page >= from {
			pages = append(pages, im.Page)
		}
	}
	return pages
}

func addPage(runs []wal.PageRange, no uint64) []wal.PageRange {
	if n := len(runs); n > 0 && runs[n-1].First+runs[n-1].Count == no {
		runs[n-1].Count++
		return runs
	}
	return append(runs, wal.PageRange{First: no, Count: 1})
}
