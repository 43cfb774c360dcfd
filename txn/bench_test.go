package txn_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quire-db/quire/txn"
)

// BenchmarkCommit commits random pages of one volume of 64 MiB from several
// goroutines. One operation is one transaction.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ writers, pages int }{{1, 1}, {8, 1}, {64, 1}, {8, 16}, {64, 16}, {8, 256}} {
		b.Run(fmt.Sprintf("%dx%d", c.writers, c.pages), func(b *testing.B) { benchmarkCommit(b, c.writers, c.pages) })
	}
}

func benchmarkCommit(b *testing.B, writers, pages int) {
	const volumePages = 16 << 10
	ctx := context.Background()
	m, _, err := txn.Open(b.TempDir(), txn.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	fill(b, m, volumePages)
	b.SetBytes(int64(pages) * 4096)
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			page := make([]byte, 4096)
			for left.Add(-1) >= 0 {
				if _, err := m.Update(ctx, func(tx *txn.Tx) error {
					v, err := tx.Volume("bench")
					if err != nil {
						return err
					}
					for range pages {
						binary.LittleEndian.PutUint64(page, rng.Uint64())
						if err := v.WritePage(rng.Uint64N(volumePages), page); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	s := m.Stats()
	b.ReportMetric(float64(s.Commits)/float64(s.Groups), "commits/group")
}

func fill(b *testing.B, m *txn.Manager, pages uint64) {
	b.Helper()
	ctx := context.Background()
	_, err := m.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("bench", txn.VolumeOptions{})
		if err != nil {
			return err
		}
		page := make([]byte, 4096)
		for no := range pages {
			binary.LittleEndian.PutUint64(page, no+1)
			if err := v.WritePage(no, page); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := m.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBegin begins and ends a read transaction: it must cost the same
// whatever the store holds.
func BenchmarkBegin(b *testing.B) {
	for _, c := range []struct{ volumes, pages int }{{1, 1}, {1, 1_000_000}, {10_000, 1}} {
		b.Run(fmt.Sprintf("volumes=%d/pages=%d", c.volumes, c.pages), func(b *testing.B) {
			m := storeOf(b, c.volumes, c.pages)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				tx, err := m.Begin(ctx, txn.TxOptions{ReadOnly: true})
				if err != nil {
					b.Fatal(err)
				}
				tx.Rollback()
			}
		})
	}
}

// BenchmarkDiff compares two states of a volume of 1,000,000 pages that differ
// in 100, warm.
func BenchmarkDiff(b *testing.B) {
	m := storeOf(b, 1, 1_000_000)
	ctx := context.Background()
	volume := func() *txn.Volume {
		tx, err := m.Begin(ctx, txn.TxOptions{ReadOnly: true, Timeout: 1 << 40})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { tx.Rollback() })
		v, err := tx.Volume("v0")
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	old := volume()
	if _, err := m.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.Volume("v0")
		page := make([]byte, 4096)
		for i := uint64(0); i < 100 && err == nil; i++ {
			binary.LittleEndian.PutUint64(page, ^i)
			err = v.WritePage(i*9_973, page)
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	now := volume()
	for b.Loop() {
		n := 0
		for _, err := range txn.Diff(old, now, 0, 1_000_000) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 100 {
			b.Fatalf("%d pages differ", n)
		}
	}
}

// BenchmarkReadPage reads random pages of 64 MiB in one transaction.
func BenchmarkReadPage(b *testing.B) {
	m := storeOf(b, 1, 16<<10)
	tx, err := m.Begin(context.Background(), txn.TxOptions{ReadOnly: true, Timeout: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback()
	v, err := tx.Volume("v0")
	if err != nil {
		b.Fatal(err)
	}
	page := make([]byte, 4096)
	rng := rand.New(rand.NewPCG(1, 2))
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		if err := v.ReadPage(rng.Uint64N(16<<10), page); err != nil {
			b.Fatal(err)
		}
	}
}

func storeOf(b *testing.B, volumes, pages int) *txn.Manager {
	b.Helper()
	ctx := context.Background()
	m, _, err := txn.Open(b.TempDir(), txn.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	page := make([]byte, 4096)
	for first := 0; first < volumes; first += 1000 {
		if _, err := m.Update(ctx, func(tx *txn.Tx) error {
			for i := first; i < min(first+1000, volumes); i++ {
				v, err := tx.CreateVolume(fmt.Sprintf("v%d", i), txn.VolumeOptions{})
				if err != nil {
					return err
				}
				for no := range pages {
					binary.LittleEndian.PutUint64(page, uint64(no)+1)
					if err := v.WritePage(uint64(no), page); err != nil {
						return err
					}
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := m.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	return m
}
