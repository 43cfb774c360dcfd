package heap

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
)

// ReadSlot fills dst, at most a slot long, from the slot's beginning. It takes
// no lock. The bytes are not checked: whoever names a slot has their hash. A
// slot that does not exist is a *wal.CorruptError.
func (h *Heap) ReadSlot(s Slot, dst []byte) error {
	f, err := h.locate(Extent{s, 1})
	if err != nil {
		return err
	}
	if len(dst) > f.class.Bytes() {
		return fmt.Errorf("heap: read of %d bytes from slot %v of %d", len(dst), s, f.class.Bytes())
	}
	return f.readAt(dst, f.offset(s.Index()))
}

// ReadExtent fills dst from byte off of an extent on.
func (h *Heap) ReadExtent(e Extent, off int64, dst []byte) error {
	f, err := h.locate(e)
	if err != nil {
		return err
	}
	if off < 0 || off+int64(len(dst)) > int64(e.Count)<<f.class {
		return fmt.Errorf("heap: read of %d bytes at byte %d of %d slots from %v", len(dst), off, e.Count, e.First)
	}
	return f.readAt(dst, f.offset(e.First.Index())+off)
}

// Write writes whole slots, consecutive from first, which the caller was
// handed. It is durable after Sync. An error says that nobody may rely on what
// the slots hold; writing them again is allowed.
func (h *Heap) Write(first Slot, data []byte) error {
	if err := h.writable(); err != nil {
		return err
	}
	f := h.file(first.File())
	if f == nil {
		return h.noSuch(first)
	}
	n := len(data) >> f.class
	if n<<f.class != len(data) {
		return fmt.Errorf("heap: write of %d bytes to slots of %d", len(data), f.class.Bytes())
	}
	if _, err := h.locate(Extent{first, uint32(n)}); err != nil {
		return err
	}
	err := f.writeAt(data, f.offset(first.Index()))
	h.unstarted.Add(int64(len(data)))
	return err
}

// Place allocates whole slots for data and writes them, in runs of 1 MiB as
// far as there are any. Where there are none the heap grows by the data itself,
// which so is written once. A heap of which a quarter is free in shorter runs
// gives those of 64 KiB first. After an error nothing was handed out.
func (h *Heap) Place(class Class, data []byte) ([]Extent, error) {
	n := uint32(len(data) >> class)
	if !class.valid() || int(n)<<class != len(data) {
		return nil, fmt.Errorf("heap: place %d bytes in slots of class %d", len(data), class)
	}
	got := h.takeRuns(class, n)
	if got == nil {
		return h.append(class, data)
	}
	if err := h.writeExtents(got, data); err != nil {
		return nil, errors.Join(err, h.ReleaseAll(got))
	}
	return got, nil
}

// takeRuns is n slots in long runs of free space, or none.
func (h *Heap) takeRuns(class Class, n uint32) []Extent {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.spaces[class]
	least := s.runs[levels-1]
	if s.free > s.total/4 {
		least = s.runs[long]
	}
	got, left := s.take(nil, s.units(n), least)
	if left > 0 {
		s.untake(h, got)
		return nil
	}
	return s.hand(h, got, n)
}

// append grows the heap by data.
func (h *Heap) append(class Class, data []byte) (got []Extent, err error) {
	h.growing.Lock()
	defer h.growing.Unlock()
	s := &h.spaces[class]
	for len(data) > 0 {
		f, err := h.growable(s)
		if err != nil {
			return nil, errors.Join(err, h.ReleaseAll(got))
		}
		n := min(len(data), int(f.limit-f.slots.Load())<<class)
		e, err := h.extend(s, f, padded(data[:n]), n>>class)
		if err != nil {
			return nil, errors.Join(err, h.ReleaseAll(got))
		}
		got = append(got, e)
		data = data[n:]
	}
	return got, nil
}

// padded is data with zeros up to a whole unit.
func padded(data []byte) []byte {
	if rest := len(data) % unitBytes; rest > 0 {
		return append(slices.Clip(data), zeros[:unitBytes-rest]...)
	}
	return data
}

// writeExtents writes data over extents that it fills.
func (h *Heap) writeExtents(list []Extent, data []byte) error {
	for _, e := range list {
		n := int(e.Count) << h.file(e.First.File()).class
		if err := h.Write(e.First, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// Sync makes all writes durable that were complete before the call: of the
// files named, or of all. Files are synced in parallel. When one fails, what is
// on disk is unknown and the heap is poisoned (promise 6): this and all later
// errors wrap ErrPoisoned.
func (h *Heap) Sync(only ...uint32) error {
	if err := h.writable(); err != nil {
		return err
	}
	var dirty []*file
	for _, f := range *h.files.Load() {
		if f != nil && (len(only) == 0 || slices.Contains(only, f.number)) {
			dirty = append(dirty, f)
		}
	}
	return h.poison(syncAll(dirty))
}

func syncAll(files []*file) error {
	errs := make([]error, len(files))
	var wg sync.WaitGroup
	for i, f := range files[min(1, len(files)):] {
		wg.Go(func() { errs[i+1] = f.sync() })
	}
	if len(files) > 0 {
		errs[0] = files[0].sync()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// poison makes err, when there is one, the reason of ErrPoisoned for good.
func (h *Heap) poison(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: %w", ErrPoisoned, err)
	h.poisonedBy.CompareAndSwap(nil, &err)
	return err
}

// Poison has the heap write nothing more, as after a failed Sync, because
// something else that commits need has failed.
func (h *Heap) Poison(cause error) { _ = h.poison(cause) }

// Poisoned is the error that every write returns, or nil.
func (h *Heap) Poisoned() error {
	if err := h.poisonedBy.Load(); err != nil {
		return *err
	}
	return nil
}

func (h *Heap) writable() error {
	if h.opt.ReadOnly {
		return errors.New("heap: opened for reading only")
	}
	return h.Poisoned()
}

// Body is the string of bytes that extents make one after the other.
type Body struct {
	h       *Heap
	extents []Extent
	ends    []int64 // of each extent in the body
}

// Body returns a reader of extents. It keeps the slice. Extents that do not
// exist are a *wal.CorruptError.
func (h *Heap) Body(extents []Extent) (*Body, error) {
	b := &Body{h, extents, make([]int64, len(extents))}
	end := int64(0)
	for i, e := range extents {
		f, err := h.locate(e)
		if err != nil {
			return nil, err
		}
		end += int64(e.Count) << f.class
		b.ends[i] = end
	}
	return b, nil
}

// Size is the body's length in bytes.
func (b *Body) Size() int64 {
	if len(b.ends) == 0 {
		return 0
	}
	return b.ends[len(b.ends)-1]
}

// ReadAt implements io.ReaderAt. The bytes are not checked.
func (b *Body) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("heap: read at byte %d of a body", off)
	}
	i := sort.Search(len(b.ends), func(i int) bool { return off < b.ends[i] })
	for ; n < len(p) && i < len(b.ends); i++ {
		part := p[n:][:min(int64(len(p)-n), b.ends[i]-off)]
		begin := int64(0)
		if i > 0 {
			begin = b.ends[i-1]
		}
		if err := b.h.ReadExtent(b.extents[i], off-begin, part); err != nil {
			return n, err
		}
		n += len(part)
		off += int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
