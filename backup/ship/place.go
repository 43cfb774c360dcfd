package ship

import (
	"context"
	"fmt"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// place is the store of objects, by the keys of an archive. Its calls are repeated until
// they answer.
type place struct{ objects.Store }

// newPlace is a place in a store whose calls are tried again.
func newPlace(store objects.Store, retry objects.RetryOptions) (place, error) {
	s, err := objects.Retrying(store, retry)
	return place{s}, err
}

// put puts an object; when it is unknown whether that was done, again, which may
// find that it was: objects.ErrExists.
func (p place) put(ctx context.Context, key archive.Key, b []byte) error {
	return p.Put(ctx, key.String(), objects.Bytes(b))
}

func (p place) delete(ctx context.Context, key archive.Key) error {
	return p.Delete(ctx, key.String())
}

// each yields the keys below a prefix. Those that are none of an archive are
// told to foreign, or left out when that is nil.
func (p place) each(ctx context.Context, prefix string, key func(k archive.Key, size int64), foreign func(key string, err error)) error {
	for item, err := range p.List(ctx, prefix) {
		if err != nil {
			return err
		}
		k, err := archive.ParseKey(item.Key)
		switch {
		case err == nil:
			key(k, item.Size)
		case foreign != nil:
			foreign(item.Key, err)
		}
	}
	return nil
}

// highest is the highest LSN that keys of a kind have in a log; 0 when there is none.
func (p place) highest(ctx context.Context, log wal.TimelineID, kind archive.Kind) (max archive.Key, err error) {
	err = p.each(ctx, archive.KindPrefix(log, kind), func(k archive.Key, _ int64) {
		if k.Kind == kind && (k.First > max.First && kind != archive.KindPack || k.Last > max.Last) {
			max = k
		}
	}, nil)
	return max, err
}

func corrupt(key archive.Key, reason string) error {
	return fmt.Errorf("ship: %w", &wal.CorruptError{File: key.String(), Offset: -1, LSN: key.First, Reason: reason})
}
