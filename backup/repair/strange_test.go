package repair_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/txn"
)

// sectors is a disk that cannot read a part of the files below a directory.
type sectors struct {
	quick
	below    string
	from, to int64
}

func (s sectors) OpenRead(name string) (vfs.File, error) {
	f, err := s.quick.OpenRead(name)
	if err == nil && strings.HasPrefix(name, s.below+string(filepath.Separator)) {
		return unreadable{f, s}, nil
	}
	return f, err
}

type unreadable struct {
	vfs.File
	s sectors
}

func (u unreadable) ReadAt(p []byte, off int64) (int, error) {
	if off < u.s.to && off+int64(len(p)) > u.s.from {
		return 0, &os.PathError{Op: "read", Path: u.s.below, Err: syscall.EIO}
	}
	return u.File.ReadAt(p, off)
}

// The device cannot read a part of the heap, or of the log, or nothing of one of them.
func TestRepairUnreadableSectors(t *testing.T) {
	t.Parallel()
	w := backedUp(t, 32, 6)
	must(t, w.M.Checkpoint(ctx))
	w.live(4)
	w.Ship()
	must(t, w.M.Close())
	for _, c := range []struct {
		below    string
		from, to int64
	}{{"heap", 8192, 16384}, {"heap", 0, 1 << 40}, {"wal", 300, 600}, {"wal", 0, 1 << 40}} {
		dir := w.copy()
		was := fingerprint(t, dir)
		ill := sectors{disk.(quick), filepath.Join(dir, c.below), c.from, c.to}
		got, err := txn.Repair(ctx, w.Archive, dir, repair.Options{}, txn.Options{FS: ill})
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if got.Position.LSN != w.last() || got.Began.LSN != 0 || fingerprint(t, got.Damaged) != was {
			t.Fatalf("%+v: %+v", c, got)
		}
		w.holds(dir, got)
	}
}

// What is no file lies in the place of one, or an older file was put back. Nothing hangs,
// nothing is followed, and the store is repaired, or says that it cannot know how far it
// had come.
func TestRepairStrangeFiles(t *testing.T) {
	t.Parallel()
	w := backedUp(t, 31, 6)
	must(t, w.M.Checkpoint(ctx))
	must(t, w.M.Close())
	older, err := os.ReadFile(filepath.Join(w.Dir, "MANIFEST"))
	must(t, err)
	w.Open()
	w.note()
	w.live(4)
	w.Ship()
	must(t, w.M.Close())
	wals, err := filepath.Glob(filepath.Join(w.Dir, "wal", "*"))
	must(t, err)
	log, err := filepath.Rel(w.Dir, wals[len(wals)-1])
	must(t, err)
	fifo := func(name string) error { return syscall.Mkfifo(name, 0o600) }
	link := func(name string) error { return os.Symlink("/etc/passwd", name) }
	directory := func(name string) error { return os.Mkdir(name, 0o700) }
	old := func(name string) error { return os.WriteFile(name, older, 0o600) }
	for _, c := range []struct {
		name string
		make func(string) error
	}{
		{"MANIFEST", old}, {filepath.Join(log, "00000000000000000001"), fifo}, {log, link},
		{filepath.Join("heap", "00000001"), directory}, {"heap", fifo}, {"LOCK", fifo}, {"quarantine", link},
	} {
		dir := w.copy()
		name := filepath.Join(dir, c.name)
		must(t, os.RemoveAll(name))
		must(t, c.make(name))
		was := fingerprint(t, dir)
		got, err := w.repair(dir, repair.Options{})
		var lost *repair.LossError
		if errors.As(err, &lost) && c.name == "MANIFEST" {
			if lost.Unread == nil || lost.At.LSN != w.last() || fingerprint(t, dir) != was {
				t.Fatalf("%s: %v", c.name, err)
			}
			got, err = w.repair(dir, repair.Options{AcceptLoss: true})
		}
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got.Position.LSN != w.last() || fingerprint(t, got.Damaged) != was {
			t.Fatalf("%s: %+v", c.name, got)
		}
		w.holds(dir, got)
	}
}

// TestStagingIsALink: what a link in the place of a directory of a repair's own leads to is
// somebody else's, and stays.
func TestStagingIsALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 14)
	w.live(4)
	w.Ship()
	must(t, w.M.Close())
	for _, beside := range []string{".repairing", ".repaired"} {
		dir, others := w.copy(), t.TempDir()
		file := filepath.Join(others, "file")
		must(t, os.WriteFile(file, []byte("somebody's"), 0o600))
		must(t, os.Remove(filepath.Join(dir, "MANIFEST")))
		must(t, os.Symlink(others, dir+beside))
		was := fingerprint(t, dir)
		if got, err := w.repair(dir, repair.Options{AcceptLoss: true}); err == nil {
			t.Errorf("%s: %+v", beside, got)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v", beside, err)
		}
		if fingerprint(t, dir) != was {
			t.Errorf("%s: the store was changed", beside)
		}
	}
}
