package pagestore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Loader makes a page store of portable snapshots: a whole one, then any number of
// those that tell a later one from it. The store is nobody's meanwhile: it is new,
// has no log, and is thrown away when the loader fails or the program ends before
// Finish.
//
//	l, err := pagestore.NewLoader(pagestore.Options{FS: fsys, Dir: dir, CacheBytes: n})
//	err = l.Load(head, r)   // for each
//	err = l.Finish()        // it is a store with a checkpoint at the last head
//
// Memory: CacheBytes, as much again for nodes that are not written yet, a bit for
// each slot, and images of 2 MiB, or of two parts.
type Loader struct {
	s *Store
	d *Draft

	since  wal.LSN // of the base
	base   *Snapshot
	bounds map[byte]string // by first letter of keys: behind what was said of the base

	// What is not in a checkpoint yet.
	images placer
	nodes  int64 // bytes in memory, about
}

// NewLoader opens a store that Create has just made, in the timeline and epoch of
// the snapshots.
func NewLoader(o Options) (*Loader, error) {
	s, d, err := Open(o)
	if err != nil {
		return nil, err
	}
	l := &Loader{s: s, d: d, images: placer{heap: s.heap}}
	if d.Head.LSN != 0 {
		return nil, errors.Join(fmt.Errorf("pagestore: load a snapshot into %s: it is no new store, it is at LSN %d; nothing was changed", o.Dir, d.Head.LSN), s.Close())
	}
	return l, nil
}

// Load reads one snapshot from r, of the state at head. The first is whole, the
// others follow from the one loaded before, at the LSN which that had. Errors: r's,
// the disk's, and wal.ErrCorrupt or wal.ErrVersion for a form that is not valid.
func (l *Loader) Load(head Head, r io.Reader) error {
	l.since, l.base, l.bounds = l.d.Head.LSN, l.s.Acquire(), map[byte]string{}
	defer func() { l.s.Release(l.base) }()
	err := l.begin(head)
	if err == nil {
		err = l.items(&portableReader{r: r})
	}
	if err == nil {
		err = l.end()
	}
	if err != nil {
		return fmt.Errorf("pagestore: load the snapshot at LSN %d: %w", head.LSN, err)
	}
	return nil
}

// LoadFrom loads a snapshot of another store: what of it is younger than what was loaded
// before. That goes through watch, unless it is nil. Errors: Load's, Export's.
func (l *Loader) LoadFrom(from *Snapshot, watch func(io.Reader) io.Reader) error {
	pr, pw := io.Pipe()
	var in io.Reader = pr
	if watch != nil {
		in = watch(in)
	}
	exported := make(chan error)
	go func(since wal.LSN) {
		_, err := from.Export(pw, since)
		_ = pw.CloseWithError(err) // always nil; so Load fails for the same reason
		exported <- err
	}(l.d.Head.LSN)
	err := l.Load(from.Head, in)
	_ = pr.Close() // always nil; an export that still writes ends
	return cmp.Or(err, <-exported)
}

func (l *Loader) begin(head Head) error {
	if head.LSN <= l.since {
		return fmt.Errorf("the one before is at LSN %d", l.since)
	}
	l.d.Head, l.d.cutAt = head, l.since
	return nil
}

func (l *Loader) items(r *portableReader) error {
	it, err := r.next()
	for err == nil && it.kind != itemEnd {
		if it.kind == itemTip {
			it, err = l.tip(r, it)
		} else {
			if err = l.record(it); err == nil {
				it, err = r.next()
			}
		}
		if err == nil && l.nodes > l.s.opts.CacheBytes {
			err = l.checkpoint()
		}
	}
	return err
}

// record takes over a record, or what the base has in a range.
func (l *Loader) record(it portable) error {
	first, last := it.first, it.last
	switch {
	case it.kind == itemPart:
		return badRecord("snapshot's", "a part belongs to no tip")
	case it.kind == itemRecord:
		first, last = it.key, it.key
	}
	if err := l.upTo(first, last); err != nil || it.kind == itemKept {
		return err
	}
	if !slices.Contains(otherPrefixes, it.key[:1]) {
		return badRecord("snapshot's", fmt.Sprintf("its key is %q: of an unknown kind, or a tip without its tree", it.key))
	}
	return l.put(it.key, catalogue.Raw(it.value))
}

// upTo drops what the base has between what was said of it and first.
func (l *Loader) upTo(first, last string) error {
	from, ok := l.bounds[first[0]]
	if !ok {
		from = first[:1]
	}
	if first < from {
		return badRecord("snapshot's", fmt.Sprintf("%q comes behind %q", first, from))
	}
	l.bounds[first[0]] = last + "\x00"
	return l.drop(from, first)
}

func (l *Loader) drop(from, to string) error {
	for it, err := range l.base.cat.Scan(l.s.nodes, from, to) {
		if err == nil {
			_, err = l.edit().Delete(&l.d.cat, it.Key)
		}
		if err != nil {
			return err
		}
		l.nodes += dirtyNodeBytes
	}
	return nil
}

