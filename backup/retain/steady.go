package retain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// steady is a store of objects whose calls are repeated. Get reads all into memory: it is
// for headers, notes and manifests.
type steady struct {
	objects.Store
	retry ship.Retry
}

func newSteady(s objects.Store, r ship.Retry) steady {
	if r.Tries == 0 {
		r.Tries = 5
	}
	if r.First == 0 {
		r.First = 100 * time.Millisecond
	}
	if r.Most == 0 {
		r.Most = 30 * time.Second
	}
	if r.Call == 0 {
		r.Call = 2 * time.Minute
	}
	if r.Sleep == nil {
		r.Sleep = sleep
	}
	return steady{s, r}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// call makes a call until its answer is settled, or its tries are used up.
func (s steady) call(ctx context.Context, do func(ctx context.Context) error) error {
	for try := 0; ; try++ {
		err := s.once(ctx, do)
		if isSettled(err) || ctx.Err() != nil {
			return err
		}
		if try+1 >= s.retry.Tries {
			return fmt.Errorf("given up after %d tries: %w", try+1, err)
		}
		if e := s.retry.Sleep(ctx, min(s.retry.Most, s.retry.First<<min(try, 16))); e != nil {
			return errors.Join(e, err)
		}
	}
}

func (s steady) once(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.retry.Call)
	defer cancel()
	return do(ctx)
}

// isSettled reports whether repeating a call would change nothing.
func isSettled(err error) bool {
	if err == nil {
		return true
	}
	for _, settled := range []error{objects.ErrNotFound, objects.ErrKey, objects.ErrForeign, objects.ErrFailed, wal.ErrTooLarge} {
		if errors.Is(err, settled) {
			return true
		}
	}
	return errors.Is(err, objects.ErrExists) && !errors.Is(err, objects.ErrUnknown)
}

// maxRead bounds what Get reads: a manifest has less.
const maxRead = 64 << 20

// Get implements objects.Store.
func (s steady) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	var b []byte
	var size int64
	err := s.call(ctx, func(ctx context.Context) error {
		r, all, err := s.Store.Get(ctx, key, off, n)
		if err != nil {
			return err
		}
		if size = all; n < 0 && size-off > maxRead {
			err = fmt.Errorf("it has %d bytes: %w", size, wal.ErrTooLarge)
			return errors.Join(err, r.Close())
		}
		b, err = io.ReadAll(r)
		return errors.Join(err, r.Close())
	})
	return io.NopCloser(bytes.NewReader(b)), size, err
}

// confirm puts an object that is there already, so that it stays there. It is no error
// that it was not.
func (s steady) confirm(ctx context.Context, key archive.Key, b []byte) error {
	err := s.call(ctx, func(ctx context.Context) error { return s.Store.Put(ctx, key.String(), objects.Bytes(b)) })
	if errors.Is(err, objects.ErrExists) {
		return nil
	}
	return err
}

// list is the keys below a prefix, with the sizes of their objects. Those that are none of
// an archive are somebody else's.
func (s steady) list(ctx context.Context, prefix string) (list []object, err error) {
	err = s.call(ctx, func(ctx context.Context) error {
		list = nil
		for item, err := range s.Store.List(ctx, prefix) {
			if err != nil {
				return err
			}
			if k, err := archive.ParseKey(item.Key); err == nil {
				list = append(list, object{k, item.Size})
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("list %s: %w", prefix, err)
	}
	return list, err
}

// object is one in a list.
type object struct {
	archive.Key
	size int64 // bytes
}

// atOnce is how many calls are made at a time.
const atOnce = 8

// each calls do for everything in a list, some at once, until one fails.
func each[T any](ctx context.Context, list []T, do func(ctx context.Context, at int, one T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, one := range list {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			if err := do(ctx, i, one); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
