package pagestoretest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// change is a transaction that is being made.
type change struct {
	*rig
	lsn     wal.LSN
	state   state // after it
	used    map[wal.VolumeID]bool
	changes []apply.Change
	sizes   []uint64
	images  [][]byte // in the order of the body
	bytes   uint64
}

var names = []string{"a", "b", "c", "d"}

// add changes one more volume.
func (c *change) add() {
	name := names[c.rng.IntN(len(names))]
	v, exists := c.state[name]
	switch {
	case exists && c.used[v.id]:
	case !exists:
		c.create(name)
	case c.rng.IntN(20) == 0:
		c.used[v.id] = true
		delete(c.state, name)
		c.push(apply.Change{Volume: v.id, Delete: true}, 0)
	default:
		c.edit(name, v, nil)
	}
}

func (c *change) create(name string) {
	var id wal.VolumeID
	c.value++
	binary.BigEndian.PutUint64(id[:], c.value)
	v := volume{id: id, pageSize: []int{512, 1024, 4096}[c.rng.IntN(3)], pages: map[uint64]uint64{}}
	c.edit(name, v, &wal.VolumeAttrs{Name: name, PageSize: uint32(v.pageSize), PageAlgo: wal.AlgoXXH3, Mode: wal.ModeLocal})
}

// edit cuts, discards and writes pages, and may rename.
func (c *change) edit(name string, v volume, create *wal.VolumeAttrs) {
	c.used[v.id] = true
	ch := apply.Change{Volume: v.id, Create: create != nil, Attrs: create, Cut: apply.NoCut}
	if to := names[c.rng.IntN(len(names))]; create == nil && c.rng.IntN(10) == 0 && c.state[to].id == (wal.VolumeID{}) && c.now[to].id == (wal.VolumeID{}) {
		delete(c.state, name)
		name = to
		ch.Attrs = &wal.VolumeAttrs{Name: to, PageSize: uint32(v.pageSize), PageAlgo: wal.AlgoXXH3, Mode: wal.ModeLocal}
	}
	if c.rng.IntN(6) == 0 {
		ch.Cut = c.page()
		maps.DeleteFunc(v.pages, func(no, _ uint64) bool { return no >= ch.Cut })
		v.size = min(v.size, ch.Cut)
	}
	discards, writes := map[uint64]bool{}, map[uint64]uint64{}
	for range c.rng.IntN(4) {
		if no := c.page(); no < v.size {
			discards[no] = true
			delete(v.pages, no)
		}
	}
	run, from := c.rng.IntN(12), c.page()
	for i := range uint64(run) {
		no := from + i
		if c.rng.IntN(3) == 0 {
			no = c.page()
		}
		c.value++
		writes[no] = c.value
		v.pages[no] = c.value
		v.size = max(v.size, no+1)
		delete(discards, no)
	}
	ch.Size, ch.Exact = v.size, true
	var gone []wal.PageRange
	for _, no := range slices.Sorted(maps.Keys(discards)) {
		gone = append(gone, wal.PageRange{First: no, Count: 1})
	}
	ch.Discards = slices.Values(gone)
	var images []apply.Image
	for _, no := range slices.Sorted(maps.Keys(writes)) {
		p := imageOf(writes[no], v.pageSize)
		images = append(images, apply.Image{Page: no, Hash: wal.HashPage(no, p), Offset: c.bytes})
		c.images = append(c.images, p)
		c.bytes += uint64(len(p))
	}
	ch.Images, ch.Len = slices.Values(images), len(images)
	c.state[name] = v
	c.push(ch, v.size)
}

func (c *change) push(ch apply.Change, size uint64) {
	c.changes = append(c.changes, ch)
	c.sizes = append(c.sizes, size)
}

// page draws a page number: many small ones, some far away.
func (c *change) page() uint64 {
	no := c.rng.Uint64N(150)
	if c.rng.IntN(15) == 0 {
		no += 1 << (10 + c.rng.IntN(30))
	}
	return no
}

// place puts the images into the log or into slots.
func (c *change) place() apply.Body {
	c.t.Helper()
	if c.rng.IntN(2) == 0 {
		off := c.end
		for _, p := range c.images {
			_, err := c.log.WriteAt(p, c.end)
			must(c.t, err)
			c.end += int64(len(p))
		}
		return apply.InLog(c.ordinal, off, nil)
	}
	var extents []heap.Extent
	for _, p := range c.images {
		got, err := c.s.Heap().Place(heap.ClassFor(len(p)), p)
		must(c.t, err)
		extents = append(extents, got...)
	}
	body, err := apply.InHeap(c.s.Heap(), extents, c.bytes)
	if err != nil {
		c.t.Fatal(fmt.Errorf("LSN %d: %w", c.lsn, err))
	}
	return body
}
