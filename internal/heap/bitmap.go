package heap

import "math/bits"

// bitmap is a row of bits; ranges are half-open. Ranges are worked a word at a
// time, so a run of 4,096 slots costs 64 steps.
type bitmap []uint64

// mask has the bits of word w that lie in [from, to).
func mask(w, from, to uint32) uint64 {
	m := ^uint64(0)
	if from > w<<6 {
		m <<= from & 63
	}
	if end := (w + 1) << 6; to < end {
		m &= ^uint64(0) >> (end - to)
	}
	return m
}

// set sets [from, to) and returns how many bits were clear.
func (b bitmap) set(from, to uint32) (changed int) {
	for w := from >> 6; w<<6 < to; w++ {
		m := mask(w, from, to) &^ b[w]
		changed += bits.OnesCount64(m)
		b[w] |= m
	}
	return changed
}

// clear clears [from, to) and returns how many bits were set.
func (b bitmap) clear(from, to uint32) (changed int) {
	for w := from >> 6; w<<6 < to; w++ {
		m := mask(w, from, to) & b[w]
		changed += bits.OnesCount64(m)
		b[w] &^= m
	}
	return changed
}

// full reports whether all of [from, to) is set.
func (b bitmap) full(from, to uint32) bool { return b.next(from, to, ^uint64(0)) == to }

// empty reports whether none of [from, to) is set.
func (b bitmap) empty(from, to uint32) bool { return b.next(from, to, 0) == to }

// nextSet is the first set bit of [from, to), or to.
func (b bitmap) nextSet(from, to uint32) uint32 { return b.next(from, to, 0) }

// nextClear is the first clear bit of [from, to), or to.
func (b bitmap) nextClear(from, to uint32) uint32 { return b.next(from, to, ^uint64(0)) }

// next is the first bit of [from, to) that differs from those of flip.
func (b bitmap) next(from, to uint32, flip uint64) uint32 {
	for w := from >> 6; w<<6 < to; w++ {
		if m := (b[w] ^ flip) & mask(w, from, to); m != 0 {
			return w<<6 + uint32(bits.TrailingZeros64(m))
		}
	}
	return to
}

// afterSet is behind the last set bit of [from, to), or from.
func (b bitmap) afterSet(from, to uint32) uint32 {
	for to > from {
		w := (to - 1) >> 6
		if m := b[w] & mask(w, from, to); m != 0 {
			return (w+1)<<6 - uint32(bits.LeadingZeros64(m))
		}
		to = max(from, w<<6)
	}
	return from
}
