package lineage_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/lineage"
	"github.com/quire-db/quire/wal"
)

type (
	tip    = lineage.Tip[int]
	burial = lineage.Burial[int]
)

const (
	histories = 4000
	steps     = 60
	pages     = 5
)

// Rules that a world may leave out, to see that they are needed.
type rules struct {
	shareOnReset  bool // a reset takes over its target's slots
	originByName  bool // a fork lets its origin go when its name is deleted
	noForkBound   bool // a fork's first tip frees what its origin brought
	ignoreNext    bool // a dead tip frees also what the next one reaches
	noHolds       bool // readers are not counted
	keepTipsAlive bool // nothing is ever buried
}

func TestHistories(t *testing.T) {
	for seed := range uint64(histories) {
		if err := run(seed, rules{}); err != nil {
			t.Fatalf("history %d: %v", seed, err)
		}
	}
}

// Each rule, left out, is found out by many histories.
func TestEachRuleIsNeeded(t *testing.T) {
	for name, r := range map[string]rules{
		"resets share slots with their target":  {shareOnReset: true},
		"the origin goes with the fork's name":  {originByName: true},
		"no birth bound for a fork's first tip": {noForkBound: true},
		"what the next tip reaches is freed":    {ignoreNext: true},
		"readers are not counted":               {noHolds: true},
		"dead tips are not buried":              {keepTipsAlive: true},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := 0
			for seed := range uint64(400) {
				if run(seed, r) != nil {
					wrong++
				}
			}
			if wrong < 100 {
				t.Errorf("only %d of 400 histories go wrong", wrong)
			}
			t.Logf("%d of 400 histories go wrong", wrong)
		})
	}
}

