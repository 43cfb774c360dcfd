package graph

import (
	"math"
	"slices"
	"sort"
)

// columns gives each LSN that matters an x.
type columns struct {
	lsns []uint64 // ascending
	x    []int
}

// needed is a distance between two columns: what a lineage wishes, and needs.
type needed struct{ from, wish, least int }

// Widths of all columns together, in pixels.
const (
	perColumn = 80   // for each, with room for what lies between
	leastWide = 360  // but not less
	mostWide  = 1000 // nor more, but for what lineages wish
	wishWide  = 1800 // what these may wish in all
)

// makeColumns lays the columns out by the logarithm of their distances, then
// pulls them apart as lineages wish: all, or half, or a quarter and so on, but not
// less than they need. If that takes more than wishWide, and much more than the
// longest lineage needs for itself, they get less, and stations stand to the right
// of their columns (see placeStations).
func (l *layout) makeColumns() {
	c := &l.columns
	c.collect(l.t)
	c.x = make([]int, len(c.lsns))
	needs := l.needs()
	l.placeAll() // with all columns at 0
	room := max(wishWide, l.edge+mostWide)
	fits := func(parts, leastParts int) bool {
		c.spread(needs, parts, leastParts)
		return c.x[len(c.x)-1] <= room
	}
	parts, leastParts := 1, 1
	for ; parts < wishWide && !fits(parts, 1); parts *= 2 {
	}
	for ; parts >= wishWide && leastParts < wishWide && !fits(parts, leastParts); leastParts *= 2 {
	}
	l.placeAll()
}

// collect finds the LSNs that matter.
func (c *columns) collect(t *tree) {
	c.lsns = []uint64{t.g.Head}
	for i := range t.lines {
		for _, p := range t.lines[i].points {
			c.lsns = append(c.lsns, p.lsn)
		}
	}
	for _, h := range t.g.Holds {
		c.lsns = append(c.lsns, h.LSN)
	}
	slices.Sort(c.lsns)
	c.lsns = slices.Compact(c.lsns)
}

// spread gives each column its x; lineages get one of so many parts of what
// they wish, but one of leastParts of what they need.
func (c *columns) spread(needs map[int][]needed, parts, leastParts int) {
	weights := c.weights()
	var sum, at float64
	for _, w := range weights {
		sum += w
	}
	unit := float64(min(max(perColumn*(len(c.x)-1), leastWide), mostWide)) / max(sum, 1)
	for i := range c.x {
		at += weights[i] * unit
		for _, n := range needs[i] {
			at = max(at, float64(c.x[n.from]-firstColumn+max(n.wish/parts, n.least/leastParts)))
		}
		c.x[i] = firstColumn + int(at)
	}
}

// weights of the space before each column.
func (c *columns) weights() []float64 {
	w := make([]float64, len(c.lsns))
	for i := 1; i < len(w); i++ {
		w[i] = 1 + math.Log2(float64(c.lsns[i]-c.lsns[i-1]))
	}
	return w
}

// column is the index of an LSN.
func (c *columns) column(lsn uint64) int {
	return sort.Search(len(c.lsns), func(i int) bool { return c.lsns[i] >= lsn })
}

func (c *columns) at(lsn uint64) int { return c.x[c.column(lsn)] }

// needs are the distances that lineages wish before each column.
func (l *layout) needs() map[int][]needed {
	need := map[int][]needed{}
	add := func(a, b uint64, wish, least int) {
		if a < b {
			to := l.columns.column(b)
			need[to] = append(need[to], needed{l.columns.column(a), wish, least})
		}
	}
	for i := range l.t.lines {
		ln := &l.t.lines[i]
		if ln.parent >= 0 && len(ln.points) > 0 {
			add(l.t.lines[ln.parent].points[ln.at].lsn, ln.points[0].lsn, forkRun, forkRun)
		}
		for k := 1; k < len(ln.points); k++ {
			add(ln.points[k-1].lsn, ln.points[k].lsn, l.wishes[i][k-1], l.spaces[i][k-1])
		}
	}
	return need
}
