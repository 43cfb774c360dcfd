package txn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// Wait for a buffered commit returns when it is durable.
func TestWaitForDurable(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	c, err := r.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error { return put(tx, "v", 0, 1) })
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Wait(context.Background(), c.Position, txn.Ack{Applied: true})
	if err != nil || !got.Durable || !got.Applied || r.Stats().Durable < c.Position.LSN {
		t.Errorf("reached %+v: %v", got, err)
	}
}

// A timed-out wait says what was reached; the commit stands.
func TestATimedOutWaitReturnsWhatWasReached(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	head := r.Stats().Head
	future := head
	future.LSN++
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	got, err := r.Wait(ctx, future, txn.Ack{Applied: true})
	var w *txn.WaitError
	if !errors.As(err, &w) || !errors.Is(err, context.DeadlineExceeded) || w.Reached != got || got != (txn.Reached{}) || w.Position != future {
		t.Errorf("reached %+v: %v", got, err)
	}
	// Once it has come it is found to be another entry than the one meant.
	r.put("v", 0, 5)
	if _, err := r.Wait(context.Background(), future, txn.Ack{}); !errors.Is(err, txn.ErrDiverged) {
		t.Error(err)
	}
	if r.get("v", 0) != 5 {
		t.Error("the commit is gone")
	}
}

// Positions in any order, near and far, are proved, and wrong ones found out.
func TestWaitNamesDivergence(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	var all []wal.Position
	for i := range uint64(40) {
		r.put("v", 0, i)
		all = append(all, r.Stats().Head)
	}
	for _, i := range []int{3, 9, 4, 30, 0, 39, 12, 9} {
		if got, err := r.Wait(context.Background(), all[i], txn.Ack{Applied: true}); err != nil || !got.Applied {
			t.Errorf("position %d: %+v, %v", i, got, err)
		}
		bad := all[i]
		bad.Hash[5]++
		if _, err := r.Wait(context.Background(), bad, txn.Ack{}); !errors.Is(err, txn.ErrDiverged) {
			t.Errorf("wrong position %d: %v", i, err)
		}
	}
	// What the log does not tell any more is taken for reached.
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	if err := r.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Wait(context.Background(), all[3], txn.Ack{}); err != nil || !got.Durable {
		t.Errorf("compacted: %+v, %v", got, err)
	}
}
