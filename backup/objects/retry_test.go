package objects_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

var impatient = objectstest.Impatient(3)

func retrying(t *testing.T, s objects.Store, o objects.RetryOptions) objects.Store {
	t.Helper()
	return must(t)(objects.Retrying(s, o))
}

var errFlaky = errors.New("connection reset")

// flaky is a store each call of which fails the first time, and each reader of which
// breaks off after some bytes; lists break off behind a growing number of keys.
type flaky struct {
	objects.Store
	mu    sync.Mutex
	calls map[string]int
}

func newFlaky(s objects.Store) *flaky { return &flaky{Store: s, calls: map[string]int{}} }

// fails reports every second call of a name and key.
func (f *flaky) fails(call string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[call]++
	return f.calls[call]%2 == 1
}

func (f *flaky) err(call, key string) error {
	return &objects.Error{Call: call, Store: f.String(), Key: key, Err: errFlaky}
}

func (f *flaky) Put(ctx context.Context, key string, b objects.Body) error {
	if f.fails("put " + key) {
		return f.err("put", key)
	}
	return f.Store.Put(ctx, key, b)
}

func (f *flaky) Delete(ctx context.Context, key string) error {
	err := f.Store.Delete(ctx, key)
	if err == nil && f.fails("delete "+key) {
		return &objects.Error{Call: "delete", Store: f.String(), Key: key, Err: objects.ErrUnknown}
	}
	return err
}

func (f *flaky) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if f.fails("get " + key) {
		return nil, 0, f.err("get", key)
	}
	r, size, err := f.Store.Get(ctx, key, off, n)
	if err == nil && f.fails("read "+key) {
		r = &torn{r, 1 + rand.IntN(int(size)+1)}
	}
	return r, size, err
}

