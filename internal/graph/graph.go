package graph

import "time"

// Graph is what is drawn. It is not changed.
type Graph struct {
	Store    string    // what the store is called
	Head     uint64    // LSN of the newest entry
	Time     time.Time // of that entry; zero when it is not known
	Lineages []Lineage // in any order
	Holds    []Hold    // of the whole store: consumers, for whom the log is kept
}

// Lineage is one line of tips: of a volume, or of a fork.
type Lineage struct {
	Volume     string // its name; empty when it is deleted or has none
	UUID       string // its identity, shown when there is no name
	ForkedFrom *Point // nil when it is no fork, or its origin is detached
	Tips       []Tip
}

// Point is a place on another lineage.
type Point struct {
	Lineage int // index in Graph.Lineages
	LSN     uint64
}

// Tip is one state of a lineage that can be reached.
type Tip struct {
	LSN     uint64 // of the entry that made it
	Current bool   // the newest state of its lineage
	Pages   uint64
	Bytes   int64
	Tags    []string
	Holds   []Hold
}

// Hold is what keeps a tip, or the log, from being reclaimed.
type Hold struct {
	Kind  string // what it is: "reader", "consumer"
	Owner string // whose it is, may be empty
	LSN   uint64 // from where on it keeps; shown when it is not the tip's
}

// census counts what a graph has.
type census struct{ volumes, forks, deleted, tags, holds int }

// summary is "3 volumes, 1 fork, 2 tags".
func (c census) summary() string {
	s := plural(c.volumes, "volume")
	for _, x := range []struct {
		n    int
		what string
	}{{c.forks, "fork"}, {c.deleted, "deleted lineage"}, {c.tags, "tag"}, {c.holds, "hold"}} {
		if x.n > 0 {
			s += ", " + plural(x.n, x.what)
		}
	}
	return s
}

// when is the head and its time.
func (g *Graph) when() string {
	s := "LSN " + number(g.Head)
	if !g.Time.IsZero() {
		s += ", " + g.Time.UTC().Format("2006-01-02 15:04:05Z")
	}
	return s
}

// title names a lineage.
func (l *Lineage) title(name func(string) string) string {
	switch {
	case l.Volume != "":
		return name(l.Volume)
	case l.UUID != "":
		return "(deleted) " + name(l.UUID)
	}
	return "(deleted)"
}

// text is "reader backup", with the LSN when that is not tip's.
func (h Hold) text(tip uint64, name func(string) string) string {
	s := name(h.Kind)
	if h.Owner != "" {
		s += " " + name(h.Owner)
	}
	if h.LSN != tip && h.LSN != 0 {
		s += " from LSN " + number(h.LSN)
	}
	return s
}
