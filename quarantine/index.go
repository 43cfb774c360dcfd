package quarantine

import (
	"iter"
	"math/bits"
	"slices"
	"sort"
)

// index maps page numbers to images of a stage: sorted blocks of sorted chunks
// of 64 pages, packed. It costs 4 to 8 bytes a page and 64 a chunk, and its
// parts are shared between savepoints: a part is changed in place only in the
// epoch that made it, else copied first. So a savepoint is a copy of this
// struct, and what it holds never changes.
type index struct {
	epoch  uint64 // of blocks
	blocks []*block
	count  int    // staged pages
	cut    uint64 // base pages from here on are gone
}

// block is up to blockChunks chunks.
type block struct {
	epoch  uint64
	chunks []*chunk
}

const blockChunks = 512

// chunk is what is known of pages [base, base+64).
type chunk struct {
	epoch  uint64
	base   uint64
	staged uint64   // pages with an image
	gone   uint64   // pages discarded
	ids    []uint32 // images of the staged pages, ascending by page
}

// Found says what a stage knows of a page.
type Found uint8

// What is found: nothing, an image, or that the page is absent.
const (
	NotStaged Found = iota
	Present
	Discarded
)

// find is the state of page no, and its image when it is Present.
func (x *index) find(no uint64) (Found, uint32) {
	if b := x.blockOf(no); b >= 0 {
		chunks := x.blocks[b].chunks
		if i := chunkAt(chunks, no); i < len(chunks) && chunks[i].base == no&^63 {
			if found, id := chunks[i].find(no); found != NotStaged {
				return found, id
			}
		}
	}
	if no >= x.cut {
		return Discarded, 0
	}
	return NotStaged, 0
}

// blockOf is the block that page no belongs to: the last that begins at or
// before it, or the first; -1 when there is none.
func (x *index) blockOf(no uint64) int {
	i := sort.Search(len(x.blocks), func(i int) bool { return x.blocks[i].chunks[0].base > no })
	return min(max(i-1, 0), len(x.blocks)-1)
}

// chunkAt is the place of the chunk of page no.
func chunkAt(chunks []*chunk, no uint64) int {
	return sort.Search(len(chunks), func(i int) bool { return chunks[i].base >= no&^63 })
}

func (c *chunk) find(no uint64) (Found, uint32) {
	switch bit := uint64(1) << (no & 63); {
	case c.staged&bit != 0:
		return Present, c.ids[c.rank(bit)]
	case c.gone&bit != 0:
		return Discarded, 0
	}
	return NotStaged, 0
}

// rank is how many staged pages lie before that of bit.
func (c *chunk) rank(bit uint64) int { return bits.OnesCount64(c.staged & (bit - 1)) }

// own is the chunk of page no, made or copied so that epoch may change it.
func (x *index) own(epoch, no uint64) *chunk {
	x.ownBlocks(epoch)
	if len(x.blocks) == 0 {
		x.blocks = append(x.blocks, &block{epoch: epoch})
		c := &chunk{epoch: epoch, base: no &^ 63}
		x.blocks[0].chunks = append(x.blocks[0].chunks, c)
		return c
	}
	at := x.blockOf(no)
	b := x.ownBlock(epoch, at)
	i := chunkAt(b.chunks, no)
	if i < len(b.chunks) && b.chunks[i].base == no&^63 {
		return b.ownChunk(epoch, i)
	}
	c := &chunk{epoch: epoch, base: no &^ 63}
	b.chunks = slices.Insert(b.chunks, i, c)
	if len(b.chunks) > blockChunks {
		x.split(epoch, at, i)
	}
	return c
}

// split divides a full block, in the middle, or behind the last chunk when
// pages come in ascending order, so that such blocks stay full.
func (x *index) split(epoch uint64, at, inserted int) {
	b := x.blocks[at]
	mid := len(b.chunks) / 2
	if inserted == len(b.chunks)-1 {
		mid = inserted
	}
	right := &block{epoch, slices.Clone(b.chunks[mid:])}
	clear(b.chunks[mid:])
	b.chunks = b.chunks[:mid]
	x.blocks = slices.Insert(x.blocks, at+1, right)
}

func (x *index) ownBlocks(epoch uint64) {
	if x.epoch != epoch {
		x.epoch, x.blocks = epoch, slices.Clone(x.blocks)
	}
}

