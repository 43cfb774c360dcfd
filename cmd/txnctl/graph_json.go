package main

import (
	"time"

	"github.com/quire-db/quire/internal/graph"
)

// graphOutput is what graph prints.
type graphOutput struct {
	Dir      string          `json:"dir" doc:"directory of the store"`
	LSN      uint64          `json:"lsn" doc:"of the last entry"`
	Time     string          `json:"time" doc:"of the last entry, RFC 3339, UTC"`
	Lineages []lineageOutput `json:"lineages" doc:"lines of tips, the oldest first"`
	Holds    []graphHold     `json:"holds" doc:"for whom the log is kept"`
}

// lineageOutput is one line of tips.
type lineageOutput struct {
	Volume string        `json:"volume" doc:"name of the volume; empty when it is deleted"`
	ID     string        `json:"id" doc:"UUID of the volume"`
	Origin *originOutput `json:"origin" doc:"what it was forked from; null when it was not"`
	Tips   []tipOutput   `json:"tips" doc:"states that can be reached, the oldest first"`
}

// originOutput is a tip of another lineage.
type originOutput struct {
	Lineage int    `json:"lineage" doc:"which of lineages, from 0"`
	LSN     uint64 `json:"lsn" doc:"of the tip"`
}

// tipOutput is one state of a lineage.
type tipOutput struct {
	LSN     uint64      `json:"lsn" doc:"of the entry that made it"`
	Current bool        `json:"current" doc:"it is the newest"`
	Pages   uint64      `json:"pages" doc:"that hold something but zeros"`
	Bytes   int64       `json:"bytes" doc:"length of the file in it"`
	Tags    []string    `json:"tags" doc:"that name it"`
	Holds   []graphHold `json:"holds" doc:"that keep it"`
}

// graphHold is what keeps something from being reclaimed.
type graphHold struct {
	Kind  string `json:"kind" doc:"what it is: consumer"`
	Owner string `json:"owner" doc:"whose it is"`
	LSN   uint64 `json:"lsn" doc:"from where on it keeps"`
}

func graphOf(g graph.Graph) graphOutput {
	o := graphOutput{
		Dir: g.Store, LSN: g.Head, Time: g.Time.UTC().Format(time.RFC3339Nano),
		Lineages: []lineageOutput{}, Holds: holdsOf(g.Holds),
	}
	for _, l := range g.Lineages {
		o.Lineages = append(o.Lineages, lineageOutputOf(l))
	}
	return o
}

func lineageOutputOf(l graph.Lineage) lineageOutput {
	o := lineageOutput{Volume: l.Volume, ID: l.UUID, Tips: []tipOutput{}}
	if l.ForkedFrom != nil {
		o.Origin = &originOutput{l.ForkedFrom.Lineage, l.ForkedFrom.LSN}
	}
	for _, t := range l.Tips {
		o.Tips = append(o.Tips, tipOutput{t.LSN, t.Current, t.Pages, t.Bytes, append([]string{}, t.Tags...), holdsOf(t.Holds)})
	}
	return o
}

func holdsOf(holds []graph.Hold) []graphHold {
	o := []graphHold{}
	for _, h := range holds {
		o = append(o, graphHold(h))
	}
	return o
}
