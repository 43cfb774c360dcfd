package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
)

// takenAway is a disk on which the file that was just locked is another's, or none.
type takenAway struct {
	vfs.FS
	by string // what the other one wrote; nothing is there when empty
}

func (d takenAway) Lock(name, owner string) (func() error, error) {
	release, err := d.FS.Lock(name, owner)
	if err == nil {
		err = d.FS.Remove(name)
	}
	if err == nil && d.by != "" {
		err = os.WriteFile(name, []byte(d.by), 0o600)
	}
	return release, err
}

func TestLockPassing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	release, err := vfs.LockPassing(vfs.OS(), name, "one")
	must(t, err)
	var locked *vfs.LockedError
	if _, err := vfs.LockPassing(vfs.OS(), name, "two"); !errors.As(err, &locked) || locked.Owner != "one" {
		t.Errorf("held: %v", err)
	}
	must(t, release())
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("released: %v", err)
	}
	release, err = vfs.LockPassing(vfs.OS(), name, "two")
	must(t, err)
	must(t, release())
}

// Somebody removes the file between the opening and the lock, and perhaps makes another.
func TestLockPassingOfAFileThatWasTakenAway(t *testing.T) {
	for _, by := range []string{"", "me", "another one"} {
		name := filepath.Join(t.TempDir(), "lock")
		var locked *vfs.LockedError
		if _, err := vfs.LockPassing(takenAway{vfs.OS(), by}, name, "one"); !errors.As(err, &locked) {
			t.Errorf("by %q: %v", by, err)
		}
		if _, err := os.Stat(name); (err == nil) != (by != "") {
			t.Errorf("by %q, what the other has: %v", by, err)
		}
		release, err := vfs.LockPassing(vfs.OS(), name, "one")
		must(t, err)
		must(t, release())
	}
}

func TestReplaceable(t *testing.T) {
	for dir, want := range map[string]bool{"/": false, ".": false, "..": false, "a/..": false, "/srv/store": true, "store": true, "store/": true} {
		if err := vfs.Replaceable(dir); (err == nil) != want || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", dir, err)
		}
	}
}
