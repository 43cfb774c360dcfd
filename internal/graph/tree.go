package graph

import (
	"cmp"
	"slices"
	"sort"
)

// tree is a graph put in order. A lineage is known by its index.
type tree struct {
	g     *Graph
	lines []line
	roots []int // lineages without origin, by name
}

// line is a lineage in a tree.
type line struct {
	points []point // ascending by LSN
	parent int     // -1 for none
	at     int     // point of the parent that it leaves
}

// point is a tip, or a place where only forks leave.
type point struct {
	lsn   uint64
	tip   *Tip  // nil when the tip is not reached any more
	forks []int // by name
}

func newTree(g *Graph) *tree {
	t := &tree{g: g, lines: make([]line, len(g.Lineages))}
	forks := make([][]int, len(g.Lineages)) // of each lineage
	for i := range g.Lineages {
		t.lines[i].parent = -1
		for j := range g.Lineages[i].Tips {
			tip := &g.Lineages[i].Tips[j]
			t.lines[i].points = append(t.lines[i].points, point{lsn: tip.LSN, tip: tip})
		}
	}
	for i, origin := range t.origins() {
		if origin < 0 {
			t.roots = append(t.roots, i)
			continue
		}
		t.lines[i].parent = origin
		forks[origin] = append(forks[origin], i)
	}
	t.byName(t.roots)
	for i := range forks {
		t.hang(i, forks[i])
	}
	return t
}

// origins are the lineages that each was forked from: -1 for none, for one that
// is not there, and for one of each circle.
func (t *tree) origins() []int {
	const unseen, onPath, done = 0, 1, 2
	origin, state := make([]int, len(t.lines)), make([]uint8, len(t.lines))
	for i := range origin {
		origin[i] = -1
		if f := t.g.Lineages[i].ForkedFrom; f != nil && f.Lineage >= 0 && f.Lineage < len(t.lines) {
			origin[i] = f.Lineage
		}
	}
	for i := range origin {
		at := i
		for ; state[at] == unseen; at = origin[at] {
			state[at] = onPath
			if origin[at] < 0 {
				break
			}
		}
		circle := state[at] == onPath && origin[at] >= 0 // the path came back to itself
		for k := i; k >= 0 && state[k] == onPath; k = origin[k] {
			state[k] = done
		}
		if circle {
			origin[at] = -1
		}
	}
	return origin
}

// census counts what there is.
func (t *tree) census() (c census) {
	c.holds = len(t.g.Holds)
	for i := range t.lines {
		l := &t.g.Lineages[i]
		switch {
		case l.Volume == "":
			c.deleted++
		case t.lines[i].parent >= 0:
			c.forks++
		default:
			c.volumes++
		}
		for _, tip := range l.Tips {
			c.tags += len(tip.Tags)
			c.holds += len(tip.Holds)
		}
	}
	return c
}

// byName sorts lineages: nameless ones last.
func (t *tree) byName(lines []int) {
	slices.SortFunc(lines, func(a, b int) int {
		x, y := &t.g.Lineages[a], &t.g.Lineages[b]
		if (x.Volume == "") != (y.Volume == "") {
			return cmp.Compare(y.Volume, x.Volume)
		}
		return cmp.Or(cmp.Compare(x.Volume, y.Volume), cmp.Compare(x.UUID, y.UUID), cmp.Compare(a, b))
	})
}

// hang gives a lineage its forks.
func (t *tree) hang(i int, forks []int) {
	l := &t.lines[i]
	tips := map[uint64]bool{}
	for _, p := range l.points {
		tips[p.lsn] = true
	}
	for _, f := range forks {
		if lsn := t.g.Lineages[f].ForkedFrom.LSN; !tips[lsn] {
			tips[lsn] = true
			l.points = append(l.points, point{lsn: lsn})
		}
	}
	slices.SortStableFunc(l.points, func(a, b point) int { return cmp.Compare(a.lsn, b.lsn) })
	t.byName(forks)
	for _, f := range forks {
		lsn := t.g.Lineages[f].ForkedFrom.LSN
		at := sort.Search(len(l.points), func(k int) bool { return l.points[k].lsn >= lsn })
		t.lines[f].at = at
		l.points[at].forks = append(l.points[at].forks, f)
	}
}

// current is the last of a lineage's tips that is current, nil when none is: it
// is deleted.
func (l *line) current() *Tip {
	for i := len(l.points) - 1; i >= 0; i-- {
		if t := l.points[i].tip; t != nil && t.Current {
			return t
		}
	}
	return nil
}
