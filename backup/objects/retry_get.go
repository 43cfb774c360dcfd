package objects

import (
	"context"
	"errors"
	"io"
)

// Get implements Store. A reader that fails goes on where it was.
func (r *retrying) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	b := &resumed{retrying: r, ctx: ctx, key: key, off: off, n: n, size: -1}
	if err := b.open(); err != nil {
		return nil, 0, err
	}
	return b, b.size, nil
}

// resumed reads an object, by another Get wherever one fails.
type resumed struct {
	*retrying
	ctx   context.Context
	key   string
	off   int64         // of the next byte
	n     int64         // bytes that are left; negative for all
	size  int64         // of the object; negative until it was opened
	r     io.ReadCloser // nil when err is not
	w     *watch        // of r
	tries tries         // since a byte came
	later error         // of r, behind bytes that it came with
	err   error         // sticks
}

var errOther = errors.New("another object has the key since it was begun to be read: read it anew")

// open opens the object from off on, trying again as often as it may.
func (b *resumed) open() error {
	for {
		err := b.once()
		if isSettled(err) {
			return err
		}
		if err = b.wait(b.ctx, &b.tries, err); err != nil {
			return err
		}
	}
}

func (b *resumed) once() error {
	w := b.watch(b.ctx, "get", b.key)
	r, size, err := b.Store.Get(w.ctx, b.key, b.off, b.n)
	w.timer.Stop()
	if err == nil && b.size >= 0 && size != b.size {
		err = errors.Join(&Error{Call: "get", Store: b.String(), Key: b.key, Err: because(ErrNotFound, errOther)}, r.Close())
	}
	if err != nil {
		err = w.why(err)
		w.end()
		return err
	}
	b.r, b.w, b.size = r, w, size
	return nil
}

// Read implements io.Reader.
func (b *resumed) Read(p []byte) (int, error) {
	for b.err == nil {
		n, err := b.next(p)
		if n > 0 || err == nil || err == io.EOF {
			return n, err
		}
		_ = b.shut() // it failed already
		if b.err = b.wait(b.ctx, &b.tries, err); b.err == nil {
			b.err = b.open()
		}
	}
	return 0, b.err
}

// next reads what the reader has. An error that comes with bytes comes behind them.
func (b *resumed) next(p []byte) (n int, err error) {
	if err = b.later; err == nil {
		b.w.touch()
		n, err = b.r.Read(p)
		b.w.timer.Stop()
	}
	b.later = nil
	if n > 0 {
		b.off, b.tries = b.off+int64(n), tries{}
		if b.n > 0 {
			b.n -= int64(n)
		}
		b.later, err = err, nil
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, b.w.why(err)
}

// Close implements io.Closer.
func (b *resumed) Close() error {
	if b.err != nil {
		return nil // it was closed when it failed
	}
	return b.shut()
}

func (b *resumed) shut() error {
	defer b.w.end()
	return b.r.Close()
}
