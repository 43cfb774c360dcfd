package manifest_test

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

const dir = "/store"

// disk is an empty one with the store's directory.
func disk(t testing.TB) *crashfs.FS {
	t.Helper()
	d := crashfs.New()
	if err := d.Mkdir(dir); err != nil {
		t.Fatal(err)
	}
	if err := d.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return d
}

// newFacts are those of a store just made, with one heap file.
func newFacts() manifest.Facts {
	return manifest.Facts{
		Seq:         1,
		Store:       uuid.MustParse("018f4e9c-7b3a-7c1d-9e2f-0123456789ab"),
		Options:     manifest.Options{Created: 1_700_000_000_000_000_000, PageSize: 4096, HeapFileBytes: 1 << 30},
		Timeline:    wal.TimelineID(uuid.MustParse("018f4e9c-7b3a-7c1d-9e2f-ba9876543210")),
		Epoch:       1,
		Generations: []wal.Generation{{ID: 0xfeedface, First: 1}},
		Heap:        []heap.FileInfo{{Number: 1, Class: 12, Slots: 100_000}},
	}
}

// same compares facts, the used slots by content.
func same(a, b manifest.Facts) bool {
	used := slices.Equal(slices.Collect(a.Used.Extents()), slices.Collect(b.Used.Extents())) && a.Used.Len() == b.Used.Len()
	a.Used, b.Used = nil, nil
	if len(a.Generations)+len(b.Generations) == 0 {
		a.Generations, b.Generations = nil, nil
	}
	return used && reflect.DeepEqual(a, b)
}

func load(t testing.TB, d vfs.FS) manifest.Facts {
	t.Helper()
	f, rep, err := manifest.Load(d, dir)
	if err != nil || rep.TornBytes != 0 {
		t.Fatal(err, rep)
	}
	return f
}

// model is the facts as a map of slots would hold them.
type model struct {
	facts manifest.Facts
	used  map[heap.Slot]bool
}

func (m *model) want() manifest.Facts {
	f := m.facts
	f.Used = new(manifest.SlotSet)
	for _, s := range slices.Sorted(maps.Keys(m.used)) {
		if err := f.Used.Add(heap.Extent{First: s, Count: 1}); err != nil {
			panic(err)
		}
	}
	return f
}

// edit draws a change that can be true and makes it in the model.
func (m *model) edit(rt *rapid.T) (e manifest.Edit) {
	f := &m.facts
	if rapid.Bool().Draw(rt, "checkpoint") {
		f.Checkpoint.LSN += wal.LSN(rapid.IntRange(0, 9).Draw(rt, "lsn"))
		f.Checkpoint.Hash[7]++
		f.Checkpoint.Time++
		f.Checkpoint.Root = node.Ref{Slot: heap.MakeSlot(1, uint32(f.Checkpoint.LSN)), Birth: f.Checkpoint.LSN, Check: wal.PageHash{1, 2, 3}}
		c := f.Checkpoint
		e.Checkpoint = &c
		f.LowWater += wal.LSN(rapid.IntRange(0, 1).Draw(rt, "low"))
		e.LowWater = f.LowWater
	}
	if rapid.IntRange(0, 3).Draw(rt, "timeline") == 0 {
		f.Epoch++
		f.Timeline[0]++
		e.Timeline = &manifest.Timeline{ID: f.Timeline, Epoch: f.Epoch}
	}
	if rapid.IntRange(0, 3).Draw(rt, "generations") == 0 {
		gens := []wal.Generation{}
		for i := range rapid.IntRange(0, 3).Draw(rt, "many") {
			gens = append(gens, wal.Generation{ID: wal.GenID(i + 1), First: 5, Sealed: i == 0, Last: 9, Length: 77, Chain: wal.Hash{9}})
		}
		f.Generations, e.Generations = gens, &gens
	}
	if rapid.IntRange(0, 3).Draw(rt, "file") == 0 {
		i := slices.IndexFunc(f.Heap, func(h heap.FileInfo) bool { return h.Number == 7 })
		if i < 0 {
			f.Heap, i = append(slices.Clone(f.Heap), heap.FileInfo{Number: 7, Class: 9}), len(f.Heap)
		}
		f.Heap = slices.Clone(f.Heap)
		f.Heap[i].Slots += 128
		e.Heap = []heap.FileInfo{f.Heap[i]}
	}
	e.Used = m.flip(rt, true)
	e.Free = m.flip(rt, false)
	f.Clean = 0
	return e
}

