package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// file is an open file.
type file struct {
	fs       *FS
	id       id
	name     string
	readOnly bool
	closed   bool // fs.mu
}

func (f *file) history() *history[content, span] { return &f.fs.nodes[f.id].file }

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	c, err := f.seen(Op{Kind: Read, Name: f.name, Offset: off, Length: len(p)})
	if err != nil {
		return 0, wrap(Read, f.name, err)
	}
	n := c.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size implements vfs.File.
func (f *file) Size() (int64, error) {
	c, err := f.seen(Op{Kind: Read, Name: f.name})
	return c.size, wrap(Read, f.name, err)
}

func (f *file) seen(o Op) (content, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	if err := f.may(o); err != nil {
		return content{}, err
	}
	return f.history().last().seen, nil
}

// may is the reason why o cannot be done, or nil: it has happened then.
func (f *file) may(o Op) error {
	switch {
	case f.closed:
		return fs.ErrClosed
	case o.Offset < 0:
		return syscall.EINVAL
	case f.readOnly && (o.Kind == Write || o.Kind == Truncate):
		return syscall.EBADF
	}
	return f.fs.step(o)
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.may(Op{Kind: Write, Name: f.name, Offset: off, Length: len(p)})
	n := len(p)
	if err != nil {
		n = 0
	}
	if short := (*ShortWrite)(nil); errors.As(err, &short) {
		n = min(short.N, len(p))
	}
	if n > 0 {
		h := f.history()
		h.add(len(f.fs.log), h.last().seen.write(p[:n], off), span{off, off + int64(n), true})
	}
	return n, wrap(Write, f.name, err)
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.may(Op{Kind: Truncate, Name: f.name, Offset: size}); err != nil {
		return wrap(Truncate, f.name, err)
	}
	h := f.history()
	old := h.last().seen
	h.add(len(f.fs.log), old.truncate(size), span{min(old.size, size), max(old.size, size), false})
	return nil
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	before := len(f.fs.log)
	err := f.may(Op{Kind: Sync, Name: f.name})
	switch {
	case err == nil:
		f.fs.synced(f.id)
	case len(f.fs.log) > before:
		f.history().forget(len(f.fs.log))
	}
	return wrap(Sync, f.name, err)
}

// synced makes a file durable. As on ext4 it writes the journal too when the
// file is new or its length changed.
func (f *FS) synced(n id) {
	h := &f.nodes[n].file
	written := 0
	if len(f.commits) > 0 {
		written = f.commits[len(f.commits)-1]
	}
	if f.nodes[n].born > written || h.last().seen.size != h.last().durable.size {
		f.commits = append(f.commits, len(f.log))
	}
	h.keep(len(f.log), durableAfterSync(h))
}

// Close implements io.Closer.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return wrap("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
