package archive

import (
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/quire-db/quire/wal"
)

// The plain bytes of append and pack are entry frames, one after the other:
//
//	offset size field
//	     0    4 length of the entry
//	     4    4 number of runs
//	     8    4 number of blobs
//	    12    4 zero
//	    16    8 length of the payload
//	    24   32 hash of the entry
//	    56      entry, as wal.AppendEntry encodes it
//	            runs, each: offset in the entry's body u64, length u64
//	            blobs, each: UUID, length u64, xxh3-128 of these plain bytes
//	            payload, when there are no blobs
//
// The payload is what the entry's locators and index chunks name of its body: the
// bytes of the runs, one after the other, in any order. A writer puts index chunks
// first and images in the order of rows, in which they are read. When the payload is larger
// than InlineBytes it lies in blobs, cut anywhere.
//
// A frame is valid if and only if
//
//  1. the entry is one of wal's that is no range entry, of at most MaxEntryBytes,
//     and has the hash: so it is proven before the next entry, which names the
//     hash too, was read;
//  2. runs are not empty, do not overlap and end within wal.MaxBody, at most
//     MaxRuns of them; together they are as long as the payload;
//  3. a payload of up to InlineBytes lies behind, a larger one may lie in
//     blobs only; each has 1 to BlobBytes bytes, all together those of the payload;
//  4. every locator and index chunk lies within one run, every index chunk has its
//     digest, and every image its row's hash.
//
// and in an object with a header if and only if
//
//  5. the entries go from the header's first LSN to its last, without a gap, each
//     names the hash of the one before it, and the first and last hashes are the
//     header's;
//  6. timeline and epoch of all are the header's, and times ascend from its first
//     to its last;
//  7. the blobs are those that the object names, in that order.
const (
	frameBytes = 56
	runBytes   = 16
	blobBytes  = 40

	// MaxEntryBytes is the most an entry takes without its body: what fits a
	// record of the log.
	MaxEntryBytes = wal.MaxRecord
	// InlineBytes is the largest payload that lies in an append or pack itself.
	InlineBytes = 8 << 20
	// BlobBytes is the most that one blob holds of a payload.
	BlobBytes = 16 << 20
	// MaxRuns is the most runs of a body: 16 MiB of them.
	MaxRuns = 1 << 20

	maxBlobs = wal.MaxBody / BlobBytes
)

// Run is a range of an entry's body, in bytes.
type Run struct{ Offset, Length uint64 }

// BlobRef names a blob, and says what it holds.
type BlobRef struct {
	ID     uuid.UUID
	Length uint64   // plain bytes
	Sum    [16]byte // xxh3-128 of them
}

// NewBlobRef describes a blob that holds plain.
func NewBlobRef(id uuid.UUID, plain []byte) BlobRef {
	return BlobRef{ID: id, Length: uint64(len(plain)), Sum: sum(plain)}
}

// Fits reports whether plain is what the blob holds.
func (r BlobRef) Fits(plain []byte) bool {
	return uint64(len(plain)) == r.Length && sum(plain) == r.Sum
}

// frameHead is a frame's fixed part.
type frameHead struct {
	entry, runs, blobs uint32
	payload            uint64
	hash               wal.Hash
}

// appendTo appends a frame up to its payload.
func (f *Frame) appendTo(dst []byte) []byte {
	dst = le.AppendUint32(dst, uint32(len(f.bytes)))
	dst = le.AppendUint32(dst, uint32(len(f.body.runs)))
	dst = le.AppendUint32(dst, uint32(len(f.Blobs)))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, f.body.size)
	dst = append(dst, f.Hash[:]...)
	dst = append(dst, f.bytes...)
	for _, r := range f.body.runs {
		dst = le.AppendUint64(dst, r.Offset)
		dst = le.AppendUint64(dst, r.Length)
	}
	for _, b := range f.Blobs {
		dst = append(dst, b.ID[:]...)
		dst = le.AppendUint64(dst, b.Length)
		dst = append(dst, b.Sum[:]...)
	}
	return dst
}

func decodeFrameHead(b []byte) (frameHead, string) {
	h := frameHead{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint64(b[16:]), wal.Hash(b[24:])}
	switch {
	case le.Uint32(b[12:]) != 0:
		return h, "bytes that are zero are not"
	case h.entry > MaxEntryBytes || h.runs > MaxRuns || h.blobs > maxBlobs || h.payload > wal.MaxBody:
		return h, fmt.Sprintf("an entry of %d bytes with a payload of %d in %d runs and %d blobs", h.entry, h.payload, h.runs, h.blobs)
	case h.blobs == 0 && h.payload > InlineBytes:
		return h, fmt.Sprintf("a payload of %d bytes without blobs, at most %d", h.payload, InlineBytes)
	case (h.runs == 0) != (h.payload == 0), uint64(h.blobs) > h.payload:
		return h, fmt.Sprintf("%d runs and %d blobs for a payload of %d bytes", h.runs, h.blobs, h.payload)
	}
	return h, ""
}

// readTable reads n elements of size bytes, a piece at a time: a number that
// nothing follows costs no memory.
func readTable(r io.Reader, n, size int, each func(b []byte)) error {
	const piece = 4096
	buf := make([]byte, min(n, piece)*size)
	for n > 0 {
		b := buf[:min(n, piece)*size]
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		for ; len(b) > 0; b, n = b[size:], n-1 {
			each(b[:size])
		}
	}
	return nil
}

func decodeRun(b []byte) Run { return Run{le.Uint64(b), le.Uint64(b[8:])} }

func decodeBlob(b []byte) BlobRef {
	return BlobRef{uuid.UUID(b[:16]), le.Uint64(b[16:]), [16]byte(b[24:40])}
}

// check holds runs to rule 2.
func (l *layout) check(payload uint64) string {
	for i, r := range l.runs {
		if r.Length == 0 || r.Length > wal.MaxBody || r.Offset > wal.MaxBody-r.Length {
			return fmt.Sprintf("run %d of %d bytes at byte %d", i, r.Length, r.Offset)
		}
	}
	if l.overlap() {
		return "runs that overlap"
	}
	if l.size != payload { // no sum of MaxRuns runs is too large for it
		return fmt.Sprintf("runs of %d bytes together for a payload of %d", l.size, payload)
	}
	return ""
}

// checkBlobs holds blobs to rule 3.
func checkBlobs(blobs []BlobRef, payload uint64) string {
	var sum uint64
	for i, b := range blobs {
		if b.Length == 0 || b.Length > BlobBytes || b.ID == uuid.Nil {
			return fmt.Sprintf("blob %d (%s) has %d bytes", i, b.ID, b.Length)
		}
		sum += b.Length
	}
	if len(blobs) > 0 && sum != payload {
		return fmt.Sprintf("blobs of %d bytes together for a payload of %d", sum, payload)
	}
	return ""
}
