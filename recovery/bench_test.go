package recovery_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// BenchmarkOpen opens a killed store with 20,000 one-page commits behind its
// checkpoint. One operation is one opening; bytes are those of the log.
func BenchmarkOpen(b *testing.B) {
	killed, log := killedStore(b, 20_000)
	b.SetBytes(log)
	for b.Loop() {
		b.StopTimer()
		dir := filepath.Join(b.TempDir(), "store")
		if err := os.CopyFS(dir, os.DirFS(killed)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		m, rep, err := txn.Open(dir, txn.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if rep.Replayed < 20_000 {
			b.Fatalf("%d entries replayed", rep.Replayed)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkVerify verifies a closed store of 64 MiB. Bytes are those of pages.
func BenchmarkVerify(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "store")
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	const pages = 16 << 10
	commit(b, m, pages, func(v *txn.Volume, page []byte, rng *rand.Rand) error {
		for no := range uint64(pages) {
			binary.LittleEndian.PutUint64(page, rng.Uint64())
			if err := v.WritePage(no, page); err != nil {
				return err
			}
		}
		return nil
	})
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(pages * 4096)
	for b.Loop() {
		rep, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
		if err != nil || !rep.Clean {
			b.Fatal(rep, err)
		}
	}
}

// killedStore is a copy of a store's directory taken while it was open.
func killedStore(b *testing.B, commits int) (dir string, logBytes int64) {
	b.Helper()
	live := filepath.Join(b.TempDir(), "live")
	m, _, err := txn.Open(live, txn.Options{Create: true, CheckpointEvery: -1, CheckpointBytes: 1 << 30, GenerationBytes: 4 * wal.MinGenerationBytes})
	if err != nil {
		b.Fatal(err)
	}
	for range commits {
		commit(b, m, 4096, func(v *txn.Volume, page []byte, rng *rand.Rand) error {
			binary.LittleEndian.PutUint64(page, rng.Uint64())
			return v.WritePage(rng.Uint64N(4096), page)
		})
	}
	dir = filepath.Join(b.TempDir(), "killed")
	if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
		b.Fatal(err)
	}
	s := m.Stats()
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	return dir, int64(s.LogBytes)
}

// commit runs f on the store's one volume, which is made when it is missing.
func commit(b *testing.B, m *txn.Manager, pages uint64, f func(*txn.Volume, []byte, *rand.Rand) error) {
	b.Helper()
	_, err := m.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			if v, err = tx.CreateVolume("v", txn.VolumeOptions{}); err == nil {
				err = v.Truncate(pages)
			}
		}
		if err != nil {
			return err
		}
		return f(v, make([]byte, 4096), rand.New(rand.NewPCG(rand.Uint64(), 1)))
	})
	if err != nil {
		b.Fatal(err)
	}
}
