package archive

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/quire-db/quire/wal"
)

// window bounds what a compressed object may ask a reader to remember, in bytes.
const window = 8 << 20

// SealOptions say how objects are stored. The zero value compresses and does not
// encrypt.
type SealOptions struct {
	// Recipients can read what is sealed: age's X25519 recipients, or any other
	// of its interface. Without any nothing is encrypted.
	Recipients []age.Recipient
	// Uncompressed leaves compression out.
	Uncompressed bool
	// GiveWay, when there is one, hears behind each piece of the work, about a third of
	// a millisecond, how long that took, and may wait: who must not wait for the
	// processor has it meanwhile. It is for objects of megabytes, and compresses them
	// faster and a little less.
	GiveWay func(worked time.Duration)
}

// Seal makes the sealed object of plain bytes, and returns it with its header. Of h,
// compression, encryption, lengths, blobs and sum are filled in. What
// compression does not make smaller is stored as it is. The blobs are those that
// the entries name, in their order.
//
// Memory: about twice the plain bytes, three times when they are encrypted. Errors: wal.ErrTooLarge; those of the
// recipients.
func Seal(h Header, blobs []uuid.UUID, plain []byte, o SealOptions) ([]byte, Header, error) {
	if len(plain) > MaxPlain || len(blobs) > MaxRefs {
		return nil, h, fmt.Errorf("archive: seal %d bytes with %d blobs, at most %d and %d, nothing was put: %w", len(plain), len(blobs), MaxPlain, MaxRefs, wal.ErrTooLarge)
	}
	h.Plain, h.Refs = int64(len(plain)), uint32(len(blobs))
	var object bytes.Buffer
	object.Grow(HeaderBytes + len(blobs)*refBytes + len(plain)*5/8 + 1024)
	object.Write(make([]byte, HeaderBytes))
	for _, id := range blobs {
		object.Write(id[:])
	}
	if err := h.store(&object, plain, o); err != nil {
		return nil, h, fmt.Errorf("archive: encrypt, nothing was put: %w", err)
	}
	b := object.Bytes()
	h.Stored = int64(len(b)-HeaderBytes) - int64(len(blobs))*refBytes
	h.Sum = sum(b[HeaderBytes:])
	if reason := h.invalid(); reason != "" {
		return nil, h, fmt.Errorf("archive: seal, nothing was put: %w", corrupt("header", reason))
	}
	copy(b, h.encode())
	return b, h, nil
}

// store appends to the object what is stored of plain bytes.
func (h *Header) store(object *bytes.Buffer, plain []byte, o SealOptions) error {
	if h.Encryption = EncryptionNone; len(o.Recipients) == 0 {
		h.pack(object, plain, o)
		return nil
	}
	h.Encryption = EncryptionAge
	var packed bytes.Buffer
	h.pack(&packed, plain, o)
	w, err := age.Encrypt(object, o.Recipients...)
	if err != nil {
		return err
	}
	if _, err := packed.WriteTo(w); err != nil {
		return err
	}
	return w.Close()
}

// pack appends plain bytes, compressed if that makes them smaller.
func (h *Header) pack(dst *bytes.Buffer, plain []byte, o SealOptions) {
	if h.Compression = CompressionNone; !o.Uncompressed {
		before := dst.Len()
		if o.compress(dst, plain); dst.Len()-before < len(plain) {
			h.Compression = CompressionZstd
			return
		}
		dst.Truncate(before)
	}
	dst.Write(plain)
}

// pieceBytes are compressed at once: a block of zstd.
const pieceBytes = 128 << 10

// compress works in pieces where somebody is to have the processor between them.
func (o *SealOptions) compress(dst *bytes.Buffer, plain []byte) {
	if o.GiveWay == nil {
		dst.Write(encoder().EncodeAll(plain, dst.AvailableBuffer()))
		return
	}
	e := streams.Get().(*zstd.Encoder)
	defer streams.Put(e)
	e.Reset(dst)
	defer e.Reset(nil) // so that it keeps no object in memory
	for began := time.Now(); len(plain) > 0; began = time.Now() {
		n := min(pieceBytes, len(plain))
		_, _ = e.Write(plain[:n]) // dst takes all
		plain = plain[n:]
		o.GiveWay(time.Since(began))
	}
	_ = e.Close()
}

// encoder serves several callers at once, one after the other.
var encoder = sync.OnceValue(func() *zstd.Encoder { return newEncoder(zstd.WithWindowSize(window)) })

// streams compress in pieces, each for one caller at a time. Half of the processor's
// time of encoder, for three to ten per cent more bytes: with a window that fits the
// processor's cache, and at the fastest level.
var streams = sync.Pool{New: func() any {
	return newEncoder(zstd.WithWindowSize(streamWindow), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
}}

// streamWindow is that of streams, in bytes.
const streamWindow = 512 << 10

// newEncoder makes an encoder that also makes smaller what never repeats but uses some bytes
// more than others, such as base64 and so most of mail: a quarter, at the speed that other
// data has.
func newEncoder(o ...zstd.EOption) *zstd.Encoder {
	e, err := zstd.NewWriter(nil, append(o, zstd.WithEncoderConcurrency(1), zstd.WithAllLitEntropyCompression(true))...)
	if err != nil {
		panic(err) // the options are constants
	}
	return e
}

func sum(b []byte) [16]byte { return sumBytes(xxh3.Hash128(b)) }

func sumBytes(u xxh3.Uint128) (s [16]byte) {
	le.PutUint64(s[0:], u.Lo)
	le.PutUint64(s[8:], u.Hi)
	return s
}
