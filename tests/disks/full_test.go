//go:build disks

package disks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
)

// held is a store that the test itself has open.
type held struct {
	t   *testing.T
	dir string
	m   *txn.Manager
	o   *oracle
}

func hold(t *testing.T, dir string) *held {
	t.Helper()
	h := &held{t: t, dir: dir, o: newOracle()}
	h.open()
	t.Cleanup(func() { _ = h.m.Close() })
	_, err := h.m.Update(context.Background(), create)
	must(t, err)
	return h
}

func (h *held) open() {
	h.t.Helper()
	m, _, err := txn.Open(h.dir, options())
	must(h.t, err)
	h.m = m
}

// commit is the next commit of a writer.
func (h *held) commit(w int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := h.m.Update(ctx, func(tx *txn.Tx) error { return stage(tx, w, h.o.at[w]+1) })
	if err == nil {
		to := h.o.at
		to[w]++
		h.o.advance(to)
	}
	return err
}

// commits so many of each writer.
func (h *held) commits(n int) {
	h.t.Helper()
	for i := range n * writers {
		if err := h.commit(i % writers); err != nil {
			h.t.Fatalf("commit %d: %v", i, err)
		}
	}
}

// reads everything while the store is open.
func (h *held) reads(when string) {
	h.t.Helper()
	if err := h.m.View(context.Background(), func(tx *txn.Tx) error { return h.o.compare(opened{tx}) }); err != nil {
		h.t.Fatalf("reading %s: %v", when, err)
	}
}

// TestDiskFull fills a small disk beneath an open store, again and again: an
// ordinary error, and the store goes on when there is room.
func TestDiskFull(t *testing.T) {
	d := newDisk(t, "ext4", 96<<20, "")
	h := hold(t, filepath.Join(d.dir, "store"))
	h.commits(10)
	refused := 0
	for _, left := range []int64{0, 100 << 10, 1 << 20, 3 << 20, 6 << 20} {
		room := d.leave(left)
		refused += h.full(left)
		h.reads("on a full disk")
		room()
		h.recovers()
	}
	must(t, h.m.Checkpoint(context.Background()))
	must(t, h.m.Close())
	d.cycle()
	a := acks{base: h.o.at}
	must(t, h.o.look(h.dir, a))
	must(t, h.o.reopen(h.dir))
	t.Logf("%d commits were refused, %v went through", refused, h.o.at)
}

// full commits until some were refused.
func (h *held) full(left int64) (refused int) {
	h.t.Helper()
	for i := 0; i < 2000 && refused < 5; i++ {
		err := h.commit(i % writers)
		if err == nil {
			continue
		}
		refused++
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, txn.ErrPoisoned) || errors.Is(err, txn.ErrUnknownOutcome) {
			h.t.Fatalf("%d bytes were left; commit %d: %v, want an ordinary ENOSPC", left, i, err)
		}
		if err := h.m.Checkpoint(context.Background()); err != nil && !errors.Is(err, syscall.ENOSPC) {
			h.t.Fatalf("%d bytes were left; checkpoint: %v, want an ordinary ENOSPC", left, err)
		}
	}
	if refused == 0 {
		h.t.Errorf("%d bytes were left, and 2000 commits found room", left)
	}
	if p := h.m.Stats().Poisoned; p != "" {
		h.t.Fatalf("a full disk poisoned the store: %s", p)
	}
	return refused
}

// recovers waits until commits go through again: what could not be prepared is
// tried again now and then.
func (h *held) recovers() {
	h.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		err := h.commit(0)
		if err == nil {
			break
		}
		if time.Since(began) > patience {
			h.t.Fatalf("room was made %v ago, and still: %v", patience, err)
		}
	}
	h.commits(8)
	h.reads("when there was room again")
}

// TestBecomesReadOnly has ext4 find an error beneath an open store, so that it
// lets nobody write (errors=remount-ro): a typed error, reads go on, and the
// store is as it was when it can be written again.
func TestBecomesReadOnly(t *testing.T) {
	d := newDisk(t, "ext4", 128<<20, ",errors=remount-ro")
	h := hold(t, filepath.Join(d.dir, "store"))
	h.commits(20)
	d.breaks()
	var refused error
	for i := 0; i < 500 && refused == nil; i++ {
		refused = h.commit(i % writers)
	}
	if !errors.Is(refused, syscall.EROFS) {
		t.Errorf("a commit on a disk that became read-only: %v, want EROFS", refused)
	}
	for w := range writers {
		if err := h.commit(w); err == nil {
			t.Errorf("writer %d could commit behind %v", w, refused)
		}
	}
	h.reads("from a disk that became read-only")
	t.Logf("commit: %v; close: %v", refused, h.m.Close())
	d.cycle()
	must(t, h.o.look(h.dir, acks{base: h.o.at}))
	h.open()
	h.commits(5)
	must(t, h.m.Close())
	must(t, h.o.reopen(h.dir))
}

// TestReadOnly looks at a store on a disk that is mounted read-only: looking
// works, opening says why it does not, and changes nothing.
func TestReadOnly(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			d := newDisk(t, kind, 320<<20, "")
			h := hold(t, filepath.Join(d.dir, "store"))
			h.commits(20)
			must(t, h.m.Close())
			d.cycle()
			d.remount("ro")
			if _, _, err := txn.Open(h.dir, options()); !errors.Is(err, syscall.EROFS) {
				t.Errorf("Open: %v, want EROFS", err)
			}
			if _, _, err := txn.Open(filepath.Join(d.dir, "new"), options()); !errors.Is(err, syscall.EROFS) {
				t.Errorf("Open of a new store: %v, want EROFS", err)
			}
			must(t, h.o.look(h.dir, acks{base: h.o.at}))
			d.remount("rw")
			if _, err := os.Stat(filepath.Join(d.dir, "new")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("opening made something: %v", err)
			}
			h.open()
			h.commits(5)
			must(t, h.m.Close())
			must(t, h.o.reopen(h.dir))
		})
	}
}
