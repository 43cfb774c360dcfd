package manifest

import (
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"slices"

	"github.com/quire-db/quire/internal/heap"
)

// SlotSet is a set of slots, one bit each, by heap file. The zero set is
// empty and ready; a nil one is empty and can be read. It is not safe for use
// by several goroutines while one changes it.
type SlotSet struct {
	files map[uint32][]uint64
	count uint64
}

// Len is the number of slots.
func (s *SlotSet) Len() uint64 {
	if s == nil {
		return 0
	}
	return s.count
}

// Has reports whether slot is in the set.
func (s *SlotSet) Has(slot heap.Slot) bool {
	if s == nil {
		return false
	}
	words, i := s.files[slot.File()], int(slot.Index()/64)
	return i < len(words) && words[i]>>(slot.Index()%64)&1 == 1
}

// Add puts all slots of extents in. If one of them is in already it says so
// and changes nothing.
func (s *SlotSet) Add(extents ...heap.Extent) error {
	for i, e := range extents {
		s.grow(e)
		if !s.all(e, false) {
			s.undo(extents[:i])
			return fmt.Errorf("of slot %s and %d more one is in use already", e.First, e.Count-1)
		}
		s.flip(e)
		s.count += uint64(e.Count)
	}
	return nil
}

// Remove takes all slots of extents out. If one of them is not in it says so
// and changes nothing.
func (s *SlotSet) Remove(extents ...heap.Extent) error {
	for i, e := range extents {
		if !s.all(e, true) {
			s.undo(extents[:i])
			return fmt.Errorf("of slot %s and %d more one is not in use", e.First, e.Count-1)
		}
		s.flip(e)
		s.count -= uint64(e.Count)
	}
	return nil
}

// undo flips back what Add or Remove did before it met a wrong extent.
func (s *SlotSet) undo(extents []heap.Extent) {
	for _, e := range extents {
		if s.flip(e); s.Has(e.First) {
			s.count += uint64(e.Count)
		} else {
			s.count -= uint64(e.Count)
		}
	}
}

// Extents yields the set as maximal runs in ascending order.
func (s *SlotSet) Extents() iter.Seq[heap.Extent] {
	return func(yield func(heap.Extent) bool) {
		for _, file := range s.numbers() {
			for first, count := range runs(s.files[file]) {
				if !yield(heap.Extent{First: heap.MakeSlot(file, first), Count: count}) {
					return
				}
			}
		}
	}
}

// numbers are those of the files with slots in the set, ascending.
func (s *SlotSet) numbers() []uint32 {
	if s == nil {
		return nil
	}
	all := slices.Sorted(maps.Keys(s.files))
	return slices.DeleteFunc(all, func(file uint32) bool { return len(trim(s.files[file])) == 0 })
}

// trim is words without the zeros at their end.
func trim(words []uint64) []uint64 {
	for len(words) > 0 && words[len(words)-1] == 0 {
		words = words[:len(words)-1]
	}
	return words
}

// bytes is at least what the words and their counts take when encoded.
func (s *SlotSet) bytes() (n int) {
	for _, file := range s.numbers() {
		n += 16 + 8*len(s.files[file])
	}
	return n
}

// runs yields the first index and the length of each run of one bits.
func runs(words []uint64) iter.Seq2[uint32, uint32] {
	return func(yield func(uint32, uint32) bool) {
		for at := next(words, 0, false); at < 64*len(words); {
			end := next(words, at, true)
			if !yield(uint32(at), uint32(end-at)) {
				return
			}
			at = next(words, end, false)
		}
	}
}

// next is the index of the first bit from i on that is one, or zero if zero is
// set; 64*len(words) if there is none.
func next(words []uint64, i int, zero bool) int {
	for ; i < 64*len(words); i = (i/64 + 1) * 64 {
		w := words[i/64]
		if zero {
			w = ^w
		}
		if w >>= i % 64; w != 0 {
			return i + bits.TrailingZeros64(w)
		}
	}
	return 64 * len(words)
}

// grow makes room for the bits of e.
func (s *SlotSet) grow(e heap.Extent) {
	file := e.First.File()
	need := (int(e.First.Index())+int(e.Count)+63)/64 - len(s.files[file])
	if need <= 0 {
		return
	}
	if s.files == nil {
		s.files = make(map[uint32][]uint64)
	}
	s.files[file] = append(s.files[file], make([]uint64, need)...)
}

// all reports whether each slot of e is in, or each is not.
func (s *SlotSet) all(e heap.Extent, in bool) bool {
	words := s.files[e.First.File()]
	if int(e.First.Index())+int(e.Count) > 64*len(words) {
		return false
	}
	for i, mask := range masks(e) {
		if want := words[i] & mask; in && want != mask || !in && want != 0 {
			return false
		}
	}
	return true
}

func (s *SlotSet) flip(e heap.Extent) {
	words := s.files[e.First.File()]
	for i, mask := range masks(e) {
		words[i] ^= mask
	}
}

// masks yields each word that e touches and its bits there.
func masks(e heap.Extent) iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		at := int(e.First.Index())
		for end := at + int(e.Count); at < end; {
			n := min(64-at%64, end-at)
			if !yield(at/64, ^uint64(0)>>(64-n)<<(at%64)) {
				return
			}
			at += n
		}
	}
}

func (s *SlotSet) clone() *SlotSet {
	if s == nil {
		return nil
	}
	c := &SlotSet{files: make(map[uint32][]uint64, len(s.files)), count: s.count}
	for file, words := range s.files {
		c.files[file] = slices.Clone(words)
	}
	return c
}
