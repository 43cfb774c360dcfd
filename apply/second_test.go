package apply_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// second is a store that has nothing but what entries bring.
type second struct {
	t     testing.TB
	store *pagestore.Store
	draft *pagestore.Draft
}

func newSecond(t testing.TB) *second {
	t.Helper()
	disk := crashfs.New()
	err := errors.Join(disk.Mkdir("/second"), pagestore.Create(disk, "/second", manifest.Facts{
		Store: uuid.UUID{2}, Timeline: wal.TimelineID{1}, Epoch: 1,
		Options: manifest.Options{Created: 1, PageSize: wal.DefaultPageSize, HeapFileBytes: 1 << 30},
	}))
	if err != nil {
		t.Fatal(err)
	}
	s, d, err := pagestore.Open(pagestore.Options{FS: disk, Dir: "/second", CacheBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &second{t, s, d}
}

// delivery is an entry on its way, with its body.
type delivery struct {
	entry  *wal.Entry
	hash   wal.Hash
	images [][]byte
	index  []byte // behind them
}

// deliver reads what a store has committed behind an LSN.
func deliver(t testing.TB, m *txn.Manager, after wal.Position) (list []delivery) {
	t.Helper()
	to := m.Stats().Head
	if after.LSN == to.LSN {
		return nil
	}
	for e, err := range m.Watch(context.Background(), txn.WatchOptions{After: after}) {
		if err != nil {
			t.Fatal(err)
		}
		d := delivery{entry: copyOf(t, e.Entry), hash: e.Position.Hash}
		byOffset := map[uint64][]byte{}
		for i := range e.Entry.Sections {
			var rows []wal.Row
			for row, err := range e.Rows(&e.Entry.Sections[i]) {
				image := make([]byte, row.Locator.Length())
				if err := errors.Join(err, e.ReadPage(row, image)); err != nil {
					t.Fatal(err)
				}
				byOffset[row.Locator.Offset()] = image
				rows = append(rows, row)
			}
			for range e.Entry.Sections[i].Delta.Chunks { // all but the last are full, and fill their slots
				n := min(len(rows), wal.MaxInlineRows)
				d.index = append(d.index, wal.AppendRows(nil, rows[:n])...)
				d.index = append(d.index, make([]byte, -len(d.index)&4095)...)
				rows = rows[n:]
			}
		}
		for off := uint64(0); len(d.images) < len(byOffset); off += uint64(len(byOffset[off])) {
			d.images = append(d.images, byOffset[off])
		}
		list = append(list, d)
		if e.Position.LSN == to.LSN {
			return list
		}
	}
	return list
}

// apply gives the entry's images a place of this store, and applies it.
func (s *second) apply(d delivery) error {
	s.t.Helper()
	var extents []heap.Extent
	var size uint64
	for _, p := range slices.Concat(d.images, slices.Collect(slices.Chunk(d.index, 4096))) {
		got, err := s.store.Heap().Place(heap.ClassFor(len(p)), p)
		if err != nil {
			s.t.Fatal(err)
		}
		extents = append(extents, got...)
		size += uint64(len(p))
	}
	size -= uint64(len(d.index))
	body, err := apply.InHeap(s.store.Heap(), extents, size)
	if err != nil {
		s.t.Fatal(err)
	}
	return apply.Entry(s.draft, d.entry, d.hash, body)
}

// prune makes everything that no ref reaches go, and makes sure that it is gone.
func (s *second) prune() {
	s.t.Helper()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	for range 2 { // the second one reclaims the nodes that the first one replaced
		must(s.store.Reserve())
		_, _, err := s.draft.Sweep()
		must(err)
		f, err := s.draft.Freeze(s.publish())
		must(err)
		must(s.store.Write(f, func(wal.Generation) bool { return false }))
		must(s.draft.Rebase(f))
		s.publish()
		s.store.Bury(f)
		_, err = s.store.Reclaim()
		must(err)
	}
	reached := 0
	snap := s.store.Acquire()
	defer s.store.Release(snap)
	_, err := snap.Check(func(pagestore.Use) error { reached++; return nil }, func(err error) error { return err })
	must(err)
	used := 0
	for _, f := range s.store.Heap().Files() {
		for x := range s.store.Heap().Used(f.Number) {
			used += int(x.Count)
		}
	}
	if used != reached {
		s.t.Fatalf("LSN %d: %d slots are used, and %d reached", snap.LSN(), used, reached)
	}
}

func (s *second) publish() *pagestore.Snapshot {
	s.t.Helper()
	snap, err := s.draft.Cut()
	if err != nil {
		s.t.Fatal(err)
	}
	s.store.Publish(snap)
	return snap
}

// everything is all that a snapshot says of volumes, tags and lineages, and each
// page of them read.
func everything(t testing.TB, snap *pagestore.Snapshot) string {
	t.Helper()
	out := ""
	say := func(name string, v pagestore.Volume) {
		out += fmt.Sprintln(name, v.ID, v.Attrs, v.State(), v.Seq, v.Tip, v.Changed, v.Created, v.Lineage)
		page := make([]byte, v.Attrs.PageSize)
		for p, err := range v.Pages(0, wal.MaxPages) {
			if err := errors.Join(err, v.Read(p.Page, page)); err != nil { // verifies its hash
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	for v, err := range snap.Volumes() {
		if err != nil {
			t.Fatal(err)
		}
		say(v.Attrs.Name, v)
		for tag, err := range snap.Tags(v.ID) {
			if err != nil {
				t.Fatal(err)
			}
			say(v.Attrs.Name+"@"+string(tag.Ref), tag)
		}
	}
	return out
}

// tipHistory commits random changes, forks, tags and resets.
type tipHistory struct {
	t    testing.TB
	m    *txn.Manager
	rng  *rand.Rand
	held []*txn.Tx
	did  map[string]int
}

var (
	historyVolumes = []string{"0", "1", "2", "3"}
	historyTags    = []string{"x", "y", txn.OriginTag}
)

func (h *tipHistory) step() {
	h.t.Helper()
	switch n := h.rng.IntN(20); {
	case n < 8:
		h.update("change", func(tx *txn.Tx) error { return randomChange(tx, h.rng) })
	case n < 15:
		h.update("tip", h.tip)
	case n < 16:
		tx, err := h.m.Begin(context.Background(), txn.TxOptions{ReadOnly: true})
		if err != nil {
			h.t.Fatal(err)
		}
		h.held = append(h.held, tx)
	case n < 19 && len(h.held) > 0:
		h.carry(h.held[h.rng.IntN(len(h.held))])
	case len(h.held) > 2:
		h.held[0].Rollback()
		h.held = h.held[1:]
	}
}

func (h *tipHistory) update(what string, f func(*txn.Tx) error) {
	h.t.Helper()
	_, err := h.m.Update(context.Background(), func(tx *txn.Tx) error {
		for range 1 + h.rng.IntN(4)/3 {
			if err := f(tx); err != nil {
				return err
			}
		}
		return nil
	})
	h.noted(what, err)
}

// noted counts what was done. What does not fit is part of the history.
func (h *tipHistory) noted(what string, err error) {
	h.t.Helper()
	for _, fits := range []error{txn.ErrNoVolume, txn.ErrNoTag, txn.ErrVolumeExists, txn.ErrPageSize, txn.ErrNotYet, txn.ErrIncomparable, txn.ErrStaged, errTwice} {
		if errors.Is(err, fits) {
			return
		}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.did[what]++
}

var errTwice = errors.New("that does not go together in one transaction")

// source is a volume of a transaction, or what a tag of one points to.
func (h *tipHistory) source(tx *txn.Tx) (v *txn.Volume, err error) {
	for range 5 { // most of these names mean nothing at a time
		name := historyVolumes[h.rng.IntN(len(historyVolumes))]
		if h.rng.IntN(2) == 0 {
			v, err = tx.At(name, historyTags[h.rng.IntN(len(historyTags))])
		} else {
			v, err = tx.Volume(name)
		}
		if err == nil {
			break
		}
	}
	return v, err
}

// tip forks, sets, moves or drops a tag, or resets.
func (h *tipHistory) tip(tx *txn.Tx) error {
	name := historyVolumes[h.rng.IntN(len(historyVolumes))]
	v, err := tx.Volume(name)
	n := h.rng.IntN(8)
	if errors.Is(err, txn.ErrNoVolume) || n == 0 && err == nil {
		from, err := h.source(tx)
		if err != nil {
			return err
		}
		if n == 0 && v != nil && from.ID() != v.ID() {
			if err := tx.DeleteVolume(name); err != nil {
				return err
			}
		}
		_, err = tx.Fork(name, from)
		return together(err)
	}
	if err != nil {
		return err
	}
	if n == 1 {
		return tx.DeleteTag(v, historyTags[h.rng.IntN(3)])
	}
	from, err := h.source(tx)
	if err != nil {
		return err
	}
	if n < 4 {
		return together(v.Reset(from))
	}
	return together(tx.SetTag(v, historyTags[h.rng.IntN(3)], from))
}

// together hides that an earlier part of the transaction is in the way.
func together(err error) error {
	if err != nil && !errors.Is(err, txn.ErrVolumeExists) {
		return fmt.Errorf("%w: %w", errTwice, err)
	}
	return err
}

// carry forks or tags what a transaction holds.
func (h *tipHistory) carry(held *txn.Tx) {
	h.t.Helper()
	from, err := h.source(held)
	if err != nil {
		h.noted("", err)
		return
	}
	before := h.m.Stats().Commits
	name := historyVolumes[h.rng.IntN(len(historyVolumes))]
	if h.rng.IntN(2) == 0 {
		_, err = h.m.Fork(context.Background(), name, from)
	} else {
		_, err = h.m.SetTag(context.Background(), name, historyTags[h.rng.IntN(3)], from)
	}
	what := "held, and tagged or current"
	if h.m.Stats().Commits > before+1 {
		what = "carried"
	}
	h.noted(what, err)
}

// An entry carries all that it needs (promise 2): a store that has applied each
// entry so far, and pruned after each whatever it may, applies the next one to
// the same states; forks, tags, resets and forks of held states too.
func TestEntriesAreSelfContained(t *testing.T) {
	did := map[string]int{}
	for seed := range uint64(6) {
		dir := t.TempDir()
		m, _, err := txn.Open(dir, txn.Options{Create: true, CheckpointEvery: -1, InlineBytes: 8 << 10, StageBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		h := &tipHistory{t: t, m: m, rng: rand.New(rand.NewPCG(seed, 5)), did: did}
		s := newSecond(t)
		for range 130 {
			h.step()
			for _, d := range deliver(t, m, s.draft.Head.Position) {
				if err := s.apply(d); err != nil {
					t.Fatalf("seed %d, LSN %d: %v", seed, d.entry.First, err)
				}
				s.prune()
			}
		}
		for _, tx := range h.held {
			tx.Rollback()
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		view, err := recovery.View(vfs.OS(), dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := everything(t, s.publish()), everything(t, view.Snapshot()); got != want {
			t.Errorf("seed %d: the second store is\n%s, the first\n%s", seed, got, want)
		}
		view.Close()
	}
	t.Logf("done: %v", did)
	if len(did) != 4 || slices.Contains([]bool{did["carried"] < 4, did["tip"] < 50, did["change"] < 50}, true) {
		t.Errorf("too little was tried: %v", did)
	}
}

// The test of that test: without what a fork of a held state carries, or with the
// held state for its base, an entry does not apply where that state was pruned.
func TestEntryWithoutWhatItCarries(t *testing.T) {
	ctx := context.Background()
	m, _, err := txn.Open(t.TempDir(), txn.Options{Create: true, CheckpointEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	write := func(values ...byte) wal.LSN {
		t.Helper()
		c, err := m.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if errors.Is(err, txn.ErrNoVolume) {
				v, err = tx.CreateVolume("v", txn.VolumeOptions{PageSize: 512})
			}
			for no, x := range values {
				page := make([]byte, 512)
				page[0] = x
				if err == nil {
					err = v.WritePage(uint64(no), page)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return c.Position.LSN
	}
	old := write(1, 2, 3)
	tx, err := m.Begin(ctx, txn.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	held, err := tx.Volume("v")
	if err != nil {
		t.Fatal(err)
	}
	write(4, 5)
	for what, carry := range map[string]func() (txn.Commit, error){
		"fork": func() (txn.Commit, error) { return m.Fork(ctx, "f", held) },
		"tag":  func() (txn.Commit, error) { return m.SetTag(ctx, "v", "x", held) },
	} {
		c, err := carry()
		if err != nil {
			t.Fatal(err)
		}
		for form, bad := range map[string]struct {
			damage func(s *wal.Section)
			what   string
		}{
			"without its pages":          {func(s *wal.Section) { s.Delta.Rows = nil }, "result"},
			"without one of its pages":   {func(s *wal.Section) { s.Delta.Rows = s.Delta.Rows[:1] }, "result"},
			"relative to the held state": {func(s *wal.Section) { s.Base.Ref.Name, s.Base.LSN, s.Delta.Rows = "", old, nil }, "base"},
			"relative to a lost tag":     {func(s *wal.Section) { s.Base.Ref.Name = "lost" }, "base"},
		} {
			s := newSecond(t)
			for _, d := range deliver(t, m, wal.Position{}) {
				if d.entry.First == c.Position.LSN {
					damaged := 0
					d.entry = copyOf(t, d.entry)
					for i := range d.entry.Sections {
						if sec := &d.entry.Sections[i]; len(sec.Delta.Rows) > 1 {
							bad.damage(sec)
							damaged++
						}
					}
					var typed *apply.MismatchError
					if err := s.apply(d); damaged != 1 || !errors.As(err, &typed) || typed.What != bad.what || typed.LSN != c.Position.LSN {
						t.Errorf("%s, %s: %d sections damaged, %v", what, form, damaged, err)
					}
					break
				}
				if err := s.apply(d); err != nil {
					t.Fatal(err)
				}
				s.prune()
			}
		}
	}
}
