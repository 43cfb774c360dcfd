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
	var counts [3]uint64
	for i, kind := range []struct {
		prefix string
		check  func(key string, v catalogue.Value) error
	}{{prefixName, c.name}, {prefixRef, c.ref}, {prefixLineage, c.lineage}} {
		if counts[i], err = c.records(kind.prefix, kind.check); err != nil {
			return false, err
		}
	}
	requests, err := c.requests()
	if err != nil {
		return false, err
	}
	err = c.tell(c.counts(counts, requests))
	return c.whole, err
}

type snapshotCheck struct {
	s     *Snapshot
	visit func(Use) error
	wrong func(error) error
	whole bool
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
	_, lin, _, err := lookupRef(c.s.store, c.s.cat, wal.Ref{Volume: id})
	if err == nil && (lin.PageSize != ref.Attrs.PageSize || lin.Tip != ref.Changed) {
		err = badRecord("ref", fmt.Sprintf("volume %s and its lineage disagree about page size or tip", id))
	}
	return err
}

func (c *snapshotCheck) lineage(_ string, v catalogue.Value) error {
	lin, err := liveLineage(v)
	if err != nil {
		return err
	}
	return pagetree.Check(lin.Tree, c.s.store.nodes, func(u pagetree.Use) error {
		use := Use{Addr: u.Addr, Birth: u.Birth}
		if u.Height == 0 {
			use.PageSize, use.Page, use.Hash = lin.PageSize, u.Page, u.Hash
		}
		return c.visited(use)
	})
}

// counts checks that there is nothing beside the names, refs and lineages of
// the volumes, and so many records of requests.
func (c *snapshotCheck) counts(found [3]uint64, requests uint64) error {
	says, err := volumeCount(c.s.store, c.s.cat)
	if err != nil {
		return err
	}
	if found != [3]uint64{says, says, says} {
		return badRecord("volume count", fmt.Sprintf("it is %d, there are %d names, %d refs and %d lineages",
			says, found[0], found[1], found[2]))
	}
	items := uint64(0)
	for _, err := range c.s.cat.Scan(c.s.store.nodes, "", "") {
		if err != nil {
			return err
		}
		items++
	}
	if items > 3*says+1+requests {
		return badRecord("unknown", fmt.Sprintf("there are %d records beside those of %d volumes and %d of requests", items-3*says-requests, says, requests))
	}
	return nil
}
