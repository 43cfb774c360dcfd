// Package vfstest checks that an implementation of vfs.FS keeps the promises
// written at the interface: those a program sees while it runs. What survives a
// power cut is the business of the implementation's own tests.
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
)

// Run checks the implementation that setup returns, with an empty directory of
// it to work in, anew for each check.
func Run(t *testing.T, setup func(t *testing.T) (disk vfs.FS, dir string)) {
	checks := []struct {
		name  string
		check func(s *suite)
	}{
		{"CreateIsExclusive", (*suite).createIsExclusive},
		{"OpenWantsAFile", (*suite).openWantsAFile},
		{"ReadsFollowReaderAt", (*suite).readsFollowReaderAt},
		{"WritesLeaveHoles", (*suite).writesLeaveHoles},
		{"TruncateClears", (*suite).truncateClears},
		{"OpenReadRefusesWrites", (*suite).openReadRefusesWrites},
		{"RenameReplaces", (*suite).renameReplaces},
		{"RenameOfDirectories", (*suite).renameOfDirectories},
		{"RemovedFilesStayOpen", (*suite).removedFilesStayOpen},
		{"RemoveSparesFullDirectories", (*suite).removeSparesFullDirectories},
		{"MkdirWantsItsParent", (*suite).mkdirWantsItsParent},
		{"ReadDirIsSorted", (*suite).readDirIsSorted},
		{"SyncDirWantsADirectory", (*suite).syncDirWantsADirectory},
		{"ClosedIsClosed", (*suite).closedIsClosed},
		{"NegativeOffsets", (*suite).negativeOffsets},
		{"LockExcludes", (*suite).lockExcludes},
		{"LockWantsAFile", (*suite).lockWantsAFile},
		{"ConcurrentUse", (*suite).concurrentUse},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			disk, dir := setup(t)
			c.check(&suite{t, disk, dir})
		})
	}
}

type suite struct {
	*testing.T
	disk vfs.FS
	dir  string
}

func (s *suite) path(name string) string { return filepath.Join(s.dir, name) }

// create makes a file that holds text.
func (s *suite) create(name, text string) vfs.File {
	s.Helper()
	f, err := s.disk.Create(s.path(name))
	s.ok(err)
	n, err := f.WriteAt([]byte(text), 0)
	if n != len(text) {
		s.Fatalf("wrote %d bytes of %d: %v", n, len(text), err)
	}
	s.ok(err)
	s.Cleanup(func() { f.Close() })
	return f
}

func (s *suite) open(name string) vfs.File {
	s.Helper()
	f, err := s.disk.Open(s.path(name))
	s.ok(err)
	s.Cleanup(func() { f.Close() })
	return f
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) is(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("error is %v, want %v", err, want)
	}
}

// holds checks a file's length and bytes.
func (s *suite) holds(f vfs.File, want string) {
	s.Helper()
	size, err := f.Size()
	s.ok(err)
	got := make([]byte, size)
	if n, err := f.ReadAt(got, 0); n != len(got) {
		s.Fatalf("read %d bytes of %d: %v", n, size, err)
	}
	if string(got) != want {
		s.Fatalf("file holds %q, want %q", got, want)
	}
}

func (s *suite) createIsExclusive() {
	s.create("f", "one")
	_, err := s.disk.Create(s.path("f"))
	s.is(err, fs.ErrExist)
	s.ok(s.disk.Mkdir(s.path("d")))
	_, err = s.disk.Create(s.path("d"))
	s.is(err, fs.ErrExist)
	_, err = s.disk.Create(s.path("none/f"))
	s.is(err, fs.ErrNotExist)
	_, err = s.disk.Create(s.path("f/f"))
	s.is(err, syscall.ENOTDIR)
	s.holds(s.open("f"), "one")
}

func (s *suite) openWantsAFile() {
	for _, open := range []func(string) (vfs.File, error){s.disk.Open, s.disk.OpenRead} {
		_, err := open(s.path("none"))
		s.is(err, fs.ErrNotExist)
		_, err = open(s.dir)
		s.is(err, vfs.ErrNotRegular)
	}
}

