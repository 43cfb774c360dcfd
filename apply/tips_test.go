package apply_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// logOfTips is logOf with tags, forks and resets.
func logOfTips(t testing.TB, seed uint64, steps int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	m, _, err := txn.Open(dir, txn.Options{Create: true, CheckpointEvery: -1, InlineBytes: 8 << 10, StageBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	h := &tipHistory{t: t, m: m, rng: rand.New(rand.NewPCG(seed, 6)), did: map[string]int{}}
	for range steps {
		h.step()
	}
	for _, tx := range h.held {
		tx.Rollback()
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// An entry of a tag or fork that does not fit is refused with a typed error,
// whatever of it does not; nothing changes, and the right one applies afterwards.
func TestMismatchOfTips(t *testing.T) {
	forms := map[string]func(*wal.Section) bool{ // false: not applicable
		"expected tip":     func(s *wal.Section) bool { s.Expect.LSN++; return true },
		"expected state":   func(s *wal.Section) bool { flip(&s.Expect.State); return true },
		"previous change":  func(s *wal.Section) bool { s.PrevChange++; return true },
		"seq":              func(s *wal.Section) bool { s.Seq++; return true },
		"base's tip":       func(s *wal.Section) bool { s.Base.LSN++; return s.Base.LSN != 1 },
		"base's tip, none": func(s *wal.Section) bool { was := s.Base.LSN; s.Base.LSN = 0; return was != 0 },
		"base's state":     func(s *wal.Section) bool { flip(&s.Base.State); return s.Base.LSN != 0 },
		"base's volume":    func(s *wal.Section) bool { s.Base.Ref.Volume[3] ^= 1; return s.Base.LSN != 0 },
		"base's name":      func(s *wal.Section) bool { s.Base.Ref.Name += "?"; return s.Base.LSN != 0 },
		"base is itself":   func(s *wal.Section) bool { s.Base.Ref = s.Ref; return s.Base.LSN != 0 },
		"owner":            func(s *wal.Section) bool { s.Ref.Volume[9] ^= 1; return s.Ref.Name != "" },
		"name":             func(s *wal.Section) bool { s.Ref.Name += "?"; return s.Expect.LSN != 0 },
		"attributes": func(s *wal.Section) bool {
			s.Attrs = &wal.VolumeAttrs{Name: "of a tag", PageSize: 512}
			return s.Ref.Name != "" && s.Action == wal.ActionSet
		},
		"page size": func(s *wal.Section) bool {
			if s.Ref.Name != "" || s.Base.LSN == 0 {
				return false
			}
			a := *s.Attrs
			a.PageSize *= 2
			s.Attrs = &a
			return true
		},
		"one more discard": func(s *wal.Section) bool {
			s.Delta.Discards = append([]wal.PageRange{{First: 1 << 30, Count: 1}}, s.Delta.Discards...)
			return s.Action == wal.ActionSet
		},
	}
	tried := map[string]int{}
	for seed := range uint64(2) {
		dir := logOfTips(t, seed, 100)
		r := replay(t, dir)
		r.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error {
			for i := range e.Sections {
				if s := &e.Sections[i]; s.Ref.Name == "" && (s.Expect.LSN != 0 || s.Action == wal.ActionDelete) {
					continue // TestMismatch has those
				}
				for name, damage := range forms {
					bad := copyOf(t, e)
					if s := &bad.Sections[i]; s.Action == wal.ActionDelete && strings.HasPrefix(name, "base") || !damage(s) {
						continue
					}
					before := r.draft.Head
					if err := apply.Entry(r.draft, bad, h, b); err == nil {
						t.Fatalf("seed %d, LSN %d, section %d: accepted with another %s", seed, e.First, i, name)
					} else {
						refusal(t, bad, err)
					}
					if r.draft.Head != before {
						t.Fatalf("seed %d, LSN %d was refused, and is the head", seed, e.First)
					}
					tried[name]++
				}
			}
			return apply.Entry(r.draft, e, h, b)
		})
		good := replay(t, dir)
		good.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error { return apply.Entry(good.draft, e, h, b) })
		var after [2]string
		for i, r := range []*replayer{r, good} {
			snap, err := r.draft.Cut()
			if err != nil {
				t.Fatal(err)
			}
			after[i] = everything(t, snap)
		}
		if after[0] != after[1] {
			t.Errorf("seed %d: what was refused left something behind", seed)
		}
	}
	for name := range forms {
		if tried[name] == 0 {
			t.Errorf("another %s was not tried", name)
		}
	}
}

// What one entry may and may not do with tags, whatever made it.
func TestChangesOfTipsThatDoNotFit(t *testing.T) {
	m, _, err := txn.Open(t.TempDir(), txn.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = m.Update(context.Background(), func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("v", txn.VolumeOptions{PageSize: 512})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := newSecond(t)
	var v wal.VolumeID
	for _, d := range deliver(t, m, wal.Position{}) {
		if err := s.apply(d); err != nil {
			t.Fatal(err)
		}
		for i := range d.entry.Sections {
			v = d.entry.Sections[i].Ref.Volume
		}
	}
	from := func(ref wal.Ref) *apply.From { return &apply.From{Ref: ref} }
	of := func(volume wal.VolumeID, tag wal.RefName, c apply.Change) apply.Change {
		c.Volume, c.Name, c.Cut, c.Images = volume, tag, apply.NoCut, func(func(apply.Image) bool) {}
		return c
	}
	current := wal.Ref{Volume: v}
	other := wal.VolumeID{7}
	attrs := &wal.VolumeAttrs{Name: "w", PageSize: 512, PageAlgo: wal.AlgoXXH3}
	wide := &wal.VolumeAttrs{Name: "w", PageSize: 1024, PageAlgo: wal.AlgoXXH3}
	for name, changes := range map[string][]apply.Change{
		"a tag of no volume":             {of(other, "x", apply.Change{From: from(current)})},
		"a tag from no tag":              {of(v, "x", apply.Change{From: from(wal.Ref{Volume: v, Name: "y"})})},
		"a tag from itself":              {of(v, "x", apply.Change{From: from(wal.Ref{Volume: v, Name: "x"})})},
		"a tag dropped that is not":      {of(v, "x", apply.Change{Delete: true})},
		"a tag from what is set":         {of(v, "", apply.Change{Size: 5, Exact: true}), of(v, "x", apply.Change{From: from(current)})},
		"a tag from what is made":        {of(other, "", apply.Change{Create: true, Attrs: attrs}), of(v, "x", apply.Change{From: from(wal.Ref{Volume: other})})},
		"a tag of what is deleted":       {of(v, "", apply.Change{Delete: true}), of(v, "x", apply.Change{From: from(current)})},
		"a fork with another page size":  {of(other, "", apply.Change{Create: true, Attrs: wide, From: from(current)})},
		"a tag with another page size":   {of(other, "", apply.Change{Create: true, Attrs: wide}), of(other, "x", apply.Change{From: from(current)})},
		"a fork of another tip":          {of(other, "", apply.Change{Create: true, Attrs: attrs, From: &apply.From{Ref: current, Tip: 99}})},
		"two tags, one from the other's": {of(v, "x", apply.Change{From: from(current)}), of(v, "y", apply.Change{From: from(wal.Ref{Volume: v, Name: "x"})})},
	} {
		before := s.draft.Head
		_, err := apply.Prepare(s.draft, before.LSN+1, changes)
		refusal(t, &wal.Entry{First: before.LSN + 1}, err)
		if err == nil {
			t.Error(name)
		}
	}
	s.prune()
}
