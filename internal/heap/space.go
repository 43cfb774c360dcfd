package heap

// The allocator of one class works in units. A unit is a slot, or the 4 KiB
// frame that several smaller slots share: a device writes blocks of 4 KiB, and
// a torn write of one slot must not touch a durable neighbour. So a frame is
// handed out whole, to one Alloc or one Batch, and again only when all its
// slots are free. Units lie in regions of 4,096, whatever file they are in.
//
// Runs are found by hints: for each of four run lengths a bit per region that
// says "may have such a run". A release that makes such a run sets it, a search
// in vain clears it, so there is at most one search in vain per release; and
// 1 TiB of 4 KiB slots is 65,536 regions: 1,024 words to look through at worst.

const (
	unitBytes   = 4096
	regionUnits = 4096
	levels      = 4
	long        = 2 // the level of runs that writing prefers
)

// region is 4,096 consecutive units of one file.
type region struct {
	index int    // in space.regions
	base  uint32 // its first slot in the file
	file  *file
	taken bitmap // units not to be handed out: used, closed, or not grown yet
	used  bitmap // slots; nil when a unit is a slot, taken then serves
}

// space is the allocator of one class. Heap.mu guards it.
type space struct {
	class    Class
	per      uint32         // slots a unit
	runs     [levels]uint32 // units: any, 16 KiB, 64 KiB, 1 MiB
	regions  []*region
	hints    [levels]hints
	total    int // units grown
	free     int // units
	used     int // slots
	at       int // region and unit where the last search ended: next fit
	pos      uint32
	growths  int // times the space grew; tells whether another caller just did
	lastFile *file
}

func newSpace(c Class) space {
	unit := max(c.Bytes(), unitBytes)
	return space{
		class: c,
		per:   uint32(unit / c.Bytes()),
		runs:  [levels]uint32{1, uint32(max(1, 16<<10/unit)), uint32(max(1, 64<<10/unit)), uint32(1 << 20 / unit)},
	}
}

// units is how many units n slots take.
func (s *space) units(n uint32) uint32 { return (n + s.per - 1) / s.per }

// take appends to got up to n units in runs of at least min(least, what is
// left) units, and returns what could not be had.
func (s *space) take(got []Extent, n, least uint32) ([]Extent, uint32) {
	for n > 0 {
		r, at, length := s.find(min(least, n), n)
		if r == nil {
			break
		}
		s.free -= r.taken.set(at, at+length)
		s.at, s.pos = r.index, at+length
		got = appendExtent(got, Extent{r.slot(at * s.per), length * s.per})
		n -= length
	}
	return got, n
}

// find looks for a run of at least least units and returns up to want of it:
// what is left of the run of the call before, else a run of the preferred
// length, else any that will do.
func (s *space) find(least, want uint32) (r *region, at, length uint32) {
	if s.at < len(s.regions) && s.pos < regionUnits {
		r := s.regions[s.at]
		if length := r.taken.nextSet(s.pos, min(s.pos+want, regionUnits)) - s.pos; length >= least {
			return r, s.pos, length
		}
	}
	level := levels - 1
	if least <= s.runs[long] {
		level = long
	}
	for ; level >= 0; level-- {
		if r, at, length = s.search(level, max(least, s.runs[level]), want); r != nil {
			return r, at, length
		}
		if s.runs[level] <= least {
			break // shorter runs will not do
		}
	}
	return nil, 0, 0
}

// search looks through the regions that may have a run of the level's length.
func (s *space) search(level int, least, want uint32) (*region, uint32, uint32) {
	hint := &s.hints[level]
	for i := range hint.each(s.at) {
		r := s.regions[i]
		from := uint32(0)
		if i == s.at {
			from = s.pos
		}
		if at, length, ok := r.run(from, least, want); ok {
			return r, at, length
		}
		if at, length, ok := r.run(0, least, want); from > 0 && ok {
			return r, at, length
		}
		if least <= s.runs[level] {
			hint.clear(i)
		}
	}
	return nil, 0, 0
}

