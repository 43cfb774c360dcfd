package apply_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// states are volumes by name, as far as replay must make them again.
type states map[string]string

func statesOf(t testing.TB, snap *pagestore.Snapshot) states {
	t.Helper()
	out := states{}
	for v, err := range snap.Volumes() {
		if err != nil {
			t.Fatal(err)
		}
		out[v.Attrs.Name] = fmt.Sprint(v.ID, v.Attrs, v.State(), v.Seq, v.Changed, v.Created)
	}
	return out
}

func (s states) equal(o states) bool { return fmt.Sprint(s) == fmt.Sprint(o) } // maps print sorted

// logOf commits a random history and returns the directory of the closed
// store, whose log holds all of it, and what the store was after each LSN.
func logOf(t testing.TB, seed uint64, commits int) (dir string, heads map[wal.LSN]wal.Hash) {
	t.Helper()
	dir = t.TempDir()
	m, _, err := txn.Open(dir, txn.Options{Create: true, CheckpointEvery: -1, InlineBytes: 8 << 10, StageBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 9))
	heads = map[wal.LSN]wal.Hash{}
	for range commits {
		c, err := m.Update(context.Background(), func(tx *txn.Tx) error {
			for range 1 + rng.IntN(3) {
				if err := randomChange(tx, rng); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		heads[c.Position.LSN] = c.Position.Hash
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, heads
}

func randomChange(tx *txn.Tx, rng *rand.Rand) error {
	name := fmt.Sprint(rng.IntN(4))
	v, err := tx.Volume(name)
	if errors.Is(err, txn.ErrNoVolume) {
		v, err = tx.CreateVolume(name, txn.VolumeOptions{PageSize: 512 << (3 * rng.IntN(2))})
	}
	if err != nil {
		return err
	}
	switch rng.IntN(12) {
	case 0:
		return tx.DeleteVolume(name)
	case 1:
		err := tx.RenameVolume(name, fmt.Sprint(rng.IntN(4)))
		if errors.Is(err, txn.ErrVolumeExists) {
			err = nil
		}
		return err
	case 2:
		return v.Truncate(rng.Uint64N(200))
	case 3, 4:
		for range rng.IntN(20) {
			if err := v.DiscardPage(rng.Uint64N(200)); err != nil {
				return err
			}
		}
		return nil
	}
	pages := rng.IntN(30)
	if rng.IntN(20) == 0 {
		pages = 5000 // the index goes to the body
	}
	from := rng.Uint64N(200)
	page := make([]byte, v.PageSize())
	for i := range uint64(pages) {
		binary.LittleEndian.PutUint64(page, rng.Uint64())
		if err := v.WritePage(from+i*uint64(1+rng.IntN(2)), page); err != nil {
			return err
		}
	}
	return nil
}

// replayer applies the log of a closed store to a draft in memory.
type replayer struct {
	t        testing.TB
	dir      string
	store    *pagestore.Store
	draft    *pagestore.Draft
	ordinals map[wal.GenID]uint32
}

func replay(t testing.TB, dir string) *replayer {
	t.Helper()
	s, d, err := pagestore.Open(pagestore.Options{FS: vfs.OS(), Dir: dir, CacheBytes: 1 << 20, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &replayer{t, dir, s, d, map[wal.GenID]uint32{}}
	for _, g := range s.Facts().Generations {
		f, err := vfs.OS().OpenRead(filepath.Join(dir, "wal", g.ID.Path()))
		if err != nil {
			t.Fatal(err)
		}
		r.ordinals[g.ID] = s.AddLog(g, f)
	}
	return r
}

// each yields the log's entries, decoded anew, with their bodies.
func (r *replayer) each(f func(e *wal.Entry, h wal.Hash, b apply.Body) error) {
	r.t.Helper()
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(r.dir, "wal"), r.store.Facts().Generations, 1, 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		body := r.body(rec)
		if err := f(rec.Entry, rec.Hash, body); err != nil {
			r.t.Fatalf("LSN %d: %v", rec.Entry.First, err)
		}
	}
}

// body is where a record's images lie; its slots are in use from now on.
func (r *replayer) body(rec *wal.Record) apply.Body {
	r.t.Helper()
	h := r.store.Heap()
	for _, x := range rec.Extents {
		if err := h.MarkUsed(heap.Extent{First: heap.Slot(x.Slot), Count: 1}); err != nil {
			r.t.Fatal(err)
		}
	}
	body, err := apply.BodyOf(h, r.ordinals[rec.Gen], rec)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range body.Extents {
		if err := h.MarkUsed(e); err != nil {
			r.t.Fatal(err)
		}
	}
	return body
}

func (r *replayer) states() states {
	r.t.Helper()
	snap, err := r.draft.Cut()
	if err != nil {
		r.t.Fatal(err)
	}
	return statesOf(r.t, snap)
}

// Replay makes what sequencing made: every result is checked by the entry
// itself, the hashes by the commits, the end by a view of the closed store.
func TestReplayEqualsSequencing(t *testing.T) {
	for seed := range uint64(4) {
		dir, heads := logOf(t, seed, 60)
		r := replay(t, dir)
		n := 0
		r.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error {
			err := apply.Entry(r.draft, e, h, b)
			if want, ok := heads[e.First]; ok && r.draft.Head.Hash != want {
				t.Errorf("LSN %d has hash %v, its commit said %v", e.First, r.draft.Head.Hash, want)
			}
			n++
			return err
		})
		if n != len(heads)+1 && n < 40 {
			t.Errorf("%d entries were replayed, %d commits returned", n, len(heads))
		}
		view, err := recovery.View(vfs.OS(), dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.states(), statesOf(t, view.Snapshot()); !got.equal(want) {
			t.Errorf("seed %d: replay makes %v, the store is %v", seed, got, want)
		}
		view.Close()
	}
}

// An entry applied twice is applied once, also one of long ago (promise 3).
func TestAppliedTwice(t *testing.T) {
	dir, _ := logOf(t, 11, 40)
	once, twice := replay(t, dir), replay(t, dir)
	once.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error { return apply.Entry(once.draft, e, h, b) })
	type applied struct {
		e *wal.Entry
		h wal.Hash
		b apply.Body
	}
	var before []applied
	twice.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error {
		before = append(before, applied{e, h, b})
		err := apply.Entry(twice.draft, e, h, b)
		for _, a := range before[max(0, len(before)-5):] {
			err = errors.Join(err, apply.Entry(twice.draft, a.e, a.h, a.b))
		}
		return err
	})
	if once.draft.Head != twice.draft.Head || !once.states().equal(twice.states()) {
		t.Error("applied twice is not applied once")
	}
}

// An entry that does not fit is refused with a typed error, nothing changes,
// and the right one applies afterwards.
func TestMismatch(t *testing.T) {
	dir, _ := logOf(t, 5, 40)
	forms := map[string]func(*wal.Entry) bool{ // false: not applicable
		"LSN ahead":     func(e *wal.Entry) bool { e.First, e.Last = e.First+1, e.Last+1; return true },
		"previous hash": func(e *wal.Entry) bool { e.Prev[3] ^= 1; return true },
		"timeline":      func(e *wal.Entry) bool { e.Timeline[0] ^= 1; return e.Kind == wal.KindTransaction },
		"time":          func(e *wal.Entry) bool { e.Time = 0; return true },
		"range entry":   func(e *wal.Entry) bool { e.Kind = wal.KindRange; return true },
		"expected tip": func(e *wal.Entry) bool {
			return onBase(e, func(s *wal.Section) { s.Expect.LSN++; s.Base.LSN++; s.PrevChange++ })
		},
		"expected sum":    func(e *wal.Entry) bool { return onBase(e, func(s *wal.Section) { flip(&s.Expect.State) }) },
		"expected size":   func(e *wal.Entry) bool { return onBase(e, func(s *wal.Section) { s.Expect.State.Pages++ }) },
		"base":            func(e *wal.Entry) bool { return onBase(e, func(s *wal.Section) { flip(&s.Base.State) }) },
		"base elsewhere":  func(e *wal.Entry) bool { return onBase(e, func(s *wal.Section) { s.Base.LSN-- }) },
		"previous change": func(e *wal.Entry) bool { return onBase(e, func(s *wal.Section) { s.PrevChange-- }) },
		"seq":             func(e *wal.Entry) bool { return onBase(e, func(s *wal.Section) { s.Seq++ }) },
		"unknown volume": func(e *wal.Entry) bool {
			return onBase(e, func(s *wal.Section) { s.Ref.Volume[5] ^= 1; s.Base.Ref.Volume[5] ^= 1 })
		},
		"named ref": func(e *wal.Entry) bool { return onBase(e, func(s *wal.Section) { s.Ref.Name = "branch" }) },
		"one more discard": func(e *wal.Entry) bool {
			return onBase(e, func(s *wal.Section) {
				s.Delta.Discards = append([]wal.PageRange{{First: 1 << 30, Count: 1}}, s.Delta.Discards...)
			})
		},
		"made again": func(e *wal.Entry) bool {
			return onBase(e, func(s *wal.Section) {
				s.Expect, s.Base, s.PrevChange, s.Seq = wal.Expect{}, wal.Base{}, 0, 1
				s.Attrs = &wal.VolumeAttrs{Name: "again", PageSize: s.Result.PageSize}
			})
		},
	}
	good := replay(t, dir)
	good.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error { return apply.Entry(good.draft, e, h, b) })
	want := good.states()
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			r := replay(t, dir)
			refused := 0
			r.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error {
				if bad := copyOf(t, e); e.First > 1 && form(bad) {
					before := r.draft.Head
					refusal(t, bad, apply.Entry(r.draft, bad, h, b))
					if r.draft.Head != before {
						t.Errorf("LSN %d was refused, and is the head", e.First)
					}
					refused++
				}
				return apply.Entry(r.draft, e, h, b)
			})
			if refused == 0 {
				t.Error("no entry was tried")
			}
			if !r.states().equal(want) {
				t.Error("what was refused left something behind")
			}
		})
	}
}

