package pagetree_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// TestModel runs random histories of lineages against maps. After every
// checkpoint each slot ever handed out must be reached by the lineage that owns
// it or be dead, once; and trees held from before must read as they did, over
// slots that are alive or died later.
func TestModel(t *testing.T) {
	histories := 300
	if testing.Short() {
		histories = 40
	}
	for seed := range histories {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, uint64(seed))
			for range 60 {
				m.step()
			}
			m.finish()
		})
	}
}

type model struct {
	round uint64
	t     *testing.T
	rnd   *rand.Rand
	slots *memSlots
	src   node.Source
	epoch uint64
	lsn   wal.LSN
	group wal.LSN // last LSN of the last group: what readers may hold
	logAt int64
	lines []*line
	held  []held

	allocated map[uint64]bool // slots
	dead      map[uint64]node.Dead
	moved     pagetree.Moved
	frozen    []pagetree.Tree // of a checkpoint under way
}

type line struct {
	tree   pagetree.Tree
	pages  map[uint64]pagetree.Entry
	origin wal.LSN
}

type held struct {
	line  *line
	lsn   wal.LSN
	tree  pagetree.Tree
	pages map[uint64]pagetree.Entry
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), slots: newSlots(), epoch: 1,
		allocated: map[uint64]bool{}, dead: map[uint64]node.Dead{}, moved: pagetree.Moved{}}
	m.src = m.slots.source()
	m.lines = []*line{{pages: map[uint64]pagetree.Entry{}}}
	return m
}

func (m *model) step() {
	switch m.rnd.IntN(12) {
	case 0:
		m.fork()
	case 1, 2:
		m.hold()
	case 3:
		if len(m.held) > 0 {
			m.held = slices.Delete(m.held, 0, 1+m.rnd.IntN(len(m.held)))
		}
	case 4, 5:
		m.freeze()
	case 6:
		m.complete()
	default:
		for range 1 + m.rnd.IntN(4) {
			m.entry()
			if m.rnd.IntN(4) == 0 {
				m.refused()
			}
		}
	}
	m.cut()
}

// cut ends the group.
func (m *model) cut() { m.epoch++; m.group = m.lsn }

func (m *model) alloc(c heap.Class) (heap.Slot, error) {
	if m.rnd.IntN(200) == 0 {
		return 0, errNoRoom
	}
	s, err := m.slots.alloc(c)
	m.allocated[uint64(s)] = true
	return s, err
}

var errNoRoom = errors.New("no room")

func (m *model) died(d node.Dead) {
	if d.Subtree.Slot != 0 {
		for x, err := range pagetree.Expand(m.src, d) {
			m.ok(err)
			m.died(x)
		}
	}
	d.Subtree = node.Ref{}
	if old, ok := m.dead[d.Addr]; ok {
		m.t.Fatalf("%#x is dead twice: %v and %v", d.Addr, old, d)
	}
	if d.Birth > d.Death || d.Death > m.lsn+1 {
		m.t.Fatalf("death %v at LSN %d", d, m.lsn)
	}
	m.dead[d.Addr] = d
}

func (m *model) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// addr is where an entry of the log puts an image.
func (m *model) addr() uint64 {
	if m.rnd.IntN(2) == 0 {
		m.logAt += 4096
		return pagetree.LogAddr(3, m.logAt)
	}
	s, _ := m.slots.alloc(12)
	m.allocated[uint64(s)] = true
	return uint64(s)
}

// page is a number near one of a few places, so that histories collide.
func (m *model) page(below uint64) uint64 {
	spots := []uint64{0, 1, 63, 64, 4095, 4096, 5000, 262143, 262144, 1 << 30}
	return (spots[m.rnd.IntN(len(spots))] + m.rnd.Uint64N(4)) % below
}

func (m *model) entry() {
	m.lsn++
	l := m.lines[m.rnd.IntN(len(m.lines))]
	e := &pagetree.Edit{Epoch: m.epoch, LSN: m.lsn, Origin: l.origin, Source: m.src, Dead: m.died}
	if l.tree.Pages() == 0 || m.rnd.IntN(6) == 0 {
		m.resize(e, l)
	}
	switch n := l.tree.Pages(); {
	case n == 0:
	case m.rnd.IntN(8) == 0:
		m.removeRange(e, l, m.page(n), m.page(n))
	case m.rnd.IntN(5) == 0:
		m.bulk(e, l)
	default:
		m.single(e, l, m.page(n))
	}
	m.check(l.tree, l.pages)
}

