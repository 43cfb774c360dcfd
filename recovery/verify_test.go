package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

func TestVerifyFindsNothing(t *testing.T) {
	dir, b := build(t, 1, txn.Options{})
	b.mixed()
	want := b.now
	killed := b.kill(dir)
	for _, d := range []string{dir, killed} {
		before := fingerprint(t, d)
		rep := verifytest.Clean(t, d)
		t.Logf("%+v", rep)
		if rep.Slots.Leaked != 0 || rep.ClosedCleanly != (d == dir) || rep.Cut != nil || !rep.Clean {
			t.Errorf("%+v", rep)
		}
		if err := compare(t, d, want); err != nil {
			t.Error(err)
		}
		if fingerprint(t, d) != before {
			t.Error("looking changed the directory")
		}
	}
}

// TestVerifyAfterHistories checks that no history leaks a slot: commits of all
// kinds, checkpoints beside readers, kills and reopenings.
func TestVerifyAfterHistories(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dir, b := build(t, seed, txn.Options{InlineBytes: int(1 + seed*4096)})
			b.create("a", 4096)
			b.create("b", 512)
			for range 12 {
				b.history(12)
				if b.rng.IntN(2) == 0 {
					dir = b.kill(dir)
				} else {
					b.close()
				}
				verifytest.Clean(t, dir)
				if err := compare(t, dir, b.now); err != nil {
					t.Fatal(err)
				}
				m, _, err := txn.Open(dir, txn.Options{StageBytes: 64 << 10, GenerationBytes: wal.MinGenerationBytes})
				if err != nil {
					t.Fatal(err)
				}
				b.m = m
			}
			b.close()
			verifytest.Clean(t, dir)
		})
	}
}

// history does n things at random, with readers that come and go beside.
func (b *builder) history(n int) {
	b.t.Helper()
	var readers []*txn.Tx
	for range n {
		name := []string{"a", "b"}[b.rng.IntN(2)]
		switch b.rng.IntN(9) {
		case 0, 1:
			b.write(name, 1+b.rng.IntN(4), 10_000)
		case 2:
			b.write(name, 30+b.rng.IntN(30), 2000)
		case 3:
			b.discard(name, 1+b.rng.IntN(20))
		case 4:
			b.truncate(name, b.rng.Uint64N(12_000))
		case 5:
			b.delete(name)
			b.create(name, 512<<b.rng.IntN(6))
		case 6, 7:
			b.checkpoint()
		case 8:
			tx, err := b.m.Begin(context.Background(), txn.TxOptions{ReadOnly: true})
			if err != nil {
				b.t.Fatal(err)
			}
			readers = append(readers, tx)
		}
		if len(readers) > 2 {
			readers[0].Rollback()
			readers = readers[1:]
		}
	}
	for _, tx := range readers {
		tx.Rollback()
	}
}

func TestVerifyProgress(t *testing.T) {
	dir, b := build(t, 1, txn.Options{})
	b.mixed()
	b.close()
	var last, all int64
	_, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{Progress: func(done, total int64) {
		if done < last || done > total {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last, all = done, total
	}})
	if err != nil || last == 0 || last != all {
		t.Errorf("progress ended at %d of %d: %v", last, all, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := recovery.Verify(ctx, vfs.OS(), dir, recovery.VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestVerifyAccountsForSlots changes what the manifest says is in use.
func TestVerifyAccountsForSlots(t *testing.T) {
	dir, b := build(t, 1, txn.Options{})
	b.mixed()
	b.close()
	for _, c := range []struct {
		want string
		edit func(manifest.Facts) manifest.Edit
	}{
		{"leaked", func(f manifest.Facts) manifest.Edit {
			return manifest.Edit{Used: []heap.Extent{{First: unused(f), Count: 1}}}
		}},
		{"says that it is free", func(f manifest.Facts) manifest.Edit {
			for e := range f.Used.Extents() {
				return manifest.Edit{Free: []heap.Extent{{First: e.First, Count: 1}}}
			}
			return manifest.Edit{}
		}},
	} {
		edited := filepath.Join(t.TempDir(), "store")
		copyDir(t, dir, edited)
		m, facts, _, err := manifest.Open(vfs.OS(), edited)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Append(c.edit(facts)); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		rep, err := recovery.Verify(context.Background(), vfs.OS(), edited, recovery.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if rep.Clean || len(rep.Problems) == 0 || !strings.Contains(rep.Problems[0].Reason, c.want) {
			t.Errorf("want a slot that is %q, got %v", c.want, rep.Problems)
		}
	}
}

// unused is the last known slot of a file that the checkpoint does not reach.
func unused(f manifest.Facts) heap.Slot {
	for _, file := range f.Heap {
		if s := heap.MakeSlot(file.Number, file.Slots-1); !f.Used.Has(s) {
			return s
		}
	}
	panic("the heap is full")
}
