package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/quire-db/quire/wal"
)

// ErrLocked: an object is encrypted, and none of the identities opens it.
var ErrLocked = errors.New("encrypted, and none of the identities given opens it")

// LockedError says what is locked. The object is as it was put: its checksum was
// verified.
type LockedError struct {
	Key        string
	Identities int      // that were tried
	Recipients []string // their types in the object, such as "X25519": age does not say who they are
}

func (e *LockedError) Error() string {
	to := "" // they are not known when no identity was tried
	if n := len(e.Recipients); n > 0 {
		to = fmt.Sprintf("; it was encrypted to %d of type %s", n, strings.Join(e.Recipients, ", "))
	}
	return fmt.Sprintf("archive: %s: %v (%d tried)%s; nothing was changed, give the identity of a recipient", e.Key, ErrLocked, e.Identities, to)
}

// Is makes every LockedError an ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Opened is a sealed object whose header was verified, and a reader of its plain
// bytes. These are as yet unproven: only io.EOF says that all of them, and all
// that is stored, are what was sealed. It is for one goroutine.
type Opened struct {
	Header
	Blobs []uuid.UUID

	name   string
	stored *storedBytes
	sealed io.Reader // what is stored, decrypted; nil when only that it is whole is to be checked
	plain  io.Reader // nil before the first Read
	zstd   *zstd.Decoder
	left   int64 // plain bytes
	err    error // sticks
}

// Open opens the object that has a key and a size in bytes, and that r reads from
// its beginning. The caller keeps r, and must close what is returned first.
// Errors: wal.ErrCorrupt, wal.ErrVersion, ErrLocked, those of r.
//
// Memory: 16 bytes for each blob, and what decoders need: below 20 MiB
// whatever the object says.
func Open(key Key, r io.Reader, size int64, identities []age.Identity) (*Opened, error) {
	o, err := openStored(key, r, size)
	if err != nil {
		return nil, err
	}
	if err := o.decode(identities); err != nil {
		return nil, err
	}
	return o, nil
}

// Check verifies all that can be without a key: header, size, checksum. Errors
// are Open's.
func Check(key Key, r io.Reader, size int64) (Header, []uuid.UUID, error) {
	o, err := openStored(key, r, size)
	if err != nil {
		return Header{}, nil, err
	}
	return o.Header, o.Blobs, o.finish()
}

func openStored(key Key, r io.Reader, size int64) (*Opened, error) {
	name := key.String()
	head := make([]byte, HeaderBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("archive: read %s: %w", name, err)
	}
	h, err := DecodeHeader(key, size, head[:n])
	if err != nil {
		return nil, err
	}
	o := &Opened{Header: h, name: name, left: h.Plain, stored: &storedBytes{r: r, left: h.Size() - HeaderBytes}}
	for range h.Refs {
		var id uuid.UUID
		if _, err := io.ReadFull(o.stored, id[:]); err != nil {
			return nil, o.judge(err)
		}
		o.Blobs = append(o.Blobs, id)
	}
	return o, nil
}

// decode puts the decoder before what is stored.
func (o *Opened) decode(identities []age.Identity) (err error) {
	if o.sealed = o.stored; o.Encryption == EncryptionAge {
		o.sealed, err = o.decrypt(identities)
	}
	return err
}

// decompress puts the other one before it.
func (o *Opened) decompress() (err error) {
	if o.plain = o.sealed; o.Compression != CompressionZstd {
		return nil
	}
	o.zstd, err = zstd.NewReader(o.sealed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return o.judge(err)
	}
	o.plain = o.zstd
	return nil
}

func (o *Opened) decrypt(identities []age.Identity) (io.Reader, error) {
	var plain io.Reader
	var err error = &age.NoIdentityMatchError{}
	if len(identities) > 0 {
		plain, err = age.Decrypt(o.stored, identities...)
	}
	var locked *age.NoIdentityMatchError
	if !errors.As(err, &locked) {
		if err != nil {
			err = o.judge(err)
		}
		return plain, err
	}
	// A damaged object may look like another's.
	if err := o.finish(); err != nil {
		return nil, err
	}
	return nil, &LockedError{Key: o.name, Identities: len(identities), Recipients: locked.StanzaTypes}
}

// Read implements io.Reader. Memory does not grow with what is read, nor is more
// read than the header says there is.
func (o *Opened) Read(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if o.plain == nil {
		if o.err = o.decompress(); o.err != nil {
			return 0, o.err
		}
	}
	n, err := o.plain.Read(p[:min(int64(len(p)), o.left+1)])
	if int64(n) > o.left {
		n, o.err = 0, o.corrupt(fmt.Sprintf("it has more than the %d plain bytes that its header says", o.Plain))
		return n, o.err
	}
	o.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		o.err = o.judge(err)
	case o.left > 0:
		o.err = o.corrupt(fmt.Sprintf("%d of its %d plain bytes are missing", o.left, o.Plain))
	default:
		if o.err = o.finish(); o.err == nil {
			o.err = io.EOF
		}
	}
	return n, o.err
}

// Close lets go of the decoders.
func (o *Opened) Close() {
	if o.zstd != nil {
		o.zstd.Close()
	}
}

// finish reads what is left of the stored bytes and compares their sum.
func (o *Opened) finish() error {
	if _, err := io.Copy(io.Discard, o.stored); err != nil {
		return o.judge(err)
	}
	if o.stored.left != 0 {
		return o.corrupt(fmt.Sprintf("its last %d bytes are missing", o.stored.left))
	}
	if sumBytes(o.stored.hash.Sum128()) != o.Sum {
		return o.corrupt("the checksum of its stored bytes is wrong")
	}
	return nil
}

// judge tells what the store says from what the bytes do.
func (o *Opened) judge(err error) error {
	if o.stored.err != nil {
		return fmt.Errorf("archive: read %s: %w", o.name, o.stored.err)
	}
	return o.corrupt("its stored bytes cannot be decoded: " + err.Error())
}

func (o *Opened) corrupt(reason string) error { return corrupt(o.name, reason) }

// storedBytes reads what is behind the header, and sums it.
type storedBytes struct {
	r    io.Reader
	left int64
	hash xxh3.Hasher
	err  error // of r, but io.EOF
}

func (s *storedBytes) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	_, _ = s.hash.Write(p[:n])
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// ReadAll reads the plain bytes of an object that may have at most limit of them:
// more are wal.ErrTooLarge. All were verified. Beyond BlobBytes memory follows what
// is there, not what the header says.
func (o *Opened) ReadAll(limit int64) ([]byte, error) {
	if o.Plain > limit {
		return nil, fmt.Errorf("archive: %s has %d plain bytes, at most %d are expected: %w", o.name, o.Plain, limit, wal.ErrTooLarge)
	}
	var b bytes.Buffer
	b.Grow(int(min(o.Plain, BlobBytes)) + bytes.MinRead) // which it wants free at the end
	if _, err := b.ReadFrom(o); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