// refused is an entry that is refused after its Load; its LSN is the next
// one's.
func (m *model) refused() {
	l := m.lines[m.rnd.IntN(len(m.lines))]
	e := &pagetree.Edit{Epoch: m.epoch, LSN: m.lsn + 1, Origin: l.origin, Source: m.src, Dead: m.died}
	if n := l.tree.Pages(); n > 0 {
		m.ok(e.Load(&l.tree, slices.Values([]uint64{m.page(n)})))
	}
	m.check(l.tree, l.pages)
}

func (m *model) resize(e *pagetree.Edit, l *line) {
	sizes := []uint64{0, 1, 2, 63, 64, 65, 4096, 4097, 5003, 262144, 262145, 1<<30 + 9, wal.MaxPages}
	n := sizes[m.rnd.IntN(len(sizes))]
	near := n
	if m.rnd.IntN(2) == 0 && n > 0 {
		near = n - 1
	}
	m.ok(e.Load(&l.tree, slices.Values([]uint64{near})))
	e.Resize(&l.tree, n)
	maps.DeleteFunc(l.pages, func(no uint64, _ pagetree.Entry) bool { return no >= n })
}

func (m *model) removeRange(e *pagetree.Edit, l *line, from, to uint64) {
	if from >= to {
		return
	}
	m.ok(e.Load(&l.tree, slices.Values([]uint64{from, to - 1})))
	e.RemoveRange(&l.tree, from, to)
	maps.DeleteFunc(l.pages, func(no uint64, _ pagetree.Entry) bool { return no >= from && no < to })
}

func (m *model) bulk(e *pagetree.Edit, l *line) {
	fresh := map[uint64]pagetree.Entry{}
	for range m.rnd.IntN(40) {
		no := m.page(l.tree.Pages())
		fresh[no] = image(m.addrOnce(fresh, no), m.lsn)
	}
	sorted := slices.Sorted(maps.Keys(fresh))
	m.ok(e.Load(&l.tree, slices.Values(sorted)))
	e.SetSorted(&l.tree, func(yield func(uint64, pagetree.Entry) bool) {
		for _, no := range sorted {
			if !yield(no, fresh[no]) {
				return
			}
		}
	})
	maps.Copy(l.pages, fresh)
}

// addrOnce is the address fresh has for no already, or a new one.
func (m *model) addrOnce(fresh map[uint64]pagetree.Entry, no uint64) uint64 {
	if p, ok := fresh[no]; ok {
		return p.Addr
	}
	return m.addr()
}

func (m *model) single(e *pagetree.Edit, l *line, no uint64) {
	m.ok(e.Load(&l.tree, slices.Values([]uint64{no})))
	_, present := l.pages[no]
	if m.rnd.IntN(3) == 0 {
		if e.Remove(&l.tree, no) != present {
			m.t.Fatalf("remove page %d: presence is not %v", no, present)
		}
		delete(l.pages, no)
		return
	}
	l.pages[no] = image(m.addr(), m.lsn)
	e.Set(&l.tree, no, l.pages[no])
}

func (m *model) fork() {
	if len(m.lines) < 4 {
		from := m.lines[m.rnd.IntN(len(m.lines))]
		m.lines = append(m.lines, &line{from.tree, maps.Clone(from.pages), m.lsn})
	}
}

func (m *model) hold() {
	for _, l := range m.lines {
		m.held = append(m.held, held{l, m.group, l.tree, maps.Clone(l.pages)})
	}
}

// freeze begins a checkpoint, or begins the one under way anew.
func (m *model) freeze() {
	m.frozen = nil
	var trees []pagetree.Tree
	for _, l := range m.lines {
		if err := pagetree.Freeze(l.tree, m.alloc, m.died); err != nil {
			return
		}
		trees = append(trees, l.tree)
	}
	m.frozen = trees
}

// complete writes the frozen trees, perhaps only up to a failure, and rebases
// what was made of them since.
func (m *model) complete() {
	if m.frozen == nil {
		return
	}
	m.round++
	for _, t := range m.frozen {
		for p := range pagetree.LogPages(t, m.round) {
			if m.moved[p.Addr] == 0 {
				m.moved[p.Addr], _ = m.slots.alloc(12)
				m.allocated[uint64(m.moved[p.Addr])] = true
			}
		}
		if err := pagetree.Write(t, m.moved, m.write); err != nil {
			return
		}
	}
	memo := new(pagetree.Memo)
	for _, l := range m.lines {
		l.tree = pagetree.Rebase(l.tree, m.moved, memo)
		m.move(l.pages)
	}
	for i, t := range m.frozen {
		m.reopen(t, i)
	}
	m.account()
	m.frozen = nil
}

func (m *model) write(s heap.Slot, b []byte) error {
	if m.rnd.IntN(100) == 0 {
		return errNoRoom
	}
	return m.slots.write(s, b)
}

