package pagetree_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// TestConcurrent runs readers of published trees without locks beside one
// sequencer and one checkpointer. It is worth most under -race.
func TestConcurrent(t *testing.T) {
	slots := newSlots()
	src := slots.source()
	var (
		mu        sync.Mutex // the sequencer's
		logical   pagetree.Tree
		epoch     = uint64(1)
		published atomic.Pointer[pagetree.Tree]
		stop      atomic.Bool
		wg        sync.WaitGroup
	)
	publish := func() {
		tree := logical
		published.Store(&tree)
		epoch++
	}
	e := &pagetree.Edit{Epoch: epoch, LSN: 1, Source: src, Dead: func(node.Dead) {}}
	e.Resize(&logical, 300_000)
	publish()

	sequencer := func() {
		rnd := rand.New(rand.NewPCG(1, 1))
		for lsn := wal.LSN(2); lsn < 1500; lsn++ {
			mu.Lock()
			e := &pagetree.Edit{Epoch: epoch, LSN: lsn, Source: src, Dead: func(node.Dead) {}}
			no := rnd.Uint64N(300_000)
			if err := e.Load(&logical, slices.Values([]uint64{no})); err != nil {
				t.Error(err)
			}
			if rnd.IntN(4) == 0 {
				e.Remove(&logical, no)
			} else {
				e.Set(&logical, no, image(pagetree.LogAddr(1, int64(lsn)), lsn))
			}
			if rnd.IntN(3) == 0 {
				publish()
			}
			mu.Unlock()
		}
		stop.Store(true)
	}
	checkpointer := func() {
		moved := pagetree.Moved{}
		for round := uint64(1); !stop.Load(); round++ {
			mu.Lock()
			frozen := *published.Load()
			if err := pagetree.Freeze(frozen, slots.alloc, func(node.Dead) {}); err != nil {
				t.Error(err)
			}
			mu.Unlock()
			for p := range pagetree.LogPages(frozen, round) {
				moved[p.Addr], _ = slots.alloc(12)
			}
			if err := pagetree.Write(frozen, moved, slots.write); err != nil {
				t.Error(err)
			}
			mu.Lock()
			memo := new(pagetree.Memo)
			logical = pagetree.Rebase(logical, moved, memo)
			now := pagetree.Rebase(*published.Load(), moved, memo)
			published.Store(&now)
			mu.Unlock()
		}
	}
	reader := func() {
		held := *published.Load()
		for !stop.Load() {
			readAll(t, src, held)
			now := *published.Load()
			diffBoth(t, src, held, now)
			held = now
		}
	}
	for _, f := range []func(){sequencer, checkpointer, reader, reader} {
		wg.Go(f)
	}
	wg.Wait()
}

// readAll reads a tree whose sum says whether it is read right.
func readAll(t *testing.T, src node.Source, tree pagetree.Tree) {
	var sum wal.Sum
	for p, err := range tree.Ascend(src, 0, tree.Pages()) {
		if err != nil {
			t.Error(err)
			return
		}
		sum = sum.Add(p.Hash)
		if e, ok, err := tree.Lookup(src, p.Page); err != nil || !ok || e != p.Entry {
			t.Errorf("page %d: %v %v %v", p.Page, e, ok, err)
		}
	}
	if sum != tree.Sum() {
		t.Errorf("pages with sum %v, want %v", sum, tree.Sum())
	}
}

// diffBoth turns the sum of a into that of b by their differences.
func diffBoth(t *testing.T, src node.Source, a, b pagetree.Tree) {
	sum := a.Sum()
	for c, err := range pagetree.Diff(src, a, b, 0, wal.MaxPages) {
		if err != nil {
			t.Error(err)
			return
		}
		if c.A.Addr != 0 {
			sum = sum.Sub(c.A.Hash)
		}
		if c.B.Addr != 0 {
			sum = sum.Add(c.B.Hash)
		}
	}
	if sum != b.Sum() {
		t.Errorf("differences lead to sum %v, want %v", sum, b.Sum())
	}
}