func run(seed uint64, r rules) error {
	w := newWorld(seed, r)
	for i := range steps {
		w.step()
		if err := w.check(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return w.finish()
}

// world is a store of small volumes, with an account of its own of who holds
// what.
type world struct {
	rules
	rnd   *rand.Rand
	h     *lineage.History[int]
	lsn   wal.LSN
	slots int
	born  map[int]wal.LSN
	used  map[int]bool
	lines []*volume
	tags  []tip
	holds []wal.LSN
	early error
}

type volume struct {
	origin tip
	tips   []content // all there ever were
	ended  wal.LSN
}

type content struct {
	lsn   wal.LSN
	pages map[int]int // page to slot
}

func newWorld(seed uint64, r rules) *world {
	w := &world{rules: r, rnd: rand.New(rand.NewPCG(seed, 3)), h: lineage.NewHistory[int](),
		born: map[int]wal.LSN{}, used: map[int]bool{}}
	w.create()
	return w
}

func (w *world) step() {
	switch w.rnd.IntN(12) {
	case 0:
		w.fork(w.anyKept())
	case 1:
		w.tag(w.anyKept())
	case 2:
		w.untag()
	case 3:
		w.end()
	case 4:
		w.reset()
	case 5, 6:
		w.hold()
	case 7:
		w.release()
	default:
		w.write()
	}
	if len(w.live()) == 0 {
		w.create()
	}
}

func pick[T any](w *world, from []T) T { return from[w.rnd.IntN(len(from))] }

// live lists the lineages that have a name.
func (w *world) live() (ids []int) {
	for id, v := range w.lines {
		if v.ended == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (v *volume) last() content { return v.tips[len(v.tips)-1] }

func (w *world) at(t tip) content {
	v := w.lines[t.Lineage]
	i := slices.IndexFunc(v.tips, func(c content) bool { return c.lsn == t.LSN })
	return v.tips[i]
}

func (w *world) slot() int {
	w.slots++
	w.born[w.slots], w.used[w.slots] = w.lsn, true
	return w.slots
}

// changed is a copy of c with some pages written or discarded.
func (w *world) changed(c content) content {
	n := content{w.lsn, maps.Clone(c.pages)}
	for _, no := range w.rnd.Perm(pages)[:1+w.rnd.IntN(3)] {
		if w.rnd.IntN(4) == 0 {
			delete(n.pages, no)
		} else {
			n.pages[no] = w.slot()
		}
	}
	return n
}

func (w *world) create() {
	w.lsn++
	w.lines = append(w.lines, &volume{tips: []content{w.changed(content{pages: map[int]int{}})}})
	w.h.Begin(len(w.lines)-1, w.lsn, tip{})
}

// anyKept is a current or tagged tip.
func (w *world) anyKept() tip {
	kept := slices.Clone(w.tags)
	for _, id := range w.live() {
		kept = append(kept, tip{id, w.lines[id].last().lsn})
	}
	return pick(w, kept)
}

func (w *world) fork(from tip) {
	w.lsn++
	first := content{w.lsn, maps.Clone(w.at(from).pages)}
	if w.rnd.IntN(2) == 0 {
		first = w.changed(first) // as for a tip that carries images
	}
	w.lines = append(w.lines, &volume{origin: from, tips: []content{first}})
	if w.originByName {
		w.h.Pin(from)
		from = tip{}
	}
	w.h.Begin(len(w.lines)-1, w.lsn, from)
}

func (w *world) tag(t tip) {
	w.h.Pin(t)
	w.tags = append(w.tags, t)
}

func (w *world) untag() {
	if len(w.tags) > 0 {
		i := w.rnd.IntN(len(w.tags))
		t := w.tags[i]
		w.tags = slices.Delete(w.tags, i, i+1)
		w.bury(w.h.Unpin(t))
	}
}

func (w *world) end() {
	w.lsn++
	id := pick(w, w.live())
	w.lines[id].ended = w.lsn
	w.bury(w.h.End(id, w.lsn))
	if o := w.lines[id].origin; w.originByName && o.LSN != 0 {
		w.bury(w.h.Unpin(o))
	}
}

func (w *world) advance(id int, c content) {
	w.lines[id].tips = append(w.lines[id].tips, c)
	w.bury(w.h.Advance(id, w.lsn))
}

func (w *world) write() {
	w.lsn++
	id := pick(w, w.live())
	w.advance(id, w.changed(w.lines[id].last()))
}

// reset goes back to any kept tip, of any lineage, in fresh slots.
func (w *world) reset() {
	w.lsn++
	id, target := pick(w, w.live()), w.at(w.anyKept())
	c := content{w.lsn, maps.Clone(target.pages)}
	for no := range c.pages {
		if !w.shareOnReset {
			c.pages[no] = w.slot()
		}
	}
	w.advance(id, c)
}

func (w *world) hold() {
	w.holds = append(w.holds, w.lsn)
	if !w.noHolds {
		w.h.Hold(w.lsn)
	}
}

func (w *world) release() {
	if len(w.holds) == 0 {
		return
	}
	i := w.rnd.IntN(len(w.holds))
	lsn := w.holds[i]
	w.holds = slices.Delete(w.holds, i, i+1)
	if !w.noHolds {
		w.bury(w.h.Release(lsn))
	}
}

// bury frees what the rule says.
func (w *world) bury(dead []burial) {
	if w.keepTipsAlive {
		return
	}
	for _, b := range dead {
		origin := w.lines[b.Tip.Lineage].origin.LSN
		if w.originByName && b.After == 0 {
			b.After = origin
		}
		if w.noForkBound && b.After == origin {
			b.After = 0
		}
		w.free(b)
	}
}

func (w *world) free(b burial) {
	next := map[int]int{}
	if b.Next != 0 && !w.ignoreNext {
		next = w.at(tip{b.Tip.Lineage, b.Next}).pages
	}
	for no, s := range w.at(b.Tip).pages {
		if w.born[s] <= b.After || next[no] == s {
			continue
		}
		if !w.used[s] && w.early == nil {
			w.early = fmt.Errorf("slot %d is freed twice, last with tip %v", s, b.Tip)
		}
		delete(w.used, s)
	}
}

// check compares what is in use with what is held by the words of the design.
func (w *world) check() error {
	if w.early != nil {
		return w.early
	}
	reached := map[int]bool{}
	for t := range w.held() {
		for _, s := range w.at(t).pages {
			reached[s] = true
		}
	}
	for s := range reached {
		if !w.used[s] {
			return fmt.Errorf("early: slot %d, born at %d, is free and reached", s, w.born[s])
		}
	}
	for s := range w.used {
		if !reached[s] {
			return fmt.Errorf("leak: slot %d, born at %d, is used and not reached", s, w.born[s])
		}
	}
	return nil
}

// held is every tip that anything holds; a lineage holds its origin while any
// of its tips is.
func (w *world) held() map[tip]bool {
	held := map[tip]bool{}
	for _, t := range w.tags {
		held[t] = true
	}
	for id, v := range slices.Backward(w.lines) { // forks come behind their origins
		alive := false
		for i, c := range v.tips {
			t := tip{id, c.lsn}
			if held[t] || w.readAt(v, i) {
				held[t], alive = true, true
			}
		}
		if alive && v.origin.LSN != 0 {
			held[v.origin] = true
		}
	}
	return held
}

// readAt reports whether tip i is current or read.
func (w *world) readAt(v *volume, i int) bool {
	next := v.ended
	if i+1 < len(v.tips) {
		next = v.tips[i+1].lsn
	}
	return next == 0 || slices.ContainsFunc(w.holds, func(h wal.LSN) bool { return v.tips[i].lsn <= h && h < next })
}

// finish lets everything go: nothing may stay in use.
func (w *world) finish() error {
	for len(w.tags) > 0 {
		w.untag()
	}
	for len(w.holds) > 0 {
		w.release()
	}
	for len(w.live()) > 0 {
		w.end()
	}
	return w.check()
}

func TestHeld(t *testing.T) {
	h := lineage.NewHistory[string]()
	h.Begin("a", 10, lineage.Tip[string]{})
	h.Hold(12)
	h.Advance("a", 20)
	h.Begin("b", 25, lineage.Tip[string]{Lineage: "a", LSN: 20})
	h.Advance("a", 30)
	for _, c := range []struct {
		birth, death wal.LSN
		want         bool
	}{{10, 20, true}, {1, 12, true}, {13, 20, false}, {15, 21, true}, {20, 30, true}, {21, 30, false}, {21, 31, true}} {
		if got := h.Held("a", c.birth, c.death); got != c.want {
			t.Errorf("held in [%d, %d): %v", c.birth, c.death, got)
		}
	}
	if h.Kept(lineage.Tip[string]{Lineage: "a", LSN: 10}) {
		t.Error("a tip that only a reader holds may be pinned")
	}
}

func TestReusable(t *testing.T) {
	for _, c := range []struct {
		birth, death, checkpoint, low wal.LSN
		held, want                    bool
	}{
		{5, 9, 9, 6, false, true},
		{5, 9, 8, 6, false, false}, // dead only in memory
		{5, 9, 9, 5, false, false}, // the log may need it
		{5, 9, 9, 6, true, false},
	} {
		if got := lineage.Reusable(c.birth, c.death, c.checkpoint, c.low, c.held); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A tip that only a reader holds cannot be pinned: replay would not have it.
func TestPinOfReadTipPanics(t *testing.T) {
	h := lineage.NewHistory[int]()
	h.Begin(1, 1, tip{})
	h.Hold(1)
	h.Advance(1, 2)
	defer func() {
		if recover() == nil {
			t.Error("pinned")
		}
	}()
	h.Pin(tip{1, 1})
}

// BenchmarkRelease: a reader behind by one commit, in a store of one million
// lineages.
func BenchmarkRelease(b *testing.B) {
	h := lineage.NewHistory[int]()
	lsn := wal.LSN(0)
	for id := range 1_000_000 {
		lsn++
		h.Begin(id, lsn, tip{})
	}
	for b.Loop() {
		h.Hold(lsn)
		lsn++
		h.Advance(int(lsn)%1_000_000, lsn)
		h.Release(lsn - 1)
	}
}