func (m *model) move(pages map[uint64]pagetree.Entry) {
	for no, p := range pages {
		if s, ok := m.moved[p.Addr]; ok {
			p.Addr = uint64(s)
			pages[no] = p
		}
	}
}

// reopen reads a written tree from its root's bytes alone.
func (m *model) reopen(t pagetree.Tree, i int) {
	clean := pagetree.Rebase(t, m.moved, new(pagetree.Memo))
	root := clean.AppendRoot(nil)
	again, err := pagetree.DecodeRoot(root)
	m.ok(err)
	if again.Sum() != t.Sum() || again.Count() != t.Count() || again.Pages() != t.Pages() {
		m.t.Fatalf("tree %d is another after reopening", i)
	}
	for c, err := range pagetree.Diff(m.src, t, again, 0, wal.MaxPages) {
		m.t.Fatalf("tree %d differs after reopening: %v %v", i, c, err)
	}
	m.ok(pagetree.Check(again, m.src, func(u pagetree.Use) error { return nil }))
}

// account holds every slot ever handed out against its owner: the lineage in
// which it was born.
func (m *model) account() {
	alive := map[uint64]bool{}
	for _, l := range m.lines {
		m.ok(pagetree.Check(l.tree, m.src, func(u pagetree.Use) error {
			if u.Birth > l.origin {
				alive[u.Addr] = true
			}
			return nil
		}))
	}
	for addr, d := range m.dead { // images that were moved after they died, or before
		if s, ok := m.moved[addr]; ok {
			delete(m.dead, addr)
			d.Addr = uint64(s)
			m.died(d)
		}
	}
	for s := range m.allocated {
		if _, dead := m.dead[s]; s != 0 && dead == alive[s] {
			m.t.Fatalf("slot %v: alive %v, dead %v", heap.Slot(s), alive[s], dead)
		}
	}
	m.checkHeld()
}

// checkHeld holds what trees of old reach against when it died, both ways.
func (m *model) checkHeld() {
	for _, h := range m.held {
		m.check(h.tree, h.pages)
		reached := map[uint64]bool{}
		m.ok(pagetree.Check(h.tree, m.src, func(u pagetree.Use) error {
			addr := u.Addr
			if s, ok := m.moved[addr]; ok {
				addr = uint64(s)
			}
			reached[addr] = true
			if d, ok := m.dead[addr]; ok && d.Birth > h.line.origin && (d.Birth > h.lsn || h.lsn >= d.Death) {
				m.t.Fatalf("tree held at %d reaches what lived from %d to %d", h.lsn, d.Birth, d.Death)
			}
			return nil
		}))
		m.checkKept(h, reached)
		m.checkSince(h.line.tree, h.line.pages, h.lsn, h.tree, h.pages)
		m.checkSince(h.tree, h.pages, 0, pagetree.Tree{}, nil)
	}
}

// checkSince makes t, which has these pages, of another tree with the content of
// the one that it was at an LSN.
func (m *model) checkSince(t pagetree.Tree, pages map[uint64]pagetree.Entry, after wal.LSN, before pagetree.Tree, had map[uint64]pagetree.Entry) {
	m.t.Helper()
	e := &pagetree.Edit{Epoch: 1, LSN: after, Dead: func(node.Dead) {}, Source: m.src}
	var twin pagetree.Tree
	e.Resize(&twin, before.Pages())
	for no, p := range had {
		e.Set(&twin, no, p)
	}
	e.Epoch, e.LSN = 2, after+1
	m.ok(e.Load(&twin, func(yield func(uint64) bool) { yield(min(t.Pages(), before.Pages())) }))
	e.Resize(&twin, t.Pages())
	for p, err := range t.Since(m.src, after) {
		m.ok(err)
		if why := p.Check(t.Pages()); why != "" {
			m.t.Fatalf("part %+v: %s", p, why)
		}
		for _, q := range p.Pages {
			if q.Birth <= after {
				m.t.Fatalf("a page born at %d is new since %d", q.Birth, after)
			}
		}
		m.ok(e.Patch(&twin, p))
	}
	if twin.Sum() != t.Sum() || twin.Count() != t.Count() || twin.Pages() != t.Pages() {
		m.t.Fatalf("%d of %d pages with sum %v, want %d of %d with %v", twin.Count(), twin.Pages(), twin.Sum(), t.Count(), t.Pages(), t.Sum())
	}
	for no, want := range pages {
		got, ok, err := twin.Lookup(m.src, no) // a checkpoint may have moved it
		if err != nil || !ok || got.Birth != want.Birth || got.Hash != want.Hash {
			m.t.Fatalf("page %d is %v, %v, want %v", no, got, err, want)
		}
	}
}

