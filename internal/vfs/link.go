package vfs

import (
	"errors"
	"io/fs"
	"syscall"
)

// Linker is a disk on which names are given without replacing what has them,
// whoever else gives names there: what a directory that several processes
// share needs. It is no part of FS, because a store's own files need none of it.
type Linker interface {
	FS
	// Link gives a file a second name, which must not exist: of any number of
	// processes that give one name, one succeeds and the others get
	// fs.ErrExist. The name is durable after SyncDir of its directory, what it
	// names after Sync.
	Link(from, to string) error
	// EachEntry calls each for the names in a directory, in no order, until it
	// returns false. Its memory does not grow with their number. Every name
	// that is there from beginning to end is shown once, one that comes or
	// goes meanwhile once or not at all. each may change the directory.
	EachEntry(name string, each func(Entry) bool) error
	// FileID tells the file or directory that has a name from all others.
	FileID(name string) (string, error)
	// LockHolder says who holds the lock that a file stands for, changing
	// nothing; nobody holds that of a file that is not there.
	LockHolder(name string) (owner string, isHeld bool, err error)
}

// refusals are the answers of a file system that carried nothing out.
var refusals = []error{
	fs.ErrExist, fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid,
	syscall.ENOTDIR, syscall.EISDIR, syscall.EROFS, syscall.EXDEV, syscall.EMLINK, syscall.ENAMETOOLONG,
	syscall.ELOOP, syscall.ENOSYS, syscall.ENOTSUP, syscall.EOPNOTSUPP,
}

// IsRefusal reports whether the error of a call that changes a name says that
// nothing was changed. After any other the change may have happened, or, on a
// network file system, may still happen.
func IsRefusal(err error) bool {
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return IsFull(err)
}

// IsNotDirectory reports whether an error says that a file is in the place of a
// directory.
func IsNotDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
