//go:build linux || darwin

package vfs

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// LockHolder says who holds the lock that the file name stands for, changing
// nothing: it makes no file, and Lock waits a moment for those who look.
func (disk) LockHolder(name string) (owner string, isHeld bool, err error) {
	fd, err := openRegular(name, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, pathError("look at lock", name, err)
	}
	defer unix.Close(fd)
	st, err := stat(fd)
	if err != nil {
		return "", false, pathError("look at lock", name, err)
	}
	held.Lock()
	defer held.Unlock()
	if held.files[inode{uint64(st.Dev), uint64(st.Ino)}] {
		return readOwner(fd), true, nil
	}
	switch err := flock(fd, unix.LOCK_SH|unix.LOCK_NB); err {
	case nil: // closing lets go of it
		return "", false, flock(fd, unix.LOCK_UN)
	case unix.EWOULDBLOCK:
		return readOwner(fd), true, nil
	default:
		return "", false, pathError("look at lock", name, err)
	}
}
