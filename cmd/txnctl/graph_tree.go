package main

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/graph"
	"github.com/quire-db/quire/txn"
)

// tree gathers the lineages of a snapshot.
type tree struct {
	snap *pagestore.Snapshot
	all  bool // also volumes whose names begin with a dot
	most int  // lineages

	volumes map[pagestore.LineageID]pagestore.Volume
	tags    map[tipName][]tagOutput
	lines   []pagestore.Line
}

// tipName names a tip.
type tipName struct {
	lineage pagestore.LineageID
	lsn     uint64
}

// lineages are all of them, or those of the tree to which a volume belongs.
func (t *tree) lineages(of string) ([]graph.Lineage, error) {
	only, err := t.root(of)
	if err != nil {
		return nil, err
	}
	if err := t.gather(); err != nil {
		return nil, err
	}
	roots := t.roots()
	index := map[pagestore.LineageID]int{}
	for _, l := range t.lines {
		if of == "" || roots[l.ID] == roots[only] {
			index[l.ID] = len(index)
		}
	}
	drawn := make([]graph.Lineage, 0, len(index))
	for _, l := range t.lines {
		if _, ok := index[l.ID]; ok {
			line, err := t.lineage(l, index)
			if err != nil {
				return nil, err
			}
			drawn = append(drawn, line)
		}
	}
	return drawn, nil
}

// root is the lineage of the volume asked for.
func (t *tree) root(of string) (pagestore.LineageID, error) {
	if of == "" {
		return pagestore.LineageID{}, nil
	}
	v, err := findCurrent(t.snap, of)
	t.all = t.all || hidden(v.Attrs.Name)
	return v.Lineage, err
}

func (t *tree) gather() error {
	t.volumes, t.tags = map[pagestore.LineageID]pagestore.Volume{}, map[tipName][]tagOutput{}
	hide := map[pagestore.LineageID]bool{}
	for v, err := range t.snap.Volumes() {
		if err != nil {
			return err
		}
		if len(t.volumes)+len(hide) > 2*t.most {
			return t.tooMany()
		}
		if hidden(v.Attrs.Name) && !t.all {
			hide[v.Lineage] = true
			continue
		}
		t.volumes[v.Lineage] = v
		if err := t.gatherTags(v); err != nil {
			return err
		}
	}
	for l, err := range t.snap.Lines() {
		if err != nil {
			return err
		}
		if hide[l.ID] {
			continue
		}
		if len(t.lines) == t.most {
			return t.tooMany()
		}
		t.lines = append(t.lines, l)
	}
	return nil
}

func (t *tree) tooMany() error {
	return fmt.Errorf("the store has more than %d volumes, too many for a drawing; txnctl ls lists them", t.most)
}

func (t *tree) gatherTags(v pagestore.Volume) error {
	for tag, err := range t.snap.Tags(v.ID) {
		if err != nil {
			return err
		}
		o, err := tagOf(t.snap, tag)
		if err != nil {
			return err
		}
		at := tipName{tag.Lineage, uint64(tag.Tip)}
		if tag.Lineage != v.Lineage {
			if o.Tag == txn.OriginTag {
				continue // the fork hangs there
			}
			o.Tag = label(tag)
		}
		t.tags[at] = append(t.tags[at], o)
	}
	return nil
}

// roots says of each lineage in which tree it is.
func (t *tree) roots() map[pagestore.LineageID]pagestore.LineageID {
	roots := make(map[pagestore.LineageID]pagestore.LineageID, len(t.lines))
	for _, l := range t.lines { // origins come before their forks
		roots[l.ID] = l.ID
		if r, ok := roots[l.Origin]; ok && l.Origin != (pagestore.LineageID{}) {
			roots[l.ID] = r
		}
	}
	return roots
}

func (t *tree) lineage(l pagestore.Line, index map[pagestore.LineageID]int) (graph.Lineage, error) {
	out := graph.Lineage{}
	if i, ok := index[l.Origin]; ok && l.Origin != (pagestore.LineageID{}) {
		out.ForkedFrom = &graph.Point{Lineage: i, LSN: uint64(l.From)}
	}
	for _, k := range l.Kept {
		if l.Ended || k.Tip != l.Tip {
			out.Tips = append(out.Tips, t.keptTip(l.ID, k))
		}
	}
	v, ok := t.volumes[l.ID]
	if !ok {
		return out, nil
	}
	o, err := volumeOf(t.snap, v)
	out.Volume, out.UUID = o.Name, o.ID
	tip := graph.Tip{LSN: o.Changed, Current: true, Pages: o.Present, Bytes: o.Bytes}
	for _, tag := range t.tags[tipName{l.ID, tip.LSN}] {
		tip.Tags = append(tip.Tags, tag.Tag)
	}
	out.Tips = append(out.Tips, tip)
	return out, err
}

func (t *tree) keptTip(id pagestore.LineageID, k pagestore.KeptTip) graph.Tip {
	tip := graph.Tip{LSN: uint64(k.Tip), Pages: k.Present, Bytes: int64(k.State.Pages) * int64(k.State.PageSize)}
	for _, tag := range t.tags[tipName{id, tip.LSN}] {
		tip.Tags, tip.Bytes = append(tip.Tags, tag.Tag), tag.Bytes
	}
	return tip
}
