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
	state   state                 // after it
	used    map[wal.VolumeID]bool // whose pages or tags change
	set     map[wal.Ref]bool      // by this transaction
	bases   map[wal.Ref]bool      // from which it begins something
	changes []apply.Change
	sizes   []uint64
	images  [][]byte // in the order of the body
	bytes   uint64
}

func (c *change) commit() {
	c.t.Helper()
	plan, err := apply.Prepare(c.d, c.lsn, c.changes)
	must(c.t, err)
	body := c.place()
	for i, res := range plan.Apply(body.Addr) {
		if ch := c.changes[i]; !ch.Delete && res.After.Pages != c.sizes[i] {
			c.t.Fatalf("LSN %d: volume %s, ref %q has %d pages, want %d", c.lsn, ch.Volume, ch.Name, res.After.Pages, c.sizes[i])
		}
	}
	c.d.Born(body.Extents...)
	hash := wal.Hash{}
	binary.LittleEndian.PutUint64(hash[:], uint64(c.lsn))
	c.d.Advance(&wal.Entry{Timeline: wal.TimelineID{2}, Epoch: 1, First: c.lsn, Last: c.lsn, Time: int64(c.lsn)}, hash)
	c.now = c.state
}

// refuse gives it up when it could have been applied: what it loaded stays.
func (c *change) refuse() {
	c.t.Helper()
	_, err := apply.Prepare(c.d, c.lsn, c.changes)
	must(c.t, err)
}

var names = []string{"a", "b", "c", "d"}

// add changes one more volume.
func (c *change) add() {
	name := names[c.rng.IntN(len(names))]
	v, exists := c.state[name]
	switch {
	case c.rng.IntN(4) == 0 && c.branch(name):
	case exists && c.used[v.id]:
	case !exists:
		c.create(name)
	case c.rng.IntN(20) == 0:
		c.used[v.id] = true
		delete(c.state, name)
		c.push(apply.Change{Volume: v.id, Delete: true}, 0)
	case !c.bases[wal.Ref{Volume: v.id}]:
		c.edit(name, v, nil)
	}
}

func (c *change) create(name string) {
	var id wal.VolumeID
	c.value++
	binary.BigEndian.PutUint64(id[:], c.value)
	v := volume{id: id, pageSize: []int{512, 1024, 4096}[c.rng.IntN(3)], pages: map[uint64]uint64{}, tags: map[string]volume{}}
	c.edit(name, v, &wal.VolumeAttrs{Name: name, PageSize: uint32(v.pageSize), PageAlgo: wal.AlgoXXH3, Mode: wal.ModeLocal})
}

// edit cuts, discards and writes pages, and may rename.
func (c *change) edit(name string, v volume, create *wal.VolumeAttrs) {
	c.used[v.id] = true
	c.set[wal.Ref{Volume: v.id}] = true
	ch := apply.Change{Volume: v.id, Create: create != nil, Attrs: create}
	if to := names[c.rng.IntN(len(names))]; create == nil && c.rng.IntN(10) == 0 && c.state[to].id == (wal.VolumeID{}) && c.now[to].id == (wal.VolumeID{}) {
		delete(c.state, name)
		name = to
		ch.Attrs = &wal.VolumeAttrs{Name: to, PageSize: uint32(v.pageSize), PageAlgo: wal.AlgoXXH3, Mode: wal.ModeLocal}
	}
	v = c.pagesOf(&ch, v)
	c.state[name] = v
	c.push(ch, v.size)
}

// pagesOf makes random changes of pages, and says what is there then.
func (c *change) pagesOf(ch *apply.Change, v volume) volume {
	ch.Cut = apply.NoCut
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
	return v
}

