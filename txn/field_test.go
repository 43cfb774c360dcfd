package txn_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/txn"
)

// Failures that other stores had, each under the name of what happened.

func TestTransactionOpenAcross10000Commits(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointBytes: 1 << 20}) // many checkpoints, and log files retired
	r.volume("v", 200)
	reader, writer := r.begin(txn.TxOptions{ReadOnly: true}), r.begin(txn.TxOptions{})
	defer reader.Rollback()
	want := present(t, open(t, reader, "v"))
	if _, err := open(t, writer, "v").Size(); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10_000) {
		if _, err := r.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
			return open(t, tx, "v").WritePage(i%200, pageOf(i+1000))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if r.Stats().Checkpoints < 3 {
		t.Errorf("only %d checkpoints lie in between", r.Stats().Checkpoints)
	}
	for no, data := range present(t, open(t, reader, "v")) {
		if data != want[no] {
			t.Fatalf("page %d is not what it was", no)
		}
	}
	// The writer read the size only, which is what it was.
	if err := open(t, writer, "v").WritePage(300, pageOf(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Commit(ctx); err != nil {
		t.Errorf("Commit: %v", err)
	}
}

func TestVolumeDeletedWhileReadersAreInIt(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 500)
	r.volume("other", 1)
	if err := r.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	reader := r.begin(txn.TxOptions{ReadOnly: true})
	v := open(t, reader, "v")
	seen := 0
	for p, err := range v.Pages(0, 500) {
		if err != nil {
			t.Fatal(err)
		}
		if string(p.Data) != string(pageOf(p.No+1)) {
			t.Fatalf("page %d is not what it was", p.No)
		}
		if seen++; seen == 100 {
			r.update(func(tx *txn.Tx) error { return tx.DeleteVolume("v") })
			for i := range uint64(3) { // what it had would be used again
				if err := r.Checkpoint(ctx); err != nil {
					t.Fatal(err)
				}
				r.update(func(tx *txn.Tx) error {
					other := open(t, tx, "other")
					for no := range uint64(200) {
						if err := other.WritePage(no, pageOf(i*1000+no+7)); err != nil {
							return err
						}
					}
					return nil
				})
			}
		}
	}
	if seen != 500 {
		t.Errorf("%d pages of 500", seen)
	}
	before := r.Stats().Pages.LimboSlots
	reader.Rollback()
	eventually(t, "the volume's space is given back", func() bool { return r.Stats().Pages.LimboSlots < before })
}

func TestEmptyRangeIteratedByTwoWhoBothInsert(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{})
	r.volume("v", 10)
	var txs []*txn.Tx
	for i := range uint64(2) {
		tx := r.begin(txn.TxOptions{})
		v := open(t, tx, "v")
		for range v.Pages(100, 200) {
			t.Fatal("the range is not empty")
		}
		if err := v.WritePage(120+i, pageOf(i+1)); err != nil {
			t.Fatal(err)
		}
		txs = append(txs, tx)
	}
	if _, err := txs[0].Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := txs[1].Commit(ctx); !errors.Is(err, txn.ErrConflict) {
		t.Errorf("the second: %v, want a conflict", err)
	}
}

func TestTruncateThenGrow(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 300)
	r.update(func(tx *txn.Tx) error {
		v := open(t, tx, "v")
		return errors.Join(v.Truncate(10), v.Truncate(300))
	})
	check := func() {
		t.Helper()
		for no := range uint64(300) {
			want := uint64(0)
			if no < 10 {
				want = no + 1
			}
			if got := r.get("v", no); got != want {
				t.Fatalf("page %d is %d, want %d", no, got, want)
			}
		}
	}
	check()
	if err := errors.Join(r.Checkpoint(ctx), r.reopen()); err != nil {
		t.Fatal(err)
	}
	check()
}

// A directory that looks like the next generation of the log does not move the
// log's position: a generation is what the manifest names.
func TestStrayDirectoryThatLooksLikeTheNextGeneration(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 20)
	before := r.Stats().Head
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Glob(filepath.Join(r.dir, "wal", "*", "*"))
	if err != nil || len(own) == 0 {
		t.Fatal(own, err)
	}
	log, err := os.ReadFile(own[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, stray := range []string{"0000000000000001", "ffffffffffffffff"} {
		dir := filepath.Join(r.dir, "wal", stray)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, filepath.Base(own[0])), log, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	if now := r.Stats().Head; now != before {
		t.Errorf("the store is at %v, it was at %v", now, before)
	}
	for no := range uint64(20) {
		if got := r.get("v", no); got != no+1 {
			t.Fatalf("page %d is %d", no, got)
		}
	}
	r.put("v", 3, 77)
}