func copyOf(t testing.TB, e *wal.Entry) *wal.Entry {
	t.Helper()
	b, err := wal.AppendEntry(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	c, err := wal.DecodeEntry(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refusal checks the error that refuses an entry.
func refusal(t testing.TB, e *wal.Entry, err error) {
	t.Helper()
	var typed *apply.MismatchError
	switch {
	case err == nil:
		t.Errorf("LSN %d is accepted", e.First)
	case !errors.Is(err, apply.ErrMismatch) && !errors.Is(err, apply.ErrUnsupported):
		t.Error(err)
	case errors.As(err, &typed) && (typed.LSN != e.First || typed.What == ""):
		t.Error(err)
	}
}

// onBase changes the first section of a volume that existed before.
func onBase(e *wal.Entry, f func(*wal.Section)) bool {
	for i := range e.Sections {
		if s := &e.Sections[i]; s.Action == wal.ActionSet && s.Expect.LSN != 0 {
			f(s)
			return true
		}
	}
	return false
}

// An entry whose result is not what it says is found out, before anything of
// it is published.
func TestWrongResult(t *testing.T) {
	dir, _ := logOf(t, 6, 20)
	r := replay(t, dir)
	found := false
	defer func() {
		if !found {
			t.Error("no entry was tried")
		}
	}()
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(dir, "wal"), r.store.Facts().Generations, 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		body := r.body(rec)
		if rec.LSN > 5 && onBase(rec.Entry, func(s *wal.Section) { flip(&s.Result) }) {
			published := r.store.Published()
			var typed *apply.MismatchError
			if err := apply.Entry(r.draft, rec.Entry, rec.Hash, body); !errors.As(err, &typed) || typed.What != "result" {
				t.Errorf("%v", err)
			}
			if r.store.Published() != published {
				t.Error("it was published")
			}
			found = true
			return
		}
		if err := apply.Entry(r.draft, rec.Entry, rec.Hash, body); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(s *wal.State) { s.Sum.Lo ^= 1 }

// A change that does not fit says which volume it is of, and whether its place
// or its name is another's.
func TestChangeDoesNotFit(t *testing.T) {
	dir, _ := logOf(t, 7, 20)
	r := replay(t, dir)
	r.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error { return apply.Entry(r.draft, e, h, b) })
	snap, err := r.draft.Cut()
	if err != nil {
		t.Fatal(err)
	}
	var there pagestore.Volume
	for v, err := range snap.Volumes() {
		if err != nil {
			t.Fatal(err)
		}
		there = v
	}
	other := wal.VolumeID{9}
	taken, vacant := there.Attrs, there.Attrs
	vacant.Name = "nobody's"
	for name, c := range map[string]struct {
		change apply.Change
		what   string
	}{
		"made twice":         {apply.Change{Volume: there.ID, Create: true, Attrs: &vacant}, "place"},
		"changed, not there": {apply.Change{Volume: other}, "place"},
		"deleted, not there": {apply.Change{Volume: other, Delete: true}, "place"},
		"a name taken":       {apply.Change{Volume: other, Create: true, Attrs: &taken}, "name"},
	} {
		lsn := r.draft.Head.LSN + 1
		_, err := apply.Prepare(r.draft, lsn, []apply.Change{c.change})
		var typed *apply.MismatchError
		if !errors.As(err, &typed) || typed.LSN != lsn || typed.Volume != c.change.Volume || typed.What != c.what {
			t.Errorf("%s: %v", name, err)
		}
	}
}
