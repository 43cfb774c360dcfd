package txn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
)

var errDisk = errors.New("the disk is broken")

// poisoned checks what a manager does that writes no more: it refuses to
// write, says by how much visible exceeds durable, and goes on reading.
func (r *rig) poisoned(cause error) *txn.PoisonedError {
	r.t.Helper()
	ctx := context.Background()
	_, begin := r.Begin(ctx, txn.TxOptions{})
	_, update := r.Update(ctx, func(*txn.Tx) error { r.t.Error("the closure ran"); return nil })
	for call, err := range map[string]error{"begin": begin, "update": update} {
		if !errors.Is(err, txn.ErrPoisoned) || !errors.Is(err, cause) || errors.Is(err, txn.ErrUnknownOutcome) {
			r.t.Errorf("%s: %v", call, err)
		}
	}
	var p *txn.PoisonedError
	if !errors.As(begin, &p) {
		r.t.Fatal(begin)
	}
	s := r.Stats()
	if p.Visible != s.Published || p.Durable != s.Durable || s.Poisoned == "" {
		r.t.Errorf("visible %d and durable %d, the statistics say %d and %d", p.Visible, p.Durable, s.Published, s.Durable)
	}
	if says := strings.Contains(p.Error(), "may be lost"); says != (p.Visible > p.Durable) {
		r.t.Errorf("visible %d, durable %d: %v", p.Visible, p.Durable, p)
	}
	if err := r.Checkpoint(ctx); err == nil {
		r.t.Error("a checkpoint succeeds")
	}
	return p
}

// A sync that fails, of log or heap: the commit's outcome is unknown, others
// are refused, readers go on, and reopening recovers.
func TestPoisonBySync(t *testing.T) {
	for _, part := range []string{"/wal/", "/heap/"} {
		t.Run(part, func(t *testing.T) {
			for range 30 {
				if poisonBySync(t, part) {
					return
				}
				if part == "/wal/" {
					break // nobody but the commit syncs the file of the log
				}
			}
			t.Error("no commit came to the sync that fails: room ahead met it first each time")
		})
	}
}

// poisonBySync reports whether it was the commit whose sync failed, and not one of
// the heap's room ahead.
func poisonBySync(t *testing.T, part string) bool {
	ctx := context.Background()
	r := newRig(t, txn.Options{InlineBytes: 1})
	r.volume("v", 3)
	if part == "/wal/" {
		part = r.currentLog()
	}
	reader := r.begin(txn.TxOptions{ReadOnly: true})
	open := r.begin(txn.TxOptions{})
	if err := put(open, "v", 1, 50); err != nil {
		t.Fatal(err)
	}
	tx := r.begin(txn.TxOptions{})
	if err := put(tx, "v", 0, 60); err != nil {
		t.Fatal(err)
	}
	r.disk.fail(failing(errDisk, part, "sync"))
	_, err := tx.Commit(ctx)
	var unknown *txn.UnknownError
	first := errors.As(err, &unknown)
	if !errors.Is(err, errDisk) || !errors.Is(err, txn.ErrPoisoned) {
		t.Fatalf("commit: %v", err)
	}
	if first && (unknown.Txn != tx.ID() || unknown.LSN == 0) {
		t.Errorf("commit: %v", err)
	}
	if p := r.poisoned(errDisk); p.Visible != p.Durable || first && p.Durable != unknown.LSN-1 {
		t.Errorf("%v; the commit said: %v", p, err)
	}
	if _, err := open.Commit(ctx); !errors.Is(err, txn.ErrPoisoned) || errors.Is(err, txn.ErrUnknownOutcome) {
		t.Errorf("commit of an open transaction: %v", err)
	}
	if got, err := get(reader, "v", 0); got != 1 || err != nil {
		t.Errorf("an open reader: %d, %v", got, err)
	}
	if got := r.get("v", 0); got != 1 {
		t.Errorf("a new reader sees %d", got)
	}
	r.disk.fail(nil) // later syncs succeed, which proves nothing
	r.poisoned(errDisk)
	if err := r.reopen(); !errors.Is(err, txn.ErrPoisoned) {
		t.Errorf("close: %v", err)
	}
	if got := r.get("v", 0); got != 1 && (got != 60 || !first) {
		t.Errorf("after reopening page 0 is %d", got)
	}
	if got := r.get("v", 1); got != 2 {
		t.Errorf("after reopening page 1 is %d", got)
	}
	r.put("v", 2, 70)
	return first
}

