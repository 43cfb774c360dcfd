package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// RemoveAll removes a directory with all that is in it, up to the first error. It is no
// error that it is not there. Links in it are removed, and not followed.
func RemoveAll(disk FS, dir string) error {
	if _, err := disk.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := Clear(disk, dir); err != nil {
		return err
	}
	return disk.Remove(dir)
}

// Clear removes all that is in a directory, up to the first error.
func Clear(disk FS, dir string) error {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		remove := disk.Remove
		if e.Mode.IsDir() {
			remove = func(name string) error { return RemoveAll(disk, name) }
		}
		if err := remove(filepath.Join(dir, e.Name)); err != nil {
			return err
		}
	}
	return nil
}
