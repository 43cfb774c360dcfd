//go:build linux || darwin

package vfs_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quire-db/quire/internal/vfs"
)

// TestLockHolderOfAnotherProcess stands in for one with a lock of its own
// descriptor, which the registry of this process does not know.
func TestLockHolderOfAnotherProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	if err := os.WriteFile(name, []byte("process 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	look := vfs.OS().(interface {
		LockHolder(name string) (string, bool, error)
	}).LockHolder

	flock(t, f, unix.LOCK_EX)
	if owner, held, err := look(name); owner != "process 1" || !held || err != nil {
		t.Errorf("held: %q %v %v", owner, held, err)
	}
	flock(t, f, unix.LOCK_UN)
	if owner, held, err := look(name); owner != "" || held || err != nil {
		t.Errorf("free: %q %v %v", owner, held, err)
	}

	flock(t, f, unix.LOCK_SH) // as one who looks, and has to wait for a processor
	looked := make(chan error, 1)
	go func() {
		time.Sleep(50 * time.Millisecond)
		looked <- unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}()
	release, err := vfs.OS().Lock(name, "process 2")
	if err != nil {
		t.Fatalf("refused because of one who looks: %v", err)
	}
	if err := <-looked; err != nil {
		t.Error(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func flock(t *testing.T, f *os.File, how int) {
	t.Helper()
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		t.Fatal(err)
	}
}
