package vfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
)

// A directory keeps its FileID when it is renamed and filled; a directory that
// is made where it was has another.
func TestFileID(t *testing.T) {
	disk := vfs.OS().(interface{ FileID(string) (string, error) })
	parent := t.TempDir()
	a, b := filepath.Join(parent, "a"), filepath.Join(parent, "b")
	id := func(name string) string {
		t.Helper()
		got, err := disk.FileID(name)
		if err != nil || got == "" {
			t.Fatal(got, err)
		}
		return got
	}
	if err := os.Mkdir(a, 0o700); err != nil {
		t.Fatal(err)
	}
	before := id(a)
	if err := os.Rename(a, b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if id(b) != before {
		t.Errorf("%q became %q by a rename", before, id(b))
	}
	if err := os.Mkdir(a, 0o700); err != nil {
		t.Fatal(err)
	}
	if id(a) == before {
		t.Error("two directories have one ID")
	}
	if _, err := disk.FileID(filepath.Join(parent, "none")); !os.IsNotExist(err) {
		t.Error(err)
	}
}
