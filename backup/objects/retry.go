package objects

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"time"
)

// RetryOptions say how calls of a store are tried again that failed for a reason
// which may pass. The zero value is the default throughout.
type RetryOptions struct {
	// First and Most bound the wait between two tries, which doubles, and of
	// which up to a half is left to chance: 100 ms and 30 s when zero.
	First, Most time.Duration
	// Call is how long a store may be silent within one try: no answer, no byte of an
	// object, no key of a list, nothing taken of a body. 2 minutes when zero.
	Call time.Duration
	// Tries is how often one call is tried, and how often in a row a reader's bytes
	// may fail to come: until the context ends when zero.
	Tries int
	// Sleep waits: for real time when nil.
	Sleep func(ctx context.Context, d time.Duration) error
	// Failed, when there is one, is told of each try that failed and may be tried
	// again, by whatever goroutine made it.
	Failed func(err error)
}

// DefaultTries of a call, by all of backup that somebody waits for but package snapshot,
// which has more: 1.5 s of waits at most.
const DefaultTries = 5

// Retrying is a store whose calls are those of s, tried again until their answers
// are settled or Tries are used up; the package documentation says what that
// means. A store that Retrying made is not wrapped but replaced: the options given
// last hold. An error says that options are negative, or First is above Most.
//
// Memory: 16 bytes and a map's share for each key that a List yields.
func Retrying(s Store, o RetryOptions) (Store, error) {
	o.First = cmp.Or(o.First, 100*time.Millisecond)
	o.Most = cmp.Or(o.Most, 30*time.Second)
	o.Call = cmp.Or(o.Call, 2*time.Minute)
	if o.First < 0 || o.Most < o.First || o.Call < 0 || o.Tries < 0 {
		return nil, fmt.Errorf("objects: waits of %v to %v, calls of %v, %d tries: none may be negative, and Most is at least First", o.First, o.Most, o.Call, o.Tries)
	}
	if o.Sleep == nil {
		o.Sleep = Sleep
	}
	if r, ok := s.(*retrying); ok {
		s = r.Store
	}
	return &retrying{s, o}, nil
}

// Sleep waits for real time, and returns ctx's error when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type retrying struct {
	Store
	o RetryOptions
}

// settled are the answers that no further try changes: what the store said of the key
// and the body, and that it is not fit to be asked.
var settled = []error{ErrExists, ErrNotFound, ErrForeign, ErrFailed, ErrKey, ErrChecksum, ErrUnfit, fs.ErrInvalid}

func isSettled(err error) bool {
	for _, s := range settled {
		if errors.Is(err, s) {
			return true
		}
	}
	return err == nil
}

// tries are those of one call that failed in a row.
type tries struct {
	n    int
	last error // of the last one
}

// wait returns nil when a call is to be tried again that failed with err, and else the
// call's error. A try that the end of the context cut off does not say what is wrong: the one
// before does.
func (r *retrying) wait(ctx context.Context, failed *tries, err error) error {
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err, failed.last)
	}
	failed.n, failed.last = failed.n+1, err
	if r.o.Failed != nil {
		r.o.Failed(err)
	}
	if failed.n == r.o.Tries {
		return fmt.Errorf("%w (given up after %d tries)", err, failed.n)
	}
	if e := r.o.Sleep(ctx, r.o.pause(failed.n)); e != nil {
		return errors.Join(e, err)
	}
	return nil
}

// pause is how long to wait behind try n, from 1.
func (o RetryOptions) pause(n int) time.Duration {
	d := o.First
	for range min(n-1, 62) {
		d += min(d, o.Most-d)
	}
	return d - rand.N(d/2+1)
}

// Put implements Store. ErrExists may be the answer to what this very call put.
func (r *retrying) Put(ctx context.Context, key string, body Body) error {
	return r.change(ctx, "put", key, func(w *watch) error {
		b := body
		if b.Data != nil {
			b.Data = watchedBody{body.Data, w}
		}
		return r.Store.Put(w.ctx, key, b)
	})
}

