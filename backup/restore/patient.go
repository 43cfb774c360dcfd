package restore

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
)

// patient is a store of which objects are read again where a call or a body fails, so
// that one lost connection does not end the restore of a large snapshot. Package
// ship does the same for the logs.
type patient struct {
	objects.Store
	retry ship.Retry
}

func newPatient(s objects.Store, r ship.Retry) patient {
	if r.Tries == 0 {
		r.Tries = 5
	}
	if r.First == 0 {
		r.First = 100 * time.Millisecond
	}
	if r.Most == 0 {
		r.Most = 30 * time.Second
	}
	if r.Sleep == nil {
		r.Sleep = pause
	}
	return patient{s, r}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get implements objects.Store.
func (p patient) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	for try := 1; ; try++ {
		r, size, err := p.Store.Get(ctx, key, off, n)
		if err == nil {
			return &body{ctx: ctx, p: p, key: key, off: off, n: n, size: size, r: r}, size, nil
		}
		if err = p.wait(ctx, try, err); err != nil {
			return nil, 0, err
		}
	}
}

// wait returns nil when it is to be tried again, for the try-th time.
func (p patient) wait(ctx context.Context, try int, err error) error {
	if try >= p.retry.Tries || ctx.Err() != nil || errors.Is(err, objects.ErrNotFound) || errors.Is(err, objects.ErrKey) || errors.Is(err, objects.ErrForeign) {
		return err
	}
	if e := p.retry.Sleep(ctx, min(p.retry.Most, p.retry.First<<min(try-1, 16))); e != nil {
		return errors.Join(e, err)
	}
	return nil
}

// body is an object that is read on, from where it failed.
type body struct {
	ctx    context.Context
	p      patient
	key    string
	off, n int64 // of what is left; n is negative for all
	size   int64
	r      io.ReadCloser
	tries  int // since bytes were read
}

func (b *body) Read(q []byte) (int, error) {
	for {
		n, err := b.r.Read(q)
		b.off += int64(n)
		if b.n >= 0 {
			b.n -= int64(n)
		}
		if n > 0 {
			b.tries = 0
		}
		if err == nil || err == io.EOF || n > 0 {
			if err != io.EOF {
				err = nil // an error comes again
			}
			return n, err
		}
		b.tries++
		if err = b.p.wait(b.ctx, b.tries, err); err != nil {
			return 0, err
		}
		again, size, err := b.p.Store.Get(b.ctx, b.key, b.off, b.n)
		switch {
		case err == nil && size != b.size:
			return 0, errors.Join(io.ErrUnexpectedEOF, again.Close())
		case err == nil:
			_ = b.r.Close() // it failed
			b.r = again
		case errors.Is(err, objects.ErrNotFound):
			return 0, err
		}
	}
}

func (b *body) Close() error { return b.r.Close() }
