package apply_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// BenchmarkEntry applies a log of one-page commits to random pages of a volume
// of 64 MiB, in groups of 32. One operation is one entry, checked and applied.
func BenchmarkEntry(b *testing.B) {
	const entries, pages, group = 2000, 16 << 10, 32
	dir := smallCommits(b, entries, pages)
	b.ReportAllocs()
	for done := 0; done < b.N; {
		b.StopTimer()
		r := replay(b, dir)
		b.StartTimer()
		r.each(func(e *wal.Entry, h wal.Hash, body apply.Body) error {
			if done == b.N {
				return nil
			}
			if e.Kind == wal.KindTransaction && e.First > 2 { // 1 begins the timeline, 2 fills the volume
				done++
			}
			if err := apply.Entry(r.draft, e, h, body); err != nil || e.First%group != 0 {
				return err
			}
			_, err := r.draft.Cut()
			return err
		})
	}
}

// smallCommits is the directory of a closed store with a volume of so many
// pages, filled by one commit, and as many commits of one page.
func smallCommits(b *testing.B, commits, pages int) string {
	b.Helper()
	dir := b.TempDir()
	m, _, err := txn.Open(dir, txn.Options{Create: true, CheckpointEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	page := make([]byte, 4096)
	for i := range commits + 1 {
		_, err := m.Update(context.Background(), func(tx *txn.Tx) error {
			if i == 0 {
				v, err := tx.CreateVolume("v", txn.VolumeOptions{})
				for no := 0; no < pages && err == nil; no++ {
					binary.LittleEndian.PutUint64(page, uint64(no)+1)
					err = v.WritePage(uint64(no), page)
				}
				return err
			}
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			binary.LittleEndian.PutUint64(page, rng.Uint64())
			return v.WritePage(rng.Uint64N(uint64(pages)), page)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}
