package pagetree_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
)

const gibPages = 1 << 18 // of 4 KiB in 1 GiB

// dense is a tree with all of its first n pages present.
func dense(n uint64) (pagetree.Tree, *pagetree.Edit) {
	var t pagetree.Tree
	e := &pagetree.Edit{Epoch: 1, LSN: 1, Dead: func(node.Dead) {}}
	e.Resize(&t, n)
	e.SetSorted(&t, func(yield func(uint64, pagetree.Entry) bool) {
		for no := range n {
			yield(no, image(uint64(heap.MakeSlot(1, uint32(no))), 1))
		}
	})
	return t, e
}

// BenchmarkSet is the sequencer's share of a commit of one random page in
// 1 GiB, all nodes in memory, each commit a group of its own.
func BenchmarkSet(b *testing.B) {
	t, e := dense(gibPages)
	rnd := rand.New(rand.NewPCG(1, 2))
	page := make([]uint64, 1)
	b.ReportAllocs()
	for b.Loop() {
		e.Epoch++
		e.LSN++
		page[0] = rnd.Uint64N(gibPages)
		if err := e.Load(&t, slices.Values(page)); err != nil {
			b.Fatal(err)
		}
		e.Set(&t, page[0], image(uint64(e.LSN), e.LSN))
	}
}

func BenchmarkLookup(b *testing.B) {
	t, _ := dense(gibPages)
	rnd := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		if _, ok, _ := t.Lookup(nil, rnd.Uint64N(gibPages)); !ok {
			b.Fatal("absent")
		}
	}
}

// BenchmarkLookupCached goes through the node cache at every level.
func BenchmarkLookupCached(b *testing.B) {
	slots := newSlots()
	t, _ := dense(gibPages)
	t = checkpoint(b, slots, t)
	src := node.NewCache(slots, 256<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		if _, ok, err := t.Lookup(src, rnd.Uint64N(gibPages)); !ok {
			b.Fatal(err)
		}
	}
}

// BenchmarkSetSorted makes a tree of 1,000,000 pages.
func BenchmarkSetSorted(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		dense(1_000_000)
	}
}

// BenchmarkDiff finds one page changed in 1 GiB.
func BenchmarkDiff(b *testing.B) {
	t, e := dense(gibPages)
	old := t
	e.Epoch, e.LSN = 2, 2
	if err := e.Load(&t, slices.Values([]uint64{777})); err != nil {
		b.Fatal(err)
	}
	e.Set(&t, 777, image(1, 2))
	for b.Loop() {
		for range pagetree.Diff(nil, old, t, 0, gibPages) {
		}
	}
}

// BenchmarkCheckpoint freezes, writes and rebases 4,161 nodes.
func BenchmarkCheckpoint(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		t, _ := dense(gibPages)
		slots := newSlots()
		b.StartTimer()
		checkpoint(b, slots, t)
	}
}

func BenchmarkDecode(b *testing.B) {
	slots := newSlots()
	t, _ := dense(gibPages)
	t = checkpoint(b, slots, t)
	src := node.NewCache(slots, 0) // keeps nothing
	for b.Loop() {
		if _, ok, err := t.Lookup(src, 4711); !ok {
			b.Fatal(err)
		}
	}
}
