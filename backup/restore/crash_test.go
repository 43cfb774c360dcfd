package restore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/vfstest"
	"github.com/quire-db/quire/txn"
)

// The disk is gone from each call on, so that nothing is tidied up either: the store is
// there, whole, or it is not, and the next restore makes it.
func TestRestoreDiskGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 14)
	w.live(8)
	w.Ship()
	w.Snapshot(true)
	w.live(3)
	w.Ship()
	parent := t.TempDir()
	run := func(name string, calls int64) (left int64, got *restore.Restored, err error) {
		disk := vfstest.After(calls, vfs.OS().(vfs.Linker))
		got, err = txn.Restore(ctx, w.Archive, filepath.Join(parent, name), restore.Target{}, restore.Options{}, txn.Options{FS: disk})
		return disk.Left(), got, err
	}
	const many = 1 << 20
	left, want, err := run("whole", many)
	must(t, err)
	calls := int64(many) - left
	there := 0
	for n := range calls {
		if calls-n > 12 && n%5 != 0 {
			continue
		}
		name := fmt.Sprint("cut", n)
		_, _, err := run(name, n)
		dir := filepath.Join(parent, name)
		if _, errStat := vfs.OS().Lstat(dir); errStat == nil {
			there++
		} else if !errors.Is(errStat, fs.ErrNotExist) || err == nil {
			t.Fatalf("call %d of %d: %v, %v", n, calls, err, errStat)
		} else if _, _, err = run(name, many); err != nil {
			t.Fatalf("call %d of %d, again: %v", n, calls, err)
		}
		w.holds(dir, want)
	}
	t.Logf("%d calls, there %d times", calls, there)
	if there == 0 {
		t.Error("that proves nothing of the last steps")
	}
}