// Buffered commits are visible before they are durable; when their sync fails
// the error says how many may be lost.
func TestPoisonOfBuffered(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{SyncEvery: time.Hour})
	r.volume("v", 10)
	r.disk.fail(failing(errDisk, r.currentLog(), "sync"))
	const n = 5
	acked := 0
	for i := range uint64(n) {
		c, err := r.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error { return put(tx, "v", i, 100) })
		if errors.Is(err, txn.ErrPoisoned) {
			break // the flusher was idle for long enough to sync
		}
		if err != nil || c.Durable {
			t.Fatalf("%+v, %v", c, err)
		}
		acked++
	}
	eventually(t, "the flusher syncs", func() bool { return r.Stats().Poisoned != "" })
	p := r.poisoned(errDisk)
	if got := int(p.Visible - p.Durable); acked == 0 || got != acked {
		t.Errorf("%d commits may be lost, %d were acknowledged: %v", got, acked, p)
	}
	for i := range uint64(acked) {
		if got := r.get("v", i); got != 100 {
			t.Errorf("page %d is %d, and was acknowledged", i, got)
		}
	}
	var last *txn.PoisonedError
	if err := r.reopen(); !errors.As(err, &last) || last.Visible != p.Visible {
		t.Errorf("close: %v", err)
	}
	lost := false
	for i := range uint64(acked) { // a prefix, in order
		got := r.get("v", i)
		if got != 100 && got != i+1 || lost && got == 100 {
			t.Errorf("page %d is %d", i, got)
		}
		lost = lost || got != 100
	}
}

// A write of images that fails before the entry is sequenced fails the commit
// only: nothing is known of it anywhere.
func TestFullHeap(t *testing.T) {
	ctx := context.Background()
	for _, op := range []string{"write", "create", "truncate"} {
		t.Run(op, func(t *testing.T) {
			r := newRig(t, txn.Options{StageBytes: 1 << 20})
			r.volume("v", 1)
			r.disk.fail(failing(syscall.ENOSPC, "/heap/", op))
			var failed error
			for _, n := range []uint64{20, 100, 1000, 8000} { // in memory, and staged on disk
				_, err := r.Update(ctx, func(tx *txn.Tx) error {
					v, err := tx.CreateVolume(fmt.Sprint(n), txn.VolumeOptions{PageSize: 4096})
					for no := uint64(0); no < n && err == nil; no++ {
						err = v.WritePage(no, pageOf(no+1))
					}
					return err
				})
				if err != nil {
					failed = err
				}
				if err != nil && (!errors.Is(err, syscall.ENOSPC) || errors.Is(err, txn.ErrUnknownOutcome)) {
					t.Errorf("%d pages: %v", n, err)
				}
			}
			if failed == nil && op == "write" {
				t.Error("nothing failed")
			}
			s := r.Stats()
			if s.OpenTxs != 0 || s.StagedBytes != 0 {
				t.Errorf("left behind: %d transactions, %d bytes", s.OpenTxs, s.StagedBytes)
			}
			t.Log(s.Poisoned, failed)
			r.disk.fail(nil)
			if s.Poisoned == "" {
				r.put("v", 0, 2)
			}
			if err := r.reopen(); err != nil && s.Poisoned == "" {
				t.Fatal(err)
			}
			r.put("v", 0, 3)
		})
	}
}

// A checkpoint that fails is tried again; commits go on meanwhile, and nothing
// is lost or leaked (the rig verifies every slot).
func TestFailedCheckpoint(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name, part, op string
		poisons        bool
	}{
		{"no space for nodes and images", "/heap/", "write", false},
		{"manifest not written", "MANIFEST", "write", true},
		{"heap not synced", "/heap/", "sync", true},
		{"manifest not synced", "MANIFEST", "sync", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, txn.Options{InlineBytes: 256 << 10, CheckpointEvery: -1})
			r.volume("v", 40)
			if err := r.Checkpoint(ctx); err != nil { // so that there are files to fail
				t.Fatal(err)
			}
			for round := range uint64(3) {
				for no := range uint64(40) {
					r.put("v", no, round*1000+no)
				}
				r.disk.fail(failing(syscall.ENOSPC, c.part, c.op))
				err := r.Checkpoint(ctx)
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("checkpoint: %v", err)
				}
				if poisoned := r.Stats().Poisoned != ""; poisoned != c.poisons {
					t.Errorf("poisoned: %v %s", err, r.Stats().Poisoned)
				}
				if r.Stats().Poisoned != "" {
					if err := r.reopen(); !errors.Is(err, txn.ErrPoisoned) {
						t.Errorf("close: %v", err)
					}
					continue
				}
				r.put("v", 0, round*1000)
				r.put("v", 1, round*1000+1)
				r.disk.fail(nil)
				if round == 1 { // reopen without a checkpoint in between
					if err := r.reopen(); err != nil {
						t.Fatal(err)
					}
				} else if err := r.Checkpoint(ctx); err != nil {
					t.Fatalf("checkpoint again: %v", err)
				}
				for no := range uint64(40) {
					if got := r.get("v", no); got != round*1000+no {
						t.Fatalf("round %d: page %d is %d", round, no, got)
					}
				}
			}
		})
	}
}