// checkKept sees to it that nothing is kept for a hold in vain.
func (m *model) checkKept(h held, reached map[uint64]bool) {
	if len(m.lines) > 1 {
		return // deaths do not name their lineage
	}
	for addr, d := range m.dead {
		// Where Load copied a node, both count as reached in the state before.
		if d.Birth < h.lsn && h.lsn+1 < d.Death && !reached[addr] {
			m.t.Fatalf("%#x, dead at %d, counts as reached at %d and is not", addr, d.Death, h.lsn)
		}
	}
}

// check compares a tree with its model in every way of reading it.
func (m *model) check(t pagetree.Tree, pages map[uint64]pagetree.Entry) {
	m.t.Helper()
	var sum wal.Sum
	for no, want := range pages {
		sum = sum.Add(want.Hash)
		got, ok, err := t.Lookup(m.src, no)
		m.ok(err)
		if !ok || got != want {
			m.t.Fatalf("page %d is %v, want %v", no, got, want)
		}
	}
	if t.Sum() != sum || t.Count() != uint64(len(pages)) {
		m.t.Fatalf("%d pages with sum %v, want %d with %v", t.Count(), t.Sum(), len(pages), sum)
	}
	sorted, i := slices.Sorted(maps.Keys(pages)), 0
	for p, err := range t.Ascend(m.src, 0, wal.MaxPages) {
		m.ok(err)
		if i >= len(sorted) || p.Page != sorted[i] || p.Entry != pages[p.Page] {
			m.t.Fatalf("ascending: item %d is %v", i, p)
		}
		i++
	}
	if i != len(sorted) {
		m.t.Fatalf("ascending: %d pages of %d", i, len(sorted))
	}
	if len(m.held) > 0 {
		m.checkDiff(m.held[m.rnd.IntN(len(m.held))], t, pages)
	}
}

func (m *model) checkDiff(h held, t pagetree.Tree, pages map[uint64]pagetree.Entry) {
	from := m.rnd.Uint64N(5000)
	to := from + m.rnd.Uint64N(1<<31)
	want := map[uint64]bool{}
	for no := range pages {
		want[no] = h.pages[no].Birth != pages[no].Birth || h.pages[no].Hash != pages[no].Hash
	}
	for no := range h.pages {
		if _, ok := pages[no]; !ok {
			want[no] = true
		}
	}
	maps.DeleteFunc(want, func(no uint64, differs bool) bool { return !differs || no < from || no >= to })
	last := int64(-1)
	for c, err := range pagetree.Diff(m.src, h.tree, t, from, to) {
		m.ok(err)
		if !want[c.Page] || int64(c.Page) <= last || c.A != h.pages[c.Page] || c.B != pages[c.Page] {
			m.t.Fatalf("diff of [%d, %d): %v", from, to, c)
		}
		last = int64(c.Page)
		delete(want, c.Page)
	}
	if len(want) > 0 {
		m.t.Fatalf("diff of [%d, %d) misses %v", from, to, want)
	}
	m.checkContent(h, t, pages, from, to)
}

func (m *model) checkContent(h held, t pagetree.Tree, pages map[uint64]pagetree.Entry, from, to uint64) {
	want := map[uint64]bool{}
	for _, side := range []map[uint64]pagetree.Entry{pages, h.pages} {
		for no := range side {
			a, inA := h.pages[no]
			b, inB := pages[no]
			if no >= from && no < to && (inA != inB || a.Hash != b.Hash) {
				want[no] = true
			}
		}
	}
	last := int64(-1)
	for c, err := range pagetree.DiffContent(m.src, h.tree, t, from, to) {
		m.ok(err)
		if !want[c.Page] || int64(c.Page) <= last || c.A != h.pages[c.Page] || c.B != pages[c.Page] {
			m.t.Fatalf("diff by content of [%d, %d): %v", from, to, c)
		}
		last = int64(c.Page)
		delete(want, c.Page)
	}
	if len(want) > 0 {
		m.t.Fatalf("diff by content of [%d, %d) misses %v", from, to, want)
	}
}

// finish completes a last checkpoint whatever fails, then ends all lineages:
// nothing may be left alive.
func (m *model) finish() {
	for done := false; !done; {
		m.freeze()
		before := m.frozen != nil
		m.complete()
		done = before && m.frozen == nil
	}
	m.lsn++
	for _, l := range slices.Backward(m.lines) {
		e := &pagetree.Edit{Epoch: m.epoch, LSN: m.lsn, Origin: l.origin, Source: m.src, Dead: m.died}
		e.End(&l.tree)
		clear(l.pages)
	}
	m.account()
}
