package archive

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/quire-db/quire/wal"
)

// Buffers are memory for Unpack, to be used again.
type Buffers struct{ stored, plain []byte }

// Unpack is ReadAll for objects of megabytes, instead of Read: all that is stored is read
// and verified, and then decompressed at once, in half of the time. What it returns is
// b's, and valid until b is used again. Memory: b, which has room for the stored and
// the plain bytes afterwards; at most limit of the latter are expected, more are
// wal.ErrTooLarge. Errors are Read's.
func (o *Opened) Unpack(b *Buffers, limit int64) ([]byte, error) {
	if o.Plain > limit {
		return nil, fmt.Errorf("archive: %s has %d plain bytes, at most %d are expected: %w", o.name, o.Plain, limit, wal.ErrTooLarge)
	}
	packed, err := o.readSealed(b)
	if err != nil {
		return nil, err
	}
	if o.Compression == CompressionZstd {
		b.plain = slices.Grow(b.plain[:0], int(o.Plain))
		if packed, err = unpacker().DecodeAll(packed, b.plain[:0:o.Plain]); err != nil {
			return nil, o.corrupt("its stored bytes cannot be decoded: " + err.Error())
		}
	}
	if int64(len(packed)) != o.Plain {
		return nil, o.corrupt(fmt.Sprintf("it has %d plain bytes, its header says %d", len(packed), o.Plain))
	}
	return packed, nil
}

// readSealed is what was stored before it was encrypted. The object is as long as its
// header says, which was compared with what the store says.
func (o *Opened) readSealed(b *Buffers) ([]byte, error) {
	b.stored = slices.Grow(b.stored[:0], int(o.Stored))
	n, err := io.ReadFull(o.sealed, b.stored[:o.Stored])
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, o.judge(err)
	}
	if err := o.finish(); err != nil {
		return nil, err
	}
	return b.stored[:n], nil
}

// unpacker serves any number of callers. The sum of what is stored was compared: that
// of a frame need not be.
var unpacker = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxWindow(window), zstd.WithDecodeAllCapLimit(true), zstd.IgnoreChecksum(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
})
