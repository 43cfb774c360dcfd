package heap

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// file is one open heap file. Its slots are all written, if only with zeros:
// it grows by writing, never by a hole.
type file struct {
	header
	name    string // path
	f       vfs.File
	limit   uint32        // most slots it may have
	slots   atomic.Uint32 // slots it has; Heap.growing guards growth
	durable atomic.Uint32 // slots that a sync has covered
	regions []*region     // Heap.mu

	syncing sync.Mutex  // held during fdatasync, so that nobody overtakes one
	dirty   atomic.Bool // set after a write is complete, cleared under syncing
	failed  error       // of the first sync that failed; syncing
}

func fileName(number uint32) string { return fmt.Sprintf("%08x", number) }

// parseFileName is the exact inverse of fileName.
func parseFileName(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 16, 32)
	return uint32(n), err == nil && n > 0 && n <= MaxFile && fileName(uint32(n)) == s
}

// openFile opens and checks the file of that number. Its class is whatever the
// header says.
func openFile(o Options, number uint32) (*file, error) {
	f := &file{name: filepath.Join(o.Dir, fileName(number))}
	open := o.FS.Open
	if o.ReadOnly {
		open = o.FS.OpenRead
	}
	var err error
	if f.f, err = open(f.name); err != nil {
		return nil, f.openError(err)
	}
	if err := f.check(o, number); err != nil {
		f.f.Close()
		return nil, err
	}
	return f, nil
}

func (f *file) openError(err error) error {
	if errors.Is(err, vfs.ErrNotRegular) {
		return f.corrupt(-1, "%v", err)
	}
	return fmt.Errorf("heap: open %s: %w", f.name, err)
}

func (f *file) check(o Options, number uint32) error {
	b := make([]byte, headerBytes)
	if err := f.readAt(b, 0); err != nil {
		return err
	}
	h, err := decodeHeader(b)
	switch {
	case errors.Is(err, wal.ErrVersion):
		return fmt.Errorf("heap: %s: %w", f.name, err)
	case err != nil:
		return f.corrupt(0, "%v", err)
	case h.number != number:
		return f.corrupt(8, "header has file number %d, name says %d", h.number, number)
	case h.store != o.Store && !(o.Lenient && o.Store == uuid.Nil):
		return f.corrupt(12, "file of store %s, this is store %s", h.store, o.Store)
	}
	f.header = h
	size, err := f.f.Size()
	if err != nil {
		return fmt.Errorf("heap: size of %s: %w", f.name, err)
	}
	f.limit = o.slotsPerFile(h.class)
	f.slots.Store(wholeUnits(h.class, min((size-headerBytes)>>h.class, MaxIndex)))
	f.limit = max(f.limit, f.slots.Load()) // made under a larger MaxFileBytes
	return nil
}

// wholeUnits is how many of n slots lie in whole units.
func wholeUnits(c Class, n int64) uint32 {
	per := int64(max(1, unitBytes/c.Bytes()))
	return uint32(n / per * per)
}

// offset is where slot index begins in the file.
func (f *file) offset(index uint32) int64 { return headerBytes + int64(index)<<f.class }

// readAt fills dst from the file's byte off on.
func (f *file) readAt(dst []byte, off int64) error {
	switch _, err := f.f.ReadAt(dst, off); {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return f.corrupt(off, "file ends within the %d bytes wanted here", len(dst))
	default:
		return fmt.Errorf("heap: read %d bytes of %s at byte %d: %w", len(dst), f.name, off, err)
	}
}

// writeAt writes data at byte off.
func (f *file) writeAt(data []byte, off int64) error {
	if _, err := f.f.WriteAt(data, off); err != nil {
		return fmt.Errorf("heap: write %d bytes of %s at byte %d (nothing names them yet): %w", len(data), f.name, off, err)
	}
	f.dirty.Store(true)
	return nil
}

// sync makes all writes that were complete before the call durable, and with
// them the slots the file had. An error is for good: see Heap.Sync.
func (f *file) sync() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.failed != nil || !f.dirty.Swap(false) {
		return f.failed
	}
	slots := f.slots.Load()
	if err := f.f.Sync(); err != nil {
		f.failed = fmt.Errorf("heap: sync %s (what of it is on disk is unknown): %w", f.name, err)
		return f.failed
	}
	f.durable.Store(slots)
	return nil
}

// pieces cuts slots [from, to) at the ends of regions: the region, and first
// and behind-last slot within it. Heap.mu.
func (f *file) pieces(per, from, to uint32) iter.Seq2[*region, [2]uint32] {
	return func(yield func(*region, [2]uint32) bool) {
		size := regionUnits * per
		for from < to {
			r := f.regions[from/size]
			end := min(to, r.base+size)
			if !yield(r, [2]uint32{from - r.base, end - r.base}) {
				return
			}
			from = end
		}
	}
}

func (f *file) corrupt(off int64, format string, args ...any) error {
	return &wal.CorruptError{File: filepath.Join("heap", filepath.Base(f.name)), Offset: off, Reason: fmt.Sprintf(format, args...)}
}
