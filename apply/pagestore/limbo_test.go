package pagestore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// limboModel is limbo as its rule says it, run by run, beside limbo as it is.
type limboModel struct {
	t     *testing.T
	limbo limbo
	runs  []deadRun
	held  []wal.LSN
	freed map[heap.Slot]bool
	next  heap.Slot
}

// die buries n runs of a state at LSN d.
func (m *limboModel) die(r *rand.Rand, d wal.LSN, n int) {
	for range n {
		run := deadRun{heap.Extent{First: m.next, Count: 1 + uint32(r.IntN(3))}, 1 + wal.LSN(r.Uint64N(uint64(d))), d}
		m.next += heap.Slot(run.slots.Count) + heap.Slot(r.IntN(2))
		m.runs = append(m.runs, run)
		m.limbo.bury([]deadRun{run})
	}
}

// reclaim is Store.Reclaim without a heap.
func (m *limboModel) reclaim() {
	free := func(e heap.Extent) {
		for i := range heap.Slot(e.Count) {
			if m.freed[e.First+i] {
				m.t.Fatalf("slot %v is freed twice", e.First+i)
			}
			m.freed[e.First+i] = true
		}
	}
	for _, lsn := range m.limbo.released(m.held) {
		m.limbo.dissolve(lsn, m.held, free)
	}
	for _, r := range m.limbo.take() {
		m.limbo.admit(r, m.held, uint64(r.slots.Count), free)
	}
}

// check compares what was freed, and what each hold keeps, with the rule.
func (m *limboModel) check() {
	m.t.Helper()
	want := KeptBytes{By: map[wal.LSN]uint64{}}
	for _, r := range m.runs {
		var reach []wal.LSN
		for _, h := range m.held {
			if r.birth <= h && h < r.death {
				reach = append(reach, h)
			}
		}
		for i := range heap.Slot(r.slots.Count) {
			if free := m.freed[r.slots.First+i]; free != (len(reach) == 0) {
				m.t.Fatalf("slot %v, born %d and dead %d: free %v, while %d of %v reach it", r.slots.First+i, r.birth, r.death, free, reach, m.held)
			}
		}
		if len(reach) > 0 {
			want.Total += uint64(r.slots.Count)
		}
		if len(reach) == 1 {
			want.By[reach[0]] += uint64(r.slots.Count)
		}
	}
	got := KeptBytes{By: map[wal.LSN]uint64{}}
	for lsn, g := range m.limbo.groups {
		for first, set := range g.sets {
			got.add(m.held, first, lsn+1, set.bytes)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		m.t.Fatalf("kept %v, want %v", got, want)
	}
}

// Holds come with the newest LSN and go in any order; what is free, and what
// each alone keeps, is always what the rule says.
func TestLimboAgainstItsRule(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := &limboModel{t: t, freed: map[heap.Slot]bool{}, next: heap.MakeSlot(1, 0)}
		m.limbo.low = 100 // no consumer keeps anything
		for lsn := wal.LSN(1); lsn < 60; lsn++ {
			if r.IntN(2) == 0 {
				m.held = append(m.held, lsn)
			}
			for len(m.held) > 0 && r.IntN(3) == 0 {
				i := r.IntN(len(m.held))
				switch seed % 3 {
				case 1:
					i = 0 // the oldest goes first
				case 2:
					i = len(m.held) - 1
				}
				m.held = slices.Delete(slices.Clone(m.held), i, i+1)
			}
			if r.IntN(3) > 0 {
				m.die(r, lsn+1, r.IntN(6))
			}
			if r.IntN(2) == 0 {
				m.reclaim()
				m.check()
			}
		}
		m.held = nil
		m.reclaim()
		m.check()
		if len(m.limbo.groups) != 0 {
			t.Fatalf("seed %d: %d groups are left for nobody", seed, len(m.limbo.groups))
		}
	}
}

// However often a volume is overwritten at random, in small steps, a hold keeps
// one set of slots, and memory for these as if they had died at once.
func TestLimboOfALongHoldIsCompact(t *testing.T) {
	const pages = 1 << 14
	var l limbo
	held := []wal.LSN{7}
	for i, no := range rand.New(rand.NewPCG(1, 2)).Perm(pages) {
		birth := wal.LSN(1 + i%7)
		slot := heap.Extent{First: heap.MakeSlot(1, uint32(no)), Count: 1}
		l.admit(deadRun{slot, birth, wal.LSN(8 + i)}, held, 4096, func(heap.Extent) { t.Fatal("freed") })
		// Born and dead behind the hold.
		freed := false
		l.admit(deadRun{slot, wal.LSN(8 + i), wal.LSN(9 + i)}, held, 4096, func(heap.Extent) { freed = true })
		if !freed {
			t.Fatal("what no hold reaches was kept")
		}
	}
	if len(l.groups) != 1 || len(l.groups[7].sets) != 1 {
		t.Fatalf("%d groups, %d sets", len(l.groups), len(l.groups[7].sets))
	}
	set := l.groups[7].sets[7]
	set.settle()
	if len(set.sorted) != 1 || set.sorted[0].Count != pages || set.bytes != pages*4096 || cap(set.sorted) > 2*pileSlack {
		t.Errorf("%d runs in room for %d, %d bytes", len(set.sorted), cap(set.sorted), set.bytes)
	}
}

// BenchmarkLimbo is the coming and going of slots beside 10,000 holds.
func BenchmarkLimbo(b *testing.B) {
	held := make([]wal.LSN, 10_000)
	for i := range held {
		held[i] = wal.LSN(2*i + 2)
	}
	var l limbo
	r := rand.New(rand.NewPCG(1, 3))
	free := func(heap.Extent) {}
	for i := 0; b.Loop(); i++ {
		birth := wal.LSN(r.Uint64N(20_000))
		run := deadRun{heap.Extent{First: heap.MakeSlot(1, uint32(i)&(1<<27-1)), Count: 1}, birth, birth + wal.LSN(r.Uint64N(20_000))}
		l.admit(run, held, 4096, free)
	}
}