func (f *flaky) List(ctx context.Context, prefix string) iter.Seq2[objects.Item, error] {
	return func(yield func(objects.Item, error) bool) {
		n := 0
		for item, err := range f.Store.List(ctx, prefix) {
			if n++; n%500 == 3 && f.fails(fmt.Sprint("list ", prefix, n)) {
				yield(objects.Item{}, f.err("list", prefix))
				return
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// TestRetryingConforms: a store that fails everywhere is one to rely on, tried again.
func TestRetryingConforms(t *testing.T) {
	o := impatient
	o.Tries = 100
	objectstest.Run(t, func(t *testing.T) objects.Store {
		return retrying(t, newFlaky(onDisk(t, crashfs.New(), time.Now())), o)
	})
}

// TestRetryingCutOff: one call that is cut off changes nothing but that a put may meet
// its own object; a store that is gone for good ends a call after its tries.
func TestRetryingCutOff(t *testing.T) {
	for _, how := range []objectstest.How{objectstest.Fail, objectstest.LoseAnswer, objectstest.LoseCall, objectstest.Stop} {
		for call, do := range map[string]func(s objects.Store) error{
			"put":    func(s objects.Store) error { return put(s, "a", "text") },
			"delete": func(s objects.Store) error { return s.Delete(background, "b") },
			"get":    func(s objects.Store) error { _, err := readAll(s, "b"); return err },
			"list":   func(s objects.Store) error { _, err := list(s); return err },
		} {
			disk := onDisk(t, crashfs.New(), began)
			ok(t, put(disk, "b", "text"))
			cut := objectstest.Count(disk)
			cut.At(0, how)
			failed := 0
			o := impatient
			o.Failed = func(err error) {
				failed++
				is(t, err, objectstest.ErrCut)
			}
			err := do(retrying(t, cut, o))
			switch {
			case how == objectstest.Stop:
				is(t, err, objectstest.ErrCut)
				if !strings.Contains(err.Error(), "3 tries") || len(cut.Log()) != 3 || failed != 3 {
					t.Errorf("%s: %v, after %v, %d told", call, err, cut.Log(), failed)
				}
			case how == objectstest.LoseAnswer && call == "put":
				is(t, err, objects.ErrExists)
			default:
				ok(t, err)
			}
			if how != objectstest.Stop && (failed != 1 || len(cut.Log()) != 2) {
				t.Errorf("%s, %d: %v, %d told", call, how, cut.Log(), failed)
			}
		}
	}
}

func readAll(s objects.Store, key string) (string, error) {
	r, _, err := s.Get(background, key, 0, -1)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func list(s objects.Store) (keys []string, err error) {
	for item, err := range s.List(background, "") {
		if err != nil {
			return keys, err
		}
		keys = append(keys, item.Key)
	}
	return keys, nil
}

// TestRetryingStaysUnknown: what a lost answer may have done is unknown, whatever later
// tries say, unless the object is found.
func TestRetryingStaysUnknown(t *testing.T) {
	refused := &objects.Error{Call: "put", Err: objects.ErrFailed}
	for _, c := range []struct {
		answers []error
		want    error
		unknown bool
	}{
		{[]error{errFlaky, nil}, nil, false},
		{[]error{errFlaky, refused}, objects.ErrFailed, false},
		{[]error{objects.ErrUnknown, nil}, nil, false},
		{[]error{objects.ErrUnknown, objects.ErrExists}, objects.ErrExists, false},
		{[]error{objects.ErrUnknown, refused}, objects.ErrFailed, true},
		{[]error{objects.ErrUnknown, errFlaky, errFlaky}, errFlaky, true},
		{[]error{errFlaky, fmt.Errorf("%w: %w", objects.ErrUnknown, objects.ErrFailed), objects.ErrExists}, objects.ErrExists, false},
	} {
		answers := c.answers
		answer := func() (err error) {
			err, answers = answers[0], answers[1:]
			return err
		}
		b := &bad{Dir: onDisk(t, crashfs.New(), began)}
		b.put = func(context.Context, string, objects.Body) error { return answer() }
		b.del = func(context.Context, string) error { return answer() }
		s := retrying(t, b, impatient)
		for _, do := range []func() error{func() error { return put(s, "a", "") }, func() error { return s.Delete(background, "a") }} {
			answers = c.answers
			err := do()
			if !errors.Is(err, c.want) || errors.Is(err, objects.ErrUnknown) != c.unknown || len(answers) > 0 {
				t.Errorf("%v becomes %v, %d answers are left", c.answers, err, len(answers))
			}
		}
	}
}

// TestRetryingSettled: no answer of this kind is asked for twice.
func TestRetryingSettled(t *testing.T) {
	for _, settled := range []error{objects.ErrExists, objects.ErrNotFound, objects.ErrForeign, objects.ErrFailed, objects.ErrKey, objects.ErrChecksum, objects.ErrUnfit} {
		calls := 0
		answer := func() error { calls++; return settled }
		b := &bad{Dir: onDisk(t, crashfs.New(), began)}
		b.put = func(context.Context, string, objects.Body) error { return answer() }
		b.del = func(context.Context, string) error { return answer() }
		b.get = func(context.Context, string, int64, int64) (io.ReadCloser, int64, error) { return nil, 0, answer() }
		b.list = func(context.Context, string) iter.Seq2[objects.Item, error] {
			return func(yield func(objects.Item, error) bool) { yield(objects.Item{}, answer()) }
		}
		s := retrying(t, b, impatient)
		is(t, put(s, "a", ""), settled)
		is(t, s.Delete(background, "a"), settled)
		_, err := readAll(s, "a")
		is(t, err, settled)
		_, err = list(s)
		is(t, err, settled)
		if calls != 4 {
			t.Errorf("%v: %d calls", settled, calls)
		}
	}
}

// TestRetryingReaders: a reader goes on in its own object only.
func TestRetryingReaders(t *testing.T) {
	for _, other := range []string{"", "another"} {
		disk := onDisk(t, crashfs.New(), began)
		text := strings.Repeat("quire", 1000)
		ok(t, put(disk, "a", text))
		s := retrying(t, &bad{Dir: disk, get: func(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
			r, size, err := disk.Get(ctx, key, off, n)
			if err != nil {
				return r, size, err
			}
			return &torn{r, 1000}, size, nil
		}}, impatient)
		if got, err := readAll(s, "a"); err != nil || got != text {
			t.Fatalf("it read %d bytes, %v", len(got), err)
		}
		r, _, err := s.Get(background, "a", 0, -1)
		ok(t, err)
		_, err = io.ReadFull(r, make([]byte, 100))
		ok(t, err)
		ok(t, disk.Delete(background, "a"))
		if other != "" {
			ok(t, put(disk, "a", other))
		}
		rest, err := io.ReadAll(r)
		if string(rest) != text[100:1000] {
			t.Errorf("it read %d bytes", len(rest))
		}
		is(t, err, objects.ErrNotFound)
		_, err = r.Read(rest)
		is(t, err, objects.ErrNotFound)
		ok(t, r.Close())
	}
}

// torn reads some bytes, the last of which come with an error.
type torn struct {
	io.ReadCloser
	left int
}

func (r *torn) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), r.left)])
	if r.left -= n; err == nil && r.left == 0 {
		err = errFlaky
	}
	return n, err
}

