package ship

import (
	"context"
	"fmt"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// Options of an Archiver. The zero value is the default throughout.
type Options struct {
	// Seal says how objects are stored: compressed, and not encrypted, when zero.
	Seal archive.SealOptions
	// Identities read what is encrypted. An archiver needs them only to compare histories
	// in the middle of an object.
	Identities []age.Identity
	// MaxBytes of frames, plain, are put as soon as they are there: 4 MiB when
	// zero. One entry may exceed it, by up to archive.InlineBytes.
	MaxBytes int64
	// Interval is how long two puts are apart at least, but for what fills MaxBytes: so long
	// an entry waits for others at most. 1 s when zero.
	Interval time.Duration
	// InlineBytes is the largest payload that goes with its entry instead of into
	// blobs: archive.InlineBytes, the most there can be, when zero.
	InlineBytes int64
	// BlobBytes is the size of a blob, plain: archive.BlobBytes, the most there
	// can be, when zero.
	BlobBytes int
	// MarkEvery is the number of appends behind which there is a mark: 64 when
	// zero.
	MarkEvery int
	// Retry says how calls of the store are repeated. Failed is the archiver's own: Status.
	Retry objects.RetryOptions
	// History, if it is not nil, is asked where the store that is archived stands, so
	// that one that was rolled back is found out.
	History func(ctx context.Context) (History, error)
	// Now is the time for Status, FORMAT and Interval: time.Now when nil.
	Now func() time.Time
}

// History is where a store stands: the last entries of the timelines it went
// through, the oldest first. The last one is its newest durable entry, the others are
// the positions at which the next timeline was begun.
type History []wal.Position

// Check returns nil if the options can be used.
func (o Options) Check() error {
	_, err := o.withDefaults()
	return err
}

func (o Options) withDefaults() (Options, error) {
	setDefault(&o.MaxBytes, 4<<20)
	setDefault(&o.Interval, time.Second)
	setDefault(&o.InlineBytes, archive.InlineBytes)
	setDefault(&o.BlobBytes, archive.BlobBytes)
	setDefault(&o.MarkEvery, 64)
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.MaxBytes < 0, o.MaxBytes > maxBatch, o.Interval < 0, o.MarkEvery < 0:
		return o, fmt.Errorf("ship: MaxBytes %d, Interval %v, MarkEvery %d: none may be negative, and MaxBytes is at most %d", o.MaxBytes, o.Interval, o.MarkEvery, maxBatch)
	case o.InlineBytes < 0 || o.InlineBytes > archive.InlineBytes, o.BlobBytes < 0 || o.BlobBytes > archive.BlobBytes:
		return o, fmt.Errorf("ship: InlineBytes %d, BlobBytes %d: at most %d and %d", o.InlineBytes, o.BlobBytes, archive.InlineBytes, archive.BlobBytes)
	}
	return o, nil
}

// maxBatch bounds MaxBytes, so that what is sealed in memory stays small.
const maxBatch = 64 << 20

func setDefault[T ~int | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
