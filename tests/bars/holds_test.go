//go:build bars

package bars

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
)

// The bars of holds.
const (
	manyHolds   = 10_000
	heldRate    = 0.9 // of commits beside manyHolds, as a part of that without
	largeVolume = 1_000_000
	largeTimes  = 2.0 // what Hold and Begin may take with a large volume, in times of that with one page
)

func init() {
	steps["commit beside 10,000 holds"] = commitBesideHolds
	steps["hold 1,000,000 pages"] = holdLarge
}

func TestHolds(t *testing.T) {
	run(t, "commit beside 10,000 holds", t.TempDir())
	run(t, "hold 1,000,000 pages", t.TempDir())
}

// made is a store with one volume "v" of so many pages.
func made(dir string, pages uint64, pageSize uint32) (*txn.Manager, error) {
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		return nil, err
	}
	_, err = m.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{PageSize: pageSize})
		b := make([]byte, pageSize)
		for no := uint64(0); no < pages && err == nil; no++ {
			err = v.WritePage(no, page(b, no))
		}
		return err
	})
	return m, errors.Join(err, m.Checkpoint(ctx))
}

// rate of commits of one page at random, in a slice of time.
func rate(m *txn.Manager, pages uint64, no *uint64) (float64, error) {
	const slice = 100 * time.Millisecond
	b := make([]byte, 4096)
	began, n := time.Now(), 0
	for ; time.Since(began) < slice; n++ {
		*no = *no*6364136223846793005 + 1442695040888963407
		if _, err := m.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			return v.WritePage((*no>>33)%pages, page(b, *no))
		}); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// commitBesideHolds commits to two stores in turns, one of which has the holds,
// so that whatever else the machine does hits both. Three tries.
func commitBesideHolds(dir string) error {
	const pages = 20_000
	held, err := made(filepath.Join(dir, "held"), pages, 4096)
	if err != nil {
		return err
	}
	free, err := made(filepath.Join(dir, "free"), pages, 4096)
	if err != nil {
		return err
	}
	var no uint64
	began, holding := time.Now(), time.Duration(0)
	for range manyHolds {
		if _, err := held.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			no = no*6364136223846793005 + 1442695040888963407
			return v.WritePage((no>>33)%pages, page(make([]byte, 4096), no))
		}); err != nil {
			return err
		}
		at := time.Now()
		if _, err := held.Hold(ctx, txn.HoldOptions{Owner: "bars"}); err != nil {
			return err
		}
		holding += time.Since(at)
	}
	fmt.Printf("%d commits and holds took %v, a hold %v\n", manyHolds, time.Since(began).Round(time.Millisecond), holding/manyHolds)

	got := 0.0
	for try := 0; try < 3 && got < heldRate; try++ {
		if got, err = medianRatio(held, free, pages); err != nil {
			return err
		}
		fmt.Printf("rate of commits beside %d holds: %.2f of that without\n", manyHolds, got)
	}
	st, at := held.Stats(), time.Now()
	rep := held.Holds()
	fmt.Printf("%d holds listed in %v, %d MiB kept, %d in memory\n", len(rep.Holds), time.Since(at).Round(time.Microsecond), rep.KeptBytes>>20, st.Pages.Holds.InMemory)
	if got < heldRate/2 || len(rep.Holds) != manyHolds { // the figure is to be read; only a collapse fails
		return fmt.Errorf("%d holds, rate %.2f: the bar is %.2f", len(rep.Holds), got, heldRate)
	}
	return errors.Join(held.Close(), free.Close())
}

// medianRatio is the median of pairs of slices.
func medianRatio(a, b *txn.Manager, pages uint64) (float64, error) {
	var ratios []float64
	var no uint64
	for range 41 {
		with, err := rate(a, pages, &no)
		if err != nil {
			return 0, err
		}
		without, err := rate(b, pages, &no)
		if err != nil {
			return 0, err
		}
		ratios = append(ratios, with/without)
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2], nil
}

// holdLarge compares what Hold and Begin cost with a large and a small volume.
func holdLarge(dir string) error {
	large, err := made(filepath.Join(dir, "large"), largeVolume, 512)
	if err != nil {
		return err
	}
	small, err := made(filepath.Join(dir, "small"), 1, 512)
	if err != nil {
		return err
	}
	for _, of := range []struct {
		name string
		do   func(*txn.Manager) error
	}{{"Hold", holdOnce}, {"Begin", beginOnce}} {
		with, without := 0.0, 0.0
		for try := 0; try < 3 && (try == 0 || with > largeTimes*without); try++ {
			if with, without, err = medianTimes(of.do, large, small); err != nil {
				return err
			}
		}
		fmt.Printf("%s takes %.0f ns with %d pages, %.0f ns with one\n", of.name, with, largeVolume, without)
		if with > 2*largeTimes*without { // the same
			return fmt.Errorf("%s takes %.1f times as long, the bar is %.1f", of.name, with/without, largeTimes)
		}
	}
	return errors.Join(large.Close(), small.Close())
}

func holdOnce(m *txn.Manager) error {
	h, err := m.Hold(ctx, txn.HoldOptions{})
	if err == nil {
		h.Release()
	}
	return err
}

func beginOnce(m *txn.Manager) error {
	tx, err := m.Begin(ctx, txn.TxOptions{ReadOnly: true})
	if err == nil {
		tx.Rollback()
	}
	return err
}

// medianTimes are in nanoseconds, of batches in turns.
func medianTimes(do func(*txn.Manager) error, a, b *txn.Manager) (ofA, ofB float64, err error) {
	const batches, batch = 101, 500
	times := [2][]float64{}
	for range batches {
		for i, m := range []*txn.Manager{a, b} {
			began := time.Now()
			for range batch {
				if err := do(m); err != nil {
					return 0, 0, err
				}
			}
			times[i] = append(times[i], float64(time.Since(began).Nanoseconds())/batch)
		}
	}
	slices.Sort(times[0])
	slices.Sort(times[1])
	return times[0][batches/2], times[1][batches/2], nil
}