// TestRetryingSilence: a store that is silent ends a try, not what is slow and comes.
func TestRetryingSilence(t *testing.T) {
	disk := onDisk(t, crashfs.New(), began)
	ok(t, put(disk, "a", "text"))
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	b := &bad{Dir: disk}
	b.put = func(ctx context.Context, _ string, _ objects.Body) error { return silent(ctx) }
	b.del = func(ctx context.Context, _ string) error {
		return fmt.Errorf("%w: %w", objects.ErrUnknown, silent(ctx))
	}
	b.get = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
		r, size, err := disk.Get(ctx, key, off, n)
		return struct {
			io.Reader
			io.Closer
		}{readFunc(func([]byte) (int, error) { return 0, silent(ctx) }), r}, size, err
	}
	b.list = func(ctx context.Context, prefix string) iter.Seq2[objects.Item, error] {
		return func(yield func(objects.Item, error) bool) { yield(objects.Item{}, silent(ctx)) }
	}
	o := impatient
	o.Call = time.Millisecond
	s := retrying(t, b, o)
	_, errGet := readAll(s, "a")
	_, errList := list(s)
	errDelete := s.Delete(background, "a")
	for _, err := range []error{put(s, "b", ""), errDelete, errGet, errList} {
		is(t, err, context.DeadlineExceeded)
		if errors.Is(err, context.Canceled) {
			t.Errorf("%v says that somebody cancelled it", err)
		}
	}
	is(t, errDelete, objects.ErrUnknown)
	ctx, cancel := context.WithCancel(background)
	o.Failed = func(error) { cancel() }
	if err := retrying(t, b, o).Put(ctx, "b", objects.Bytes(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("a call whose context ended: %v", err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// TestRetryingWaits: the waits double up to a bound, and half of each is left to chance.
func TestRetryingWaits(t *testing.T) {
	var waits []time.Duration
	o := objects.RetryOptions{First: 8, Most: 100, Tries: 8, Sleep: func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	}}
	cut := objectstest.Count(onDisk(t, crashfs.New(), began))
	cut.At(0, objectstest.Stop)
	is(t, put(retrying(t, retrying(t, cut, objects.RetryOptions{}), o), "a", ""), objectstest.ErrCut)
	most := []time.Duration{8, 16, 32, 64, 100, 100, 100}
	if !slices.EqualFunc(waits, most, func(d, most time.Duration) bool { return most/2 <= d && d <= most }) {
		t.Errorf("it waited %v", waits)
	}
	ended := errors.New("no time left")
	o.Sleep = func(context.Context, time.Duration) error { return ended }
	is(t, put(retrying(t, cut, o), "a", ""), ended)
	for _, o := range []objects.RetryOptions{{First: -1}, {Most: -1}, {Most: 1}, {Call: -1}, {Tries: -1}, {First: time.Hour}} {
		if _, err := objects.Retrying(cut, o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