// A checkpoint that cannot read a node of a deleted volume fails and loses no
// slot below it: the next one lists each slot once (the rig verifies them all).
func TestCheckpointCannotReadWhatWasDeleted(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.update(func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{})
		for no := uint64(0); no < 300 && err == nil; no++ { // far apart: many nodes, on three levels
			err = v.WritePage(no*100, pageOf(no+1))
		}
		return err
	})
	r.volume("other", 1)
	if err := errors.Join(r.Checkpoint(ctx), r.reopen()); err != nil { // nothing is in the cache
		t.Fatal(err)
	}
	r.update(func(tx *txn.Tx) error { return tx.DeleteVolume("v") })
	failures := 0
	for ; ; failures++ {
		left := failures
		r.disk.fail(func(op, name string) error {
			if op != "read" || !strings.Contains(name, "/heap/") {
				return nil
			}
			if left--; left < 0 {
				return errDisk
			}
			return nil
		})
		err := r.Checkpoint(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, errDisk) || r.Stats().Poisoned != "" {
			t.Fatalf("failure %d: %v %s", failures, err, r.Stats().Poisoned)
		}
	}
	r.disk.fail(nil)
	if failures < 5 {
		t.Errorf("the checkpoint read %d nodes", failures)
	}
	if got := r.get("other", 0); got != 1 {
		t.Errorf("page 0 is %d", got)
	}
}

// A commit that finds room for some of its pages only gives it back.
func TestFullHeapHalfway(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{InlineBytes: 1})
	r.volume("v", 10)
	if err := r.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	r.disk.fail(failing(syscall.ENOSPC, "/heap/", "create", "truncate", "grow"))
	before := r.Stats().Pages.Heap.Used
	for range 3 {
		_, err := r.Update(ctx, func(tx *txn.Tx) error {
			for _, size := range []uint32{4096, 8192, 65536} { // there is no file for the larger pages
				v, err := tx.CreateVolume(fmt.Sprint(size), txn.VolumeOptions{PageSize: size})
				if err == nil {
					_, err = v.WriteAt(bytes.Repeat([]byte{1}, 5*int(size)), 0)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("commit: %v", err)
		}
	}
	if after := r.Stats().Pages.Heap.Used; after != before {
		t.Errorf("%d bytes of the heap are used, before it were %d", after, before)
	}
	r.disk.fail(nil)
	r.put("v", 0, 2)
}

// After the failure nothing is written any more, not by transactions that are
// open and not by Close, wherever the failure was.
func TestPoisonedWritesNothing(t *testing.T) {
	for _, part := range []string{"/wal/", "/heap/"} {
		t.Run(part, func(t *testing.T) {
			ctx := context.Background()
			r := newRig(t, txn.Options{StageBytes: 64 << 10})
			r.volume("v", 1)
			open, tx := r.begin(txn.TxOptions{}), r.begin(txn.TxOptions{})
			writes := func(tx *txn.Tx, n uint64) error {
				v, err := tx.Volume("v")
				for no := uint64(1); no <= n && err == nil; no++ {
					err = v.WritePage(no, pageOf(no))
				}
				return err
			}
			n := uint64(1)
			if part == "/heap/" {
				n = 10 // more than goes to the log
				r.update(func(tx *txn.Tx) error { return writes(tx, n) })
				tx = r.begin(txn.TxOptions{})
			}
			if err := writes(tx, n); err != nil {
				t.Fatal(err)
			}
			r.disk.fail(failing(errDisk, part, "sync"))
			if _, err := tx.Commit(ctx); !errors.Is(err, txn.ErrPoisoned) {
				t.Fatalf("commit: %v", err)
			}
			var written sync.Map
			r.disk.fail(func(op, name string) error {
				// The preparer may be filling what it had begun.
				if op == "truncate" || n == 1 && op != "open" && !strings.Contains(name, "/wal") && !strings.Contains(name, "MANIFEST") {
					written.Store(op, name)
				}
				return nil
			})
			if err := writes(open, 100); !errors.Is(err, txn.ErrPoisoned) || !errors.Is(err, errDisk) {
				t.Errorf("a transaction that spills: %v", err)
			}
			if err := r.Checkpoint(ctx); !errors.Is(err, txn.ErrPoisoned) {
				t.Errorf("checkpoint: %v", err)
			}
			open.Rollback()
			if err := r.Close(); !errors.Is(err, txn.ErrPoisoned) {
				t.Errorf("close: %v", err)
			}
			written.Range(func(op, name any) bool {
				t.Errorf("%v of %v", op, name)
				return true
			})
			r.disk.fail(nil)
			r.open()
			r.put("v", 0, 70)
		})
	}
}
