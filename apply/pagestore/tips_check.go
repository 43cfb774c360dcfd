package pagestore

import (
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// tipCheck is what a check adds up about tips and compares at its end.
type tipCheck struct {
	current  uint64 // refs of volumes
	lines    uint64 // lineages that have not ended
	met      uint64 // tips on the chains of lineages
	unpinned uint64

	// Checksums, so that memory does not grow with the tips: each tip as often
	// as its record says that it is pinned, and as often as it is named.
	pins, named wal.Sum
}

// sum is a tip's share of a checksum.
func (id tipID) sum(times uint32) (s wal.Sum) {
	h := wal.HashPage(uint64(id.Tip), []byte(id.key("")))
	for ; times > 0; times >>= 1 { // s += times * h
		if times&1 == 1 {
			s = s.Add(h)
		}
		h = double(h)
	}
	return s
}

func double(h wal.PageHash) wal.PageHash { return wal.Sum{}.Add(h).Add(h).Hash() }

func (c *snapshotCheck) tag(key string, v catalogue.Value) error {
	ref := wal.Ref{Volume: wal.VolumeID([]byte(key[:16])), Name: wal.RefName(key[16:])}
	t, err := decodeTag(v)
	if err != nil {
		return err
	}
	c.tips.named = c.tips.named.Plus(t.At.sum(1))
	owner, _, ok, err := lookupRef(c.s.store, c.s.cat, wal.Ref{Volume: ref.Volume})
	if err != nil {
		return err
	}
	tip, kept, err := lookupTip(c.s.store, c.s.cat, t.At)
	switch {
	case err != nil:
		return err
	case !ok || wal.ValidName(string(ref.Name)) != nil:
		return badRecord("tag", fmt.Sprintf("%q is one of volume %s, which is not there, or has no name", ref.Name, ref.Volume))
	case !kept || tip.PageSize != owner.Attrs.PageSize:
		return badRecord("tag", fmt.Sprintf("%q of volume %s names tip %d, which is not kept or has another page size", ref.Name, ref.Volume, t.At.Tip))
	case t.Seq == 0 || t.Created == 0 || t.Created > t.Changed || t.At.Tip > t.Changed || t.Changed > c.s.LSN():
		return badRecord("tag", fmt.Sprintf("%q of volume %s was made by entry %d and changed %d times, last by entry %d to tip %d",
			ref.Name, ref.Volume, t.Created, t.Seq, t.Changed, t.At.Tip))
	}
	return nil
}

// tip is counted here and checked with its lineage.
func (c *snapshotCheck) tip(key string, v catalogue.Value) error {
	id, err := parseTipID(key)
	if err != nil {
		return err
	}
	t, err := liveLineage(v)
	if err != nil {
		return err
	}
	c.tips.pins = c.tips.pins.Plus(id.sum(t.Pins))
	if t.Pins == 0 {
		c.tips.unpinned++
	}
	if t.Tip != id.Tip || t.Ended || t.Origin != (tipID{}) || t.Fork != 0 {
		return badRecord("tip", fmt.Sprintf("that of tip %d is not one of a kept tip", id.Tip))
	}
	return nil
}

func (c *snapshotCheck) ending(key string, _ catalogue.Value) error {
	id, err := parseTipID(key)
	if err != nil {
		return err
	}
	t, ok, err := lookupTip(c.s.store, c.s.cat, id)
	if err == nil && (!ok || t.Pins != 0) {
		err = badRecord("tip", fmt.Sprintf("tip %d is listed without pins, and is not there or pinned", id.Tip))
	}
	return err
}

// lineage checks the chain of a lineage: its kept tips and its current one.
// Each is compared with the one before it, the first with the origin.
func (c *snapshotCheck) lineage(key string, v catalogue.Value) error {
	lin, err := liveLineage(v)
	if err != nil {
		return err
	}
	id, err := parseTipID(key + string(make([]byte, 8)))
	if err != nil {
		return err
	}
	before := &lineageRecord{}
	if !lin.Ended {
		c.tips.lines++
	}
	if lin.Origin != (tipID{}) {
		c.tips.named = c.tips.named.Plus(lin.Origin.sum(1))
		origin, ok, err := lookupTip(c.s.store, c.s.cat, lin.Origin)
		if err != nil || !ok {
			return orBad(err, "lineage", fmt.Sprintf("its origin, tip %d, is not kept", lin.Origin.Tip))
		}
		before = origin
	}
	return c.chain(id.Lineage, before, lin)
}

// chain checks kept tips, oldest first, and then the lineage's own record.
func (c *snapshotCheck) chain(id LineageID, before, lin *lineageRecord) error {
	after, tips := lin.Fork, 0
	var tip *lineageRecord // the next to be checked
	for next, err := range keptTips(c.s, id) {
		if err != nil {
			return err
		}
		if tip != nil {
			if err := c.link(before, tip, next, after); err != nil {
				return err
			}
			before, after = tip, next.After
		}
		tip = next
		tips++
	}
	c.tips.met += uint64(tips)
	if tip != nil {
		if err := c.link(before, tip, lin, after); err != nil {
			return err
		}
		before, after = tip, lin.After
	}
	switch {
	case lin.Ended && (tips == 0 || lin.Tree != pagetree.Tree{}):
		return badRecord("lineage", fmt.Sprintf("lineage %v has ended, and keeps nothing or has a current tip", id))
	case lin.After != after || lin.Tip > c.s.LSN() || lin.Pins != 0:
		return badRecord("lineage", fmt.Sprintf("lineage %v has its own from LSN %d on, its newest kept tip from %d", id, lin.After, after))
	}
	return c.tree(before, lin, c.s.LSN())
}

// link checks a kept tip between two others.
func (c *snapshotCheck) link(before, tip, next *lineageRecord, after wal.LSN) error {
	if tip.After != after || next.After <= tip.After || before.Tip > tip.Tip || next.Tip < tip.Tip || tip.PageSize != next.PageSize {
		return badRecord("tip", fmt.Sprintf("tip %d, with its own from LSN %d to %d, does not fit between tips %d and %d", tip.Tip, tip.After, next.After, before.Tip, next.Tip))
	}
	return c.tree(before, tip, next.After)
}

// tree checks what is the record's own: born at last or before, and not reached
// from the tip before.
func (c *snapshotCheck) tree(before, rec *lineageRecord, last wal.LSN) error {
	return pagetree.CheckAfter(rec.Tree, before.Tree, rec.After, c.s.store.nodes, func(u pagetree.Use) error {
		if u.Birth > last {
			return badRecord("tip", fmt.Sprintf("tip %d reaches what was born at %d, after %d", rec.Tip, u.Birth, last))
		}
		use := Use{Addr: u.Addr, Birth: u.Birth}
		if u.Height == 0 {
			use.PageSize, use.Page, use.Hash = rec.PageSize, u.Page, u.Hash
		}
		return c.visited(use)
	})
}

// keptTips yields the kept tips of a lineage, oldest first.
func keptTips(s *Snapshot, id LineageID) iter.Seq2[*lineageRecord, error] {
	return func(yield func(*lineageRecord, error) bool) {
		from, to := tipID{id, 0}.key(prefixTip), tipID{id, lastTip}.key(prefixTip)
		for it, err := range s.cat.Scan(s.store.nodes, from, to) {
			var t *lineageRecord
			if err == nil {
				t, err = liveLineage(it.Value)
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}
