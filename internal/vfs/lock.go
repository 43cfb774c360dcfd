//go:build linux || darwin

package vfs

import (
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// maxOwner bounds the owner's text in bytes.
const maxOwner = 512

// inode is a file, whatever its names.
type inode struct{ dev, ino uint64 }

// held are the locks of this process. flock alone tells two descriptors of one
// process apart on a local disk, but not where it is made of record locks
// (NFS).
var held struct {
	sync.Mutex
	files map[inode]bool
}

func (disk) Lock(name, owner string) (release func() error, err error) {
	fd, err := openRegular(name, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	id, err := lock(fd)
	if err == unix.EWOULDBLOCK {
		defer unix.Close(fd)
		return nil, &LockedError{Name: name, Owner: readOwner(fd)}
	}
	if err != nil {
		unix.Close(fd)
		return nil, pathError("lock", name, err)
	}
	writeOwner(fd, owner)
	return sync.OnceValue(func() error { return unlock(fd, id, name) }), nil
}

// lock takes the lock of the open file or is EWOULDBLOCK.
func lock(fd int) (inode, error) {
	st, err := stat(fd)
	if err != nil {
		return inode{}, err
	}
	id := inode{uint64(st.Dev), uint64(st.Ino)}
	held.Lock()
	defer held.Unlock()
	if held.files[id] {
		return inode{}, unix.EWOULDBLOCK
	}
	if err := flockPastLookers(fd); err != nil {
		return inode{}, err
	}
	if held.files == nil {
		held.files = make(map[inode]bool)
	}
	held.files[id] = true
	return id, nil
}

// flockPastLookers takes the lock. LockHolder of another process has it for
// microseconds, shared, or as long as that process waits for a processor then;
// that is no reason to refuse. Whoever has it for itself is, after 15 ms.
func flockPastLookers(fd int) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK || wait > mostPastLookers || wait > mostPastHolder && !shareable(fd) {
			return err
		}
		time.Sleep(wait)
	}
}

// The longest pauses before a lock is refused: 15 ms and one second all together.
const (
	mostPastHolder  = 8 * time.Millisecond
	mostPastLookers = 512 * time.Millisecond
)

// shareable reports whether nobody has the lock of the open file for itself.
func shareable(fd int) bool {
	return flock(fd, unix.LOCK_SH|unix.LOCK_NB) == nil && flock(fd, unix.LOCK_UN) == nil
}

// unlock releases explicitly before it closes: a child process between fork
// and exec has the descriptor too and would keep the lock.
func unlock(fd int, id inode, name string) error {
	held.Lock()
	defer held.Unlock()
	delete(held.files, id)
	err := flock(fd, unix.LOCK_UN)
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		return pathError("unlock", name, err)
	}
	return nil
}

func flock(fd, how int) error {
	_, err := retry(func() (struct{}, error) { return struct{}{}, unix.Flock(fd, how) })
	return err
}

// writeOwner leaves its errors out: on a full disk a lock without a name is
// better than none.
func writeOwner(fd int, owner string) {
	if unix.Ftruncate(fd, 0) == nil {
		_, _ = unix.Pwrite(fd, []byte(owner[:min(len(owner), maxOwner)]), 0)
	}
}

// readOwner returns what can be shown of the owner's text: the file may hold
// anything.
func readOwner(fd int) string {
	var buf [maxOwner]byte
	n, err := retry(func() (int, error) { return unix.Pread(fd, buf[:], 0) })
	if err != nil {
		return ""
	}
	printable := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}
	return strings.TrimSpace(strings.Map(printable, string(buf[:n])))
}
