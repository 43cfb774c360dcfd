package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// SmallBytes is more than FORMAT, a start and a note have.
const SmallBytes = 4096

// ReadObject reads a whole object that has at most limit bytes. Errors: those of the store,
// wal.ErrCorrupt when it has more.
func ReadObject(ctx context.Context, store objects.Store, key Key, limit int64) ([]byte, error) {
	b, size, err := readBeginning(ctx, store, key, limit)
	if err == nil && size > limit {
		err = fmt.Errorf("archive: %w", &wal.CorruptError{
			File: key.String(), Offset: -1, LSN: key.First, Reason: fmt.Sprintf("it has %d bytes, at most %d are right", size, limit),
		})
	}
	return b, err
}

// ReadHeader reads what the object that has a key says of itself: one range of it.
// Errors: those of the store, and DecodeHeader's.
func ReadHeader(ctx context.Context, store objects.Store, key Key) (Header, error) {
	b, size, err := readBeginning(ctx, store, key, HeaderBytes)
	if err != nil {
		return Header{}, err
	}
	return DecodeHeader(key, size, b)
}

// readBeginning reads the first bytes of an object that has size of them.
func readBeginning(ctx context.Context, store objects.Store, key Key, bytes int64) (b []byte, size int64, err error) {
	r, size, err := store.Get(ctx, key.String(), 0, bytes)
	if err != nil {
		return nil, 0, err
	}
	b, err = io.ReadAll(r)
	return b, size, errors.Join(err, r.Close())
}

// ReadFormat reads what makes a place an archive. Errors: objects.ErrNotFound when it is
// none, ReadObject's, DecodeFormat's.
func ReadFormat(ctx context.Context, store objects.Store) (Format, error) {
	b, err := ReadObject(ctx, store, Key{Kind: KindFormat}, SmallBytes)
	if err != nil {
		return Format{}, err
	}
	return DecodeFormat(b)
}

// ReadStart reads where a log begins. Errors: objects.ErrNotFound when it does not,
// ReadObject's, DecodeStart's.
func ReadStart(ctx context.Context, store objects.Store, log wal.TimelineID) (Start, error) {
	b, err := ReadObject(ctx, store, Key{Kind: KindStart, Log: log}, SmallBytes)
	if err != nil {
		return Start{}, err
	}
	return DecodeStart(log, b)
}

// Has reports whether an object is there. Errors: those of the store.
func Has(ctx context.Context, store objects.Store, key Key) (bool, error) {
	r, _, err := store.Get(ctx, key.String(), 0, 1)
	if errors.Is(err, objects.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, r.Close()
}