func (l *Loader) edit() *catalogue.Edit {
	e := l.d.edit()
	return &e
}

func (l *Loader) put(key string, v catalogue.Value) error {
	l.nodes += dirtyNodeBytes / 8 // its neighbours are in the same node
	return l.edit().Put(&l.d.cat, key, v)
}

// tip makes the tree of a tip, and puts its record. It returns the item behind the
// parts of the tree.
func (l *Loader) tip(r *portableReader, it portable) (portable, error) {
	rec, err := l.startTip(it)
	if err != nil {
		return it, err
	}
	next, err := l.parts(r, it.key, rec)
	if err != nil {
		return it, err
	}
	if got := stateOf(rec.PageSize, rec.Tree); got != it.tip.state || rec.Tree.Count() != it.tip.count {
		return it, badRecord("snapshot's", fmt.Sprintf("the tree of tip %d has %d of %d pages and sum %v, it says %d of %d and %v: it is not that which it was taken from",
			rec.Tip, rec.Tree.Count(), got.Pages, got.Sum.Hash(), it.tip.count, it.tip.state.Pages, it.tip.state.Sum.Hash()))
	}
	l.d.epoch++ // the tree is a value from here on
	return next, l.put(it.key, rec)
}

// startTip is the record with the tree that it is made of, in its size.
func (l *Loader) startTip(it portable) (*lineageRecord, error) {
	rec, err := decodeFixed(it.tip.rec)
	if err != nil {
		return nil, err
	}
	id, kept, err := parseTipKey(it.key)
	if err != nil {
		return nil, err
	}
	if err := l.upTo(it.key, it.key); err != nil {
		return nil, err
	}
	if kept && id.Tip != rec.Tip {
		return nil, badRecord("snapshot's", fmt.Sprintf("tip %d has the key of tip %d", rec.Tip, id.Tip))
	}
	from, err := l.from(it.tip, id.Lineage, rec)
	if err != nil {
		return nil, err
	}
	rec.Tree = from.Tree
	return rec, l.resize(rec, it.tip.state.Pages)
}

// parseTipKey takes the key of a tip record or lineage record apart.
func parseTipKey(key string) (id tipID, kept bool, err error) {
	switch key[:1] {
	case prefixTip:
		id, err = parseTipID(key[1:])
		return id, true, err
	case prefixLineage:
		id, err = parseTipID(key[1:] + string(make([]byte, 8)))
		return id, false, err
	}
	return id, false, badRecord("snapshot's", "a tree belongs to no tip")
}

// from finds the tip of which another one is made.
func (l *Loader) from(how portableTip, id LineageID, rec *lineageRecord) (t *lineageRecord, err error) {
	ok := true
	switch how.from {
	case fromNothing:
		return new(lineageRecord), nil
	case fromKept:
		t, ok, err = lookupTip(l.s, l.d.cat, how.of)
	case fromSame:
		t, ok, err = l.same(id, rec.Tip)
	case fromCurrent:
		t, ok, err = getLineageAt(l.s, l.base.cat, lineageKey(id))
	}
	if err == nil && (!ok || t.PageSize != rec.PageSize) {
		err = badRecord("snapshot's", fmt.Sprintf("tip %d is made of one (%d) that is not there", rec.Tip, how.from))
	}
	return t, err
}

// same is a tip of the base: kept, or the current one.
func (l *Loader) same(id LineageID, tip wal.LSN) (*lineageRecord, bool, error) {
	t, ok, err := lookupTip(l.s, l.base.cat, tipID{id, tip})
	if ok || err != nil {
		return t, ok, err
	}
	t, ok, err = getLineageAt(l.s, l.base.cat, lineageKey(id))
	return t, ok && t.Tip == tip, err
}

func (l *Loader) treeEdit(rec *lineageRecord) *pagetree.Edit {
	return &pagetree.Edit{
		Epoch: l.d.epoch, LSN: max(rec.Tip, rec.After+1), Origin: rec.After, Source: l.s.nodes,
		Dead: func(x node.Dead) { l.d.deaths.add(x, rec.PageSize) },
	}
}

func (l *Loader) resize(rec *lineageRecord, pages uint64) error {
	if pages == rec.Tree.Pages() {
		return nil
	}
	e := l.treeEdit(rec)
	err := e.Load(&rec.Tree, func(yield func(uint64) bool) { yield(min(pages, rec.Tree.Pages())) })
	if err == nil {
		e.Resize(&rec.Tree, pages)
	}
	return err
}