// Delete implements Store.
func (r *retrying) Delete(ctx context.Context, key string) error {
	return r.change(ctx, "delete", key, func(w *watch) error { return r.Store.Delete(w.ctx, key) })
}

// change tries a call that changes something. What a later try says does not say what
// became of an earlier one, unless that the object is there, or is gone.
func (r *retrying) change(ctx context.Context, call, key string, try func(w *watch) error) error {
	maybe := false
	for failed := new(tries); ; {
		w := r.watch(ctx, call, key)
		err := w.why(try(w))
		w.end()
		unknown := errors.Is(err, ErrUnknown) && !errors.Is(err, ErrExists)
		maybe = maybe || unknown
		if unknown || !isSettled(err) {
			if err = r.wait(ctx, failed, err); err == nil {
				continue
			}
		}
		if maybe && err != nil && !errors.Is(err, ErrExists) && !errors.Is(err, ErrUnknown) {
			err = &Error{Call: call, Store: r.String(), Key: key, Err: because(ErrUnknown, err)}
		}
		return err
	}
}

// List implements Store. One that breaks off begins anew, and leaves out what it has
// yielded.
func (r *retrying) List(ctx context.Context, prefix string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		l := listing{retrying: r, prefix: prefix, yield: yield, seen: map[[16]byte]struct{}{}}
		for failed := new(tries); ; {
			err := l.once(ctx)
			if l.ended || err == nil {
				return
			}
			if !isSettled(err) {
				if err = r.wait(ctx, failed, err); err == nil {
					continue
				}
			}
			yield(Item{}, err)
			return
		}
	}
}

// listing is a List under way.
type listing struct {
	*retrying
	prefix string
	yield  func(Item, error) bool
	seen   map[[16]byte]struct{} // keys that were yielded, by the beginning of their SHA-256
	ended  bool                  // yield returned false
}

// once lists what was not yielded yet. Whoever is yielded a key may take his time.
func (l *listing) once(ctx context.Context) error {
	w := l.watch(ctx, "list", l.prefix)
	defer w.end()
	for item, err := range l.Store.List(w.ctx, l.prefix) {
		w.timer.Stop()
		if err != nil {
			return w.why(err)
		}
		sum := sha256.Sum256([]byte(item.Key))
		id := [16]byte(sum[:])
		if _, seen := l.seen[id]; !seen {
			l.seen[id] = struct{}{}
			if l.ended = !l.yield(item, nil); l.ended {
				return nil
			}
		}
		w.touch()
	}
	return nil
}

// watch ends the context of a try when the store is silent for too long.
type watch struct {
	ctx       context.Context
	cancel    context.CancelCauseFunc
	timer     *time.Timer
	limit     time.Duration
	call, key string
	store     Store
}

// errSilent is why a watch ended a try.
var errSilent = fmt.Errorf("the store does not answer: %w", context.DeadlineExceeded)

// watch begins a try. It must be ended.
func (r *retrying) watch(ctx context.Context, call, key string) *watch {
	w := &watch{limit: r.o.Call, call: call, key: key, store: r.Store}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(w.limit, func() { w.cancel(errSilent) })
	return w
}

// touch notes that the store did something, and begins to wait for the next.
func (w *watch) touch() { w.timer.Reset(w.limit) }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// why is a try's error, which is that the store was silent if the watch ended it.
func (w *watch) why(err error) error {
	if err == nil || isSettled(err) || context.Cause(w.ctx) != errSilent {
		return err
	}
	silent := errSilent
	if errors.Is(err, ErrUnknown) {
		silent = because(ErrUnknown, errSilent)
	}
	return &Error{Call: w.call, Store: w.store.String(), Key: w.key, Err: silent}
}

// watchedBody is a body of which the store takes bytes.
type watchedBody struct {
	io.ReaderAt
	w *watch
}

func (b watchedBody) ReadAt(p []byte, off int64) (int, error) {
	defer b.w.touch()
	return b.ReaderAt.ReadAt(p, off)
}
