package objects_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// full is a store that has no space, and that nobody hears of any more from some try on.
type full struct {
	objects.Store
	left int
	gone func()
}

var errNoSpace = errors.New("no space left")

func (f *full) Put(ctx context.Context, _ string, _ objects.Body) error {
	if f.left--; f.left >= 0 {
		return errNoSpace
	}
	f.gone()
	<-ctx.Done()
	return ctx.Err()
}

// A call whose last try was cut off says what was wrong before.
func TestRetryingSaysWhy(t *testing.T) {
	disk := must(t)(objects.OpenDir("/place", objects.DirOptions{Create: true, Disk: crashfs.New()}))
	for left := range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		noWait := objects.RetryOptions{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
		err := retrying(t, &full{disk, left, cancel}, noWait).Put(ctx, "a", objects.Bytes(nil))
		if !errors.Is(err, context.Canceled) || errors.Is(err, errNoSpace) != (left > 0) {
			t.Errorf("after %d tries: %v", left, err)
		}
		cancel()
	}
}
