package repair_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/internal/vfs/vfstest"
	"github.com/quire-db/quire/txn"
)

// The disk is gone from each call on, so that nothing is tidied up either. The damaged store
// is there, byte for byte, under one of its names, and the next run makes or finishes
// the repaired one.
func TestRepairDiskGone(t *testing.T) {
	t.Parallel()
	w := backedUp(t, 14, 5)
	w.live(2)
	must(t, w.M.Close())
	damaged := func() string {
		dir := w.copy()
		must(t, os.WriteFile(filepath.Join(dir, "notes"), []byte("no file of a store"), 0o600))
		return dir
	}
	run := func(dir string, calls int64) (left int64, got *repair.Repaired, err error) {
		gone := vfstest.After(calls, disk)
		got, err = txn.Repair(ctx, w.Archive, dir, repair.Options{}, txn.Options{FS: gone})
		return gone.Left(), got, err
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
			got = &repair.Repaired{Position: w.position(dir), Digest: w.states[w.last()].Digest, LogFrom: w.last()}
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
