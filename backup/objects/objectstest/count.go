package objectstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/quire-db/quire/backup/objects"
)

// ErrCut is the error of a call that a Counted store cut off, beside
// objects.ErrUnknown for LoseAnswer.
var ErrCut = errors.New("cut off by a test")

// How a call is cut off.
type How int

// The ways to cut a call off.
const (
	Fail       How = iota + 1 // it is not made and fails
	LoseAnswer                // it is made, and a Put's or Delete's outcome is unknown; others fail
	LoseCall                  // it is not made, and a Put's or Delete's outcome is unknown; others fail
	KillBefore                // the process dies by SIGKILL before it
	KillAfter                 // and behind it
	Stop                      // it and all after it are not made and fail, as for one who is cut off the network
)

// Killed reports whether a process died by SIGKILL, from what it ended with.
func Killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

// Counted is a store that counts its calls, from 0, and cuts one of them off.
// A List counts when its iteration begins.
type Counted struct {
	objects.Store
	mu  sync.Mutex
	log []string // mu
	at  int      // mu
	how How      // mu; none when 0
}

// Count wraps a store.
func Count(s objects.Store) *Counted { return &Counted{Store: s} }

// At cuts call n off.
func (c *Counted) At(n int, how How) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.how = n, how
}

// Log has each call that was made: its name and key or prefix.
func (c *Counted) Log() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log[:len(c.log):len(c.log)]
}

// Put implements objects.Store.
func (c *Counted) Put(ctx context.Context, key string, body objects.Body) error {
	return c.call("put", key, func() error { return c.Store.Put(ctx, key, body) })
}

// Get implements objects.Store.
func (c *Counted) Get(ctx context.Context, key string, off, n int64) (r io.ReadCloser, size int64, err error) {
	err = c.call("get", key, func() error {
		r, size, err = c.Store.Get(ctx, key, off, n)
		return err
	})
	if err != nil && r != nil {
		err = errors.Join(err, r.Close())
		r, size = nil, 0
	}
	return r, size, err
}

// List implements objects.Store.
func (c *Counted) List(ctx context.Context, prefix string) iter.Seq2[objects.Item, error] {
	return func(yield func(objects.Item, error) bool) {
		if err := c.call("list", prefix, func() error { return nil }); err != nil {
			yield(objects.Item{}, err)
			return
		}
		c.Store.List(ctx, prefix)(yield)
	}
}

// Delete implements objects.Store.
func (c *Counted) Delete(ctx context.Context, key string) error {
	return c.call("delete", key, func() error { return c.Store.Delete(ctx, key) })
}

func (c *Counted) call(name, key string, do func() error) error {
	err := ErrCut
	if name == "put" || name == "delete" {
		err = fmt.Errorf("%w: %w", objects.ErrUnknown, ErrCut)
	}
	switch c.next(name + " " + key) {
	case Fail, Stop:
		return ErrCut
	case LoseCall:
		return err
	case LoseAnswer:
		_ = do() // whose answer is lost
		return err
	case KillBefore:
		die()
	case KillAfter:
		defer die()
	}
	return do()
}

// next counts a call and says how to cut it off.
func (c *Counted) next(call string) How {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.log)
	c.log = append(c.log, call)
	if n == c.at || n > c.at && c.how == Stop {
		return c.how
	}
	return 0
}

// die does not return.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
