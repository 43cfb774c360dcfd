package pagestore

import (
	"fmt"
	"math"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// sweepTips is how many kept tips one sweep takes out of their chains at most;
// the next checkpoint goes on with the rest.
const sweepTips = 4096

// burial is a tip that was taken out of its chain: what only it reached is dead.
type burial struct {
	tree, next pagetree.Tree // next: the record behind it in the chain; empty when there is none
	after      wal.LSN
	death      wal.LSN
	pageSize   uint32
}

// Sweep takes tips that nothing pins any more out of their chains and hands
// them to the next Freeze, which must take the snapshot that Cut returns right
// afterwards. So what neighbours a tip has is known for certain when it is
// buried, and a tag that comes and goes between two checkpoints costs nothing.
//
// more says that the next checkpoint has something to sweep, too. An error means
// that a node could not be read. Nothing was changed, and the sweep is left to the
// next checkpoint, unless the error is fatal.
func (d *Draft) Sweep() (more, fatal bool, err error) {
	if err := d.flush(); err != nil {
		return false, true, fmt.Errorf("pagestore: end the group at LSN %d: %w", d.Head.LSN, err)
	}
	ending, err := d.readEnding()
	if err != nil {
		return true, false, fmt.Errorf("pagestore: look for tips that nothing keeps: %w", err)
	}
	s := sweep{store: d.store, cat: &d.cat, todo: ending, edit: d.edit(), buried: d.buried}
	for n := 0; n < len(s.todo) && n < sweepTips; n++ {
		if err := s.tip(s.todo[n]); err != nil {
			return false, true, fmt.Errorf("pagestore: let go of tip %d: %w", s.todo[n].Tip, err)
		}
	}
	return len(s.todo) >= sweepTips, false, nil
}

// readEnding lists tips without pins, and reads all that sweeping them needs.
func (d *Draft) readEnding() (ending []tipID, err error) {
	for id, err := range scanEnding(d.store, d.cat) {
		if err != nil {
			return nil, err
		}
		if _, err = findLinks(d.store, d.cat, id); err != nil {
			return nil, err
		}
		if ending = append(ending, id); len(ending) == sweepTips {
			break
		}
	}
	return ending, nil
}

// links are a kept tip, and what follows it in the chain.
type links struct {
	tip, next *lineageRecord
	nextKey   string
}

func findLinks(s *Store, c catalogue.Catalogue, id tipID) (l links, err error) {
	var ok bool
	if l.tip, ok, err = lookupTip(s, c, id); err != nil || !ok {
		return l, orBad(err, "tip", fmt.Sprintf("tip %d is named or listed, and not there", id.Tip))
	}
	l.nextKey, l.next, err = nextTip(s, c, id)
	return l, err
}

// nextTip is what follows a kept tip in the chain: another one, or the lineage's
// own record.
func nextTip(s *Store, c catalogue.Catalogue, id tipID) (key string, next *lineageRecord, err error) {
	for it, err := range c.Scan(s.nodes, id.key(prefixTip)+"\x00", tipID{id.Lineage, lastTip}.key(prefixTip)) {
		if err == nil {
			next, err = liveLineage(it.Value)
		}
		return it.Key, next, err
	}
	key = lineageKey(id.Lineage)
	next, ok, err := getLineageAt(s, c, key)
	if err == nil && !ok {
		err = badRecord("tip", "its lineage is not there")
	}
	return key, next, err
}

func orBad(err error, kind, reason string) error {
	if err != nil {
		return err
	}
	return badRecord(kind, reason)
}

type sweep struct {
	store  *Store
	cat    *catalogue.Catalogue
	edit   catalogue.Edit
	todo   []tipID       // the origins of lineages that end with their last tip come behind
	buried func(l links) // hears of each tip before it is taken out; nil when nothing is to be freed
}

// swept is the snapshot's catalogue with all taken out that nothing keeps, in
// memory. When a store sweeps is its own affair; what is left then is a function of
// the entries. What the sweep changes is born at the snapshot's LSN. Memory: the
// nodes that have such tips, 24 bytes for each of these.
func (s *Snapshot) swept() (catalogue.Catalogue, error) {
	cat := s.cat
	w := sweep{store: s.store, cat: &cat, edit: catalogue.Edit{Epoch: math.MaxUint64, LSN: s.LSN(), Source: s.store.nodes}}
	for id, err := range scanEnding(s.store, s.cat) {
		if err != nil {
			return cat, err
		}
		w.todo = append(w.todo, id)
	}
	for n := 0; n < len(w.todo); n++ {
		if err := w.tip(w.todo[n]); err != nil {
			return cat, fmt.Errorf("leave tip %d out: %w", w.todo[n].Tip, err)
		}
	}
	return cat, nil
}

// buried hands a tip to the next Freeze.
func (d *Draft) buried(l links) {
	b := burial{tree: l.tip.Tree, next: l.next.Tree, after: l.tip.After, death: d.Head.LSN + 1, pageSize: l.tip.PageSize}
	pagetree.Bury(b.tree, b.next, b.after, b.death)
	d.deaths.burials = append(d.deaths.burials, b)
}

// tip takes one out of its chain.
func (s *sweep) tip(id tipID) error {
	l, err := findLinks(s.store, *s.cat, id)
	if err != nil {
		return err
	}
	if s.buried != nil {
		s.buried(l)
	}
	for _, prefix := range []string{prefixTip, prefixEnding} {
		if _, err := s.edit.Delete(s.cat, id.key(prefix)); err != nil {
			return err
		}
	}
	next := l.next.unwritten()
	next.After = l.tip.After
	if next.Ended && next.After == next.Fork {
		return s.line(id.Lineage, next.Origin)
	}
	return s.edit.Put(s.cat, l.nextKey, &next)
}

// line drops a lineage that has ended and keeps no tip.
func (s *sweep) line(id LineageID, origin tipID) error {
	if _, err := s.edit.Delete(s.cat, lineageKey(id)); err != nil || origin == (tipID{}) {
		return err
	}
	rec, ok, err := lookupTip(s.store, *s.cat, origin)
	if err != nil || !ok {
		return orBad(err, "lineage", fmt.Sprintf("its origin, tip %d, is not there", origin.Tip))
	}
	t := draftTip{id: origin, rec: rec.unwritten(), exists: true}
	if t.unpin(); t.rec.Pins == 0 {
		s.todo = append(s.todo, origin)
	}
	return t.flush(s.edit, s.cat)
}

// bury lists what only the buried tips reached. Each is walked whole before any
// of it counts, so that after an error none was listed in part.
func (d *deaths) bury(src node.Source) error {
	for len(d.burials) > 0 {
		b := d.burials[0]
		var one deaths
		for x, err := range pagetree.Lost(src, b.tree, b.next, b.after, b.death) {
			if err != nil {
				return fmt.Errorf("walk a tip that nothing keeps: %w", err)
			}
			one.add(x, b.pageSize)
		}
		for _, r := range one.runs {
			d.addRun(r)
		}
		d.inLog = append(d.inLog, one.inLog...)
		d.burials = d.burials[1:]
	}
	return nil
}
