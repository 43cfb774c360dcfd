package pagestore

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// Use is something a snapshot reaches: a node of the catalogue or of a page
// tree, or a page.
type Use struct {
	Addr     uint64 // a heap.Slot or a log address; zero for a node that is in memory only
	Birth    wal.LSN
	PageSize uint32       // of a page; zero for a node
	Page     uint64       // number of a page
	Hash     wal.PageHash // of a page; a node has been verified
}

// InLog reports whether an image lies in the log.
func (u Use) InLog() bool { return pagetree.IsLog(u.Addr) }

// ReadUse reads the image of a page that Check met into dst, whose length is
// the page size, and verifies it.
func (s *Snapshot) ReadUse(u Use, dst []byte) error {
	return s.store.ReadImage(u.Page, pagetree.Entry{Addr: u.Addr, Birth: u.Birth, Hash: u.Hash}, dst)
}

// Check verifies everything the snapshot reaches but the images: every node
// against what its parent says, sums and counts of all trees, and that the
// records of volumes, refs and lineages, and those of actors, agree. visit hears of every node and
// page and ends the check with an error. What is wrong is told to wrong, and
// what does not depend on it is checked nevertheless; whole is false when
// something may have been left out. Memory: one path of nodes.
func (s *Snapshot) Check(visit func(Use) error, wrong func(error) error) (whole bool, err error) {
	c := snapshotCheck{s: s, visit: visit, wrong: wrong, whole: true}
	if err := c.tell(c.nodes()); err != nil || !c.whole {
		return false, err // without its nodes the catalogue cannot be searched
	}
	var n recordCounts
	for _, kind := range []struct {
		prefix string
		count  *uint64
		check  func(key string, v catalogue.Value) error
	}{
		{prefixName, &n.names, c.name}, {prefixRef, &n.refs, c.ref}, {prefixLineage, &n.lines, c.lineage},
		{prefixTip, &n.tips, c.tip}, {prefixEnding, &n.ending, c.ending},
	} {
		if *kind.count, err = c.records(kind.prefix, kind.check); err != nil {
			return false, err
		}
	}
	if n.requests, err = c.requests(); err != nil {
		return false, err
	}
	err = c.tell(c.counts(n))
	return c.whole, err
}

type snapshotCheck struct {
	s     *Snapshot
	visit func(Use) error
	wrong func(error) error
	whole bool
	tips  tipCheck
}

// stop wraps errors of visit, which end the check; others say what is wrong.
type stop struct{ error }

func (c *snapshotCheck) visited(u Use) error {
	if err := c.visit(u); err != nil {
		return stop{err}
	}
	return nil
}

// tell tells what is wrong and returns what ends the check.
func (c *snapshotCheck) tell(err error) error {
	if err == nil {
		return nil
	}
	c.whole = false
	if s, ok := err.(stop); ok {
		return s.error
	}
	return c.wrong(err)
}

func (c *snapshotCheck) nodes() error {
	return c.s.cat.Check(c.s.store.nodes, func(ref node.Ref, _ int) error {
		return c.visited(Use{Addr: uint64(ref.Slot), Birth: ref.Birth})
	})
}

// records checks those with a prefix, and counts them.
func (c *snapshotCheck) records(prefix string, check func(key string, v catalogue.Value) error) (n uint64, err error) {
	for it, err := range c.s.cat.Scan(c.s.store.nodes, prefix, keyAfter(prefix)) {
		if err == nil {
			n++
			err = check(it.Key[len(prefix):], it.Value)
		}
		if err := c.tell(err); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *snapshotCheck) name(name string, v catalogue.Value) error {
	id, err := decodeVolumeID(v)
	if err != nil {
		return err
	}
	ref, _, ok, err := lookupRef(c.s.store, c.s.cat, wal.Ref{Volume: id})
	switch {
	case err != nil:
		return err
	case !ok || ref.Attrs.Name != name:
		return badRecord("name", fmt.Sprintf("%q names volume %s, which is not there or has another name", name, id))
	}
	return nil
}

func (c *snapshotCheck) ref(key string, v catalogue.Value) error {
	if len(key) > len(wal.VolumeID{}) {
		return c.tag(key, v)
	}
	raw, ok := v.(catalogue.Raw)
	if !ok || len(key) != len(wal.VolumeID{}) {
		return badRecord("ref", fmt.Sprintf("its key is %x", key))
	}
	ref, err := decodeRef(raw)
	if err != nil {
		return err
	}
	id := wal.VolumeID([]byte(key))
	named, ok, err := lookupName(c.s.store, c.s.cat, ref.Attrs.Name)
	switch {
	case err != nil:
		return err
	case !ok || named != id:
		return badRecord("ref", fmt.Sprintf("volume %s is called %q, but that name is not its own", id, ref.Attrs.Name))
	case ref.Seq == 0 || ref.Created == 0 || ref.Created > ref.Changed || ref.Changed > c.s.LSN():
		return badRecord("ref", fmt.Sprintf("volume %s was made by entry %d and changed %d times, last by entry %d", id, ref.Created, ref.Seq, ref.Changed))
	}
	c.tips.current++
	_, lin, _, err := lookupRef(c.s.store, c.s.cat, wal.Ref{Volume: id})
	if err == nil && (lin.PageSize != ref.Attrs.PageSize || lin.Tip != ref.Changed || lin.Ended) {
		err = badRecord("ref", fmt.Sprintf("volume %s and its lineage disagree about page size or tip", id))
	}
	return err
}

// recordCounts is how many records of each kind there are.
type recordCounts struct {
	names, refs, lines, tips, ending, requests uint64
}

// counts checks that the records of one kind are as many as those of others
// say, and that there are no unknown ones.
func (c *snapshotCheck) counts(n recordCounts) error {
	says, err := volumeCount(c.s.store, c.s.cat)
	if err != nil {
		return err
	}
	t := &c.tips
	switch {
	case n.names != says || t.current != says || t.lines != says:
		return badRecord("volume count", fmt.Sprintf("it is %d, there are %d names, %d refs and %d lineages that have not ended",
			says, n.names, t.current, t.lines))
	case n.ending != t.unpinned:
		return badRecord("tip", fmt.Sprintf("%d have no pins, and %d are listed", t.unpinned, n.ending))
	case n.tips != t.met:
		return badRecord("tip", fmt.Sprintf("there are %d, and %d belong to lineages", n.tips, t.met))
	case t.pins != t.named:
		return badRecord("tip", fmt.Sprintf("the pins of all (checksum %v) are not those of tags and origins (%v)", t.pins, t.named))
	}
	items := uint64(0)
	for _, err := range c.s.cat.Scan(c.s.store.nodes, "", "") {
		if err != nil {
			return err
		}
		items++
	}
	known := n.names + n.refs + n.lines + n.tips + n.ending + n.requests
	if items > known+1 { // the volume count
		return badRecord("unknown", fmt.Sprintf("there are %d records beside the %d of volumes, refs, tips and requests", items-known, known))
	}
	return nil
}
