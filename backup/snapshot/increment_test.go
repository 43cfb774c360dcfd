package snapshot_test

import (
	"errors"
	"testing"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// increment takes one on the base that is chosen, and returns why others were passed over.
func (w *world) increment() (m *snapshot.Manifest, passed []error, err error) {
	w.T.Helper()
	m, err = snapshot.Take(ctx, w.Archive, w.checkpoint(), snapshot.Options{
		Increment: true, PageSize: wal.DefaultPageSize, PartBytes: 64 << 10, Passed: func(err error) { passed = append(passed, err) }, Retry: impatient,
	})
	return m, passed, err
}

// page makes a state that there was not before.
func (w *world) page() {
	w.T.Helper()
	_, err := w.M.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.Volume("counted")
		if errors.Is(err, txn.ErrNoVolume) {
			v, err = tx.CreateVolume("counted", txn.VolumeOptions{PageSize: 512})
		}
		if err != nil {
			return err
		}
		size, err := v.Size()
		if err != nil {
			return err
		}
		return v.WritePage(size, make([]byte, v.PageSize()))
	})
	must(w.T, err)
}

// The base is chosen by ChooseBase among what is there: whole is only the first, chains are
// short, and each loads as what the store held.
func TestTakeIncrement(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 61)
	whole := 0
	for range 24 {
		w.page()
		m, passed, err := w.increment()
		must(t, err)
		if len(passed) > 0 {
			t.Error(passed)
		}
		if m.Whole() {
			whole++
		}
		chain, err := snapshot.Chain(ctx, w.Archive, m.Position, nil)
		must(t, err)
		if len(chain) > 6 {
			t.Errorf("at LSN %d a chain of %d", m.Position.LSN, len(chain))
		}
		_, err = load(t, w.Archive, m.Position)
		must(t, err)
	}
	if whole == 0 || whole > 2 { // the second one where a block of LSNs begins
		t.Errorf("%d are whole", whole)
	}
}

// What cannot be read is passed over, and said: an older one is the base, or none.
func TestTakeIncrementPassesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 62)
	w.Live(6)
	first, _, err := w.increment()
	must(t, err)
	w.page()
	second, _, err := w.increment()
	must(t, err)
	must(t, w.Archive.Delete(ctx, second.PartKey(0).String()))
	must(t, w.Archive.Delete(ctx, first.Key().String()))
	w.page()
	third, passed, err := w.increment()
	must(t, err)
	if !third.Whole() || len(passed) != 1 || !errors.Is(passed[0], objects.ErrNotFound) {
		t.Errorf("base %v, passed over: %v", third.Base, passed)
	}
}

// A snapshot that the archive's log contradicts is of another history: nothing follows from it.
func TestTakeIncrementDiverged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 63)
	w.page()
	w.Ship()
	other := *w.checkpoint()
	other.Head.Hash[0] ^= 1
	_, err := snapshot.Take(ctx, w.Archive, &other, snapshot.Options{PageSize: wal.DefaultPageSize})
	must(t, err)
	w.page()
	if _, _, err := w.increment(); !errors.Is(err, snapshot.ErrDiverged) {
		t.Errorf("a base of another history: %v", err)
	}
}
