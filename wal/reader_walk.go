package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/quire-db/quire/internal/vfs"
)

// Record is one record as it lies in the log.
type Record struct {
	Frame
	Offset       int64 // of its first byte in the generation's file
	Length       int64 // in bytes, the library's length prefix included
	Entry        *Entry
	Hash         Hash // of Entry
	Extents      []Extent
	InlineOffset int64  // of its inline bytes in the generation's file
	Inline       []byte // valid until the next record is read
}

// walker reads the records of generations in order and takes only those that
// continue the log: LSNs dense, hashes chained.
type walker struct {
	fs      vfs.FS
	dir     string
	id      GenID
	file    vfs.File
	win     window
	off     int64 // of the next record
	next    LSN
	chain   Hash // of entry next-1
	chained bool // chain is known
}

// enter goes on at the start of another generation's file. After an error the
// walker is where it was.
func (w *walker) enter(id GenID) error {
	f, err := w.fs.OpenRead(filepath.Join(w.dir, id.Path()))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &CorruptError{File: id.file(), Offset: -1, LSN: w.next, Reason: "the file is missing; the manifest names it"}
	case errors.Is(err, vfs.ErrNotRegular):
		return &CorruptError{File: id.file(), Offset: -1, LSN: w.next, Reason: "it is not a regular file"}
	case err != nil:
		return fmt.Errorf("wal: open generation %s: %w", id, err)
	}
	w.close()
	w.id, w.file, w.off = id, f, 0
	w.win = window{file: f, buf: w.win.buf[:0]}
	return nil
}

func (w *walker) close() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}

// record returns the next record and steps over it. Errors are badFrame, wrap
// ErrVersion, or are the disk's; then the walker stays where it is.
func (w *walker) record() (*Record, error) {
	r, entry, err := w.frame()
	if err != nil {
		return nil, err
	}
	if r.Kind == FrameMark {
		err = w.checkMark(r)
	} else {
		err = w.checkEntry(r, entry)
	}
	if err != nil {
		return nil, err
	}
	w.off += r.Length
	return r, nil
}

// frame reads the frame at off, valid by itself, and the encoded entry in it.
func (w *walker) frame() (*Record, []byte, error) {
	b, err := w.win.at(w.off, 3+frameHeader)
	if err != nil {
		return nil, nil, fmt.Errorf("wal: read generation %s at byte %d: %w", w.id, w.off, err)
	}
	size, n := binary.Uvarint(b)
	if size < frameHeader || size > MaxRecord || int64(n) != lengthPrefix(int64(size)) {
		return nil, nil, badFrame("no record begins here")
	}
	if b, err = w.win.at(w.off, n+int(size)); err != nil {
		return nil, nil, fmt.Errorf("wal: read generation %s at byte %d: %w", w.id, w.off, err)
	}
	f, err := decodeFrame(b[n:], w.id)
	if err != nil {
		return nil, nil, err
	}
	if f.size() != int64(size) {
		return nil, nil, badFrame("the frame's length is not that of its record")
	}
	entry, extents, inline, err := f.payload(b[n:])
	if err != nil {
		return nil, nil, err
	}
	r := &Record{Frame: f, Offset: w.off, Length: int64(len(b)), Extents: decodeExtents(extents), Inline: inline}
	r.InlineOffset = w.off + int64(len(b)-len(inline))
	return r, entry, nil
}

func (w *walker) checkMark(r *Record) error {
	if r.LSN != w.next-1 || w.chained && r.Prev != w.chain {
		return badFrame(fmt.Sprintf("a mark behind entry %d lies here, behind entry %d", r.LSN, w.next-1))
	}
	return nil
}

func (w *walker) checkEntry(r *Record, entry []byte) (err error) {
	if r.LSN != w.next {
		return badFrame(fmt.Sprintf("entry %d lies here, entry %d was expected", r.LSN, w.next))
	}
	if w.chained && r.Prev != w.chain {
		return badFrame(fmt.Sprintf("its previous hash is not that of entry %d", w.next-1))
	}
	if r.Entry, err = DecodeEntry(entry); errors.Is(err, ErrCorrupt) {
		return badFrame("the entry in a valid frame cannot be decoded: " + err.Error())
	} else if err != nil {
		return err
	}
	e := r.Entry
	if e.First != r.LSN || e.Last != r.LSN || e.Prev != r.Prev || e.Timeline != r.Timeline {
		return badFrame("frame and entry disagree")
	}
	r.Hash = e.Hash()
	w.next, w.chain, w.chained = r.LSN+1, r.Hash, true
	return nil
}

// window reads a file from front to back in pieces that double up to 1 MiB, so
// that neither a long scan nor one record at the tail costs much.
type window struct {
	file  vfs.File
	start int64 // of buf in the file
	buf   []byte
	ahead int
}

const (
	minAhead = 32 << 10
	maxAhead = 1 << 20
)

// at returns the n bytes at off, fewer at the end of the file. They are valid
// until the next call. off never goes back.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off+int64(n) > w.start+int64(len(w.buf)) {
		if err := w.fill(off, n); err != nil {
			return nil, err
		}
	}
	b := w.buf[min(off-w.start, int64(len(w.buf))):]
	return b[:min(n, len(b))], nil
}

// fill makes buf begin at off and hold n bytes and more.
func (w *window) fill(off int64, n int) error {
	kept := copy(w.buf, w.buf[min(off-w.start, int64(len(w.buf))):])
	w.start = off
	w.ahead = min(max(2*w.ahead, minAhead), maxAhead)
	size := max(n, w.ahead)
	if cap(w.buf) < size {
		w.buf = append(make([]byte, 0, size+size/4), w.buf[:kept]...)
	}
	got, err := w.file.ReadAt(w.buf[kept:size], off+int64(kept))
	w.buf = w.buf[:kept+got]
	if err == io.EOF {
		err = nil
	}
	return err
}

// drop forgets what was read: a writer may have gone on.
func (w *window) drop() { w.buf, w.ahead = w.buf[:0], 0 }
