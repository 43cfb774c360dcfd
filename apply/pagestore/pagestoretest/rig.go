package pagestoretest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// state is the model of a store: volumes by name.
type state map[string]volume

type volume struct {
	id       wal.VolumeID
	pageSize int
	size     uint64
	pages    map[uint64]uint64 // values
	tags     map[string]volume // what they keep: never changed
}

func (s state) clone() state {
	c := state{}
	for name, v := range s {
		v.pages, v.tags = maps.Clone(v.pages), maps.Clone(v.tags)
		c[name] = v
	}
	return c
}

// hold is a snapshot that is read from time to time: all the time by a reader,
// or for moments by one who holds it.
type hold struct {
	snap *pagestore.Snapshot
	pin  *pagestore.Hold // instead of snap
	want state
}

func (h hold) acquire() *pagestore.Snapshot {
	if h.pin != nil {
		return h.pin.Acquire()
	}
	return h.snap
}

func (h hold) end(s *pagestore.Store) {
	if h.pin != nil {
		h.pin.Release()
		return
	}
	s.Release(h.snap)
}

// rig is a store beside its model.
type rig struct {
	t    testing.TB
	disk *narrow
	dir  string
	rng  *rand.Rand

	s       *pagestore.Store
	d       *pagestore.Draft
	now     state // with all entries applied
	cut     state // published
	durable state // of the last checkpoint
	held    []hold
	quiet   bool   // nobody holds anything during a checkpoint
	value   uint64 // last used

	exports []export // a whole one, and those that follow

	log     vfs.File
	gen     wal.Generation
	ordinal uint32
	end     int64
}

