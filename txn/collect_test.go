package txn_test

import (
	"context"
	"errors"
	"testing"

	"github.com/quire-db/quire/txn"
)

// collect returns how many slots were freed since the test began.
func (r *rig) collect() (freed uint64) {
	r.t.Helper()
	if _, err := r.Collect(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	return r.Stats().Pages.FreedSlots
}

// What was overwritten is free at once, without waiting for the keeper.
func TestCollectFreesWhatNothingHolds(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 40)
	r.overwrite(1)
	before := r.collect()
	r.overwrite(2)
	r.overwrite(3)
	if freed := r.collect() - before; freed < 80 {
		t.Errorf("two states of 40 pages are dead, and %d slots were freed", freed)
	}
	if s := r.Stats().Pages; s.LimboSlots != 0 || s.FreedBytes < 80*4096 {
		t.Errorf("%d slots wait, %d bytes were freed", s.LimboSlots, s.FreedBytes)
	}
	if c, err := r.Collect(context.Background()); err != nil || c.Slots != 0 || c.Bytes != 0 {
		t.Errorf("nothing was left to collect, and yet: %+v, %v", c, err)
	}
}

// A reader and a consumer keep what they need, and Collect ends all the same.
func TestCollectLeavesWhatIsHeld(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 40)
	r.collect()
	tx, err := r.Begin(context.Background(), txn.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	r.consumer("feed")
	r.overwrite(1)
	r.overwrite(2)
	both := r.collect()
	if s := r.Stats().Pages; s.LimboSlots < 80 {
		t.Errorf("%d slots wait, 40 for the reader and 40 for the consumer", s.LimboSlots)
	}
	tx.Rollback()
	one := r.collect()
	if one < both+40 {
		t.Errorf("the reader went, and %d slots were freed", one-both)
	}
	if err := r.DropConsumer("feed"); err != nil {
		t.Fatal(err)
	}
	if none := r.collect(); none < one+40 || r.Stats().Pages.LimboSlots != 0 {
		t.Errorf("all went, %d slots were freed and %d wait", none-one, r.Stats().Pages.LimboSlots)
	}
}

// Others that write all the time do not keep Collect from ending.
func TestCollectBesideWriters(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 40)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for value := uint64(1); ; value++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			_, err := r.Update(context.Background(), func(tx *txn.Tx) error {
				v, err := tx.Volume("v")
				if err == nil {
					err = v.WritePage(value%40, pageOf(value))
				}
				return err
			})
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for range 3 {
		if c, err := r.Collect(context.Background()); err != nil || c.Checkpoints > 8 {
			t.Errorf("%+v, %v", c, err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCollectEnds(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Collect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Collect(context.Background()); !errors.Is(err, txn.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