// flip draws extents of slots that are not in use, or are, and toggles them.
func (m *model) flip(rt *rapid.T, use bool) (extents []heap.Extent) {
	for range rapid.IntRange(0, 6).Draw(rt, "extents") {
		file := rapid.SampledFrom(m.facts.Heap).Draw(rt, "file")
		first := rapid.IntRange(0, min(int(file.Slots)-1, 400)).Draw(rt, "first")
		n := uint32(0)
		limit := uint32(rapid.IntRange(1, 200).Draw(rt, "count"))
		for n < limit && uint32(first)+n < file.Slots && m.used[heap.MakeSlot(file.Number, uint32(first)+n)] != use {
			slot := heap.MakeSlot(file.Number, uint32(first)+n)
			if n++; use {
				m.used[slot] = true
			} else {
				delete(m.used, slot)
			}
		}
		if n > 0 {
			extents = append(extents, heap.Extent{First: heap.MakeSlot(file.Number, uint32(first)), Count: n})
		}
	}
	return extents
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := disk(t)
		w := &model{facts: newFacts(), used: map[heap.Slot]bool{}}
		m, err := manifest.Create(d, dir, w.facts)
		if err != nil {
			rt.Fatal(err)
		}
		reopen := func(rt *rapid.T) {
			var got manifest.Facts
			if m, got, _, err = manifest.Open(d, dir); err != nil {
				rt.Fatal(err)
			}
			w.facts.Seq++
			if !same(got, w.want()) {
				rt.Fatalf("opened %+v, want %+v", got, w.want())
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				e := w.edit(rt)
				w.facts.Seq++
				if seq, err := m.Append(e); err != nil || seq != w.facts.Seq || m.Seq() != seq {
					rt.Fatal(seq, err)
				}
			},
			"reopen": func(rt *rapid.T) { _ = m.Close(); reopen(rt) },
			"close cleanly": func(rt *rapid.T) {
				w.facts.Clean = 1234
				w.facts.Seq++
				if err := m.CloseClean(1234); err != nil {
					rt.Fatal(err)
				}
				if got := load(t, d); !same(got, w.want()) {
					rt.Fatalf("closed %+v, want %+v", got, w.want())
				}
				reopen(rt)
			},
			"": func(rt *rapid.T) {
				if got := load(t, d); !same(got, w.want()) {
					rt.Fatalf("loaded %+v, want %+v", got, w.want())
				}
			},
		})
	})
}

// What cannot be true is refused before anything is written.
func TestRefusedEdits(t *testing.T) {
	d := disk(t)
	m, err := manifest.Create(d, dir, newFacts())
	if err != nil {
		t.Fatal(err)
	}
	slots := func(file, first, n uint32) []heap.Extent {
		return []heap.Extent{{First: heap.MakeSlot(file, first), Count: n}}
	}
	if _, err := m.Append(manifest.Edit{
		Used: slots(1, 10, 5), LowWater: 3,
		Checkpoint: &manifest.Checkpoint{LSN: 5}, Timeline: &manifest.Timeline{Epoch: 4},
	}); err != nil {
		t.Fatal(err)
	}
	before, ops := load(t, d), d.Ops()
	for name, e := range map[string]manifest.Edit{
		"used twice":             {Used: slots(1, 14, 1)},
		"used twice in one edit": {Used: append(slots(1, 20, 5), slots(1, 24, 1)...)},
		"free what is free":      {Used: slots(1, 30, 3), Free: slots(1, 31, 3)},
		"beyond the file":        {Used: slots(1, 99_999, 2)},
		"unknown file":           {Used: slots(2, 0, 1)},
		"free in unknown file":   {Free: slots(2, 0, 1)},
		"empty extent":           {Free: slots(1, 10, 0)},
		"file zero":              {Heap: []heap.FileInfo{{Number: 0, Class: 12}}},
		"other class":            {Heap: []heap.FileInfo{{Number: 1, Class: 13}}},
		"class too large":        {Heap: []heap.FileInfo{{Number: 2, Class: 17}}},
		"checkpoint goes back":   {Checkpoint: &manifest.Checkpoint{LSN: 4}},
		"low water goes back":    {LowWater: 2},
		"epoch goes back":        {Timeline: &manifest.Timeline{Epoch: 3}},
		"generation twice":       {Generations: &[]wal.Generation{{ID: 1}, {ID: 1}}},
		"generation without id":  {Generations: &[]wal.Generation{{}}},
	} {
		if _, err := m.Append(e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if d.Ops() != ops || !same(load(t, d), before) {
		t.Error("a refused edit changed something")
	}
	if _, err := m.Append(manifest.Edit{Free: slots(1, 10, 5)}); err != nil {
		t.Error("refusals poisoned the manifest:", err)
	}
}