// parts puts the parts of a tree in their places, and their images on the disk: some
// are written while those behind them are read.
func (l *Loader) parts(r *portableReader, key string, rec *lineageRecord) (portable, error) {
	var some []pagetree.Part
	it, err := r.next()
	for err == nil && it.kind == itemPart {
		if err = l.check(rec, it.part); err != nil {
			break
		}
		some = append(some, it.part)
		l.nodes += int64(bits.OnesCount64(it.part.Bits))*48 + 256
		if full := l.nodes > l.s.opts.CacheBytes; full || len(r.images) >= placeBytes {
			err = l.place(r, rec, some)
			some = nil
			if err == nil && full {
				if err = l.patch(rec); err == nil {
					err = l.spill(key, rec)
				}
			}
		}
		if err == nil {
			it, err = r.next()
		}
	}
	if err == nil {
		err = l.place(r, rec, some)
	}
	return it, errors.Join(err, l.patch(rec))
}

// place begins to write the images that were read, those of some parts, when those
// that are being written are in their places.
func (l *Loader) place(r *portableReader, rec *lineageRecord, some []pagetree.Part) error {
	if err := l.patch(rec); err != nil {
		return err
	}
	r.images = l.images.begin(some, r.images, int(rec.PageSize))
	return nil
}

func (l *Loader) check(rec *lineageRecord, p pagetree.Part) error {
	if why := p.Check(rec.Tree.Pages()); why != "" {
		return badRecord("snapshot's", "a part of a tree: "+why)
	}
	for i := range p.Pages {
		if p.Pages[i].Birth <= rec.After || p.Pages[i].Birth > l.d.Head.LSN {
			return badRecord("snapshot's", fmt.Sprintf("tip %d has a page born at %d, after %d", rec.Tip, p.Pages[i].Birth, rec.After))
		}
	}
	return nil
}

// patch puts the parts in their places whose images are being written. Their goroutine
// has ended then.
func (l *Loader) patch(rec *lineageRecord) error {
	parts, err := l.images.end()
	if err != nil {
		return err
	}
	e := l.treeEdit(rec)
	for _, p := range parts {
		if err := e.Patch(&rec.Tree, p); err != nil {
			return err
		}
	}
	return nil
}

// spill writes the part of a tree that there is.
func (l *Loader) spill(key string, rec *lineageRecord) error {
	part := rec.unwritten()
	if err := l.put(key, &part); err != nil {
		return err
	}
	if err := l.checkpoint(); err != nil {
		return err
	}
	written, _, err := getLineageAt(l.s, l.d.cat, key)
	if err == nil {
		rec.Tree = written.Tree
	}
	return err
}

// end drops what the base has and nothing was said of, and makes a checkpoint.
func (l *Loader) end() error {
	for _, prefix := range append([]string{prefixTip, prefixLineage}, otherPrefixes...) {
		from, ok := l.bounds[prefix[0]]
		if !ok {
			from = prefix
		}
		if err := l.drop(from, keyAfter(prefix)); err != nil {
			return err
		}
	}
	return l.checkpoint()
}

// checkpoint writes what is in memory.
func (l *Loader) checkpoint() error {
	l.d.Born(l.images.born...)
	l.images.born = nil
	if err := l.s.Reserve(); err != nil {
		return err
	}
	snap, err := l.d.Cut()
	if err != nil {
		return err
	}
	f, err := l.d.Freeze(snap)
	if err != nil {
		return err
	}
	l.s.Publish(snap)
	if err := l.s.Write(f, func(wal.Generation) bool { return false }); err != nil {
		return err
	}
	if err := l.d.Rebase(f); err != nil {
		return err
	}
	l.s.Bury(f)
	l.nodes = 0
	_, err = l.s.Reclaim()
	return err
}

// Finish checks that all records and trees agree, lets go of what none of them
// reaches, and closes the store, which can be opened from then on. After an error
// it is to be thrown away: wal.ErrCorrupt when the snapshots were not what a store
// exports.
func (l *Loader) Finish() error {
	if err := l.collect(); err != nil {
		return errors.Join(fmt.Errorf("pagestore: check what was loaded up to LSN %d: %w", l.d.Head.LSN, err), l.s.Close())
	}
	return l.s.Close()
}

// Close gives the store up.
func (l *Loader) Close() error { return l.s.Close() }

// collect lets go of slots that nothing reaches: those of tips that a base had,
// and a later snapshot has not.
func (l *Loader) collect() error {
	facts, _, err := manifest.Load(l.s.opts.FS, l.s.opts.Dir)
	if err != nil {
		return err
	}
	snap, lost := l.s.Acquire(), facts.Used
	defer l.s.Release(snap)
	reach := func(u Use) error {
		if err := lost.Remove(heap.Extent{First: heap.Slot(u.Addr), Count: 1}); err != nil {
			return badRecord("snapshot's", err.Error())
		}
		return nil
	}
	if _, err = snap.Check(reach, func(err error) error { return err }); err != nil || lost.Len() == 0 {
		return err
	}
	free := slices.Collect(lost.Extents())
	return l.s.EditManifest(func(manifest.Facts) manifest.Edit { return manifest.Edit{Free: free} })
}

// Digest is that of the snapshot that was loaded last.
func (l *Loader) Digest() (volumes uint64, digest wal.PageHash, err error) {
	snap := l.s.Acquire()
	defer l.s.Release(snap)
	return snap.Digest()
}
