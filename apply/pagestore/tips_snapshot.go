package pagestore

import (
	"fmt"
	"iter"
	"strings"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Tags yields what the tags of a volume point to, in the order of their names.
func (s *Snapshot) Tags(id wal.VolumeID) iter.Seq2[Volume, error] {
	return func(yield func(Volume, error) bool) {
		for t, err := range scanTags(s.store, s.cat, id) {
			var v Volume
			if err == nil {
				v, err = s.tagged(t)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Tag finds what a named ref points to.
func (s *Snapshot) Tag(ref wal.Ref) (Volume, bool, error) {
	rec, ok, err := lookupTag(s.store, s.cat, ref)
	if err != nil || !ok {
		return Volume{}, false, err
	}
	v, err := s.tagged(namedTag{ref, rec})
	return v, err == nil, err
}

func (s *Snapshot) tagged(t namedTag) (Volume, error) {
	owner, _, ok, err := lookupRef(s.store, s.cat, wal.Ref{Volume: t.Volume})
	if err != nil || !ok {
		return Volume{}, orBad(err, "tag", fmt.Sprintf("%q is one of volume %s, which is not there", t.Name, t.Volume))
	}
	tip, ok, err := lookupTip(s.store, s.cat, t.At)
	if err != nil || !ok {
		return Volume{}, orBad(err, "tag", fmt.Sprintf("%q names tip %d, which is not kept", t.Name, t.At.Tip))
	}
	return Volume{
		ID: t.Volume, Ref: t.Name, Attrs: owner.Attrs, Seq: t.Seq, Tip: t.At.Tip, Changed: t.Changed, Created: t.Created,
		Set: t.Time, Lineage: t.At.Lineage, Tree: tip.Tree, snap: s,
	}, nil
}

// KeptTips counts the tips that tags and forks keep. Cost: theirs, whatever else the
// store holds.
func (s *Snapshot) KeptTips() (n uint64, err error) {
	for it, err := range s.cat.Scan(s.store.nodes, prefixTip, keyAfter(prefixTip)) {
		if err != nil {
			return n, err
		}
		t, err := liveLineage(it.Value)
		if err != nil {
			return n, err
		}
		if t.Pins > 0 {
			n++
		}
	}
	return n, nil
}

// IsOrigin reports whether the tag names what its volume was forked from, as the
// tag does that comes with a fork.
func (v Volume) IsOrigin() (bool, error) {
	_, lin, ok, err := lookupRef(v.snap.store, v.snap.cat, wal.Ref{Volume: v.ID})
	return ok && lin.Origin == tipID{v.Lineage, v.Tip}, err
}

// KeptOnly is how many bytes of the heap nothing reaches but the tip that a tag
// points to: what would be free without it, if no reader holds it either. It is
// 0 for a current tip. Cost: the nodes that the tip does not share with the next
// that is kept.
func (v Volume) KeptOnly() (bytes uint64, err error) {
	_, bytes, err = v.snap.keptOnly(tipID{v.Lineage, v.Tip})
	return bytes, err
}

// Unpinned counts the slots that the next checkpoint frees because no tag and no
// fork keeps them any more: about, since what two such tips keep together is not
// counted.
func (s *Snapshot) Unpinned() (slots uint64, err error) {
	for id, err := range scanEnding(s.store, s.cat) {
		if err != nil {
			return slots, err
		}
		n, _, err := s.keptOnly(id)
		if err != nil {
			return slots, err
		}
		slots += n
	}
	return slots, nil
}

func (s *Snapshot) keptOnly(id tipID) (slots, bytes uint64, err error) {
	l, err := findLinks(s.store, s.cat, id)
	if err != nil {
		return 0, 0, err
	}
	for x, err := range pagetree.Lost(s.store.nodes, l.tip.Tree, l.next.Tree, l.tip.After, 0) {
		if err != nil {
			return slots, bytes, err
		}
		if pagetree.IsLog(x.Addr) {
			continue
		}
		class, err := s.store.heap.Class(heap.Slot(x.Addr).File())
		if err != nil {
			return slots, bytes, err
		}
		slots, bytes = slots+1, bytes+uint64(class.Bytes())
	}
	return slots, bytes, nil
}

// Line is one lineage in a snapshot: what a picture of the tree of tips needs.
type Line struct {
	ID     LineageID
	Ended  bool      // it has no current tip
	Origin LineageID // zero for none
	From   wal.LSN   // tip of the origin that it was forked from
	Tip    wal.LSN   // its newest
	Kept   []KeptTip // oldest first
}

// KeptTip is a tip that tags and forks keep.
type KeptTip struct {
	Tip  wal.LSN
	Pins uint32 // tags and forks; none for one that is swept with the next checkpoint

	State   wal.State
	Present uint64 // pages
}

// Lines yields all lineages, by the entries that began them.
func (s *Snapshot) Lines() iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for it, err := range s.cat.Scan(s.store.nodes, prefixLineage, keyAfter(prefixLineage)) {
			var l Line
			if err == nil {
				l, err = s.line(strings.TrimPrefix(it.Key, prefixLineage), it.Value)
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

func (s *Snapshot) line(key string, v catalogue.Value) (Line, error) {
	id, err := parseTipID(key + string(make([]byte, 8)))
	if err != nil {
		return Line{}, err
	}
	rec, err := liveLineage(v)
	if err != nil {
		return Line{}, err
	}
	l := Line{ID: id.Lineage, Ended: rec.Ended, Origin: rec.Origin.Lineage, From: rec.Origin.Tip, Tip: rec.Tip}
	for t, err := range keptTips(s, id.Lineage) {
		if err != nil {
			return l, err
		}
		l.Kept = append(l.Kept, KeptTip{t.Tip, t.Pins, stateOf(t.PageSize, t.Tree), t.Tree.Count()})
	}
	return l, nil
}
