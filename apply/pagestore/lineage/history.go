package lineage

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/quire-db/quire/wal"
)

// Tip is one state of one lineage. A zero LSN is "none".
type Tip[ID comparable] struct {
	Lineage ID
	LSN     wal.LSN // the entry that made it
}

// Burial says what a dead tip leaves: of all slots it reaches, pages and nodes
// alike, those born after After that Next does not reach.
type Burial[ID comparable] struct {
	Tip   Tip[ID]
	After wal.LSN // the held tip before it, or where its lineage was forked
	Next  wal.LSN // the held tip of the same lineage behind it; zero when there is none
}

// History is which tips are held and by what. It is one goroutine's at a time.
// Methods that end a hold return what died by it, in the order in which the
// burials must be done: a later one may rely on an earlier one's tip no longer
// being there, never the other way round.
type History[ID comparable] struct {
	lines  map[ID]*line[ID]
	holds  []hold                // ascending by LSN
	parked map[wal.LSN][]Tip[ID] // by a hold that keeps them: neither current nor pinned
}

// hold is readers at one LSN.
type hold struct {
	lsn   wal.LSN
	count int
}

type line[ID comparable] struct {
	origin Tip[ID]
	tips   []state // held, ascending; the last is current unless ended
	ended  bool
}

// state is a held tip: what is read at LSNs in [lsn, next).
type state struct {
	lsn  wal.LSN
	next wal.LSN // zero while it is current
	pins int     // tags, and lineages forked from it
}

// NewHistory is a store without lineages.
func NewHistory[ID comparable]() *History[ID] {
	return &History[ID]{lines: make(map[ID]*line[ID]), parked: make(map[wal.LSN][]Tip[ID])}
}

// Begin makes a lineage whose first tip is that of entry lsn. It holds origin,
// if it has one, until the last of its own tips has died. An origin must be
// Kept and older than lsn.
func (h *History[ID]) Begin(id ID, lsn wal.LSN, origin Tip[ID]) {
	if h.lines[id] != nil || origin.LSN >= lsn {
		panic(fmt.Sprintf("lineage: %v begins again, or at %d from a tip of %d", id, lsn, origin.LSN))
	}
	if origin.LSN != 0 {
		h.Pin(origin)
	}
	h.lines[id] = &line[ID]{origin: origin, tips: []state{{lsn: lsn}}}
}

// Advance makes entry lsn's tip the current one of a lineage.
func (h *History[ID]) Advance(id ID, lsn wal.LSN) []Burial[ID] {
	l := h.lines[id]
	old := l.leave(lsn)
	l.tips = append(l.tips, state{lsn: lsn})
	return h.settle(nil, Tip[ID]{id, old})
}

// End takes the name of a lineage away at entry lsn: it has no current tip
// from there on. The lineage lives on while any tip of it is held.
func (h *History[ID]) End(id ID, lsn wal.LSN) []Burial[ID] {
	l := h.lines[id]
	old := l.leave(lsn)
	l.ended = true
	return h.settle(nil, Tip[ID]{id, old})
}

// leave ends the time of the current tip and returns its LSN.
func (l *line[ID]) leave(lsn wal.LSN) wal.LSN {
	last := &l.tips[len(l.tips)-1]
	if l.ended || lsn <= last.lsn {
		panic(fmt.Sprintf("lineage: change at %d of a lineage whose tip is of %d, ended %v", lsn, last.lsn, l.ended))
	}
	last.next = lsn
	return last.lsn
}

// Kept reports whether t may be pinned: it is current, or pinned already. Any
// other tip may have lost its images elsewhere, so a tag or fork of it must
// become a lineage of its own with carried images.
func (h *History[ID]) Kept(t Tip[ID]) bool {
	l := h.lines[t.Lineage]
	if l == nil {
		return false
	}
	i, ok := l.find(t.LSN)
	return ok && l.tips[i].kept()
}

func (s state) kept() bool { return s.next == 0 || s.pins > 0 }

// Pin holds a Kept tip until Unpin, across restarts: a tag or an origin.
func (h *History[ID]) Pin(t Tip[ID]) {
	if !h.Kept(t) {
		panic(fmt.Sprintf("lineage: pin of tip %v, which is neither current nor pinned", t))
	}
	l := h.lines[t.Lineage]
	i, _ := l.find(t.LSN)
	l.tips[i].pins++
}