// branch forks a volume, or sets or drops a tag of the one with that name, and
// reports whether it did.
func (c *change) branch(name string) bool {
	v, exists := c.state[name]
	base, ref, ok := c.base()
	tag := []string{"x", "y", "z"}[c.rng.IntN(3)]
	switch {
	case !exists:
		return ok && c.fork(name, base, ref)
	case c.used[v.id] && !c.set[wal.Ref{Volume: v.id}] || c.now[name].id != v.id:
		return false // deleted, or new
	}
	to := wal.Ref{Volume: v.id, Name: wal.RefName(tag)}
	if c.set[to] || c.bases[to] {
		return false
	}
	if _, set := v.tags[tag]; set && c.rng.IntN(2) == 0 {
		c.set[to] = true
		delete(v.tags, tag)
		c.push(apply.Change{Volume: v.id, Name: to.Name, Delete: true}, 0)
		c.used[v.id] = true
		return true
	}
	if !ok || base.pageSize != v.pageSize || ref == to {
		return false
	}
	c.set[to], c.bases[ref], c.used[v.id] = true, true, true
	ch := apply.Change{Volume: v.id, Name: to.Name, From: &apply.From{Ref: ref}}
	kept := c.begin(&ch, base)
	v.tags[tag] = kept
	c.push(ch, kept.size)
	return true
}

// base is a tip as it was before the transaction, and a ref that points to it.
func (c *change) base() (volume, wal.Ref, bool) {
	if len(c.now) == 0 {
		return volume{}, wal.Ref{}, false
	}
	all := slices.Sorted(maps.Keys(c.now))
	v := c.now[all[c.rng.IntN(len(all))]]
	ref := wal.Ref{Volume: v.id}
	if tags := slices.Sorted(maps.Keys(v.tags)); len(tags) > 0 && c.rng.IntN(2) == 0 {
		ref.Name = wal.RefName(tags[c.rng.IntN(len(tags))])
		size := v.pageSize
		v = v.tags[string(ref.Name)]
		v.pageSize = size
	}
	return v, ref, !c.set[ref]
}

func (c *change) fork(name string, base volume, ref wal.Ref) bool {
	var id wal.VolumeID
	c.value++
	binary.BigEndian.PutUint64(id[:], c.value)
	attrs := &wal.VolumeAttrs{Name: name, PageSize: uint32(base.pageSize), PageAlgo: wal.AlgoXXH3, Mode: wal.ModeLocal}
	ch := apply.Change{Volume: id, Create: true, Attrs: attrs, From: &apply.From{Ref: ref}}
	v := c.begin(&ch, base)
	v.id, v.tags = id, map[string]volume{}
	c.used[id], c.bases[ref], c.set[wal.Ref{Volume: id}] = true, true, true
	c.state[name] = v
	c.push(ch, v.size)
	return true
}

// relay tags a tip that is made for that, forks it, and changes the fork, one
// right behind the other.
func (r *rig) relay() {
	r.t.Helper()
	free := slices.IndexFunc(names, func(name string) bool { return r.now[name].pages == nil })
	if free < 0 || len(r.now) == 0 {
		return
	}
	to := names[free]
	all := slices.Sorted(maps.Keys(r.now))
	tx, name := r.begin(), all[r.rng.IntN(len(all))]
	v := tx.state[name]
	kept := v
	kept.pages, kept.tags = maps.Clone(v.pages), nil
	ref := wal.Ref{Volume: v.id, Name: "x"}
	ch := apply.Change{Volume: v.id, Name: ref.Name, From: &apply.From{Ref: wal.Ref{Volume: v.id}}}
	kept = tx.pagesOf(&ch, kept)
	v.tags["x"] = kept
	tx.push(ch, kept.size)
	tx.commit()

	tx = r.begin()
	tx.fork(to, kept, ref)
	tx.commit()

	tx = r.begin()
	tx.edit(to, tx.state[to], nil)
	tx.commit()
}

// begin is the base, or now and then the base with changes.
func (c *change) begin(ch *apply.Change, base volume) volume {
	base.pages, base.tags = maps.Clone(base.pages), nil
	if c.rng.IntN(3) == 0 {
		return c.pagesOf(ch, base)
	}
	ch.Cut, ch.Images = apply.NoCut, func(func(apply.Image) bool) {}
	return base
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
