package archive

import (
	"bytes"
	"fmt"
	"sync"

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
}

// Seal makes the sealed object of plain bytes, and returns it with its header. Of h,
// compression, encryption, lengths, blobs and sum are filled in. What
// compression does not make smaller is stored as it is. The blobs are those that
// the entries name, in their order.
//
// Memory: about three times the plain bytes. Errors: wal.ErrTooLarge; those of the
// recipients.
func Seal(h Header, blobs []uuid.UUID, plain []byte, o SealOptions) ([]byte, Header, error) {
	if len(plain) > MaxPlain || len(blobs) > MaxRefs {
		return nil, h, fmt.Errorf("archive: seal %d bytes with %d blobs, at most %d and %d, nothing was put: %w", len(plain), len(blobs), MaxPlain, MaxRefs, wal.ErrTooLarge)
	}
	h.Compression, h.Encryption = CompressionNone, EncryptionNone
	h.Plain, h.Refs = int64(len(plain)), uint32(len(blobs))
	stored := plain
	if !o.Uncompressed {
		if packed := encoder().EncodeAll(plain, nil); len(packed) < len(plain) {
			stored, h.Compression = packed, CompressionZstd
		}
	}
	var object bytes.Buffer
	object.Grow(HeaderBytes + len(blobs)*refBytes + len(stored) + len(stored)/1024 + 1024)
	object.Write(make([]byte, HeaderBytes))
	for _, id := range blobs {
		object.Write(id[:])
	}
	if err := h.store(&object, stored, o.Recipients); err != nil {
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

// store appends what is stored to the object.
func (h *Header) store(object *bytes.Buffer, b []byte, recipients []age.Recipient) error {
	if len(recipients) == 0 {
		object.Write(b)
		return nil
	}
	h.Encryption = EncryptionAge
	w, err := age.Encrypt(object, recipients...)
	if err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Close()
}

// encoder serves several callers at once, one after the other.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
})

func sum(b []byte) [16]byte { return sumBytes(xxh3.Hash128(b)) }

func sumBytes(u xxh3.Uint128) (s [16]byte) {
	le.PutUint64(s[0:], u.Lo)
	le.PutUint64(s[8:], u.Hi)
	return s
}
