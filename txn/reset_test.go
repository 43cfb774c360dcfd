package txn_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/quire-db/quire/txn"
)

// A reset makes a volume what it was, or what another is, whatever was written,
// discarded and cut since, and stays what it is when its target is gone.
func TestReset(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 300)
	r.volume("w", 20)
	rng := rand.New(rand.NewPCG(8, 8))
	for round := range 10 {
		old := r.begin(txn.TxOptions{ReadOnly: true})
		was := open(t, old, "v")
		for range 1 + rng.IntN(4) {
			r.update(func(tx *txn.Tx) error {
				v := open(t, tx, "v")
				for range 20 {
					if err := v.WritePage(rng.Uint64N(400), pageOf(rng.Uint64N(4))); err != nil {
						return err
					}
				}
				if rng.IntN(2) == 0 {
					return v.Truncate(rng.Uint64N(400))
				}
				return nil
			})
		}
		if round%2 == 0 {
			if err := r.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
		target := was
		if round%5 == 4 {
			target = open(t, old, "w")
		}
		want := present(t, target)
		size, err := target.Size()
		if err != nil {
			t.Fatal(err)
		}
		r.update(func(tx *txn.Tx) error { return open(t, tx, "v").Reset(target) })
		old.Rollback()
		for range 2 { // before and after the target's slots were given back
			now := r.begin(txn.TxOptions{ReadOnly: true})
			v := open(t, now, "v")
			got := present(t, v)
			if n, err := v.Size(); err != nil || n != size || len(got) != len(want) {
				t.Fatalf("round %d: %d pages of %d, %v; want %d of %d", round, len(got), n, err, len(want), size)
			}
			for no, data := range want {
				if got[no] != data {
					t.Fatalf("round %d: page %d is not what it was", round, no)
				}
			}
			now.Rollback()
			if err := r.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
			r.put("w", rng.Uint64N(20), rng.Uint64())
		}
	}
}

// A reset that races a commit is a conflict, also where the commit wrote a page
// that the reset would have left alone.
func TestResetRacesACommit(t *testing.T) {
	ctx := context.Background()
	for name, race := range map[string]func(v *txn.Volume) error{
		"a page that the reset writes":    func(v *txn.Volume) error { return v.WritePage(1, pageOf(7)) },
		"a page that the reset leaves":    func(v *txn.Volume) error { return v.WritePage(5, pageOf(7)) },
		"the size":                        func(v *txn.Volume) error { return v.Truncate(50) },
		"a page that was absent all time": func(v *txn.Volume) error { return v.WritePage(15, pageOf(7)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, txn.Options{})
			r.volume("v", 10)
			r.update(func(tx *txn.Tx) error { return open(t, tx, "v").Truncate(20) })
			old := r.begin(txn.TxOptions{ReadOnly: true})
			defer old.Rollback()
			r.put("v", 1, 99)
			tx := r.begin(txn.TxOptions{})
			if err := open(t, tx, "v").Reset(open(t, old, "v")); err != nil {
				t.Fatal(err)
			}
			r.update(func(tx *txn.Tx) error { return race(open(t, tx, "v")) })
			if _, err := tx.Commit(ctx); !errors.Is(err, txn.ErrConflict) {
				t.Errorf("Commit: %v, want a conflict", err)
			}
		})
	}
}

func TestResetRefuses(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 3)
	r.volume("w", 3)
	reader, tx := r.begin(txn.TxOptions{ReadOnly: true}), r.begin(txn.TxOptions{})
	defer reader.Rollback()
	defer tx.Rollback()
	if err := open(t, reader, "v").Reset(open(t, reader, "w")); !errors.Is(err, txn.ErrReadOnly) {
		t.Errorf("in a read-only transaction: %v", err)
	}
	v := open(t, tx, "v")
	if err := v.WritePage(0, pageOf(77)); err != nil {
		t.Fatal(err)
	}
	if err := v.Reset(open(t, reader, "w")); !errors.Is(err, txn.ErrStaged) {
		t.Errorf("over staged writes: %v", err)
	}
}
