package apply_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// tipDraft is a draft with a volume of five absent pages, made by entry 1.
func tipDraft(t *testing.T) (*pagestore.Draft, wal.VolumeID) {
	t.Helper()
	o := pagestore.Options{FS: vfs.OS(), Dir: t.TempDir(), CacheBytes: 1 << 20}
	err := pagestore.Create(o.FS, o.Dir, manifest.Facts{
		Store: uuid.UUID{1}, Timeline: wal.TimelineID{2}, Epoch: 1,
		Options: manifest.Options{Created: 1, PageSize: wal.DefaultPageSize, HeapFileBytes: 1 << 30},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, d, err := pagestore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	v := wal.VolumeID{7}
	attrs := &wal.VolumeAttrs{Name: "v", PageSize: wal.DefaultPageSize, PageAlgo: wal.AlgoXXH3, Mode: wal.ModeLocal}
	commitChanges(t, d, apply.Change{Volume: v, Create: true, Attrs: attrs, Cut: apply.NoCut, Size: 5, Exact: true, Images: noPages})
	return d, v
}

func noPages(func(apply.Image) bool) {}

func commitChanges(t *testing.T, d *pagestore.Draft, changes ...apply.Change) []apply.Result {
	t.Helper()
	lsn := d.Head.LSN + 1
	results, err := apply.Next(d, lsn, changes, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.Advance(&wal.Entry{Timeline: wal.TimelineID{2}, Epoch: 1, First: lsn, Last: lsn, Time: int64(lsn)}, wal.Hash{byte(lsn)})
	return results
}

// A tag that begins as its base does points to the base's tip, however that was
// staged: an entry says the outcome only, and replay must make the same of it.
func TestTagOfTheSameContentIsTheSameTip(t *testing.T) {
	for name, c := range map[string]apply.Change{
		"at least its size":     {Cut: apply.NoCut},
		"exactly its size":      {Cut: apply.NoCut, Size: 5, Exact: true},
		"absent page discarded": {Cut: apply.NoCut, Discards: slices.Values([]wal.PageRange{{First: 2, Count: 1}})},
		"cut and grown again":   {Cut: 3, Size: 5, Exact: true},
	} {
		d, v := tipDraft(t)
		c.Volume, c.Name, c.From, c.Images = v, "x", &apply.From{Ref: wal.Ref{Volume: v}}, noPages
		commitChanges(t, d, c)
		tag, err := d.Tag(wal.Ref{Volume: v, Name: "x"})
		if err != nil || tag.Tip() != 1 || tag.State().Pages != 5 {
			t.Errorf("%s: tip %d, %+v, %v", name, tag.Tip(), tag.State(), err)
		}
	}
}

// A base is the state before the entry: refs that the entry sets are none, a ref
// that it drops is one.
func TestBaseIsTheStateBefore(t *testing.T) {
	d, v := tipDraft(t)
	tag := func(name wal.RefName, of wal.Ref) apply.Change {
		return apply.Change{Volume: v, Name: name, From: &apply.From{Ref: of}, Cut: apply.NoCut, Images: noPages}
	}
	current, x := wal.Ref{Volume: v}, wal.Ref{Volume: v, Name: "x"}
	commitChanges(t, d, tag("x", current))
	for name, changes := range map[string][]apply.Change{
		"a tag and what it is set to":    {tag("x", current), tag("y", x)},
		"a tag set to itself":            {tag("x", x)},
		"a volume written and tagged":    {{Volume: v, Size: 6, Cut: apply.NoCut, Images: noPages}, tag("y", current)},
		"a tip that the ref is not at":   {{Volume: v, Name: "y", From: &apply.From{Ref: x, Tip: 9}, Cut: apply.NoCut, Images: noPages}},
		"another tip of the same entry":  {{Volume: v, Name: "y", From: &apply.From{Ref: x, Tip: 1}, Cut: apply.NoCut, Images: noPages}},
		"a tag of nothing that is there": {tag("y", wal.Ref{Volume: v, Name: "z"})},
	} {
		_, err := apply.Prepare(d, d.Head.LSN+1, changes)
		var typed *apply.MismatchError
		if !errors.As(err, &typed) || typed.What != "base" {
			t.Errorf("%s: %v", name, err)
		}
	}
	commitChanges(t, d, apply.Change{Volume: v, Name: "x", Delete: true}, tag("y", x))
	if y, err := d.Tag(wal.Ref{Volume: v, Name: "y"}); err != nil || !y.Exists || y.Tip() != 1 {
		t.Errorf("tag y: %+v, %v", y, err)
	}
}
