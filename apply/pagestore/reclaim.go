package pagestore

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// births is what the trees gained since the last checkpoint.
type births struct {
	entries []heap.Extent // slots that entries brought
	nodes   []heap.Extent // slots assigned to nodes
	images  []heap.Extent // slots that images were moved to from the log
	moved   pagetree.Moved

	buffered []*slotWriter // of the attempts at a checkpoint; a failed one left bytes in them
}

func (b *births) extents() []heap.Extent {
	all := append([]heap.Extent(nil), b.entries...)
	return append(append(all, b.nodes...), b.images...)
}

// deaths is what the trees lost since the last checkpoint.
type deaths struct {
	runs     []deadRun
	subtrees []node.Dead // not walked yet
	burials  []burial    // tips taken out of their chains, not walked yet
	inLog    []deadImage // in the log; a checkpoint may have moved them to slots
	nodes    int64       // of the catalogue: as many have newer versions in memory
}

// deadImage is an image in the log that a later version replaced.
type deadImage struct {
	node.Dead
	size uint32 // bytes
}

// deadRun is consecutive slots that died alike.
type deadRun struct {
	slots        heap.Extent
	birth, death wal.LSN
}

// add takes what died in a tree whose pages have that many bytes.
func (d *deaths) add(x node.Dead, pageSize uint32) {
	switch {
	case x.Subtree.Slot != 0:
		d.subtrees = append(d.subtrees, x)
	case pagetree.IsLog(x.Addr):
		d.inLog = append(d.inLog, deadImage{x, pageSize})
	default:
		d.addRun(deadRun{heap.Extent{First: heap.Slot(x.Addr), Count: 1}, x.Birth, x.Death})
	}
}

// addRun adds slots, lengthening the last run where it can.
func (d *deaths) addRun(r deadRun) {
	if n := len(d.runs); n > 0 {
		last := &d.runs[n-1]
		end := last.slots.First + heap.Slot(last.slots.Count)
		if r.slots.First == end && end.File() == last.slots.First.File() && last.birth == r.birth && last.death == r.death {
			last.slots.Count += r.slots.Count
			return
		}
	}
	d.runs = append(d.runs, r)
}

// follow names the slots that images which died in the log were moved to, and
// returns those that were not: their generations go as a whole, so they need no
// reclaiming, but a held snapshot may still read them there.
func (d *deaths) follow(moved pagetree.Moved) (left []deadImage) {
	for _, x := range d.inLog {
		if slot, ok := moved[x.Addr]; ok {
			d.addRun(deadRun{heap.Extent{First: slot, Count: 1}, x.Birth, x.Death})
		} else {
			left = append(left, x)
		}
	}
	d.inLog = nil
	return left
}

// before puts what was lost earlier in front.
func (d *deaths) before(e deaths) {
	d.runs = append(e.runs, d.runs...)
	d.subtrees = append(e.subtrees, d.subtrees...)
	d.burials = append(e.burials, d.burials...)
	d.inLog = append(e.inLog, d.inLog...)
	d.nodes += e.nodes
}

// walk lists the slots of subtrees that were dropped without being loaded,
// while the last checkpoint still keeps their nodes. After an error each slot is
// listed, or below a subtree that is left, once: walk may be called again.
func (d *deaths) walk(src node.Source) error {
	var below []node.Dead
	for len(d.subtrees) > 0 {
		last := len(d.subtrees) - 1
		top := d.subtrees[last]
		below = below[:0]
		for x, err := range pagetree.Expand(src, top) {
			if err != nil {
				return fmt.Errorf("walk what was dropped: %w", err)
			}
			below = append(below, x)
		}
		d.subtrees = d.subtrees[:last]
		d.addRun(deadRun{heap.Extent{First: top.Subtree.Slot, Count: 1}, top.Birth, top.Death})
		for _, x := range below {
			d.add(x, 0) // nothing that a checkpoint wrote is in the log
		}
	}
	return nil
}

func (d *deaths) extents() []heap.Extent {
	out := make([]heap.Extent, len(d.runs))
	for i, r := range d.runs {
		out[i] = r.slots
	}
	return out
}
