package main

import (
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// names finds what volumes are called: as entries that were read say, else as
// a snapshot does.
type names struct {
	snap *pagestore.Snapshot
	of   map[wal.VolumeID]string
}

// maxNames bounds what is remembered.
const maxNames = 100_000

func newNames(s *pagestore.Snapshot) names { return names{s, map[wal.VolumeID]string{}} }

// name is empty when nobody knows it: the volume is gone, or the snapshot is.
func (n names) name(id wal.VolumeID) string {
	name, ok := n.of[id]
	if !ok {
		if v, found, err := n.snap.Volume(id); err == nil && found {
			name = v.Attrs.Name
		}
		n.set(id, name)
	}
	return name
}

func (n names) set(id wal.VolumeID, name string) {
	if len(n.of) >= maxNames {
		clear(n.of)
	}
	n.of[id] = name
}

// entry describes an entry.
func (n names) entry(e *wal.Entry) entryOutput {
	o := entryOutput{
		LSN: uint64(e.Last), Time: jsonTime(e.Time), Kind: e.Kind.String(), Txn: e.Txn.String(),
		Message: message(e), Volumes: []changeOutput{}, ns: e.Time,
	}
	for i := range e.Sections {
		o.Volumes = append(o.Volumes, n.change(&e.Sections[i]))
	}
	return o
}

func message(e *wal.Entry) string {
	for _, x := range e.Exts {
		if x.Type == wal.ExtMessage {
			return string(x.Bytes)
		}
	}
	return ""
}

func (n names) change(s *wal.Section) changeOutput {
	c := changeOutput{
		ID: s.Ref.Volume.String(), Ref: string(s.Ref.Name), Change: "changed", From: n.from(s),
		Pages: s.Result.Pages, Written: uint64(len(s.Delta.Rows)),
	}
	switch {
	case s.Ref.Name != "":
		c.Change = changeOfTag(s)
	case c.From != "":
		c.Change = "forked"
	case s.Action == wal.ActionDelete:
		c.Change = "deleted"
	case s.Expect.LSN == 0:
		c.Change = "created"
	case s.Attrs != nil:
		c.Change = "renamed"
	}
	if s.Attrs != nil {
		n.set(s.Ref.Volume, s.Attrs.Name)
	}
	c.Name = n.name(s.Ref.Volume)
	for _, chunk := range s.Delta.Chunks {
		c.Written += uint64(chunk.Rows)
	}
	for _, d := range s.Delta.Discards {
		c.Discarded += d.Count
	}
	return c
}

// from is what a fork or a tag begins as; empty for what begins as itself.
func (n names) from(s *wal.Section) string {
	if s.Base.LSN == 0 || s.Base.Ref == s.Ref {
		return ""
	}
	name := n.name(s.Base.Ref.Volume)
	if name == "" {
		name = s.Base.Ref.Volume.String()
	}
	if s.Base.Ref.Name != "" {
		name += "@" + string(s.Base.Ref.Name)
	}
	return name
}

func changeOfTag(s *wal.Section) string {
	switch {
	case s.Action == wal.ActionDelete:
		return "untagged"
	case s.Expect.LSN == 0:
		return "tagged"
	}
	return "retagged"
}
