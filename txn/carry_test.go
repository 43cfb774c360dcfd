package txn_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/quire-db/quire/txn"
)

// forkHeld forks what a transaction holds, which must succeed.
func (r *rig) forkHeld(name string, from *txn.Volume) txn.Commit {
	r.t.Helper()
	c, err := r.Manager.Fork(context.Background(), name, from)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) tagHeld(volume, tag string, from *txn.Volume) {
	r.t.Helper()
	if _, err := r.SetTag(context.Background(), volume, tag, from); err != nil {
		r.t.Fatal(err)
	}
}

// A state that only a transaction holds is forked and tagged: smaller and larger
// than the volume now, with pages that are absent on either side. What it is
// forked from is let go of, and so is the tag that carried it.
func TestForkAndTagOfAHeldState(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2, 3, 4)
	short := r.begin(txn.TxOptions{ReadOnly: true})
	r.write("v", 0, 20, 0, 0, 0, 0, 7, 8)
	r.update(func(tx *txn.Tx) error {
		v := open(t, tx, "v")
		return errors.Join(v.DiscardPage(0), v.DiscardPage(3))
	})
	long := r.begin(txn.TxOptions{})
	r.update(func(tx *txn.Tx) error { return open(t, tx, "v").Truncate(2) })
	r.write("v", 5, 0, 6)
	want := contents{
		"v": {5, 20, 6}, "v@short": {1, 2, 3, 4}, "v@long": {0, 20, 3, 0, 0, 0, 7, 8},
		"f": {1, 2, 3, 4}, "g": {0, 20, 3, 0, 0, 0, 7, 8}, "f@origin": {5, 20, 6}, "g@origin": {5, 20, 6},
	}
	r.checkpoint()
	r.forkHeld("f", open(t, short, "v"))
	r.forkHeld("g", open(t, long, "v"))
	r.tagHeld("v", "short", open(t, short, "v"))
	r.tagHeld("v", "long", open(t, long, "v"))
	short.Rollback()
	long.Rollback()
	r.stay(want)
	r.write("f", 0, 0, 9, 9)
	r.write("v", 8, 8, 8)
	r.remove("g")
	r.untag("f", txn.OriginTag)
	r.stay(contents{"v": {8, 8, 8}, "v@short": {1, 2, 3, 4}, "v@long": {0, 20, 3, 0, 0, 0, 7, 8}, "f": {1, 2, 9, 9}})
	r.fork("h", "v", "long")
	r.untag("v", "long")
	r.reset("v", "v", "short")
	r.untag("v", "short")
	r.stay(contents{"v": {1, 2, 3, 4}, "f": {1, 2, 9, 9}, "h": {0, 20, 3, 0, 0, 0, 7, 8}, "h@origin": {0, 20, 3, 0, 0, 0, 7, 8}})
}

// What is current or tagged all the same is not carried.
func TestHeldStateThatATagHasIsNotCarried(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2)
	r.tag("v", "x")
	held := r.begin(txn.TxOptions{ReadOnly: true})
	current := open(t, held, "v")
	tagged, err := held.At("v", "x")
	if err != nil {
		t.Fatal(err)
	}
	direct := func(do func()) {
		t.Helper()
		before := r.Stats()
		do()
		if now := r.Stats(); now.Commits != before.Commits+1 || now.PayloadBytes != before.PayloadBytes {
			t.Errorf("%d commits, %d bytes of pages", now.Commits-before.Commits, now.PayloadBytes-before.PayloadBytes)
		}
	}
	direct(func() { r.forkHeld("f", current) })
	r.write("v", 3)
	direct(func() { r.forkHeld("g", tagged) })
	direct(func() { r.tagHeld("f", "y", tagged) })
	r.untag("v", "x")
	before := r.Stats().Commits
	r.forkHeld("h", tagged) // now it is only held
	if n := r.Stats().Commits - before; n != 3 {
		t.Errorf("%d commits, want those of a tag, a fork, and the tag's end", n)
	}
	r.stay(contents{
		"v": {3, 2}, "f": {1, 2}, "f@y": {1, 2}, "f@origin": {1, 2}, "g": {1, 2}, "g@origin": {1, 2}, "h": {1, 2}, "h@origin": {3, 2},
	})
}

