package crashfs_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// TestFailedSync: a later sync that succeeds proves nothing (promise 6).
func TestFailedSync(t *testing.T) {
	r := newRig(t)
	f := r.synced("/f", strings.Repeat("o", 1024))
	r.write(f, strings.Repeat("1", 512), 0)
	r.Inject(crashfs.FailAt(r.Ops()+1, syscall.EIO))
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	see := func(image *crashfs.FS) string { s := text(t, image, "/f"); return s[:1] + s[512:513] }
	if seen := r.outcomes(crashfs.Random, see); seen["oo"] == 0 || seen["1o"] == 0 {
		t.Errorf("after the failed sync: %v, want either", seen)
	}
	r.write(f, strings.Repeat("2", 512), 512)
	r.ok(f.Sync())
	if got := see(r.FS); got != "12" {
		t.Errorf("the page cache shows %q", got)
	}
	for _, m := range []crashfs.Model{crashfs.Posix, crashfs.Random(1), crashfs.MetadataOrdered(1)} {
		if got := see(r.Cut(r.Ops(), m)); got != "o2" {
			t.Errorf("%v left %q, want what was written after the failure only", m, got)
		}
	}
}

func TestCrashAfter(t *testing.T) {
	r := newRig(t)
	f := r.create("/f", "")
	r.CrashAfter(r.Ops() + 1)
	r.write(f, "last", 0)
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, crashfs.ErrCrashed) {
		t.Errorf("write after the crash: %v", err)
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, crashfs.ErrCrashed) {
		t.Errorf("read after the crash: %v", err)
	}
	if _, err := r.ReadDir("/"); !errors.Is(err, crashfs.ErrCrashed) {
		t.Errorf("list after the crash: %v", err)
	}
	if got := text(t, r.Cut(r.Ops(), crashfs.Ordered), "/f"); got != "last" {
		t.Errorf("the disk holds %q", got)
	}
}

func TestFaults(t *testing.T) {
	r := newRig(t)
	f := r.create("/f", "")
	r.Inject(crashfs.FailAt(r.Ops()+1, syscall.ENOSPC))
	if n, err := f.WriteAt([]byte("xyz"), 0); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("failed write: %d, %v", n, err)
	}
	r.write(f, "abc", 0)
	r.Inject(crashfs.FailAt(r.Ops()+1, &crashfs.ShortWrite{N: 2, Err: syscall.ENOSPC}))
	if n, err := f.WriteAt([]byte("xyz"), 0); n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("short write: %d, %v", n, err)
	}
	if got := text(t, r.FS, "/f"); got != "xyc" {
		t.Errorf("after the short write: %q", got)
	}
	r.Inject(crashfs.FailFrom(r.Ops()+2, syscall.EROFS))
	r.write(f, "abc", 0)
	for range 2 {
		if _, err := r.Create("/g"); !errors.Is(err, syscall.EROFS) {
			t.Errorf("create on a disk that fails for ever: %v", err)
		}
	}
	r.Inject(crashfs.FailKind(syscall.EIO, crashfs.Read))
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("failed read: %v", err)
	}
	r.Inject(nil)
	if log := r.FS.Log(); len(log) != r.Ops() || log[1].String() != "2: write /f 0+0" {
		t.Errorf("log: %v", log)
	}
}
