package heap

import (
	"fmt"
	"iter"

	"github.com/quire-db/quire/wal"
)

// Alloc hands out n slots, in memory only as long as there is room: every slot
// has been written before, so that a later write finds its space. Runs of
// 64 KiB are preferred. Every extent but the last has at least contiguous
// slots, as far as a region (4,096 units of space.go) and a file allow. When
// there is no room the heap grows; an error then, a full disk say, is an
// ordinary one: nothing was handed out.
//
// Slots smaller than 4 KiB come in frames of 4 KiB of which no other call gets
// a part; see Batch for slots one at a time.
func (h *Heap) Alloc(class Class, n, contiguous int) ([]Extent, error) {
	if !class.valid() || n < 0 || n > MaxIndex {
		return nil, fmt.Errorf("heap: alloc of %d slots of class %d: beyond the limits", n, class)
	}
	s := &h.spaces[class]
	least := s.units(uint32(max(1, contiguous)))
	least = min(least, regionUnits, h.opt.slotsPerFile(class)/s.per)
	left := s.units(uint32(n))
	var got []Extent
	for {
		h.mu.Lock()
		got, left = s.take(got, left, least)
		if left == 0 {
			got = s.hand(h, got, uint32(n))
			h.mu.Unlock()
			return got, nil
		}
		seen := s.growths
		h.mu.Unlock()
		if err := h.grow(class, left, seen); err != nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			s.untake(h, got)
			return nil, err
		}
	}
}

// hand marks the first n slots of whole units used; the rest of the last frame
// stays closed until those are free again. Heap.mu.
func (s *space) hand(h *Heap, got []Extent, n uint32) []Extent {
	for i := range got {
		e := &got[i]
		e.Count = min(e.Count, n)
		n -= e.Count
		s.used += int(e.Count)
		if s.per == 1 {
			continue // taken is used
		}
		for r, p := range h.pieces(*e) {
			r.used.set(p[0], p[1])
		}
	}
	return got
}

// untake makes whole units that were taken, and not handed out, free. Heap.mu.
func (s *space) untake(h *Heap, got []Extent) {
	for _, e := range got {
		for r, p := range h.pieces(e) {
			s.giveBack(r, p[0]/s.per, p[1]/s.per)
		}
	}
}

// pieces cuts an extent that exists at the ends of regions. Heap.mu.
func (h *Heap) pieces(e Extent) iter.Seq2[*region, [2]uint32] {
	f := h.file(e.First.File())
	return f.pieces(h.spaces[f.class].per, e.First.Index(), e.First.Index()+e.Count)
}

// Release makes slots that are in use free. That they are no longer needed is
// the caller's to know (DESIGN 6). Slots that are not in use are an error, and
// nothing was released.
func (h *Heap) Release(e Extent) error {
	f, err := h.locate(e)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.spaces[f.class]
	for r, p := range h.pieces(e) {
		if !r.inUse().full(p[0], p[1]) {
			return fmt.Errorf("heap: release of %d slots from %v: not all are in use: %w", e.Count, e.First, wal.ErrCorrupt)
		}
	}
	for r, p := range h.pieces(e) {
		s.release(r, p[0], p[1])
	}
	return nil
}

// MarkUsed says that slots hold what the manifest or a record names, before
// the first Alloc. Slots may be marked twice. It adopts the leftover that the
// slots are in. Slots that are not there are a *wal.CorruptError.
func (h *Heap) MarkUsed(e Extent) error {
	if h.file(e.First.File()) == nil {
		if _, err := h.adopt(e.First.File()); err != nil {
			return err
		}
	}
	f, err := h.locate(e)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.spaces[f.class]
	for r, p := range h.pieces(e) {
		s.use(r, p[0], p[1])
	}
	return nil
}

// Used yields the runs of slots of a file that are in use, those handed out and
// not written included, ascending. It is not a snapshot: what is allocated or
// released meanwhile may be in it or not.
func (h *Heap) Used(file uint32) iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		f := h.file(file)
		if f == nil {
			return
		}
		for i := range h.regionsOf(f) {
			for _, e := range h.usedIn(f, i) {
				if !yield(e) {
					return
				}
			}
		}
	}
}

func (h *Heap) regionsOf(f *file) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(f.regions)
}

// usedIn is the runs of used slots of a file's region i.
func (h *Heap) usedIn(f *file, i int) (runs []Extent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, s := f.regions[i], &h.spaces[f.class]
	used := r.inUse()
	end := min(regionUnits*s.per, f.slots.Load()-r.base)
	for from := used.nextSet(0, end); from < end; {
		to := used.nextClear(from, end)
		runs = append(runs, Extent{r.slot(from), to - from})
		from = used.nextSet(to, end)
	}
	return runs
}

// InUse reports whether a slot is in use.
func (h *Heap) InUse(slot Slot) bool {
	if _, err := h.locate(Extent{slot, 1}); err != nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for r, p := range h.pieces(Extent{slot, 1}) {
		return r.inUse().full(p[0], p[1])
	}
	return false
}

// locate is the file of an extent all of whose slots exist.
func (h *Heap) locate(e Extent) (*file, error) {
	f := h.file(e.First.File())
	if f == nil || e.First>>48 != 0 || uint64(e.First.Index())+uint64(e.Count) > uint64(f.slots.Load()) {
		return nil, h.noSuch(e.First)
	}
	return f, nil
}
