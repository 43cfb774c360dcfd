package pagestore

import (
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// Head is where a history stands after an entry: what the next entry follows.
type Head struct {
	wal.Position
	Epoch uint64
	Time  int64 // of the entry, nanoseconds since 1970
}

// Snapshot is the whole store at one LSN: one root, immutable. It may be read
// by any number of goroutines while it is held (Store.Acquire).
type Snapshot struct {
	Head Head

	store *Store
	cat   catalogue.Catalogue

	// Guarded by store.holds.mu.
	number     uint64 // of publishing, rising
	readers    int
	pin        *pin      // of holds; nil when there are none
	basis      uint64    // holds.rebases when it was published
	settled    bool      // nothing of it is in memory only
	prev, next *Snapshot // the held snapshots, oldest first
}

// LSN is that of the last entry in the snapshot.
func (s *Snapshot) LSN() wal.LSN { return s.Head.LSN }

// Volume is one volume in a snapshot, or what a tag of it points to.
type Volume struct {
	ID      wal.VolumeID
	Ref     wal.RefName // of the tag; empty for the volume itself
	Attrs   wal.VolumeAttrs
	Seq     uint64  // changes of the ref, dense from 1
	Tip     wal.LSN // the entry that made the tip
	Changed wal.LSN // the entry that set the ref: that of the tip, but for tags
	Created wal.LSN
	Set     int64 // when a tag was set, nanoseconds since 1970; 0 for the volume itself
	Lineage LineageID
	Tree    pagetree.Tree

	snap *Snapshot
}

// State is the volume's content, equal anywhere.
func (v Volume) State() wal.State { return stateOf(v.Attrs.PageSize, v.Tree) }

func stateOf(pageSize uint32, t pagetree.Tree) wal.State {
	return wal.State{PageSize: pageSize, Pages: t.Pages(), Sum: t.Sum()}
}

// VolumeID finds the volume that has a name.
func (s *Snapshot) VolumeID(name string) (wal.VolumeID, bool, error) {
	return lookupName(s.store, s.cat, name)
}

// Volume finds a volume.
func (s *Snapshot) Volume(id wal.VolumeID) (Volume, bool, error) {
	ref, lin, ok, err := lookupRef(s.store, s.cat, wal.Ref{Volume: id})
	if err != nil || !ok {
		return Volume{}, false, err
	}
	return s.volume(id, ref, lin), true, nil
}

func (s *Snapshot) volume(id wal.VolumeID, ref refRecord, lin *lineageRecord) Volume {
	return Volume{
		ID: id, Attrs: ref.Attrs, Seq: ref.Seq, Tip: ref.Changed, Changed: ref.Changed, Created: ref.Created,
		Lineage: ref.Lineage, Tree: lin.Tree, snap: s,
	}
}

// Volumes yields all volumes in the order of their names, up to the first
// error.
func (s *Snapshot) Volumes() iter.Seq2[Volume, error] {
	return func(yield func(Volume, error) bool) {
		for it, err := range s.cat.Scan(s.store.nodes, prefixName, keyAfter(prefixName)) {
			if err != nil {
				yield(Volume{}, err)
				return
			}
			id, err := decodeVolumeID(it.Value)
			if err != nil {
				yield(Volume{}, err)
				return
			}
			v, ok, err := s.Volume(id)
			if err == nil && !ok {
				err = badRecord("name", fmt.Sprintf("%q names volume %s, which is not there", it.Key[len(prefixName):], id))
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// VolumeCount is the number of volumes.
func (s *Snapshot) VolumeCount() (uint64, error) { return volumeCount(s.store, s.cat) }

// ReadPage reads the image that e names into dst, whose length is the
// volume's page size, and verifies it.
func (s *Snapshot) ReadPage(no uint64, e pagetree.Entry, dst []byte) error {
	return s.store.ReadImage(no, e, dst)
}

// Lookup finds a page of the volume; absent pages read as zeros.
func (v Volume) Lookup(no uint64) (pagetree.Entry, bool, error) {
	return v.Tree.Lookup(v.snap.store.nodes, no)
}

// Read reads page no into dst, zeros when the page is absent.
func (v Volume) Read(no uint64, dst []byte) error {
	e, ok, err := v.Lookup(no)
	if err != nil {
		return err
	}
	if !ok {
		clear(dst)
		return nil
	}
	return v.snap.store.ReadImage(no, e, dst)
}

// Pages yields the present pages in [from, to), ascending.
func (v Volume) Pages(from, to uint64) iter.Seq2[pagetree.Item, error] {
	return v.Tree.Ascend(v.snap.store.nodes, from, to)
}
