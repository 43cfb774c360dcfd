//go:build bars

package bars

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
)

// The bars of a store with many volumes of one page.
const (
	manyVolumes  = 1_000_000
	volumesATime = 4000 // made by one transaction
	volumesOpen  = 5 * time.Second
	volumesRate  = 0.7  // of commits to random ones, as a part of that to one
	volumesPage  = 4096 // bytes
)

func init() {
	steps["make 1,000,000 volumes"] = makeVolumes
	steps["open 1,000,000 volumes"] = open
	steps["commit to 1,000,000 volumes"] = commitToVolumes
}

func TestVolumes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	run(t, "make 1,000,000 volumes", dir)
	if took := run(t, "open 1,000,000 volumes", dir); took > volumesOpen {
		t.Errorf("opening took %v, the limit is %v", took, volumesOpen)
	}
	run(t, "commit to 1,000,000 volumes", dir)
}

func volumeName(i uint64) string { return fmt.Sprintf("volume %07d", i) }

// makeVolumes ends by being killed, behind a checkpoint and some transactions.
func makeVolumes(dir string) error {
	began := time.Now()
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		return err
	}
	for first := uint64(0); first < manyVolumes; first += volumesATime {
		if _, err := m.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
			for i := first; i < first+volumesATime; i++ {
				v, err := tx.CreateVolume(volumeName(i), txn.VolumeOptions{PageSize: volumesPage})
				if err != nil {
					return err
				}
				if err := v.WritePage(0, page(make([]byte, volumesPage), i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	st := m.Stats()
	fmt.Printf("made in %v, %d checkpoints, heap %d MiB\n", time.Since(began).Round(time.Millisecond), st.Checkpoints, st.Pages.Heap.Bytes>>20)
	report("", began)
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// commitToVolumes commits to random ones and to a store with one, in turns.
// Five tries.
func commitToVolumes(dir string) error {
	many, _, err := txn.Open(dir, txn.Options{})
	if err != nil {
		return err
	}
	one, err := made(filepath.Join(filepath.Dir(dir), "one"), 1, volumesPage)
	if err != nil {
		return err
	}
	var no uint64
	random := func() string {
		no = no*6364136223846793005 + 1442695040888963407
		return volumeName((no >> 33) % manyVolumes)
	}
	if err := warm(many); err != nil {
		return err
	}
	got := 0.0
	for try := 0; try < 5 && got < volumesRate; try++ {
		var ratios []float64
		for range 61 {
			a, err := volumeRate(many, random)
			if err != nil {
				return err
			}
			b, err := volumeRate(one, func() string { return "v" })
			if err != nil {
				return err
			}
			ratios = append(ratios, a/b)
		}
		slices.Sort(ratios)
		got = ratios[len(ratios)/2]
		fmt.Printf("rate of commits to %d volumes: %.2f of that to one, %d and %d checkpoints so far\n", manyVolumes, got, many.Stats().Checkpoints, one.Stats().Checkpoints)
	}
	// A figure of speed is to be read; on a machine that does other things, too, only
	// a collapse of it is a failure.
	if got < volumesRate/2 {
		return fmt.Errorf("rate %.2f, the bar is %.2f", got, volumesRate)
	}
	return errors.Join(many.Close(), one.Close())
}

// warm looks at every volume once: the disk's part of the store is in memory then,
// as far as the machine has it.
func warm(m *txn.Manager) error {
	began := time.Now()
	for first := uint64(0); first < manyVolumes; first += volumesATime {
		if err := m.View(ctx, func(tx *txn.Tx) error {
			for i := first; i < first+volumesATime; i++ {
				if _, err := tx.Volume(volumeName(i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	fmt.Printf("looked at %d volumes in %v\n", manyVolumes, time.Since(began).Round(time.Millisecond))
	return nil
}

// volumeRate of commits in a slice of time.
func volumeRate(m *txn.Manager, name func() string) (float64, error) {
	const slice = 100 * time.Millisecond
	b := make([]byte, volumesPage)
	began, n := time.Now(), 0
	for ; time.Since(began) < slice; n++ {
		if _, err := m.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume(name())
			if err != nil {
				return err
			}
			return v.WritePage(0, page(b, uint64(time.Now().UnixNano())))
		}); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
