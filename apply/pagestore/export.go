package pagestore

import (
	"fmt"
	"io"
	"iter"
	"math/bits"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Exported is what Export has written.
type Exported struct {
	Items  uint64 // of the portable form
	Images uint64 // pages
	Bytes  uint64 // of these
}

// Export writes the portable form of the snapshot to w: whole when since is 0,
// else what tells it from the snapshot at LSN since, which this store, or one whose
// log this one continues, had published. The snapshot is held meanwhile. An error
// is w's, or that something cannot be read.
//
// What is written is a function of the entries and of nothing that this store did
// when it liked: tips that nothing keeps are left out, swept or not, so that the base
// may be another store's.
//
// Cost: that of the pages and nodes born since. Memory: one path of nodes, the
// pages of one leaf, and what Snapshot.swept says.
func (s *Snapshot) Export(w io.Writer, since wal.LSN) (Exported, error) {
	x := &exporter{s: s, w: w, since: since}
	var err error
	if x.cat, err = s.swept(); err == nil {
		err = x.tips()
	}
	for _, prefix := range otherPrefixes {
		if err == nil {
			err = x.records(prefix)
		}
	}
	if err == nil {
		err = x.put(appendEnd(x.buf[:0], x.done.Items, x.done.Images))
	}
	if err != nil {
		return x.done, fmt.Errorf("pagestore: export the snapshot at LSN %d: %w", s.LSN(), err)
	}
	return x.done, nil
}

// otherPrefixes are those of the records that have no tree.
var otherPrefixes = []string{prefixActor, prefixEnding, keyActors, prefixName, prefixOutcome, prefixQueue, prefixRef, keyVolumes}

type exporter struct {
	s     *Snapshot
	cat   catalogue.Catalogue // swept
	w     io.Writer
	since wal.LSN
	buf   []byte
	image []byte
	done  Exported
}

// put writes an item.
func (x *exporter) put(item []byte) error {
	x.buf = item
	_, err := x.w.Write(item)
	x.done.Items++
	return err
}

// changes are those of the records whose keys have a prefix. What a sweep has done
// at the LSN of the base was not published there.
func (x *exporter) changes(prefix string) iter.Seq2[catalogue.Change, error] {
	return x.cat.Since(x.s.store.nodes, prefix, keyAfter(prefix), x.since)
}

func (x *exporter) records(prefix string) error {
	for c, err := range x.changes(prefix) {
		switch {
		case err != nil:
			return err
		case c.Kept():
			err = x.put(appendKept(x.buf[:0], c.First, c.Last))
		default:
			err = x.put(appendRecord(x.buf[:0], c.Key, c.Value.(catalogue.Raw)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tips writes kept tips and lineages, each lineage's own record behind its kept
// tips: two sequences of the catalogue become one.
func (x *exporter) tips() error {
	kept, lines := newPuller(x.changes(prefixTip)), newPuller(x.changes(prefixLineage))
	defer kept.stop()
	defer lines.stop()
	var before tipID // the kept tip just written; zero when it was of another lineage
	for kept.more || lines.more {
		p := lines
		if !lines.more || kept.more && lineOf(kept.c) <= lineOf(lines.c) {
			p = kept
		}
		err := p.err
		switch {
		case err != nil:
		case p.c.Kept():
			err = x.put(appendKept(x.buf[:0], p.c.First, p.c.Last))
		default:
			before, err = x.tip(p.c.Item, before)
		}
		if err != nil {
			return err
		}
		p.next()
	}
	return nil
}

// puller is a sequence of changes with a look at the next one.
type puller struct {
	pull func() (catalogue.Change, error, bool)
	stop func()
	c    catalogue.Change
	err  error
	more bool
}

func newPuller(seq iter.Seq2[catalogue.Change, error]) *puller {
	p := new(puller)
	p.pull, p.stop = iter.Pull2(seq)
	p.next()
	return p
}

func (p *puller) next() { p.c, p.err, p.more = p.pull() }

// lineOf is the part of a key of a tip or lineage that names the lineage.
func lineOf(c catalogue.Change) string {
	key := c.Key
	if c.Kept() {
		key = c.First
	}
	return key[min(1, len(key)):min(13, len(key))]
}

// tip writes the record of a tip and what its tree has that the one which it is
// made of does not have.
func (x *exporter) tip(it catalogue.Item, before tipID) (tipID, error) {
	id, kept, err := parseTipKey(it.Key)
	if err != nil {
		return id, err
	}
	rec, err := liveLineage(it.Value)
	if err != nil {
		return id, err
	}
	if before.Lineage != id.Lineage {
		before = tipID{}
	}
	from, of, after, err := x.from(id.Lineage, rec, before)
	if err == nil {
		err = x.put(appendTip(x.buf[:0], it.Key, from, of, rec))
	}
	if err == nil && from != fromSame && (from != fromNothing || rec.Tree.Count() > 0) {
		err = x.tree(rec, after)
	}
	if !kept {
		id = tipID{}
	}
	return id, err
}

// from says what the tree of a tip is to be made of, and behind which LSN it has
// what that does not have.
func (x *exporter) from(id LineageID, rec *lineageRecord, before tipID) (from treeFrom, of tipID, after wal.LSN, err error) {
	switch {
	case rec.Ended:
		return fromNothing, tipID{}, 0, nil
	case rec.Tip <= x.since:
		return fromSame, tipID{}, 0, nil
	case id.LSN <= x.since && rec.After < x.since:
		return fromCurrent, tipID{}, x.since, nil
	case before != tipID{}:
		return fromKept, before, rec.After, nil
	}
	lin, ok, err := getLineageAt(x.s.store, x.cat, lineageKey(id)) // a kept tip does not name the origin
	if err != nil || !ok {
		return 0, of, 0, orBad(err, "tip", fmt.Sprintf("its lineage %v is not there", id))
	}
	if lin.Origin == (tipID{}) {
		return fromNothing, of, 0, nil
	}
	return fromKept, lin.Origin, rec.After, nil
}

func (x *exporter) tree(rec *lineageRecord, after wal.LSN) error {
	x.image = make([]byte, exportRun)
	for p, err := range rec.Tree.Since(x.s.store.nodes, after) {
		if err == nil {
			err = x.part(p, int(rec.PageSize))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exportRun is how many bytes of images, which lie one behind the other, are read at
// once: a page of the largest size, or many small ones.
const exportRun = wal.MaxPageSize

func (x *exporter) part(p pagetree.Part, size int) error {
	if err := x.put(appendPart(x.buf[:0], p)); err != nil {
		return err
	}
	rest := p.New
	for pages := p.Pages; len(pages) > 0; {
		n := consecutive(pages[:min(len(pages), exportRun/size)])
		b := x.image[:n*size]
		read := n > 1 && x.s.store.heap.ReadExtent(heap.Extent{First: heap.Slot(pages[0].Addr), Count: uint32(n)}, 0, b) == nil
		for i := range n {
			no, image := p.First+uint64(bits.TrailingZeros64(rest)), b[i*size:(i+1)*size]
			rest &= rest - 1
			if read && wal.HashPage(no, image) == pages[i].Hash {
				continue
			}
			if err := x.s.store.ReadImage(no, pages[i], image); err != nil {
				return err
			}
		}
		if _, err := x.w.Write(b); err != nil {
			return err
		}
		x.done.Images += uint64(n)
		x.done.Bytes += uint64(len(b))
		pages = pages[n:]
	}
	return nil
}

// consecutive is how many of the first entries lie one behind the other in a file of
// the heap; one for an image in the log.
func consecutive(pages []pagetree.Entry) int {
	first := pages[0].Addr
	for i := range pages {
		at := first + uint64(i)
		if pagetree.IsLog(first) || pages[i].Addr != at || heap.Slot(at).File() != heap.Slot(first).File() {
			return max(i, 1)
		}
	}
	return len(pages)
}
