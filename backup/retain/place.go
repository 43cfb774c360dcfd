package retain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
)

// place is the store of objects, by the keys of an archive.
type place struct{ objects.Store }

// newPlace is a place in a store whose calls are tried again.
func newPlace(s objects.Store, r objects.RetryOptions) (place, error) {
	r.Tries = cmp.Or(r.Tries, objects.DefaultTries)
	s, err := objects.Retrying(s, r)
	return place{s}, err
}

// maxManifest is more bytes than a manifest has.
const maxManifest = 64 << 20

// confirm puts an object that is there already, so that it stays there. It is no error
// that it was not.
func (p place) confirm(ctx context.Context, key archive.Key, b []byte) error {
	if err := p.Put(ctx, key.String(), objects.Bytes(b)); !errors.Is(err, objects.ErrExists) {
		return err
	}
	return nil
}

// list is the keys below a prefix, with the sizes of their objects. Those that are none of
// an archive are somebody else's.
func (p place) list(ctx context.Context, prefix string) (list []object, err error) {
	for item, err := range p.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		if k, err := archive.ParseKey(item.Key); err == nil {
			list = append(list, object{k, item.Size})
		}
	}
	return list, nil
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
