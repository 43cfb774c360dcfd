package txn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/quire-db/quire/txn"
)

// heldState is what a hold, or a transaction, has to read: the pages of each
// volume by name.
type heldState struct {
	hold *txn.Hold
	tx   *txn.Tx // instead
	want map[string]map[uint64]uint64
}

// holdWorld is a store whose states are known, and those of them that are held.
type holdWorld struct {
	*rig
	r    *rand.Rand
	now  map[string]map[uint64]uint64
	held []heldState
}

func (w *holdWorld) clone() map[string]map[uint64]uint64 {
	c := map[string]map[uint64]uint64{}
	for name, pages := range w.now {
		c[name] = maps.Clone(pages)
	}
	return c
}

// commit changes a few pages, or makes or deletes a volume.
func (w *holdWorld) commit() {
	w.t.Helper()
	next := w.clone()
	_, err := w.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Durability(w.r.IntN(2))}, func(tx *txn.Tx) error {
		name := fmt.Sprint("v", w.r.IntN(4))
		if next[name] == nil {
			next[name] = map[uint64]uint64{}
			if _, err := tx.CreateVolume(name, txn.VolumeOptions{}); err != nil {
				return err
			}
		} else if w.r.IntN(40) == 0 {
			delete(next, name)
			return tx.DeleteVolume(name)
		}
		for range 1 + w.r.IntN([]int{2, 2, 2, 60}[w.r.IntN(4)]) {
			no, value := uint64(w.r.IntN(200)), 1+w.r.Uint64N(1e9)
			next[name][no] = value
			if err := put(tx, name, no, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.now = next
}

// hold holds the newest state, or one that is held.
func (w *holdWorld) hold() {
	w.t.Helper()
	switch n := len(w.held); {
	case n > 0 && w.r.IntN(4) == 0:
		old := w.held[w.r.IntN(n)]
		at := txn.HoldOptions{}
		if old.tx != nil {
			at.At = old.tx.LSN()
		} else {
			at.At = old.hold.LSN()
		}
		w.held = append(w.held, heldState{hold: w.keep(at), want: old.want})
	case w.r.IntN(6) == 0:
		w.held = append(w.held, heldState{tx: w.begin(txn.TxOptions{ReadOnly: true}), want: w.now})
	default:
		w.held = append(w.held, heldState{hold: w.keep(txn.HoldOptions{}), want: w.now})
	}
}

func (w *holdWorld) release(i int) {
	if s := w.held[i]; s.tx != nil {
		s.tx.Rollback()
	} else {
		s.hold.Release()
	}
	w.held = slices.Delete(w.held, i, i+1)
}

// check reads all of one state.
func (w *holdWorld) check(s heldState) {
	w.t.Helper()
	read := func(tx *txn.Tx) error {
		for i := range 4 {
			name := fmt.Sprint("v", i)
			v, err := tx.Volume(name)
			if s.want[name] == nil {
				if !errors.Is(err, txn.ErrNoVolume) {
					return fmt.Errorf("%s is there: %v", name, err)
				}
				continue
			}
			if err != nil {
				return err
			}
			for no, want := range s.want[name] {
				p := make([]byte, 4096)
				if err := v.ReadPage(no, p); err != nil {
					return err
				}
				if string(p) != string(pageOf(want)) {
					return fmt.Errorf("page %d of %s is not what it was at LSN %d", no, name, tx.LSN())
				}
			}
		}
		return nil
	}
	var err error
	if s.tx != nil {
		err = read(s.tx)
	} else {
		err = s.hold.View(context.Background(), read)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Holds, transactions, commits and checkpoints, also ones that fail, at random:
// each hold reads what it began with, and nothing is left behind. The rig
// verifies the store when the test ends: no slot leaks, and none was reused.
func TestHoldsAtRandom(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &holdWorld{
				rig: newRig(t, txn.Options{CheckpointEvery: -1, GenerationBytes: 2 << 20}),
				r:   rand.New(rand.NewPCG(seed, 7)), now: map[string]map[uint64]uint64{},
			}
			w.commit()
			for range 700 {
				w.commit()
				if w.r.IntN(3) == 0 {
					w.hold()
				}
				if n := len(w.held); n > 0 && (n > 60 || w.r.IntN(5) == 0) {
					w.release(w.r.IntN(n))
				}
				switch w.r.IntN(60) {
				case 0, 1, 2:
					w.checkpoint()
				case 3:
					w.failedCheckpoint()
				}
				if n := len(w.held); n > 0 && w.r.IntN(8) == 0 {
					w.check(w.held[w.r.IntN(n)])
				}
			}
			for _, s := range w.held {
				w.check(s)
			}
			for len(w.held) > 0 {
				w.release(0)
			}
			w.checkpoint()
			w.checkpoint()
			eventually(t, "nothing is in limbo", func() bool { return w.Stats().Pages.LimboSlots == 0 })
			if n := w.Stats().Pages.RetiredLogs; n != 0 {
				t.Errorf("%d log files are kept for nobody", n)
			}
		})
	}
}

// failedCheckpoint fails at the disk's choice, or not at all.
func (w *holdWorld) failedCheckpoint() {
	var left atomic.Int64 // writes that succeed: a checkpoint's, and those of the room ahead
	left.Store(w.r.Int64N(12))
	w.disk.fail(func(op, name string) error {
		if op == "write" && strings.Contains(name, "heap") && left.Add(-1) < 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	_ = w.Checkpoint(context.Background())
	w.disk.fail(nil)
	if why := w.Stats().Poisoned; why != "" {
		w.t.Fatal(why)
	}
}

// What only holds reach is written by the next checkpoint, so that it keeps no
// memory, and no log file.
func TestHoldsAreSettledByACheckpoint(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1, GenerationBytes: 2 << 20})
	r.volume("v", 300)
	var holds []*txn.Hold
	for i := range uint64(400) {
		r.put("v", i%300, 5000+i)
		holds = append(holds, r.keep(txn.HoldOptions{}))
	}
	if n := r.Stats().Pages.Holds.InMemory; n != 400 {
		t.Fatalf("%d holds in memory", n)
	}
	r.checkpoint()
	r.put("v", 0, 1)
	r.checkpoint()
	st := r.Stats().Pages
	if st.Holds.InMemory != 0 || st.RetiredLogs != 0 {
		t.Errorf("%d holds in memory, %d log files kept for them", st.Holds.InMemory, st.RetiredLogs)
	}
	for i, h := range holds {
		if got := reads(t, h, "v", uint64(i)%300); got != 5000+uint64(i) {
			t.Fatalf("hold %d reads %d", i, got)
		}
	}
}
