package objects

import (
	"bytes"
	"context"
	"hash/crc32"
	"io"
	"iter"
)

// Store keeps immutable objects by key. Its methods may be called by several
// goroutines at once. The package documentation says what they guarantee, and
// which errors they return.
type Store interface {
	// Put makes an object, which must not exist: else ErrExists. It reads body
	// perhaps more than once, and not after it returned.
	Put(ctx context.Context, key string, body Body) error
	// Get reads the bytes of an object from off (at least 0) on, n of them or,
	// when n is negative, all: as many of these as the object has, which are none
	// beyond its end. size is the object's in bytes. The caller must close r.
	// Bytes that cannot be read are an error of r, never a shorter r.
	Get(ctx context.Context, key string, off, n int64) (r io.ReadCloser, size int64, err error)
	// List yields the objects whose keys begin with prefix, in no order. One
	// that is there from beginning to end is yielded once, one that is put or
	// deleted meanwhile once or not at all. An error is the last thing it
	// yields; without one the list is complete.
	List(ctx context.Context, prefix string) iter.Seq2[Item, error]
	// Delete removes an object. One that is not there is no error.
	Delete(ctx context.Context, key string) error
	// String is the store's URL without secrets, for people.
	String() string
}

// Item is an object in a list.
type Item struct {
	Key  string
	Size int64 // bytes
}

// Body is what an object will hold.
type Body struct {
	Data io.ReaderAt // whose first Size bytes are the object
	Size int64       // bytes, 0 to MaxSize
	CRC  uint32      // Checksum of them
}

// MaxSize is the greatest size of an object in bytes: what the S3 protocol takes in
// one put.
const MaxSize = 5 << 30

// Bytes is the body that holds b, which must not change until Put returned.
func Bytes(b []byte) Body {
	return Body{Data: bytes.NewReader(b), Size: int64(len(b)), CRC: Checksum(0, b)}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC32C of what crc is the checksum of, followed by b. It
// guards the way to the store, nothing more: that bytes are what they should be is
// for the formats of the objects to say.
func Checksum(crc uint32, b []byte) uint32 { return crc32.Update(crc, castagnoli, b) }
