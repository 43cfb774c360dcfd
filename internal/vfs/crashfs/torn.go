package crashfs

import "math/rand/v2"

// maxDamaged bounds the sectors of a file that a cut damages.
const maxDamaged = 32

// torn is what a power cut leaves of a file of which something is at stake:
// all of that, nothing, or for each sector what it held at some moment since
// it was durable; then perhaps some sectors that were being written hold
// something else. Bytes that nobody wrote since they were durable stay as they
// are (powersafe overwrite).
func (c *cut) torn(h *history[content, span], r *rand.Rand) content {
	if len(h.pending()) == 0 {
		return h.last().durable
	}
	switch r.IntN(6) {
	case 0:
		return h.last().durable
	case 1:
		return h.last().seen
	case 2, 3:
		d, size := mixed(h, r)
		return d.done(size)
	default:
		d, size := mixed(h, r)
		c.damage(d, h, r)
		return d.done(size)
	}
}

// mixed gives every sector, and the length, their state at some moment.
func mixed(h *history[content, span], r *rand.Rand) (d *draft, size int64) {
	first, last, pending := h.last().durable, h.last().seen, h.pending()
	some := func() content {
		if i := r.IntN(len(pending) + 1); i > 0 {
			return pending[i-1].seen
		}
		return first
	}
	d = first.edit(room(pending))
	for l := range d.leaves {
		was, is := first.leaf(l), last.leaf(l)
		if was == is {
			continue
		}
		for i := range was {
			if was[i] != is[i] {
				at := int64(l*leafSectors + i)
				d.set(at, some().sector(at))
			}
		}
	}
	return d, some().size
}

// room is the greatest length in bytes that a file had.
func room(moments []moment[content, span]) (size int64) {
	for _, m := range moments {
		size = max(size, m.seen.size)
	}
	return size
}

// damage puts zeros, garbage or other data of this disk over what was written.
func (c *cut) damage(d *draft, h *history[content, span], r *rand.Rand) {
	fill := [...]func(*rand.Rand) *sector{
		func(*rand.Rand) *sector { return &zeros }, garbage, c.stale,
	}[r.IntN(3)]
	pending := h.pending()
	for range 1 + r.IntN(maxDamaged) {
		at := pending[r.IntN(len(pending))].change
		if !at.data || at.off == at.end {
			continue
		}
		i := at.off/SectorSize + r.Int64N(ceil(at.end, SectorSize)-at.off/SectorSize)
		lo, hi := max(at.off, i*SectorSize), min(at.end, (i+1)*SectorSize)
		d.overlay(fill(r)[lo-i*SectorSize:hi-i*SectorSize], lo)
	}
}

func garbage(r *rand.Rand) *sector {
	var s sector
	for i := range s {
		s[i] = byte(r.Uint32())
	}
	return &s
}

// stale is a sector that some file of this disk held at some time before.
func (c *cut) stale(r *rand.Rand) *sector {
	n := c.from.nodes[r.IntN(len(c.from.nodes))]
	if n == nil || n.dir {
		return &zeros
	}
	h := n.file.at(c.op)
	old := h.moments[r.IntN(len(h.moments))].seen
	return old.sector(r.Int64N(ceil(old.size, SectorSize) + 1))
}
