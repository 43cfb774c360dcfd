package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/quire-db/quire/internal/vfs"
)

// Get implements Store.
func (d *Dir) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	r, err := d.get(ctx, key, off, n)
	if err != nil {
		return nil, 0, d.fail("get", key, err)
	}
	return r, r.size, nil
}

func (d *Dir) get(ctx context.Context, key string, off, n int64) (*reader, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("%w: offset %d", fs.ErrInvalid, off)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := d.disk.OpenRead(d.path(key))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, d.absent(ErrNotFound)
	case errors.Is(err, vfs.ErrNotRegular), vfs.IsNotDirectory(err):
		return nil, because(ErrForeign, err)
	case err != nil:
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	end := size
	if n >= 0 && off < size && n < size-off {
		end = off + n
	}
	return &reader{ctx: ctx, dir: d, key: key, file: f, at: off, end: end, size: size}, nil
}

// absent is what is returned when something is not there, if the store is.
func (d *Dir) absent(err error) error {
	if gone := d.present(); gone != nil {
		return gone
	}
	return err
}

// reader reads a range of an object.
type reader struct {
	ctx     context.Context
	dir     *Dir
	key     string
	file    vfs.File
	at, end int64 // of the file in bytes; at may be behind end
	size    int64
}

func (r *reader) Read(p []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	if err := r.ctx.Err(); err != nil {
		return 0, r.dir.fail("get", r.key, err)
	}
	p = p[:min(int64(len(p)), r.end-r.at)]
	n, err := r.file.ReadAt(p, r.at)
	r.at += int64(n)
	if n == len(p) {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // somebody cut it off
	}
	return n, r.dir.fail("get", r.key, err)
}

func (r *reader) Close() error { return r.file.Close() }

// List implements Store.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		l := lister{Dir: d, ctx: ctx, prefix: prefix, yield: yield}
		if err := l.all(); err != nil {
			yield(Item{}, d.fail("list", prefix, err))
		}
	}
}

// lister is one List under way. It has one directory of each level open.
type lister struct {
	*Dir
	ctx    context.Context
	prefix string
	yield  func(Item, error) bool
	ended  bool // yield returned false
}

func (l *lister) all() error {
	if err := CheckPrefix(l.prefix); err != nil {
		return err
	}
	if err := l.present(); err != nil {
		return err
	}
	top := ""
	if i := strings.LastIndexByte(l.prefix, '/'); i >= 0 {
		top = l.prefix[:i]
	}
	return l.walk(top)
}

// walk lists the directory of keys that begin with dir and a slash.
func (l *lister) walk(dir string) error {
	var failed error
	err := l.disk.EachEntry(l.path(dir), func(e vfs.Entry) bool {
		failed = l.show(path.Join(dir, e.Name), e)
		return failed == nil && !l.ended
	})
	switch {
	case failed != nil:
		return failed
	case errors.Is(err, fs.ErrNotExist):
		return l.absent(nil) // nothing was put there, or it was removed
	case vfs.IsNotDirectory(err):
		return nil // an object
	}
	return err
}

// show deals with one name. Those that no key has are nobody's: lost+found, a
// file manager's.
func (l *lister) show(key string, e vfs.Entry) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	switch {
	case !strings.HasPrefix(key, l.prefix) || CheckKey(key) != nil:
		return nil
	case e.Mode.IsDir():
		return l.walk(key)
	case !e.Mode.IsRegular():
		return fmt.Errorf("%w: %q is %v", ErrForeign, key, e.Mode)
	}
	l.ended = !l.yield(Item{Key: key, Size: e.Size}, nil)
	return nil
}
