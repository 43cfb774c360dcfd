package txn_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// watched is a context that tells when somebody begins to wait for its end.
type watched struct {
	context.Context
	once    sync.Once
	waiting chan struct{}
}

func watch(t testing.TB) *watched {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return &watched{Context: ctx, waiting: make(chan struct{})}
}

func (w *watched) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waiting) })
	return w.Context.Done()
}

const heldBound = 64 << 10 // CheckpointBytes of the tests below

// press writes n times the bound, or until a commit fails.
func (r *rig) press(n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	data := make([]byte, wal.MaxExtensionBytes)
	for range n {
		_, err := r.UpdateWith(ctx, txn.TxOptions{Metadata: data}, func(tx *txn.Tx) error { return put(tx, "v", 0, 7) })
		if err != nil {
			return err
		}
	}
	return nil
}

// stuck has the keeper hang in a checkpoint, in the making of a heap file,
// until it is let go.
func (r *rig) stuck(more func(op, name string) error) (entered <-chan struct{}, letGo func()) {
	in, out := make(chan struct{}), make(chan struct{})
	var once, free sync.Once
	letGo = func() { free.Do(func() { close(out) }) }
	r.t.Cleanup(letGo)
	r.disk.fail(func(op, name string) error {
		if op == "syncdir" && strings.HasSuffix(name, "/heap") {
			once.Do(func() { close(in) })
			<-out
		}
		return more(op, name)
	})
	return in, letGo
}

// held is a commit of page 0 that waits for a checkpoint.
func (r *rig) held() <-chan error {
	r.t.Helper()
	tx, ctx, done := r.begin(txn.TxOptions{}), watch(r.t), make(chan error, 1)
	if err := put(tx, "v", 0, 8); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_, err := tx.Commit(ctx)
		done <- err
	}()
	<-ctx.waiting
	return done
}

// A commit that is held for a checkpoint is refused when the manager is
// poisoned, here by the sync of a buffered commit, and Close does not wait for
// it.
func TestPoisonWhileHeld(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointBytes: heldBound})
	r.volume("v", 20)
	eventually(t, "heap space is made ahead", func() bool { return r.Stats().Pages.Heap.Free >= 16*wal.DefaultPageSize })
	var armed atomic.Bool
	gate := make(chan struct{})
	entered, letGo := r.stuck(func(op, name string) error {
		if op == "sync" && strings.HasSuffix(name, "/heap/00000001") && armed.Load() {
			<-gate
			return errDisk
		}
		return nil
	})
	if err := r.press(1); err != nil {
		t.Fatal(err)
	}
	<-entered
	armed.Store(true)
	o := txn.TxOptions{Durability: txn.Buffered, Metadata: make([]byte, wal.MaxExtensionBytes)}
	_, err := r.UpdateWith(context.Background(), o, func(tx *txn.Tx) (err error) {
		for no := uint64(1); no < 10 && err == nil; no++ { // more than goes to the log
			err = put(tx, "v", no, 9)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	commit := r.held()
	close(gate)
	if err := <-commit; !errors.Is(err, txn.ErrPoisoned) || !errors.Is(err, errDisk) || errors.Is(err, txn.ErrUnknownOutcome) ||
		errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("commit: %v", err)
	}
	letGo()
	if err := r.reopen(); !errors.Is(err, txn.ErrPoisoned) {
		t.Errorf("close: %v", err)
	}
	if got := r.get("v", 0); got != 7 {
		t.Errorf("page 0 is %d", got)
	}
}

// Close lets a commit pass that is held for a checkpoint.
func TestCloseWhileHeld(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointBytes: heldBound})
	r.volume("v", 1)
	_, letGo := r.stuck(func(string, string) error { return nil })
	if err := r.press(2); err != nil {
		t.Fatal(err)
	}
	commit := r.held()
	closed := make(chan error)
	go func() { closed <- r.Close() }()
	if err := <-commit; err != nil {
		t.Errorf("commit: %v", err)
	}
	letGo()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	r.disk.fail(nil)
	r.open()
	if got := r.get("v", 0); got != 8 {
		t.Errorf("page 0 is %d", got)
	}
}

// When there is no space for a checkpoint, commits that wait for it get the
// reason; with space all goes on.
func TestNoSpaceForCheckpoint(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointBytes: heldBound})
	r.volume("v", 1)
	r.disk.fail(failing(syscall.ENOSPC, "/heap/", "create"))
	err := r.press(100)
	if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, txn.ErrPoisoned) || errors.Is(err, txn.ErrUnknownOutcome) {
		t.Errorf("commit: %v", err)
	}
	if s := r.Stats(); s.CheckpointsFailed == 0 || s.Checkpoints != 0 || s.Poisoned != "" || s.OpenTxs != 0 {
		t.Errorf("%+v", s)
	}
	r.disk.fail(nil)
	r.put("v", 0, 9)
	eventually(t, "a checkpoint", func() bool { return r.Stats().Checkpoints > 0 })
}