func (s *suite) readsFollowReaderAt() {
	f := s.create("f", "hello")
	for _, c := range []struct {
		off, length int64
		want        string
		err         error
	}{
		{0, 5, "hello", nil},
		{1, 3, "ell", nil},
		{0, 0, "", nil},
		{3, 5, "lo", io.EOF},
		{5, 1, "", io.EOF},
		{99, 1, "", io.EOF},
	} {
		buf := make([]byte, c.length)
		n, err := f.ReadAt(buf, c.off)
		if string(buf[:n]) != c.want || err != c.err && !(err == io.EOF && n == len(buf)) {
			s.Errorf("ReadAt(%d bytes, %d) = %q, %v; want %q, %v", c.length, c.off, buf[:n], err, c.want, c.err)
		}
	}
}

func (s *suite) writesLeaveHoles() {
	const far = 200_000
	f := s.create("f", "begin")
	_, err := f.WriteAt([]byte("end"), far)
	s.ok(err)
	_, err = f.WriteAt([]byte("EG"), 1)
	s.ok(err)
	s.holds(f, "bEGin"+string(make([]byte, far-5))+"end")
}

func (s *suite) truncateClears() {
	f := s.create("f", string(bytes.Repeat([]byte("x"), 1500)))
	s.ok(f.Truncate(700))
	s.ok(f.Truncate(1200))
	s.holds(f, string(bytes.Repeat([]byte("x"), 700))+string(make([]byte, 500)))
	s.ok(f.Truncate(0))
	s.holds(f, "")
	s.is(f.Truncate(-1), syscall.EINVAL)
}

func (s *suite) openReadRefusesWrites() {
	s.create("f", "text")
	f, err := s.disk.OpenRead(s.path("f"))
	s.ok(err)
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		s.Error("write to a file open for reading succeeded")
	}
	if err := f.Truncate(0); err == nil {
		s.Error("truncate of a file open for reading succeeded")
	}
	s.holds(f, "text")
}

func (s *suite) renameReplaces() {
	old := s.create("old", "old")
	s.create("new", "new")
	s.ok(s.disk.Mkdir(s.path("d")))
	s.ok(s.disk.Rename(s.path("new"), s.path("old")))
	s.holds(s.open("old"), "new")
	s.holds(old, "old")
	s.ok(s.disk.Rename(s.path("old"), s.path("d/old")))
	s.holds(s.open("d/old"), "new")
	_, err := s.disk.Open(s.path("old"))
	s.is(err, fs.ErrNotExist)
	s.is(s.disk.Rename(s.path("none"), s.path("x")), fs.ErrNotExist)
	s.is(s.disk.Rename(s.path("d/old"), s.path("none/x")), fs.ErrNotExist)
	if err := s.disk.Rename(s.path("d/old"), s.path("d")); err == nil {
		s.Error("a file was renamed over a directory")
	}
	s.ok(s.disk.Rename(s.path("d/old"), s.path("d/old")))
	s.holds(s.open("d/old"), "new")
}

func (s *suite) renameOfDirectories() {
	s.ok(s.disk.Mkdir(s.path("d")))
	s.ok(s.disk.Mkdir(s.path("d/e")))
	f := s.create("d/e/f", "text")
	s.ok(s.disk.Rename(s.path("d"), s.path("new")))
	s.holds(s.open("new/e/f"), "text")
	s.holds(f, "text")
	_, err := s.disk.Lstat(s.path("d"))
	s.is(err, fs.ErrNotExist)
	s.ok(s.disk.Rename(s.path("new/e"), s.path("e")))
	s.create("file", "")
	for _, taken := range []string{"e", "file", "new/inside"} {
		if err := s.disk.Rename(s.path("new"), s.path(taken)); err == nil {
			s.Errorf("a directory was renamed to %s", taken)
		}
	}
	s.holds(s.open("e/f"), "text")
}

func (s *suite) removedFilesStayOpen() {
	f := s.create("f", "text")
	s.ok(s.disk.Remove(s.path("f")))
	s.is(s.disk.Remove(s.path("f")), fs.ErrNotExist)
	s.create("f", "other")
	_, err := f.WriteAt([]byte("T"), 0)
	s.ok(err)
	s.holds(f, "Text")
	s.holds(s.open("f"), "other")
}

func (s *suite) removeSparesFullDirectories() {
	s.ok(s.disk.Mkdir(s.path("d")))
	s.create("d/f", "")
	s.is(s.disk.Remove(s.path("d")), syscall.ENOTEMPTY)
	s.ok(s.disk.Remove(s.path("d/f")))
	s.ok(s.disk.Remove(s.path("d")))
	_, err := s.disk.Lstat(s.path("d"))
	s.is(err, fs.ErrNotExist)
}

