//go:build linux || darwin

package vfs

import (
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// file is a descriptor of our own lifetime: no finalizer closes it, no poller
// knows it, and a call costs two atomic additions beside its pread or pwrite.
type file struct {
	name string
	fd   int
	uses uses
}

// openFile opens a regular file and nothing else. A link is refused by the
// kernel, a FIFO or device is opened without waiting and refused when seen.
func openFile(name string, flags int) (File, error) {
	fd, err := openRegular(name, flags)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	f := &file{name: name, fd: fd}
	f.uses.init()
	return f, nil
}

func openRegular(name string, flags int) (int, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := retry(func() (int, error) { return unix.Open(name, flags, 0o600) })
	switch {
	case err == unix.ELOOP, err == unix.EISDIR, err == unix.ENXIO:
		return -1, ErrNotRegular
	case err != nil:
		return -1, err
	}
	st, err := stat(fd)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	if !f.uses.begin() {
		return 0, f.fail("read", fs.ErrClosed)
	}
	defer f.uses.end()
	for n < len(p) {
		m, err := retry(func() (int, error) { return unix.Pread(f.fd, p[n:], off+int64(n)) })
		if err != nil {
			return n, f.fail("read", err)
		}
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	if !f.uses.begin() {
		return 0, f.fail("write", fs.ErrClosed)
	}
	defer f.uses.end()
	for n < len(p) {
		m, err := retry(func() (int, error) { return unix.Pwrite(f.fd, p[n:], off+int64(n)) })
		if err == nil && m == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, f.fail("write", err)
		}
		n += m
	}
	return n, nil
}

func (f *file) Size() (size int64, err error) {
	err = f.do("stat", func() error {
		st, err := stat(f.fd)
		size = st.Size
		return err
	})
	return size, err
}

func (f *file) Truncate(size int64) error {
	return f.do("truncate", func() error { return unix.Ftruncate(f.fd, size) })
}

func (f *file) Sync() error {
	return f.do("sync", func() error { return syncData(f.fd) })
}

// Close waits for the calls that are under way: a descriptor that is closed is
// given to the next file opened, and theirs would be that file's bytes.
func (f *file) Close() error {
	if !f.uses.close() {
		return f.fail("close", fs.ErrClosed)
	}
	if err := unix.Close(f.fd); err != nil {
		return f.fail("close", err) // not again after EINTR: the descriptor is gone
	}
	return nil
}

// do calls op, again while a signal interrupts it, with the descriptor held.
func (f *file) do(what string, op func() error) error {
	if !f.uses.begin() {
		return f.fail(what, fs.ErrClosed)
	}
	defer f.uses.end()
	_, err := retry(func() (struct{}, error) { return struct{}{}, op() })
	if err != nil {
		return f.fail(what, err)
	}
	return nil
}

func (f *file) fail(op string, err error) error { return pathError(op, f.name, err) }

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func stat(fd int) (st unix.Stat_t, err error) {
	_, err = retry(func() (struct{}, error) { return struct{}{}, unix.Fstat(fd, &st) })
	return st, err
}

// retry calls op again while a signal interrupts it.
func retry[T any](op func() (T, error)) (T, error) {
	for {
		v, err := op()
		if err != unix.EINTR {
			return v, err
		}
	}
}