// A state of a volume that is gone is forked and tagged with all its pages; also
// when another volume has its name by now.
func TestForkAndTagOfAHeldStateOfADeletedVolume(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2, 0, 4)
	r.tag("v", "x")
	r.write("v", 9)
	r.write("w", 7)
	held := r.begin(txn.TxOptions{ReadOnly: true})
	v := open(t, held, "v")
	x, err := held.At("v", "x")
	if err != nil {
		t.Fatal(err)
	}
	r.remove("v")
	r.write("v", 5)
	r.checkpoint()
	r.forkHeld("f", v)
	r.forkHeld("g", x)
	r.tagHeld("w", "of v", v)
	r.tagHeld("v", "of x", x)
	held.Rollback()
	want := contents{"v": {5}, "v@of x": {1, 2, 0, 4}, "w": {7}, "w@of v": {9, 2, 0, 4}, "f": {9, 2, 0, 4}, "g": {1, 2, 0, 4}}
	r.stay(want)
	r.remove("w")
	r.remove("f")
	r.remove("g")
	r.untag("v", "of x")
	r.stay(contents{"v": {5}})
}

// A pending fork keeps its source's old tip through any number of later commits:
// the source is overwritten all the time, checkpoints and reclaiming go on, and
// the fork is made all the same, without a conflict that anybody would see.
func TestPendingForkKeepsItsSourcesOldTip(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointBytes: 1 << 20})
	const pages = 60
	values := func(round uint64) (list []uint64) {
		for no := range uint64(pages) {
			list = append(list, round*1000+no+1)
		}
		return list
	}
	r.write("v", values(0)...)
	held := r.begin(txn.TxOptions{ReadOnly: true})
	old := open(t, held, "v")

	stop := make(chan struct{})
	var writers sync.WaitGroup
	var commits atomic.Int64
	for w := range uint64(2) {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(w, 1))
			for round := uint64(1); ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				_, err := r.Update(ctx, func(tx *txn.Tx) error {
					for range 10 {
						if err := put(tx, "v", rng.Uint64N(pages), round<<32|w); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				commits.Add(1)
			}
		})
	}
	for n := range 4 {
		before := commits.Load()
		eventually(t, "later commits", func() bool { return commits.Load() >= before+200 || t.Failed() })
		r.checkpoint()
		r.forkHeld(fmt.Sprint("fork ", n), old)
		r.tagHeld("v", fmt.Sprint("tag ", n), old)
	}
	close(stop)
	writers.Wait()
	held.Rollback()
	for range 2 {
		for n := range 4 {
			err := r.View(ctx, func(tx *txn.Tx) error {
				for _, v := range [][2]string{{fmt.Sprint("fork ", n), ""}, {"v", fmt.Sprint("tag ", n)}} {
					at, err := source(tx, v[0], v[1])
					if err != nil {
						return err
					}
					if got := valuesOf(t, at, pages); !slices.Equal(got, values(0)) {
						t.Errorf("%v is %v", v, got)
					}
				}
				for tag, err := range tx.Tags("v") {
					if err != nil || tag.Name[:4] != "tag " {
						t.Errorf("tag %q is left: %v", tag.Name, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.reopen(); err != nil {
			t.Fatal(err)
		}
	}
}

func valuesOf(t *testing.T, v *txn.Volume, most uint64) []uint64 {
	t.Helper()
	list, err := values(v, most)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A dependency reclaimed while its dependent waits in the log: it cannot be. An
// entry depends on the state before it only, and that is kept: by the snapshot
// while the transaction runs; by its pin as soon as it has an LSN, also against
// the next entry that drops the tag; by the checkpoint that recovery begins at
// while the entry lies in the log. One whose dependency went before it got an LSN
// is a conflict, and never in the log.
func TestADependencyIsNotReclaimedWhileItsDependentWaitsInTheLog(t *testing.T) {
	ctx := context.Background()
	fresh := func(t *testing.T) *rig {
		r := newRig(t, txn.Options{CheckpointEvery: -1})
		r.write("v", 1, 2, 3)
		r.tag("v", "x")
		r.write("v", 4, 5, 6)
		r.checkpoint()
		return r
	}
	// reclaim lets go of all that may go, and takes its slots for other things.
	reclaim := func(r *rig) {
		for i := range uint64(3) {
			r.write("w", i+70, i+70, i+70, i+70, i+70)
			r.checkpoint()
		}
	}
	done := contents{"v": {4, 5, 6}, "w": {72, 72, 72, 72, 72}, "f": {1, 2, 3}, "f@origin": {1, 2, 3}}
	t.Run("while the transaction runs", func(t *testing.T) {
		r := fresh(t)
		tx := r.begin(txn.TxOptions{})
		at, err := tx.At("v", "x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Fork("f", at); err != nil {
			t.Fatal(err)
		}
		r.untag("v", "x")
		reclaim(r)
		if got := valuesOf(t, at, 9); !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Errorf("it reads as %v", got)
		}
		_, err = tx.Commit(ctx)
		conflict(t, err, "tag", "v", "x")
		again := r.begin(txn.TxOptions{})
		if _, err := again.At("v", "x"); !errors.Is(err, txn.ErrNoTag) {
			t.Error(err)
		}
		again.Rollback()
		r.stay(contents{"v": {4, 5, 6}, "w": {72, 72, 72, 72, 72}})
	})
	t.Run("while its entry lies in the log only", func(t *testing.T) {
		r := fresh(t)
		r.fork("f", "v", "x")
		r.untag("v", "x")
		r.untag("f", txn.OriginTag)
		r.write("v", 7, 7, 7)
		r.kill(contents{"v": {7, 7, 7}, "f": {1, 2, 3}})
		reclaim(r)
		r.kill(contents{"v": {7, 7, 7}, "w": {72, 72, 72, 72, 72}, "f": {1, 2, 3}})
	})
	t.Run("in one group with the drop", func(t *testing.T) {
		r := fresh(t)
		for _, f := range []func(*txn.Tx) error{
			func(tx *txn.Tx) error { return fork(tx, "f", "v", "x") },
			func(tx *txn.Tx) error { return deleteTag(tx, "v", "x") },
		} {
			if _, err := r.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, f); err != nil {
				t.Fatal(err)
			}
		}
		reclaim(r)
		r.stay(done)
	})
	t.Run("while a checkpoint behind it fails", func(t *testing.T) {
		r := fresh(t)
		r.fork("f", "v", "x")
		r.disk.fail(failing(syscall.ENOSPC, "heap", "write"))
		if err := r.Checkpoint(ctx); err == nil {
			t.Error("the checkpoint does not fail")
		}
		r.untag("v", "x")
		r.disk.fail(nil)
		r.kill(contents{"v": {4, 5, 6}, "f": {1, 2, 3}, "f@origin": {1, 2, 3}})
		reclaim(r)
		r.stay(done)
	})
}

// The tag that carries a state is dropped when carrying fails.
func TestCarryThatFailsLeavesNothing(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2)
	r.write("w", 3)
	held := r.begin(txn.TxOptions{ReadOnly: true})
	old := open(t, held, "v")
	r.write("v", 4)
	ctx := context.Background()
	for what, err := range map[string]error{
		"fork as a name that is taken": second(r.Manager.Fork(ctx, "w", old)),
		"tag of no volume":             second(r.SetTag(ctx, "nobody", "x", old)),
		"reserved tag":                 second(r.SetTag(ctx, "v", "quire.x", old)),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	held.Rollback()
	if _, err := r.Manager.Fork(ctx, "f", old); !errors.Is(err, txn.ErrTxDone) {
		t.Errorf("of a transaction that has ended: %v", err)
	}
	r.stay(contents{"v": {4, 2}, "w": {3}})
}