func (s *suite) mkdirWantsItsParent() {
	s.ok(s.disk.Mkdir(s.path("d")))
	s.is(s.disk.Mkdir(s.path("d")), fs.ErrExist)
	s.is(s.disk.Mkdir(s.path("none/d")), fs.ErrNotExist)
	e, err := s.disk.Lstat(s.path("d"))
	s.ok(err)
	if e != (vfs.Entry{Name: "d", Mode: fs.ModeDir}) {
		s.Errorf("Lstat of a directory is %+v", e)
	}
}

func (s *suite) readDirIsSorted() {
	s.create("b", "four")
	s.create("c", "")
	s.ok(s.disk.Mkdir(s.path("a")))
	got, err := s.disk.ReadDir(s.dir)
	s.ok(err)
	want := []vfs.Entry{{Name: "a", Mode: fs.ModeDir}, {Name: "b", Size: 4}, {Name: "c"}}
	if len(got) != len(want) {
		s.Fatalf("ReadDir is %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			s.Errorf("entry %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	_, err = s.disk.ReadDir(s.path("b"))
	s.is(err, syscall.ENOTDIR)
	_, err = s.disk.ReadDir(s.path("none"))
	s.is(err, fs.ErrNotExist)
}

func (s *suite) syncDirWantsADirectory() {
	f := s.create("f", "text")
	s.ok(f.Sync())
	s.ok(s.disk.SyncDir(s.dir))
	s.is(s.disk.SyncDir(s.path("f")), syscall.ENOTDIR)
	s.is(s.disk.SyncDir(s.path("none")), fs.ErrNotExist)
}

func (s *suite) closedIsClosed() {
	f := s.create("f", "text")
	s.ok(f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	s.is(err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	s.is(err, fs.ErrClosed)
	_, err = f.Size()
	s.is(err, fs.ErrClosed)
	s.is(f.Truncate(0), fs.ErrClosed)
	s.is(f.Sync(), fs.ErrClosed)
	s.is(f.Close(), fs.ErrClosed)
	s.holds(s.open("f"), "text")
}

func (s *suite) negativeOffsets() {
	f := s.create("f", "text")
	_, err := f.ReadAt(make([]byte, 1), -1)
	s.is(err, syscall.EINVAL)
	_, err = f.WriteAt([]byte("x"), -1)
	s.is(err, syscall.EINVAL)
}

func (s *suite) lockExcludes() {
	release, err := s.disk.Lock(s.path("LOCK"), "first owner")
	s.ok(err)
	_, err = s.disk.Lock(s.path("LOCK"), "second")
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.Owner != "first owner" || locked.Name != s.path("LOCK") {
		s.Fatalf("second lock: %v", err)
	}
	s.ok(release())
	again, err := s.disk.Lock(s.path("LOCK"), "second")
	s.ok(err)
	s.ok(release()) // the second call leaves the new lock alone
	if _, err = s.disk.Lock(s.path("LOCK"), "third"); !errors.As(err, &locked) || locked.Owner != "second" {
		s.Fatalf("third lock: %v", err)
	}
	s.ok(again())
}

func (s *suite) lockWantsAFile() {
	_, err := s.disk.Lock(s.dir, "me")
	s.is(err, vfs.ErrNotRegular)
	_, err = s.disk.Lock(s.path("none/LOCK"), "me")
	s.is(err, fs.ErrNotExist)
}

// concurrentUse writes blocks of one file from several goroutines and reads
// them back; under the race detector it shows that nothing is shared unsafely.
func (s *suite) concurrentUse() {
	const writers, block = 8, 700
	f := s.create("f", "")
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			want := bytes.Repeat([]byte{byte('a' + w)}, block)
			got := make([]byte, block)
			for range 20 {
				if _, err := f.WriteAt(want, int64(w*block)); err != nil {
					s.Error(err)
				}
				if _, err := f.ReadAt(got, int64(w*block)); err != nil && err != io.EOF {
					s.Error(err)
				}
				if !bytes.Equal(got, want) {
					s.Errorf("writer %d reads what another wrote", w)
				}
			}
			if err := f.Sync(); err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
}
