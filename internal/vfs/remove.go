package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// RemoveAll removes a directory with all that is in it, up to the first error. It is no
// error that it is not there. Links in it are removed, and not followed; in its place they
// are fs.ErrInvalid.
func RemoveAll(disk FS, dir string) error {
	if _, err := disk.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := Clear(disk, dir); err != nil {
		return err
	}
	return disk.Remove(dir)
}

// Clear removes all that is in a directory, up to the first error. A link in its place is
// fs.ErrInvalid: what it leads to is somebody else's.
func Clear(disk FS, dir string) error {
	e, err := disk.Lstat(dir)
	if err == nil && !e.Mode.IsDir() {
		err = fmt.Errorf("vfs: remove what is in %s: it is no directory, nothing was removed: move it away: %w", dir, fs.ErrInvalid)
	}
	if err != nil {
		return err
	}
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
