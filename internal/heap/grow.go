package heap

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/quire-db/quire/internal/vfs"
)

// Growth writes zeros, or the first data itself, behind a file's last slot and
// only then lets the allocator see the slots. A hole is never made: a full disk
// shows here, where it is an ordinary error, and not at the commit point.

var zeros [1 << 20]byte

// fillStep is how many zeros are written before the disk is waited for, so that
// commits that sync meanwhile do not wait behind all of them.
const fillStep = 256 << 10

// grow adds room for at least n more units of a class, unless the space grew
// since the caller saw it.
func (h *Heap) grow(class Class, n uint32, seen int) error {
	h.growing.Lock()
	defer h.growing.Unlock()
	s := &h.spaces[class]
	if h.growths(s) != seen {
		return nil
	}
	f, err := h.growable(s)
	if err != nil {
		return err
	}
	slots := max(uint64(n)*uint64(s.per), uint64(h.step(s)>>class))
	slots = min(slots, uint64(f.limit-f.slots.Load()))
	return h.extendZeros(s, f, uint32(slots))
}

func (h *Heap) growths(s *space) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.growths
}

// step is by how many bytes a space grows when nothing wants more: a quarter of
// what it has, from 64 KiB to 4 MiB, and beyond that a part in 32, up to
// Options.GrowBytes.
func (h *Heap) step(s *space) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	has := int64(s.total) * int64(s.per) << s.class
	step := min(max(min(has/4, 4<<20), has/32, 64<<10), h.opt.GrowBytes)
	return step / int64(MaxClass.Bytes()) * int64(MaxClass.Bytes())
}

// growable is the class's last file, or a new one when that is full. growing.
func (h *Heap) growable(s *space) (*file, error) {
	if err := h.writable(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	f := s.lastFile
	h.mu.Unlock()
	if f != nil && f.slots.Load() < f.limit {
		return f, nil
	}
	return h.create(s.class)
}

// extendZeros adds slots of zeros to f and makes them free. After an error the
// file has the slots it had. growing.
func (h *Heap) extendZeros(s *space, f *file, slots uint32) error {
	from := f.slots.Load()
	off, end := f.offset(from), f.offset(from+slots)
	for off < end {
		part := zeros[:min(end-off, fillStep)]
		if err := f.writeAt(part, off); err != nil {
			return err
		}
		if err := vfs.WriteOut(f.f, off, int64(len(part))); err != nil {
			return h.poison(err)
		}
		off += int64(len(part))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.grow(f, from, from+slots)
	return nil
}

// extend adds whole units of data to f, of whose slots the first n are in use
// from then on. After an error the file has the slots it had. growing.
func (h *Heap) extend(s *space, f *file, data []byte, n int) (Extent, error) {
	from := f.slots.Load()
	if err := f.writeAt(data, f.offset(from)); err != nil {
		return Extent{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.grow(f, from, from+uint32(len(data)>>s.class))
	for r, p := range f.pieces(s.per, from, from+uint32(n)) {
		s.use(r, p[0], p[1])
	}
	return Extent{MakeSlot(f.number, from), uint32(n)}, nil
}

// create makes an empty file, its name and header durable, so that any record
// may name its slots. growing.
func (h *Heap) create(class Class) (*file, error) {
	if h.next > MaxFile {
		return nil, fmt.Errorf("heap: all %d file numbers are used", MaxFile)
	}
	f := &file{header: header{class, h.next, h.opt.Store}, limit: h.opt.slotsPerFile(class)}
	f.name = filepath.Join(h.opt.Dir, fileName(f.number))
	h.next++ // also after an error: a number is not used twice
	var err error
	if f.f, err = h.opt.FS.Create(f.name); err != nil {
		return nil, fmt.Errorf("heap: make a file: %w", err)
	}
	if err := h.writeHeader(f); err != nil {
		return nil, errors.Join(err, f.f.Close(), h.opt.FS.Remove(f.name))
	}
	h.add(f)
	return f, nil
}

func (h *Heap) writeHeader(f *file) error {
	if err := f.writeAt(f.encode(), 0); err != nil {
		return err
	}
	if err := f.sync(); err != nil {
		return err // nothing names the file, and it is never synced again
	}
	if err := h.opt.FS.SyncDir(h.opt.Dir); err != nil {
		return h.poison(fmt.Errorf("heap: sync directory: %w", err))
	}
	return nil
}

// Fill does one step of growing ahead of need, off the commit path: where a
// class that has a file has less free than a step, or too little of it in long
// runs, it adds one, synced. It reports whether it did something; a background
// goroutine calls it until it did not. Its errors are ordinary ones but for
// ErrPoisoned.
func (h *Heap) Fill() (worked bool, err error) {
	for c := MinClass; c <= MaxClass; c++ {
		s := &h.spaces[c]
		if step := h.step(s); h.short(s, step) {
			return true, h.ahead(s, step)
		}
	}
	return false, nil
}

// Short reports whether Fill has something to do.
func (h *Heap) Short() bool {
	for c := MinClass; c <= MaxClass; c++ {
		if s := &h.spaces[c]; h.short(s, h.step(s)) {
			return true
		}
	}
	return false
}

// short reports whether a space that is in use should grow by a step: when it
// has less than that free, or when long runs have run out and short ones are
// less than slack of it. Scattered writes cost a device several times what
// the same bytes cost in a row; slack bounds the space that they may cost.
func (h *Heap) short(s *space, step int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.lastFile == nil {
		return false
	}
	free := int64(s.free) * int64(s.per) << s.class
	return free < step || s.hints[long].count == 0 && s.free*100 < slack*s.total
}

// slack is how much of a space may be free in short runs, in per cent, before
// these are used.
const slack = 17

// EnsureWritten grows a class until at least bytes are free.
func (h *Heap) EnsureWritten(class Class, bytes int64) error {
	s := &h.spaces[class]
	for free := h.free(s); free < bytes; free = h.free(s) {
		if err := h.ahead(s, bytes-free); err != nil {
			return err
		}
	}
	return nil
}

// ahead adds up to bytes of room and syncs it: a write to space that is known
// to be written needs no change of metadata to be durable.
func (h *Heap) ahead(s *space, bytes int64) error {
	unit := int64(s.per) << s.class
	if err := h.grow(s.class, uint32((bytes+unit-1)/unit), h.growths(s)); err != nil {
		return err
	}
	h.mu.Lock()
	f := s.lastFile
	h.mu.Unlock()
	return h.poison(f.sync())
}

func (h *Heap) free(s *space) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(s.free) * int64(s.per) << s.class
}
