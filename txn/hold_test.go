package txn_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

func (r *rig) keep(o txn.HoldOptions) *txn.Hold {
	r.t.Helper()
	h, err := r.Hold(context.Background(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// reads is what a page of a volume reads as in a hold.
func reads(t testing.TB, h *txn.Hold, name string, no uint64) (value uint64) {
	t.Helper()
	err := h.View(context.Background(), func(tx *txn.Tx) (err error) {
		value, err = get(tx, name, no)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// fill overwrites the first n pages of a volume, several to a transaction.
func (r *rig) fill(name string, n, value uint64) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error {
		for no := range n {
			if err := put(tx, name, no, value); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestHoldKeepsOldTips(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 40)
	var holds []*txn.Hold
	for round := range uint64(6) {
		r.fill("v", 40, 100+round)
		r.put("v", round, 1000+round) // in the log
		holds = append(holds, r.keep(txn.HoldOptions{Owner: "test", Reason: fmt.Sprint("round ", round)}))
		if round%2 == 1 {
			r.checkpoint()
		}
	}
	r.fill("v", 40, 7)
	r.checkpoint()
	r.checkpoint()
	for round, h := range holds {
		for no := range uint64(40) {
			want := 100 + uint64(round)
			if no == uint64(round) {
				want = 1000 + uint64(round)
			}
			if got := reads(t, h, "v", no); got != want {
				t.Fatalf("hold of round %d reads %d in page %d", round, got, no)
			}
		}
	}
	if r.Stats().Holds != len(holds) || r.Holds().KeptBytes < 6*40*4096 {
		t.Errorf("%d holds, %d bytes kept", r.Stats().Holds, r.Holds().KeptBytes)
	}
	for i := range holds {
		holds[i].Release()
		holds[i].Release()
		if err := holds[i].View(context.Background(), func(*txn.Tx) error { return nil }); !errors.Is(err, txn.ErrHoldReleased) {
			t.Fatalf("a released hold says %v", err)
		}
	}
	eventually(t, "everything is free again", func() bool { return r.Stats().Pages.LimboSlots == 0 })
}

func TestHoldsSayWhatEachKeeps(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 64)
	r.checkpoint()
	old := r.keep(txn.HoldOptions{Owner: "old"})
	r.fill("v", 64, 1)
	r.checkpoint()
	middle := r.keep(txn.HoldOptions{Owner: "middle", Reason: "to see"})
	twin := r.keep(txn.HoldOptions{At: middle.LSN(), Owner: "twin"})
	tx := r.begin(txn.TxOptions{Message: "a transaction"})
	r.fill("v", 16, 2)
	r.checkpoint()
	page, node := uint64(4096), uint64(16<<10) // nodes: a few more bytes
	kept := func() (map[string]uint64, uint64) {
		t.Helper()
		by, rep := map[string]uint64{}, r.Holds()
		for i, h := range rep.Holds {
			by[h.Owner] = h.KeptBytes
			if i > 0 && rep.Holds[i-1].LSN > h.LSN {
				t.Error("not by LSN")
			}
			if h.Since.IsZero() || !h.Expires.After(h.Since) {
				t.Errorf("%+v lacks an age", h)
			}
		}
		return by, rep.KeptBytes
	}
	about := func(what string, got, want uint64) {
		t.Helper()
		if got < want || got > want+node {
			t.Errorf("%s keeps %d bytes, want %d and some nodes", what, got, want)
		}
	}
	by, total := kept()
	if len(by) != 4 {
		t.Fatalf("holds: %v", by)
	}
	about("old", by["old"], 64*page)
	for _, owner := range []string{"middle", "twin", tx.ID().String()} {
		about(owner, by[owner], 16*page)
	}
	about("all", total, 80*page)

	tx.Rollback()
	twin.Release()
	old.Release()
	by, total = kept()
	about("middle", by["middle"], 16*page)
	about("all", total, 16*page)
	middle.Release()
	if rep := r.Holds(); len(rep.Holds) != 0 || rep.KeptBytes != 0 {
		t.Errorf("left: %+v", rep)
	}
}

func TestHoldsListConsumers(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 4)
	if _, err := r.Consumer(context.Background(), "index"); err != nil {
		t.Fatal(err)
	}
	r.fill("v", 4, 3)
	rep := r.Holds()
	if len(rep.Holds) != 1 || rep.Holds[0].Kind != txn.HoldConsumer || rep.Holds[0].Owner != "index" || rep.Holds[0].LSN == 0 {
		t.Errorf("%+v", rep)
	}
}

func TestHoldAt(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 2)
	gone := r.Stats().Published
	r.put("v", 0, 1)
	first := r.keep(txn.HoldOptions{})
	r.put("v", 0, 2)
	newest := r.Stats().Published
	r.keep(txn.HoldOptions{At: newest}).Release()
	r.put("v", 0, 3)
	again := r.keep(txn.HoldOptions{At: first.LSN()})
	first.Release()
	if got := reads(t, again, "v", 0); got != 1 || again.LSN() != first.LSN() {
		t.Errorf("LSN %d reads %d", again.LSN(), got)
	}
	for _, lsn := range []wal.LSN{gone, newest, newest + 100} {
		if _, err := r.Hold(context.Background(), txn.HoldOptions{At: lsn}); !errors.Is(err, txn.ErrNotHeld) {
			t.Errorf("hold at LSN %d: %v", lsn, err)
		}
	}
	again.Release()
	if _, err := r.Hold(context.Background(), txn.HoldOptions{At: again.LSN()}); !errors.Is(err, txn.ErrNotHeld) {
		t.Errorf("hold of what was released: %v", err)
	}
}

func TestHoldExpires(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1e9)
	r := newRig(t, txn.Options{CheckpointEvery: -1, HoldTTL: time.Minute, Now: func() time.Time { return time.Unix(clock.Load(), 0) }})
	r.volume("v", 8)
	abandoned, renewed, long := r.keep(txn.HoldOptions{}), r.keep(txn.HoldOptions{}), r.keep(txn.HoldOptions{TTL: time.Hour})
	clock.Add(59)
	if err := renewed.Renew(0); err != nil {
		t.Fatal(err)
	}
	clock.Add(1)
	if err := abandoned.Renew(0); !errors.Is(err, txn.ErrExpired) {
		t.Errorf("renewed past its deadline: %v", err)
	}
	if reads(t, renewed, "v", 0) != 1 || reads(t, long, "v", 0) != 1 {
		t.Error("wrong page")
	}
	clock.Add(60)
	eventually(t, "the expirer comes by", func() bool { return r.Stats().Holds == 1 })
	if err := renewed.View(context.Background(), func(*txn.Tx) error { return nil }); !errors.Is(err, txn.ErrExpired) {
		t.Errorf("an expired hold says %v", err)
	}
	if n := r.Stats().HoldsExpired; n != 2 {
		t.Errorf("%d holds expired", n)
	}
	// A transaction that reads in a hold lives by its own deadline.
	err := long.View(context.Background(), func(tx *txn.Tx) error {
		long.Release()
		_, err := get(tx, "v", 0)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestHoldLimits(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{MaxHolds: 2})
	a, b := r.keep(txn.HoldOptions{}), r.keep(txn.HoldOptions{})
	if _, err := r.Hold(ctx, txn.HoldOptions{}); !errors.Is(err, wal.ErrTooLarge) {
		t.Errorf("a hold too many: %v", err)
	}
	a.Release()
	for _, o := range []txn.HoldOptions{
		{Owner: strings.Repeat("x", txn.MaxHoldOwner+1)}, {Reason: strings.Repeat("x", txn.MaxHoldReason+1)}, {Owner: "\xff"}, {TTL: -1},
	} {
		if _, err := r.Hold(ctx, o); err == nil {
			t.Errorf("accepted %+v", o)
		}
	}
	if err := b.Renew(-1); err == nil {
		t.Error("a negative TTL was accepted")
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.Hold(dead, txn.HoldOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := b.View(dead, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, _, err := txn.Open(t.TempDir(), txn.Options{Create: true, MaxHolds: -1}); err == nil {
		t.Error("a negative bound was accepted")
	}
	_ = r.reopen()
	if err := b.View(ctx, func(*txn.Tx) error { return nil }); !errors.Is(err, txn.ErrClosed) {
		t.Errorf("a hold of a closed store: %v", err)
	}
	if err := b.Renew(0); !errors.Is(err, txn.ErrClosed) {
		t.Error(err)
	}
	b.Release()
}

func TestResetToAHold(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 30)
	h := r.keep(txn.HoldOptions{Owner: "undo"})
	r.fill("v", 20, 99)
	r.checkpoint()
	err := h.View(context.Background(), func(old *txn.Tx) error {
		to, err := old.Volume("v")
		if err != nil {
			return err
		}
		_, err = r.Update(context.Background(), func(tx *txn.Tx) error { return open(t, tx, "v").Reset(to) })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	r.checkpoint()
	for no := range uint64(30) {
		if got := r.get("v", no); got != no+1 {
			t.Fatalf("page %d reads %d", no, got)
		}
	}
}

// A reader of an old tip, stuck in the middle of a read, and a hold of it delay
// no commit, no apply and no checkpoint.
func TestReaderOfAnOldTipDelaysNothing(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 64)
	r.checkpoint()
	h := r.keep(txn.HoldOptions{Owner: "reader"})
	tx := r.begin(txn.TxOptions{ReadOnly: true})
	v := open(t, tx, "v")
	if _, err := v.Size(); err != nil {
		t.Fatal(err)
	}

	stuck, goOn := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	r.disk.fail(func(op, name string) error {
		if op == "read" && strings.Contains(name, "heap") && first.CompareAndSwap(false, true) {
			close(stuck)
			<-goOn
		}
		return nil
	})
	page, done := make([]byte, 4096), make(chan error, 1)
	go func() { done <- v.ReadPage(40, page) }()
	<-stuck
	for round := range uint64(4) {
		r.fill("v", 64, 500+round) // entries are applied before they are visible
		r.put("v", 3, 900+round)
		r.checkpoint()
		if got := r.get("v", 3); got != 900+round {
			t.Fatalf("page 3 reads %d", got)
		}
	}
	if _, err := r.Consumer(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("the reader was not stuck: %v", err)
	default:
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if string(page) != string(pageOf(41)) || reads(t, h, "v", 40) != 41 {
		t.Error("the reader got another page than it began with")
	}
	h.Release()
}

// The entries behind the last checkpoint wait in the log for the next, or for a
// recovery, which applies them to what the checkpoint reaches: no slot of that
// is given to anybody before, whoever releases what. Neither by a checkpoint
// that fails half-way, after which nothing says that it is not needed.
func TestDependencyIsNotReclaimedWhileItsDependentWaitsInTheLog(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1, CheckpointBytes: 1 << 30})
	r.volume("v", 300)
	r.checkpoint() // the base of what follows
	for round := range uint64(4) {
		h := r.keep(txn.HoldOptions{})
		r.fill("v", 250, 1000+round) // dead in memory: all that the checkpoint reaches but 50 pages
		r.put("v", 299, 2000+round)
		h.Release()
		if round == 1 {
			r.disk.fail(failing(syscall.ENOSPC, "heap", "write"))
			if err := r.Checkpoint(ctx); err == nil {
				t.Fatal("a checkpoint succeeded without a heap")
			}
			r.disk.fail(nil)
			if err := r.Stats().Poisoned; err != "" {
				t.Fatal(err)
			}
		}
		// Whatever were free would be written over.
		r.volume(fmt.Sprint("filler ", round), 400)

		killed := r.killed()
		m, rep, err := txn.Open(killed, txn.Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if rep.Replayed < 3*int(round+1) {
			t.Errorf("only %d entries waited in the log", rep.Replayed)
		}
		copied := &rig{Manager: m, t: t}
		for _, no := range []uint64{0, 249, 250, 298, 299} {
			want := map[bool]uint64{true: 1000 + round, false: no + 1}[no < 250]
			if no == 299 {
				want = 2000 + round
			}
			if got := copied.get("v", no); got != want {
				t.Errorf("round %d: page %d reads %d, want %d", round, no, got, want)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		verifytest.Clean(t, killed)
	}
}
