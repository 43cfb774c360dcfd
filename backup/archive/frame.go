package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/quire-db/quire/wal"
)

// ErrImage: an image or index chunk is not what its entry says, or cannot be
// read.
var ErrImage = errors.New("an image or index chunk is not what the entry says, or cannot be read")

// Frame is an entry on its way into an append or pack.
type Frame struct {
	Entry *wal.Entry
	Hash  wal.Hash
	Blobs []BlobRef // that hold the payload; to be filled in when it is too large

	bytes  []byte // of the entry
	body   layout
	images io.ReaderAt
}

// NewFrame prepares an entry whose body images reads, which is used until the
// frame was appended. Errors: ErrImage when an index chunk cannot be had,
// wal.ErrTooLarge.
func NewFrame(e *wal.Entry, images io.ReaderAt) (*Frame, error) {
	if images == nil {
		images = bytes.NewReader(nil)
	}
	if e.Kind == wal.KindRange {
		return nil, failed(e, fmt.Errorf("it is a range entry: %w", wal.ErrVersion))
	}
	b, err := wal.AppendEntry(nil, e)
	if err == nil && len(b) > MaxEntryBytes {
		err = fmt.Errorf("%d bytes, at most %d: %w", len(b), MaxEntryBytes, wal.ErrTooLarge)
	}
	if err != nil {
		return nil, failed(e, err)
	}
	body, err := layOutOf(e, images)
	if err != nil && !errors.Is(err, wal.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrImage, err)
	}
	if err != nil {
		return nil, failed(e, err)
	}
	return &Frame{Entry: e, Hash: e.Hash(), bytes: b, body: body, images: images}, nil
}

func failed(e *wal.Entry, err error) error {
	return fmt.Errorf("archive: entry %d, nothing was put of it: %w", e.First, err)
}

// Payload is how much of the body goes with the entry, in bytes.
func (f *Frame) Payload() int64 { return int64(f.body.size) }

// Append appends the frame to dst. With Blobs the payload is theirs; else it
// goes along, which it may up to InlineBytes, verified as Parts does.
func (f *Frame) Append(dst []byte) ([]byte, error) {
	if reason := checkBlobs(f.Blobs, f.body.size); reason != "" {
		return dst, failed(f.Entry, errors.New(reason))
	}
	if len(f.Blobs) == 0 && f.body.size > InlineBytes {
		return dst, failed(f.Entry, fmt.Errorf("a payload of %d bytes without blobs, at most %d: %w", f.body.size, InlineBytes, wal.ErrTooLarge))
	}
	whole := f.appendTo(dst)
	if len(f.Blobs) > 0 {
		return whole, nil
	}
	for part, err := range f.Parts(max(1, int(f.body.size))) {
		if err != nil {
			return dst, err
		}
		whole = append(whole, part...)
	}
	return whole, nil
}

// ahead is the longest thing that may begin in one part and end in the next.
const ahead = max(wal.MaxPageSize, wal.MaxInlineRows*wal.RowSize)

// Parts yields the payload in parts of size bytes, the last perhaps shorter; each is valid
// until the next. Every image and index chunk is verified in the very bytes that
// are yielded, however the body may change meanwhile; what does not fit is
// ErrImage, and ends the parts. Memory: size and 128 KiB. Cost: one pass through
// the entry's rows for each part.
func (f *Frame) Parts(size int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf []byte
		for from := uint64(0); from < f.body.size; from += uint64(size) {
			want := int(min(uint64(size+ahead), f.body.size-from))
			if buf == nil {
				buf = make([]byte, 0, want)
			}
			have := len(buf)
			buf = buf[:want]
			err := f.body.read(f.images, buf[have:], from+uint64(have))
			if err == nil {
				err = f.verify(buf, from, from+uint64(size))
			}
			if err != nil {
				yield(nil, failed(f.Entry, fmt.Errorf("%w: %w", ErrImage, err)))
				return
			}
			part := buf[:min(size, len(buf))]
			if !yield(part, nil) {
				return
			}
			buf = buf[:copy(buf, buf[len(part):])]
		}
	}
}

// verify checks all that begins in [from, to) of the payload, of which b are the bytes
// from on.
func (f *Frame) verify(b []byte, from, to uint64) error {
	for i := range f.Entry.Sections {
		s := &f.Entry.Sections[i]
		for j := range s.Delta.Chunks {
			c := &s.Delta.Chunks[j]
			piece, begins, err := f.piece(b, from, to, c.Offset, c.Length)
			if err == nil && begins {
				err = checkChunk(c, piece)
			}
			if err != nil {
				return err
			}
		}
		for row, err := range s.EachRow(f.images) {
			if err != nil {
				return err
			}
			piece, begins, err := f.piece(b, from, to, row.Locator.Offset(), row.Locator.Length())
			if err == nil && begins && wal.HashPage(row.Page, piece) != row.Hash {
				err = fmt.Errorf("page %d of volume %s does not match its hash", row.Page, s.Ref.Volume)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// piece is a range of the body, if it begins in [from, to) of the payload.
func (f *Frame) piece(b []byte, from, to, off uint64, n uint32) (piece []byte, begins bool, err error) {
	at, ok := f.body.find(off, uint64(n))
	if !ok {
		return nil, false, fmt.Errorf("the index named other parts of the body a moment ago than byte %d", off)
	}
	if at < from || at >= to {
		return nil, false, nil
	}
	return b[at-from : at-from+uint64(n)], true, nil
}

func checkChunk(c *wal.Chunk, b []byte) error {
	rows, err := wal.DecodeRows(b, int(c.Rows))
	if err == nil && wal.DigestRows(rows) != c.Digest {
		err = fmt.Errorf("the index chunk at byte %d of the body does not have its digest", c.Offset)
	}
	return err
}
