package txn_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// One entry made the tips of two volumes, and a tag moves from one to the other.
// Whoever forks what the tag pointed to gets a conflict, not the other volume.
func TestForkOfTagThatMovedToTipOfSameEntry(t *testing.T) {
	for _, iso := range []txn.Isolation{txn.Serializable, txn.Snapshot} {
		r := newRig(t, txn.Options{})
		r.update(func(tx *txn.Tx) error {
			for i, name := range []string{"a", "b"} {
				v, err := tx.CreateVolume(name, txn.VolumeOptions{})
				if err == nil {
					err = v.WritePage(0, pageOf(uint64(i+1)))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		point := func(to string) {
			r.update(func(tx *txn.Tx) error {
				a, err := tx.Volume("a")
				if err != nil {
					return err
				}
				from, err := tx.Volume(to)
				if err != nil {
					return err
				}
				return tx.SetTag(a, "x", from)
			})
		}
		point("a")
		tx := r.begin(txn.TxOptions{Isolation: iso})
		at, err := tx.At("a", "x")
		if err == nil {
			_, err = tx.Fork("fork", at)
		}
		if err != nil {
			t.Fatal(err)
		}
		point("b")
		if _, err := tx.Commit(context.Background()); !errors.Is(err, txn.ErrConflict) {
			t.Errorf("isolation %v: %v; page 0 of the fork is %d", iso, err, r.get("fork", 0))
		}
	}
}

// A tag that is set to what it points to stays as it is.
func TestTagSetToItself(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	for range 2 {
		r.update(func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			from := v
			if at, err := tx.At("v", "x"); err == nil {
				from = at
			}
			return tx.SetTag(v, "x", from)
		})
	}
	err := r.View(context.Background(), func(tx *txn.Tx) error {
		for tag, err := range tx.Tags("v") {
			if err != nil || tag.Seq != 1 {
				t.Errorf("%+v, %v", tag, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// More tags than a record has room for are refused, whatever the isolation.
func TestTooManyTags(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	for _, iso := range []txn.Isolation{txn.Serializable, txn.Snapshot} {
		tx := r.begin(txn.TxOptions{Isolation: iso})
		v, err := tx.Volume("v")
		for i := 0; err == nil && i < 7000; i++ {
			err = tx.SetTag(v, fmt.Sprint(i), v)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Commit(context.Background()); !errors.Is(err, wal.ErrTooLarge) {
			t.Errorf("isolation %v: %v", iso, err)
		}
	}
}

// A tag may have the longest name there is.
func TestTagOfLongestName(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	name := strings.Repeat("n", wal.MaxNameBytes)
	r.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		return tx.SetTag(v, name, v)
	})
	r.checkpoint()
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	err := r.View(context.Background(), func(tx *txn.Tx) error {
		_, err := tx.At("v", name)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
