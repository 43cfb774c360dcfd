package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
)

func TestRemoveAll(t *testing.T) {
	above := t.TempDir()
	dir, kept := filepath.Join(above, "dir"), filepath.Join(above, "kept")
	must(t, errors.Join(os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700), os.Mkdir(kept, 0o700)))
	for _, name := range []string{filepath.Join(dir, "f"), filepath.Join(dir, "a", "b", "f"), filepath.Join(kept, "f")} {
		must(t, os.WriteFile(name, nil, 0o600))
	}
	must(t, os.Symlink(kept, filepath.Join(dir, "a", "link")))
	must(t, vfs.Clear(vfs.OS(), dir))
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Error("cleared:", left, err)
	}
	must(t, os.Symlink(kept, filepath.Join(dir, "link")))
	must(t, vfs.RemoveAll(vfs.OS(), dir))
	must(t, vfs.RemoveAll(vfs.OS(), dir)) // it is not there
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("removed:", err)
	}
	if _, err := os.Lstat(filepath.Join(kept, "f")); err != nil {
		t.Error("a link was followed:", err)
	}
}