func (x *index) ownBlock(epoch uint64, at int) *block {
	if b := x.blocks[at]; b.epoch != epoch {
		x.blocks[at] = &block{epoch, slices.Clone(b.chunks)}
	}
	return x.blocks[at]
}

func (b *block) ownChunk(epoch uint64, i int) *chunk {
	if c := b.chunks[i]; c.epoch != epoch {
		copied := *c
		copied.epoch, copied.ids = epoch, slices.Clone(c.ids)
		b.chunks[i] = &copied
	}
	return b.chunks[i]
}

// put makes page no an image.
func (x *index) put(epoch, no uint64, id uint32) {
	c, bit := x.own(epoch, no), uint64(1)<<(no&63)
	if c.staged&bit != 0 {
		c.ids[c.rank(bit)] = id
		return
	}
	c.ids = slices.Insert(c.ids, c.rank(bit), id)
	c.staged |= bit
	c.gone &^= bit
	x.count++
}

// discard makes page no absent.
func (x *index) discard(epoch, no uint64) {
	if found, _ := x.find(no); found == Discarded {
		return
	}
	c, bit := x.own(epoch, no), uint64(1)<<(no&63)
	if c.staged&bit != 0 {
		i := c.rank(bit)
		c.ids = slices.Delete(c.ids, i, i+1)
		c.staged &^= bit
		x.count--
	}
	c.gone |= bit
}

// truncate drops all that is known of pages from no on and cuts the base there.
func (x *index) truncate(epoch, no uint64) {
	x.cut = min(x.cut, no)
	if len(x.blocks) == 0 {
		return
	}
	x.ownBlocks(epoch)
	at := x.blockOf(no)
	b := x.ownBlock(epoch, at)
	keep := chunkAt(b.chunks, no)
	for _, c := range b.chunks[keep:] {
		x.count -= len(c.ids)
	}
	for _, later := range x.blocks[at+1:] {
		for _, c := range later.chunks {
			x.count -= len(c.ids)
		}
	}
	if keep < len(b.chunks) && b.chunks[keep].base < no {
		c := b.ownChunk(epoch, keep)
		below := uint64(1)<<(no&63) - 1
		c.staged, c.gone = c.staged&below, c.gone&below
		c.ids = c.ids[:bits.OnesCount64(c.staged)]
		x.count += len(c.ids)
		keep++
	}
	clear(b.chunks[keep:])
	b.chunks = b.chunks[:keep]
	if keep > 0 {
		at++
	}
	clear(x.blocks[at:])
	x.blocks = x.blocks[:at]
}

// chunksFrom yields the chunks that may know pages from no on, ascending.
func (x *index) chunksFrom(no uint64) iter.Seq[*chunk] {
	return func(yield func(*chunk) bool) {
		if len(x.blocks) == 0 {
			return
		}
		at := x.blockOf(no)
		first := chunkAt(x.blocks[at].chunks, no)
		for ; at < len(x.blocks); at, first = at+1, 0 {
			for _, c := range x.blocks[at].chunks[first:] {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// staged yields the pages of [from, to) that have an image, and its id.
func (x *index) staged(from, to uint64) iter.Seq2[uint64, uint32] {
	return func(yield func(uint64, uint32) bool) {
		for c := range x.chunksFrom(from) {
			if c.base >= to {
				return
			}
			for i, rest := 0, c.staged; rest != 0; i, rest = i+1, rest&(rest-1) {
				no := c.base + uint64(bits.TrailingZeros64(rest))
				if no >= from && no < to && !yield(no, c.ids[i]) {
					return
				}
			}
		}
	}
}

// discards reports whether a page below to is discarded.
func (x *index) discards(to uint64) bool {
	for i := range x.blocks {
		for _, c := range x.blocks[i].chunks {
			if c.gone != 0 && c.base < to {
				for range x.discarded(c.base, to) {
					return true
				}
			}
		}
	}
	return false
}

// discarded yields the pages discarded one by one, below the cut.
func (x *index) discarded(from, to uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for c := range x.chunksFrom(from) {
			if c.base >= to {
				return
			}
			for rest := c.gone; rest != 0; rest &= rest - 1 {
				no := c.base + uint64(bits.TrailingZeros64(rest))
				if no >= from && no < to && !yield(no) {
					return
				}
			}
		}
	}
}
