package bench

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that widen with the duration, so that
// any quantile is right to within 2 per cent. The zero value is empty. It is
// for one goroutine; Merge brings several together.
type Histogram struct {
	counts [64 << subBits]uint64
	n      uint64
	max    time.Duration
}

const subBits = 6 // 64 buckets for each doubling

// Add counts one duration. Cost: a few nanoseconds, no allocation.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.n++
	h.max = max(h.max, d)
}

// bucket of n nanoseconds: the place of its highest bit, and the next subBits
// bits behind it.
func bucket(n uint64) int {
	if n < 1<<subBits {
		return int(n)
	}
	shift := bits.Len64(n) - subBits - 1
	return (shift+1)<<subBits + int(n>>shift)&(1<<subBits-1)
}

// least is the smallest duration of a bucket.
func least(b int) time.Duration {
	shift := b>>subBits - 1
	if shift < 0 {
		return time.Duration(b)
	}
	return time.Duration(1<<subBits+b&(1<<subBits-1)) << shift
}

// Count is how many durations were added.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the longest of them, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the duration that a share q of all, from 0 to 1, does not
// exceed; zero when there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank, seen := uint64(q*float64(h.n)), uint64(0)
	for b, c := range h.counts {
		if seen += c; seen > rank {
			return min(least(b), h.max)
		}
	}
	return h.max
}

// Merge adds all of o.
func (h *Histogram) Merge(o *Histogram) {
	for b, c := range o.counts {
		h.counts[b] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}