// Unpin ends one Pin.
func (h *History[ID]) Unpin(t Tip[ID]) []Burial[ID] { return h.unpin(nil, t) }

func (h *History[ID]) unpin(dead []Burial[ID], t Tip[ID]) []Burial[ID] {
	l := h.lines[t.Lineage]
	i, _ := l.find(t.LSN)
	l.tips[i].pins--
	return h.settle(dead, t)
}

// Hold keeps, in every lineage, the newest tip not younger than lsn, until
// Release or a restart. No tip may have died that lsn reaches: lsn is the
// published one, or held already. Cost: O(log holds), however many lineages.
func (h *History[ID]) Hold(lsn wal.LSN) {
	i, ok := h.search(lsn)
	if !ok {
		h.holds = slices.Insert(h.holds, i, hold{lsn: lsn})
	}
	h.holds[i].count++
}

// Release ends one Hold. Cost: the tips that no younger hold keeps.
func (h *History[ID]) Release(lsn wal.LSN) (dead []Burial[ID]) {
	i, _ := h.search(lsn)
	if h.holds[i].count--; h.holds[i].count > 0 {
		return nil
	}
	h.holds = slices.Delete(h.holds, i, i+1)
	waiting := h.parked[lsn]
	delete(h.parked, lsn)
	for _, t := range waiting {
		dead = h.settle(dead, t)
	}
	return dead
}

func (h *History[ID]) search(lsn wal.LSN) (int, bool) {
	return slices.BinarySearchFunc(h.holds, lsn, func(x hold, lsn wal.LSN) int { return cmp.Compare(x.lsn, lsn) })
}

// Held reports whether a held tip of the lineage reaches what was born at
// birth and replaced at death.
func (h *History[ID]) Held(id ID, birth, death wal.LSN) bool {
	l := h.lines[id]
	if l == nil {
		return false
	}
	i, _ := l.find(birth)
	return i < len(l.tips) && l.tips[i].lsn < death || h.heldIn(birth, death) != 0
}

// heldIn is the youngest hold in [from, to), or zero.
func (h *History[ID]) heldIn(from, to wal.LSN) wal.LSN {
	i, _ := h.search(to)
	if i == 0 || h.holds[i-1].lsn < from {
		return 0
	}
	return h.holds[i-1].lsn
}

// settle decides what becomes of a tip that lost a holder: it stays, waits
// for the youngest hold that keeps it, or dies.
func (h *History[ID]) settle(dead []Burial[ID], t Tip[ID]) []Burial[ID] {
	l := h.lines[t.Lineage]
	i, ok := -1, false
	if l != nil {
		i, ok = l.find(t.LSN)
	}
	if !ok || l.tips[i].kept() {
		return dead
	}
	if keeper := h.heldIn(t.LSN, l.tips[i].next); keeper != 0 {
		h.parked[keeper] = append(h.parked[keeper], t)
		return dead
	}
	dead = append(dead, l.bury(t, i))
	if len(l.tips) > 0 {
		return dead
	}
	delete(h.lines, t.Lineage)
	if l.origin.LSN != 0 {
		return h.unpin(dead, l.origin)
	}
	return dead
}

// bury removes tip i.
func (l *line[ID]) bury(t Tip[ID], i int) Burial[ID] {
	b := Burial[ID]{Tip: t, After: l.origin.LSN}
	if i > 0 {
		b.After = l.tips[i-1].lsn
	}
	if i+1 < len(l.tips) {
		b.Next = l.tips[i+1].lsn
	}
	l.tips = slices.Delete(l.tips, i, i+1)
	return b
}

// find is the place of the first held tip not older than lsn, and whether it
// is lsn's own.
func (l *line[ID]) find(lsn wal.LSN) (int, bool) {
	return slices.BinarySearchFunc(l.tips, lsn, func(s state, lsn wal.LSN) int { return cmp.Compare(s.lsn, lsn) })
}

// Reusable is the rule for one slot: it died in a state that is durable, no
// hold reaches it, and the log from the low-water mark on does not need it.
func Reusable(birth, death, checkpoint, lowWater wal.LSN, held bool) bool {
	return death <= checkpoint && birth < lowWater && !held
}