func newRig(t testing.TB, seed uint64, disk vfs.FS, dir string) *rig {
	t.Helper()
	r := &rig{t: t, disk: &narrow{FS: disk}, dir: dir, rng: rand.New(rand.NewPCG(seed, 1)), now: state{}, cut: state{}, durable: state{}}
	r.disk.left.Store(-1)
	must(t, pagestore.Create(r.disk, dir, manifest.Facts{
		Store: uuid.UUID{1}, Timeline: wal.TimelineID{2}, Epoch: 1,
		Options: manifest.Options{Created: 1, PageSize: wal.DefaultPageSize, HeapFileBytes: 1 << 30},
	}))
	must(t, disk.Mkdir(filepath.Join(dir, "wal")))
	r.open()
	t.Cleanup(func() { r.s.Close() })
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens the store as the last checkpoint left it.
func (r *rig) open() {
	r.t.Helper()
	s, d, err := pagestore.Open(pagestore.Options{FS: r.disk, Dir: r.dir, CacheBytes: 64 << 10})
	must(r.t, err)
	r.s, r.d, r.held = s, d, nil
	r.now, r.cut = r.durable.clone(), r.durable.clone()
	r.newLog()
}

// newLog begins the next generation and seals the one before.
func (r *rig) newLog() {
	r.t.Helper()
	id := wal.GenID(r.rng.Uint64() | 1)
	must(r.t, r.disk.Mkdir(filepath.Join(r.dir, "wal", id.String())))
	f, err := r.disk.Create(filepath.Join(r.dir, "wal", id.Path()))
	must(r.t, err)
	before, length := r.gen, r.end
	r.log, r.end = f, 0
	r.gen = wal.Generation{ID: id, First: r.d.Head.LSN + 1}
	must(r.t, r.s.EditManifest(func(f manifest.Facts) manifest.Edit {
		gens := slices.Clone(f.Generations)
		for i := range gens {
			if gens[i].ID == before.ID {
				gens[i].Sealed, gens[i].Last, gens[i].Length = true, r.d.Head.LSN, length
			}
		}
		gens = append(gens, r.gen)
		return manifest.Edit{Generations: &gens}
	}))
	r.ordinal = r.s.AddLog(r.gen, f)
}

// commit applies one transaction of random changes to up to three volumes. Now
// and then another one is refused before, when all it needs has been read.
func (r *rig) commit() {
	r.t.Helper()
	if r.rng.IntN(6) == 0 {
		r.random().refuse()
		if r.rng.IntN(2) == 0 {
			return
		}
	}
	if tx := r.random(); len(tx.changes) > 0 {
		tx.commit()
	}
}

func (r *rig) random() *change {
	tx := r.begin()
	for range 1 + r.rng.IntN(3) {
		tx.add()
	}
	return tx
}

func (r *rig) begin() *change {
	return &change{rig: r, lsn: r.d.Head.LSN + 1, state: r.now.clone(),
		used: map[wal.VolumeID]bool{}, set: map[wal.Ref]bool{}, bases: map[wal.Ref]bool{}}
}

// publish ends the group.
func (r *rig) publish() *pagestore.Snapshot {
	r.t.Helper()
	snap, err := r.d.Cut()
	must(r.t, err)
	r.s.Publish(snap)
	r.cut = r.now.clone()
	return snap
}

// hold holds what is published.
func (r *rig) hold() {
	h := hold{want: r.cut.clone()}
	if r.rng.IntN(2) == 0 {
		h.snap = r.s.Acquire()
	} else {
		h.pin, _ = r.s.Hold(0)
	}
	r.held = append(r.held, h)
}

// release lets one go.
func (r *rig) release() {
	if len(r.held) > 0 {
		i := r.rng.IntN(len(r.held))
		r.held[i].end(r.s)
		r.held = slices.Delete(r.held, i, i+1)
	}
}

// checkpoint makes a checkpoint, and whatever meanwhile does at three moments.
// An error leaves the store as it was, to try again.
func (r *rig) checkpoint(meanwhile func()) error {
	r.t.Helper()
	r.newLog()
	if err := r.s.Reserve(); err != nil {
		return err
	}
	if _, _, err := r.d.Sweep(); err != nil {
		r.t.Fatal(err)
	}
	snap, err := r.d.Cut()
	must(r.t, err)
	f, err := r.d.Freeze(snap)
	if !r.quiet && r.rng.IntN(4) == 0 {
		r.hold() // while the group is being written
	}
	r.s.Publish(snap)
	r.cut = r.now.clone()
	if err != nil {
		return err
	}
	frozen := r.cut.clone()
	meanwhile()
	last := f.Snap.LSN()
	err = r.s.Write(f, func(g wal.Generation) bool { return !g.Sealed || g.Last > last })
	meanwhile()
	if err != nil {
		r.d.Thaw(f)
		return err
	}
	must(r.t, r.d.Rebase(f))
	r.publish() // of the group that was open
	r.durable = frozen
	meanwhile()
	r.s.Bury(f)
	if err := r.s.Tidy(); err != nil {
		return err
	}
	_, err = r.s.Reclaim()
	return err
}

// check reads everything that is held, and what is published.
func (r *rig) check() {
	r.t.Helper()
	for _, h := range r.held {
		snap := h.acquire()
		r.same(snap, h.want)
		r.inUse(snap)
		if h.pin != nil {
			r.s.Release(snap)
		}
	}
	snap := r.s.Acquire()
	defer r.s.Release(snap)
	r.same(snap, r.cut)
	r.inUse(snap)
}

// inUse makes sure that no slot which the snapshot reaches is free: that would
// show in what is read only after the slot was used again, and nothing of it is
// left in memory.
func (r *rig) inUse(snap *pagestore.Snapshot) {
	r.t.Helper()
	used := r.heapSlots()
	_, err := snap.Check(func(u pagestore.Use) error {
		if u.Addr != 0 && !u.InLog() && !used[heap.Slot(u.Addr)] {
			return fmt.Errorf("LSN %d reaches slot %v, which is free", snap.LSN(), heap.Slot(u.Addr))
		}
		return nil
	}, func(err error) error { return err })
	must(r.t, err)
}

func (r *rig) same(snap *pagestore.Snapshot, want state) {
	r.t.Helper()
	n, err := snap.VolumeCount()
	must(r.t, err)
	if int(n) != len(want) {
		r.t.Fatalf("LSN %d: %d volumes, want %d", snap.LSN(), n, len(want))
	}
	for v, err := range snap.Volumes() {
		must(r.t, err)
		m, ok := want[v.Attrs.Name]
		if !ok || m.id != v.ID || v.Tree.Pages() != m.size || v.Attrs.PageSize != uint32(m.pageSize) {
			r.t.Fatalf("LSN %d: volume %q is %s of %d pages, want %s of %d", snap.LSN(), v.Attrs.Name, v.ID, v.Tree.Pages(), m.id, m.size)
		}
		r.samePages(snap, v, m)
		r.sameTags(snap, v, m)
	}
}

func (r *rig) sameTags(snap *pagestore.Snapshot, v pagestore.Volume, m volume) {
	r.t.Helper()
	n := 0
	for tag, err := range snap.Tags(v.ID) {
		must(r.t, err)
		kept, ok := m.tags[string(tag.Ref)]
		if !ok || tag.Tree.Pages() != kept.size {
			r.t.Fatalf("LSN %d: tag %q of %q has %d pages, want %d", snap.LSN(), tag.Ref, v.Attrs.Name, tag.Tree.Pages(), kept.size)
		}
		r.samePages(snap, tag, kept)
		n++
	}
	if n != len(m.tags) {
		r.t.Fatalf("LSN %d: %q has %d tags, want %d", snap.LSN(), v.Attrs.Name, n, len(m.tags))
	}
}

func (r *rig) samePages(snap *pagestore.Snapshot, v pagestore.Volume, m volume) {
	r.t.Helper()
	n := 0
	buf := make([]byte, m.pageSize)
	for p, err := range v.Pages(0, wal.MaxPages) {
		must(r.t, err)
		if err := v.Read(p.Page, buf); err != nil {
			r.t.Fatalf("LSN %d: %v", snap.LSN(), err)
		}
		if got, want := valueOf(buf), m.pages[p.Page]; got != want || want == 0 {
			r.t.Fatalf("LSN %d: page %d of %q is %d, want %d", snap.LSN(), p.Page, v.Attrs.Name, got, want)
		}
		n++
	}
	if n != len(m.pages) {
		r.t.Fatalf("LSN %d: %q has %d pages present, want %d", snap.LSN(), v.Attrs.Name, n, len(m.pages))
	}
}

// noLeak lets everything go, checkpoints, and compares the heap with the trees.
func (r *rig) noLeak() {
	r.t.Helper()
	r.quiet = true
	defer func() { r.quiet = false }()
	for len(r.held) > 0 {
		r.release()
	}
	for range 2 { // the second has nothing to write but what the first one caused
		must(r.t, r.checkpoint(func() {}))
	}
	if st := r.s.Stats(); st.LimboSlots != 0 || st.RetiredLogs != 0 {
		r.t.Errorf("%d slots in limbo and %d retired logs for nobody", st.LimboSlots, st.RetiredLogs)
	}
	r.swept(r.accounted("the heap"))
}

// accounted compares the heap with the trees of what is published.
func (r *rig) accounted(what string) *pagestore.Snapshot {
	r.t.Helper()
	reached := map[heap.Slot]bool{}
	snap := r.s.Acquire()
	defer r.s.Release(snap)
	_, err := snap.Check(func(u pagestore.Use) error {
		if reached[heap.Slot(u.Addr)] || u.Addr >= 1<<48 {
			return fmt.Errorf("slot %v is reached twice, or is none", heap.Slot(u.Addr))
		}
		reached[heap.Slot(u.Addr)] = true
		return nil
	}, func(err error) error { return err })
	must(r.t, err)
	r.equalSlots(what, reached, r.heapSlots())
	facts, _, err := manifest.Load(r.disk, r.dir)
	must(r.t, err)
	r.equalSlots("the manifest of "+what, reached, slotsOf(slices.Collect(facts.Used.Extents())))
	return snap
}

// swept makes sure that no tip and no lineage is kept for nobody.
func (r *rig) swept(snap *pagestore.Snapshot) {
	r.t.Helper()
	for l, err := range snap.Lines() {
		must(r.t, err)
		if l.Ended && len(l.Kept) == 0 || len(r.now) == 0 {
			r.t.Errorf("LSN %d: lineage %v is kept for nobody", snap.LSN(), l.ID)
		}
		for _, k := range l.Kept {
			if k.Pins == 0 {
				r.t.Errorf("LSN %d: tip %d of lineage %v is kept for nobody", snap.LSN(), k.Tip, l.ID)
			}
		}
	}
}

func (r *rig) heapSlots() map[heap.Slot]bool {
	var used []heap.Extent
	for _, f := range r.s.Heap().Files() {
		used = slices.AppendSeq(used, r.s.Heap().Used(f.Number))
	}
	return slotsOf(used)
}

func slotsOf(extents []heap.Extent) map[heap.Slot]bool {
	slots := map[heap.Slot]bool{}
	for _, e := range extents {
		for i := range e.Count {
			slots[e.First+heap.Slot(i)] = true
		}
	}
	return slots
}

func (r *rig) equalSlots(who string, reached, used map[heap.Slot]bool) {
	r.t.Helper()
	leaked := 0
	for s := range reached {
		if !used[s] {
			r.t.Fatalf("slot %v is reached, and free for %s", s, who)
		}
	}
	for s := range used {
		if !reached[s] {
			leaked++
		}
	}
	if leaked > 0 {
		r.t.Errorf("%d of %d slots are used for %s, and nobody reaches them", leaked, len(used), who)
	}
}

// valueOf is the value that a page holds, zero when it is torn.
func valueOf(page []byte) uint64 {
	v := binary.LittleEndian.Uint64(page)
	for i := 8; i < len(page); i += 8 {
		if binary.LittleEndian.Uint64(page[i:]) != v {
			return 0
		}
	}
	return v
}

func imageOf(value uint64, size int) []byte {
	p := make([]byte, size)
	for i := 0; i < size; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], value)
	}
	return p
}

// narrow is a disk on which the heap has room for some more writes.
type narrow struct {
	vfs.FS
	left atomic.Int64 // negative: any number
}

type narrowFile struct {
	vfs.File
	disk *narrow
}

func (n *narrow) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.Contains(name, "heap") {
		return f, err
	}
	return &narrowFile{f, n}, nil
}

func (n *narrow) Create(name string) (vfs.File, error) {
	f, err := n.FS.Create(name)
	return n.wrap(name, f, err)
}

func (n *narrow) Open(name string) (vfs.File, error) {
	f, err := n.FS.Open(name)
	return n.wrap(name, f, err)
}

func (f *narrowFile) WriteAt(p []byte, off int64) (int, error) {
	switch left := f.disk.left.Load(); {
	case left == 0:
		return 0, fmt.Errorf("no room: %w", syscall.ENOSPC)
	case left > 0:
		f.disk.left.Add(-1)
	}
	return f.File.WriteAt(p, off)
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
