package pagestore

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// limbo holds slots that are dead in a durable checkpoint but that a held
// snapshot may still reach, or a record of the log that a consumer has still to
// read (DESIGN 6: reusable when dead in a durable checkpoint, no hold reaches
// it, and the low-water mark is above its birth).
//
// A run of slots born at b and dead at d is reached by the held LSNs of [b, d).
// Of these only the first and the last count, since holds go and never come: who
// holds later holds what is published, and that does not reach the run. So runs
// that the same holds reach are one set of slots, whatever their births:
//
//	group of h   the runs of which h is the last held LSN that reaches them
//	set of l     of a group, those of which l was the first when they came
//
// When h is released, with p the held LSN before it, the sets with l above p are
// free, and the others are p's. A set changes its group once for each hold that
// is released from the young end, merged into what is there already, the smaller
// into the larger. So a long hold keeps one set: what its own tips lost, however
// often that was overwritten since.
//
// Memory: 16 to 24 bytes for slots in a row, or scattered one by one, and 200
// bytes for a set, of which each held LSN has few. Cost: a run that comes is
// looked up once; a release costs what becomes free by it, and merging.
//
// Bury, which the flusher calls, waits for entry only, held for moments: neither
// for slots that are freed nor for who counts.
type limbo struct {
	entry sync.Mutex
	fresh []deadRun // buried and not looked at
	kept  []deadRun // those born at or above low: looked at again when that rises
	low   wal.LSN   // low-water mark of a checkpoint that was buried
	slots uint64    // in all of limbo

	mu     sync.Mutex // Reclaim's, and that of who counts; taken before entry
	gone   uint64     // holds.gone when Reclaim last looked
	freed  freed
	groups map[wal.LSN]*limboGroup
}

// bury takes over slots that a durable checkpoint no longer reaches.
func (l *limbo) bury(runs []deadRun) {
	l.entry.Lock()
	defer l.entry.Unlock()
	for _, r := range runs {
		if r.birth >= l.low {
			l.kept = append(l.kept, r)
		} else {
			l.fresh = append(l.fresh, r)
		}
		l.slots += uint64(r.slots.Count)
	}
}

// waiting is the number of slots in limbo.
func (l *limbo) waiting() uint64 {
	l.entry.Lock()
	defer l.entry.Unlock()
	return l.slots
}

// take returns what came since.
func (l *limbo) take() []deadRun {
	l.entry.Lock()
	defer l.entry.Unlock()
	fresh := l.fresh
	l.fresh = nil
	return fresh
}

// Reclaim frees the slots that no held snapshot reaches, and no record of the
// log from the low-water mark on may name, and reports how many.
func (s *Store) Reclaim() (slots uint64, err error) {
	l := &s.limbo
	l.mu.Lock()
	defer l.mu.Unlock()
	came := l.take()
	held, gone := s.holds.heldLSNs() // behind take: who holds what came since is among them
	if len(came) == 0 && gone == l.gone {
		return 0, nil
	}
	l.gone = gone
	free := func(e heap.Extent) {
		if e := s.heap.Release(e); e != nil && err == nil {
			err = fmt.Errorf("pagestore: reclaim: %w", e)
		}
		slots += uint64(e.Count)
		l.freed.add(s.heap, e)
	}
	for _, lsn := range l.released(held) {
		l.dissolve(lsn, held, free)
	}
	for _, r := range came {
		l.admit(r, held, runBytes(s.heap, r.slots), free)
	}
	l.entry.Lock()
	defer l.entry.Unlock()
	l.slots -= slots
	return slots, err
}

// released lists the groups whose LSN is not held any more, rising.
func (l *limbo) released(held []wal.LSN) (lsns []wal.LSN) {
	for lsn := range l.groups {
		if _, ok := slices.BinarySearch(held, lsn); !ok {
			lsns = append(lsns, lsn)
		}
	}
	slices.Sort(lsns)
	return lsns
}

// dissolve gives what a group has to the held LSN before it, or free.
func (l *limbo) dissolve(lsn wal.LSN, held []wal.LSN, free func(heap.Extent)) {
	g := l.groups[lsn]
	delete(l.groups, lsn)
	before, ok := lastBefore(held, lsn)
	for first, set := range g.sets {
		if !ok || first > before {
			set.each(free)
			delete(g.sets, first)
		}
	}
	if len(g.sets) == 0 {
		return
	}
	l.groups[before] = merged(l.groups[before], g)
}

// admit puts what came into a group, or free.
func (l *limbo) admit(r deadRun, held []wal.LSN, bytes uint64, free func(heap.Extent)) {
	if first, last, ok := reachedBy(held, r.birth, r.death); ok {
		l.group(last).set(first).add(r.slots, bytes)
	} else {
		free(r.slots)
	}
}

func (l *limbo) group(last wal.LSN) *limboGroup {
	g := l.groups[last]
	if g == nil {
		if l.groups == nil {
			l.groups = map[wal.LSN]*limboGroup{}
		}
		g = &limboGroup{}
		l.groups[last] = g
	}
	return g
}

