package repair_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/txn"
)

// failing is a disk that changes no names any more after a number of calls.
type failing struct {
	vfs.FS
	left atomic.Int64
}

var errGone = errors.New("the disk is gone")

func (f *failing) do(call func() error) error {
	if f.left.Add(-1) < 0 {
		return errGone
	}
	return call()
}

func (f *failing) Create(name string) (file vfs.File, err error) {
	err = f.do(func() error { file, err = f.FS.Create(name); return err })
	return file, err
}
func (f *failing) Mkdir(name string) error   { return f.do(func() error { return f.FS.Mkdir(name) }) }
func (f *failing) Remove(name string) error  { return f.do(func() error { return f.FS.Remove(name) }) }
func (f *failing) SyncDir(name string) error { return f.do(func() error { return f.FS.SyncDir(name) }) }
func (f *failing) Rename(from, to string) error {
	return f.do(func() error { return f.FS.Rename(from, to) })
}
func (f *failing) Lock(name, owner string) (release func() error, err error) {
	err = f.do(func() error { release, err = f.FS.Lock(name, owner); return err })
	return release, err
}
func (f *failing) LockHolder(name string) (owner string, held bool, err error) {
	return f.FS.(interface {
		LockHolder(string) (string, bool, error)
	}).LockHolder(name)
}
func (f *failing) FileID(name string) (string, error) {
	return f.FS.(interface{ FileID(string) (string, error) }).FileID(name)
}

// The disk is gone from each call on, so that nothing is tidied up either. The damaged store
// is there, byte for byte, under one of its names, and the next run makes or finishes
// the repaired one.
func TestRepairDiskGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 14)
	w.live(5)
	w.ship()
	w.snapshot()
	w.live(2)
	must(t, w.m.Close())
	damaged := func() string {
		dir := w.copy()
		must(t, os.WriteFile(filepath.Join(dir, "notes"), []byte("no file of a store"), 0o600))
		return dir
	}
	run := func(dir string, calls int64) (left int64, got *repair.Repaired, err error) {
		gone := &failing{FS: disk}
		gone.left.Store(calls)
		got, err = txn.Repair(ctx, w.archive, dir, repair.Options{}, txn.Options{FS: gone})
		return gone.left.Load(), got, err
	}
	const many = 1 << 20
	left, _, err := run(damaged(), many)
	must(t, err)
	calls := int64(many) - left
	finished, anew := 0, 0
	for n := range calls {
		if calls-n > 10 && n > 3 && n%13 != 0 {
			continue
		}
		dir := damaged()
		was := fingerprint(t, dir)
		_, _, err := run(dir, n)
		if err == nil {
			t.Fatalf("call %d of %d: no error", n, calls)
		}
		got, err := w.repair(dir, repair.Options{})
		switch {
		case errors.Is(err, repair.ErrSound): // it had its name
			got = &repair.Repaired{Position: w.position(dir), Digest: w.states[w.last()], LogFrom: w.last()}
		case err != nil:
			t.Fatalf("call %d of %d, again: %v", n, calls, err)
		case got.Finished:
			finished++
			got.LogFrom = got.Position.LSN
		default:
			anew++
		}
		kept := ""
		for _, name := range beside(t, dir) {
			if strings.Contains(name, ".damaged-") {
				kept += fingerprint(t, filepath.Join(filepath.Dir(dir), name))
			} else if !strings.HasSuffix(name, ".lock") {
				t.Fatalf("call %d of %d left %s", n, calls, name)
			}
		}
		if kept != was {
			t.Fatalf("call %d of %d: the damaged store is not what it was", n, calls)
		}
		w.holds(dir, got)
	}
	t.Logf("%d calls, finished %d times, made anew %d times", calls, finished, anew)
	if finished == 0 || anew < 10 {
		t.Error("that proves nothing of the last steps")
	}
}
