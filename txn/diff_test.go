package txn_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// Diff says what reading every page of both says: of two states of a volume, of
// two volumes without a common history, across checkpoints.
func TestDiff(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	rng := rand.New(rand.NewPCG(3, 3))
	change := func(name string) {
		r.update(func(tx *txn.Tx) error {
			v, err := tx.Volume(name)
			if errors.Is(err, txn.ErrNoVolume) {
				v, err = tx.CreateVolume(name, txn.VolumeOptions{})
			}
			for range 30 {
				if err == nil {
					err = v.WritePage(rng.Uint64N(600), pageOf(rng.Uint64N(3))) // 0 makes it absent
				}
			}
			if err == nil && rng.IntN(4) == 0 {
				err = v.Truncate(rng.Uint64N(600))
			}
			return err
		})
	}
	change("a")
	change("b")
	for round := range 12 {
		old := r.begin(txn.TxOptions{ReadOnly: true})
		for range rng.IntN(4) {
			change("a")
		}
		change("b")
		if round%3 == 0 {
			if err := r.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
		now := r.begin(txn.TxOptions{ReadOnly: true})
		for _, pair := range [][2]*txn.Volume{
			{open(t, old, "a"), open(t, now, "a")},
			{open(t, now, "a"), open(t, old, "a")},
			{open(t, now, "a"), open(t, now, "b")},
			{open(t, now, "b"), open(t, now, "b")},
		} {
			from, to := rng.Uint64N(100), 300+rng.Uint64N(400)
			want := readDiff(t, pair[0], pair[1], from, to)
			var got []txn.PageDiff
			for d, err := range txn.Diff(pair[0], pair[1], from, to) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, d)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("round %d: got %v, want %v", round, got, want)
			}
		}
		old.Rollback()
		now.Rollback()
	}
}

func open(t *testing.T, tx *txn.Tx, name string) *txn.Volume {
	t.Helper()
	v, err := tx.Volume(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// readDiff is Diff by reading all pages.
func readDiff(t *testing.T, a, b *txn.Volume, from, to uint64) (out []txn.PageDiff) {
	t.Helper()
	inA, inB := present(t, a), present(t, b)
	all := maps.Clone(inA)
	maps.Copy(all, inB)
	for _, no := range slices.Sorted(maps.Keys(all)) {
		x, isA := inA[no]
		y, isB := inB[no]
		if no >= from && no < to && (isA != isB || x != y) {
			out = append(out, txn.PageDiff{Page: no, InA: isA, InB: isB})
		}
	}
	return out
}

func present(t *testing.T, v *txn.Volume) map[uint64]string {
	t.Helper()
	pages := map[uint64]string{}
	for p, err := range v.Pages(0, wal.MaxPages) {
		if err != nil {
			t.Fatal(err)
		}
		pages[p.No] = string(p.Data)
	}
	return pages
}

func TestDiffRefuses(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 3)
	r.update(func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("small", txn.VolumeOptions{PageSize: 512})
		return err
	})
	other := newRig(t, txn.Options{})
	other.volume("v", 3)
	first := func(a, b *txn.Volume) (err error) {
		for _, err = range txn.Diff(a, b, 0, 10) {
			break
		}
		return err
	}
	tx := r.begin(txn.TxOptions{})
	defer tx.Rollback()
	elsewhere := other.begin(txn.TxOptions{ReadOnly: true})
	v := open(t, tx, "v")
	if err := first(v, open(t, tx, "small")); !errors.Is(err, txn.ErrIncomparable) {
		t.Errorf("pages of two sizes: %v", err)
	}
	if err := first(v, open(t, elsewhere, "v")); !errors.Is(err, txn.ErrIncomparable) {
		t.Errorf("volumes of two stores: %v", err)
	}
	ended := open(t, elsewhere, "v")
	elsewhere.Rollback()
	if err := first(v, ended); !errors.Is(err, txn.ErrTxDone) {
		t.Errorf("an ended transaction: %v", err)
	}
	if err := v.WritePage(1, pageOf(9)); err != nil {
		t.Fatal(err)
	}
	if err := first(v, v); !errors.Is(err, txn.ErrStaged) {
		t.Errorf("staged pages: %v", err)
	}
	created, err := tx.CreateVolume("new", txn.VolumeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first(created, created); !errors.Is(err, txn.ErrStaged) {
		t.Errorf("a volume just made: %v", err)
	}
}

// What Diff did not yield is read too: a page that comes to differ is a
// conflict.
func TestDiffCountsAsRead(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{})
	r.volume("v", 10)
	r.volume("w", 10)
	r.volume("out", 1)
	tx := r.begin(txn.TxOptions{})
	for _, err := range txn.Diff(open(t, tx, "v"), open(t, tx, "w"), 0, 10) {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.update(func(tx *txn.Tx) error { return open(t, tx, "w").WritePage(7, pageOf(99)) })
	if err := open(t, tx, "out").WritePage(0, pageOf(1)); err != nil {
		t.Fatal(err)
	}
	var conflict *txn.ConflictError
	if _, err := tx.Commit(ctx); !errors.As(err, &conflict) || conflict.Name != "w" || conflict.Page != 7 {
		t.Errorf("Commit: %v, want a conflict at page 7 of w", err)
	}
}
