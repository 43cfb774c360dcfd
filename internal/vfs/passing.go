package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// LockPassing takes the lock that a file name stands for, as FS.Lock does, and makes the
// file go when release is called. It may have been opened before by somebody who then
// locks a file that has no name any more: so owner has to be of this call alone, such as
// with a UUID, and whoever finds another's words in the file, or no file, has not got the
// lock. That is a *LockedError, too.
func LockPassing(disk FS, name, owner string) (release func() error, err error) {
	unlock, err := disk.Lock(name, owner)
	if err != nil {
		return nil, err
	}
	words, err := ReadBeginning(disk, name, len(owner))
	if errors.Is(err, fs.ErrNotExist) || err == nil && words != owner {
		err = &LockedError{Name: name, Owner: words}
	}
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return func() error { return errors.Join(disk.Remove(name), unlock()) }, nil
}

// ReadBeginning reads a file, at most that many bytes of it.
func ReadBeginning(disk FS, name string, bytes int) (string, error) {
	f, err := disk.OpenRead(name)
	if err != nil {
		return "", err
	}
	size, err := f.Size()
	b := make([]byte, min(size, int64(bytes)))
	if err == nil && len(b) > 0 {
		_, err = f.ReadAt(b, 0)
	}
	return string(b), errors.Join(err, f.Close())
}

// Replaceable is nil when a directory has a name that another can take the place of by a
// rename, and fs.ErrInvalid when it is named by a dot or is the root.
func Replaceable(dir string) error {
	if base := filepath.Base(dir); base == "." || base == ".." || base == string(filepath.Separator) {
		return fmt.Errorf("%w: %s cannot be replaced by another directory: give its name in the one above it", fs.ErrInvalid, dir)
	}
	return nil
}
