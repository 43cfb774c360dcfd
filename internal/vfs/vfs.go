package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// FS is a disk: what Quire needs of one and nothing else. Names are paths as
// the operating system takes them. Every method may be called by several
// goroutines at once. Errors wrap those of package io/fs (fs.ErrNotExist,
// fs.ErrExist) and syscall (ENOSPC), so errors.Is works on all of them.
type FS interface {
	// Create makes the regular file name, which must not exist, for reading
	// and writing. Its name is durable after SyncDir of its directory.
	Create(name string) (File, error)
	// Open opens the existing regular file name for reading and writing.
	// Links, FIFOs, devices and directories are ErrNotRegular.
	Open(name string) (File, error)
	// OpenRead is Open for reading only.
	OpenRead(name string) (File, error)
	// Rename gives a file a new name, replacing what has it, or a directory one that
	// nothing has.
	Rename(from, to string) error
	// Remove unlinks a file or an empty directory. Files that are open stay
	// readable and writable until closed.
	Remove(name string) error
	// Mkdir makes one directory, which must not exist; its parent must.
	Mkdir(name string) error
	// ReadDir lists a directory sorted by name.
	ReadDir(name string) ([]Entry, error)
	// Lstat describes name without following a link.
	Lstat(name string) (Entry, error)
	// SyncDir makes the names in directory name durable.
	SyncDir(name string) error
	// Lock takes the exclusive lock that the file name stands for, making the
	// file when there is none, and writes owner into it for those who are
	// refused. A lock held by anybody, this process included, is a *LockedError
	// with the owner's text. The lock falls with the process; release ends it
	// sooner and is safe to call twice.
	Lock(name, owner string) (release func() error, err error)
}

// File is an open regular file. ReadAt and WriteAt may be called by several
// goroutines at once and follow io.ReaderAt and io.WriterAt. A short write is
// an error.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Size is the file's length in bytes.
	Size() (int64, error)
	// Truncate sets the length in bytes.
	Truncate(size int64) error
	// Sync makes the contents, and the length needed to read them, durable
	// (fdatasync). After an error nothing is known about what was written, and
	// a later Sync that succeeds proves nothing (promise 6).
	Sync() error
	io.Closer
}

// Entry describes one name in a directory.
type Entry struct {
	Name string
	Mode fs.FileMode // type bits only
	Size int64       // bytes, for a regular file
}

// ErrNotRegular is returned when a file was asked for and something else has
// its name.
var ErrNotRegular = errors.New("not a regular file")

// LockedError says who holds a lock.
type LockedError struct {
	Name  string // the lock file
	Owner string // what the holder wrote; empty when it could not be read
}

func (e *LockedError) Error() string {
	if e.Owner == "" {
		return e.Name + " is locked by another process"
	}
	return e.Name + " is locked by " + e.Owner
}

// IsFull reports whether an error says that there is no space left, on the disk
// or in the quota.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