// runBytes is what slots take on the disk.
func runBytes(h *heap.Heap, e heap.Extent) uint64 {
	class, err := h.Class(e.First.File())
	if err != nil {
		return 0 // no such file: freeing them will say so
	}
	return uint64(e.Count) << class
}

// limboGroup has its sets by the first LSN that reaches them.
type limboGroup struct{ sets map[wal.LSN]*slotPile }

func (g *limboGroup) set(first wal.LSN) *slotPile {
	p := g.sets[first]
	if p == nil {
		if g.sets == nil {
			g.sets = map[wal.LSN]*slotPile{}
		}
		p = &slotPile{}
		g.sets[first] = p
	}
	return p
}

// merged is one group with what both have; a may be nil.
func merged(a, b *limboGroup) *limboGroup {
	if a == nil {
		return b
	}
	if len(a.sets) < len(b.sets) {
		a, b = b, a
	}
	for first, set := range b.sets {
		if mine := a.sets[first]; mine != nil {
			set = joined(mine, set)
		}
		a.sets[first] = set
	}
	return a
}

// slotPile is a set of slots: maximal runs, ascending, and what was added since
// they were last put in order.
type slotPile struct {
	sorted, added []heap.Extent
	bytes         uint64
}

// pileSlack is how many runs a pile may have unsorted beside a half of those
// sorted, so that sorting costs little for each.
const pileSlack = 64

func (p *slotPile) add(e heap.Extent, bytes uint64) {
	p.added = append(p.added, e)
	p.bytes += bytes
	if len(p.added) > pileSlack+len(p.sorted)/2 {
		p.settle()
	}
}

// settle puts all in order and joins neighbours.
func (p *slotPile) settle() {
	all := append(p.sorted, p.added...)
	slices.SortFunc(all, func(a, b heap.Extent) int { return cmp.Compare(a.First, b.First) })
	p.added = nil
	p.sorted = all[:0]
	for _, e := range all {
		if n := len(p.sorted); n > 0 && p.sorted[n-1].First+heap.Slot(p.sorted[n-1].Count) == e.First && p.sorted[n-1].First.File() == e.First.File() {
			p.sorted[n-1].Count += e.Count
		} else {
			p.sorted = append(p.sorted, e)
		}
	}
	if cap(p.sorted) > 2*len(p.sorted)+pileSlack {
		p.sorted = slices.Clone(p.sorted)
	}
}

func (p *slotPile) each(f func(heap.Extent)) {
	for _, e := range p.sorted {
		f(e)
	}
	for _, e := range p.added {
		f(e)
	}
}

// joined is one pile with what both have.
func joined(a, b *slotPile) *slotPile {
	if len(a.sorted)+len(a.added) < len(b.sorted)+len(b.added) {
		a, b = b, a
	}
	b.each(func(e heap.Extent) { a.add(e, 0) })
	a.bytes += b.bytes
	return a
}

// reachedBy are the first and the last of the LSNs held, which rise, in
// [birth, death).
func reachedBy(held []wal.LSN, birth, death wal.LSN) (first, last wal.LSN, ok bool) {
	i, _ := slices.BinarySearch(held, birth)
	if i == len(held) || held[i] >= death {
		return 0, 0, false
	}
	last, _ = lastBefore(held, death)
	return held[i], last, true
}

// lastBefore is the last of the LSNs held, which rise, below lsn.
func lastBefore(held []wal.LSN, lsn wal.LSN) (wal.LSN, bool) {
	i, _ := slices.BinarySearch(held, lsn)
	if i == 0 {
		return 0, false
	}
	return held[i-1], true
}

// KeptBytes says what held LSNs keep of the heap that would be free without.
type KeptBytes struct {
	By    map[wal.LSN]uint64 // bytes that this LSN alone keeps; none for one that keeps nothing alone
	Total uint64             // bytes that all together keep
}

// Kept counts what the held snapshots keep. What the last checkpoint reaches
// counts for nobody, whatever was overwritten since. Cost: the sets in limbo,
// not the slots.
func (s *Store) Kept() KeptBytes {
	l := &s.limbo
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entry.Lock()
	fresh := slices.Clone(l.fresh)
	l.entry.Unlock()
	held, _ := s.holds.heldLSNs()
	k := KeptBytes{By: map[wal.LSN]uint64{}}
	for lsn, g := range l.groups {
		for first, set := range g.sets {
			k.add(held, first, lsn+1, set.bytes)
		}
	}
	for _, r := range fresh {
		k.add(held, r.birth, r.death, runBytes(s.heap, r.slots))
	}
	return k
}

// add counts slots as Reclaim would find them: for nobody, if those who held
// them were released since.
func (k *KeptBytes) add(held []wal.LSN, birth, death wal.LSN, bytes uint64) {
	first, last, ok := reachedBy(held, birth, death)
	if !ok {
		return
	}
	k.Total += bytes
	if first == last {
		k.By[first] += bytes
	}
}
