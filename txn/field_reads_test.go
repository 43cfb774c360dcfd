package txn_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/quire-db/quire/txn"
)

// racedBy commits race after a transaction has read v and staged a write of w, and
// says what becomes of that transaction.
func (r *rig) racedBy(read func(*txn.Volume) error, race func(*txn.Volume) error) error {
	r.t.Helper()
	tx := r.begin(txn.TxOptions{})
	v, err := tx.Volume("v")
	if err == nil {
		err = errors.Join(read(v), put(tx, "w", 0, 1))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		return race(v)
	})
	_, err = tx.Commit(context.Background())
	return err
}

func (r *rig) wantConflict(err error, what string, page uint64) {
	r.t.Helper()
	var c *txn.ConflictError
	if !errors.As(err, &c) || c.Name != "v" || c.What != what || c.Page != page {
		r.t.Errorf("%v, want a conflict of %s %d", err, what, page)
	}
}

func TestPageInsertedIntoARangeAnotherTransactionIterated(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 10)
	r.volume("w", 1)
	r.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		return v.Truncate(1000)
	})
	err := r.racedBy(func(v *txn.Volume) error {
		for _, err := range v.Pages(5, 500) {
			if err != nil {
				return err
			}
		}
		return nil
	}, func(v *txn.Volume) error { return v.WritePage(300, pageOf(7)) })
	r.wantConflict(err, "range", 300)
}

func TestPageDiscardedThatAnotherTransactionRead(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 10)
	r.volume("w", 1)
	err := r.racedBy(func(v *txn.Volume) error { return v.ReadPage(4, make([]byte, v.PageSize())) },
		func(v *txn.Volume) error { return v.DiscardPage(4) })
	r.wantConflict(err, "page", 4)
}

func TestRecoveryFromTheLogAtStart(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 10)
	for i := range uint64(50) {
		r.put("v", i%10, 1000+i)
	}
	r.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		_, err = tx.Fork("f", v)
		return errors.Join(err, tx.SetTag(v, "t", v))
	})
	before := r.Stats().Head
	if err := r.reopen(); err != nil { // nothing was checkpointed: all of it comes from the log
		t.Fatal(err)
	}
	if s := r.Stats(); s.Head != before || s.Pages.Checkpoint != 0 {
		t.Fatalf("it stands at %v, checkpoint %d, before at %v", s.Head, s.Pages.Checkpoint, before)
	}
	for _, name := range []string{"v", "f"} {
		for no := range uint64(10) {
			if got := r.get(name, no); got != 1040+no {
				t.Errorf("page %d of %s is %d", no, name, got)
			}
		}
	}
	tx := r.begin(txn.TxOptions{ReadOnly: true})
	at, err := tx.At("v", "t")
	if err != nil || fmt.Sprint(len(present(t, at))) != "10" {
		t.Errorf("what the tag points to: %v", err)
	}
	tx.Rollback()
}