// run finds the first run of at least least free units from there on, and
// returns up to want of it.
func (r *region) run(from, least, want uint32) (at, length uint32, ok bool) {
	for at = from; ; at += length {
		if at = r.taken.nextClear(at, regionUnits); at == regionUnits {
			return 0, 0, false
		}
		length = r.taken.nextSet(at, min(at+max(least, want), regionUnits)) - at
		if length >= least {
			return at, min(length, want), true
		}
	}
}

// slot names slot i of the region.
func (r *region) slot(i uint32) Slot { return MakeSlot(r.file.number, r.base+i) }

// grow makes slots [from, to) of f, new and written, free. A file's slots are
// whole units.
func (s *space) grow(f *file, from, to uint32) {
	f.slots.Store(to)
	f.dirty.Store(true) // so that the next sync counts the new slots as durable
	for int(s.units(to)) > len(f.regions)*regionUnits {
		r := &region{index: len(s.regions), base: uint32(len(f.regions)) * regionUnits * s.per, file: f,
			taken: make(bitmap, regionUnits/64)}
		r.taken.set(0, regionUnits)
		if s.per > 1 {
			r.used = make(bitmap, regionUnits/64*s.per)
		}
		f.regions, s.regions = append(f.regions, r), append(s.regions, r)
	}
	for r, p := range f.pieces(s.per, from, to) {
		s.giveBack(r, p[0]/s.per, p[1]/s.per)
	}
	s.total += int((to - from) / s.per)
	s.growths++
	s.lastFile = f
}

// giveBack makes units [from, to) of r free and hints at the run they are in.
func (s *space) giveBack(r *region, from, to uint32) {
	s.free += r.taken.clear(from, to)
	longest := s.runs[levels-1]
	begin := r.taken.afterSet(from-min(from, longest), from)
	end := r.taken.nextSet(to, min(to+longest, regionUnits))
	for level, run := range s.runs {
		if end-begin >= run {
			s.hints[level].set(r.index)
		}
	}
}

// use marks slots [from, to) of r used and returns how many were not.
func (s *space) use(r *region, from, to uint32) (changed int) {
	if r.used == nil {
		changed = r.taken.set(from, to)
		s.free -= changed
	} else {
		changed = r.used.set(from, to)
		s.free -= r.taken.set(from/s.per, s.units(to))
	}
	s.used += changed
	return changed
}

// release makes used slots [from, to) of r free, and their frames when all of
// a frame is.
func (s *space) release(r *region, from, to uint32) {
	s.used -= int(to - from)
	if r.used == nil {
		s.giveBack(r, from, to)
		return
	}
	r.used.clear(from, to)
	for u := from / s.per; u < s.units(to); u++ {
		if r.used.empty(u*s.per, (u+1)*s.per) {
			s.giveBack(r, u, u+1)
		}
	}
}

// inUse is the bitmap of used slots.
func (r *region) inUse() bitmap {
	if r.used == nil {
		return r.taken
	}
	return r.used
}

// appendExtent appends e, or lengthens the last extent when e continues it.
func appendExtent(list []Extent, e Extent) []Extent {
	if n := len(list); n > 0 {
		last := &list[n-1]
		if last.First.File() == e.First.File() && last.First.Index()+last.Count == e.First.Index() {
			last.Count += e.Count
			return list
		}
	}
	return append(list, e)
}

// hints is a set of regions.
type hints struct {
	words bitmap
	count int
}

func (h *hints) set(i int) {
	for i>>6 >= len(h.words) {
		h.words = append(h.words, 0)
	}
	h.count += h.words.set(uint32(i), uint32(i)+1)
}

func (h *hints) clear(i int) { h.count -= h.words.clear(uint32(i), uint32(i)+1) }

// each yields the set's members from the given one on, then those before it.
func (h *hints) each(from int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		if h.count == 0 {
			return
		}
		end := uint32(len(h.words) << 6)
		start := min(uint32(from), end)
		for i := h.words.nextSet(start, end); i < end; i = h.words.nextSet(i+1, end) {
			if !yield(int(i)) {
				return
			}
		}
		for i := h.words.nextSet(0, start); i < start; i = h.words.nextSet(i+1, start) {
			if !yield(int(i)) {
				return
			}
		}
	}
}
