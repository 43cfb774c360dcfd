package pagetree_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

func pages(nos ...uint64) iter.Seq[uint64] { return slices.Values(nos) }

// sparse is a tree of one size with some pages, all in the heap-slot of their
// number.
func sparse(size uint64, nos ...uint64) pagetree.Tree {
	var t pagetree.Tree
	e := &pagetree.Edit{Epoch: 1, LSN: 1, Dead: func(node.Dead) {}}
	e.Resize(&t, size)
	for _, no := range nos {
		e.Set(&t, no, image(uint64(heap.MakeSlot(1, uint32(no))), 1))
	}
	return t
}

// counting is a Source that counts loads and fails after some.
type counting struct {
	node.Source
	loads, failAfter int
}

var errDisk = errors.New("disk says no")

func (c *counting) Load(ref node.Ref, decode func([]byte) (any, int, error)) (any, error) {
	if c.loads++; c.failAfter > 0 && c.loads > c.failAfter {
		return nil, errDisk
	}
	return c.Source.Load(ref, decode)
}

func TestLogAddr(t *testing.T) {
	addr := pagetree.LogAddr(pagetree.MaxLogOrdinal, pagetree.MaxLogOffset)
	gen, off := pagetree.SplitLog(addr)
	if !pagetree.IsLog(addr) || gen != pagetree.MaxLogOrdinal || off != pagetree.MaxLogOffset {
		t.Errorf("%#x is %d:%d", addr, gen, off)
	}
	if pagetree.IsLog(uint64(heap.MakeSlot(heap.MaxFile, heap.MaxIndex))) {
		t.Error("a slot is taken for a log address")
	}
	mustPanic(t, "an ordinal beyond the limit", func() { pagetree.LogAddr(pagetree.MaxLogOrdinal+1, 0) })
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s is accepted", what)
		}
	}()
	f()
}

// Page numbers beyond the size are absent, also those whose low bits name a
// present page.
func TestLookupBeyond(t *testing.T) {
	for _, size := range []uint64{1, 64, 4096, 1 << 18} {
		tree := sparse(size, 0)
		for _, no := range []uint64{size, 64 * size, 1 << 42, 1<<64 - 1} {
			if e, ok, err := tree.Lookup(nil, no); ok || err != nil {
				t.Errorf("page %d of %d is %v, %v", no, size, e, err)
			}
		}
	}
}

// Equal births do not make equal images: two lineages may have been written by
// one entry.
func TestDiffDecidesByHash(t *testing.T) {
	a, b := sparse(5000, 1, 4097), sparse(5000, 1)
	e := &pagetree.Edit{Epoch: 2, LSN: 1, Dead: func(node.Dead) {}}
	e.Set(&b, 4097, image(uint64(heap.MakeSlot(1, 7)), 1))
	var got []uint64
	for c, err := range pagetree.Diff(nil, a, b, 0, wal.MaxPages) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.Page)
	}
	if !slices.Equal(got, []uint64{4097}) {
		t.Errorf("pages %v differ", got)
	}
}

func TestEditOfUnloadedPathPanics(t *testing.T) {
	tree := checkpoint(t, newSlots(), sparse(5000, 1, 4097))
	e := &pagetree.Edit{Epoch: 2, LSN: 2, Dead: func(node.Dead) {}}
	mustPanic(t, "setting a page that was not loaded", func() { e.Set(&tree, 1, image(9, 2)) })
	mustPanic(t, "setting a page beyond the size", func() { e.Set(&tree, 5000, image(9, 2)) })
}

// A Load that fails leaves a whole tree of the same content, and what it
// copied until then dead once.
func TestLoadFails(t *testing.T) {
	slots := newSlots()
	clean := checkpoint(t, slots, sparse(300_000, 1, 4097, 270_000))
	for after := 1; ; after++ {
		tree, dead := clean, map[uint64]bool{}
		src := &counting{Source: node.NewCache(slots, 0), failAfter: after}
		e := &pagetree.Edit{Epoch: 2, LSN: 2, Source: src, Dead: func(d node.Dead) {
			if dead[d.Addr] {
				t.Errorf("%v is dead twice", d)
			}
			dead[d.Addr] = true
		}}
		err := e.Load(&tree, pages(1, 4097, 270_000))
		src.failAfter = 0
		if e2 := e.Load(&tree, pages(1, 4097, 270_000)); e2 != nil {
			t.Fatal(e2)
		}
		readAll(t, src, tree)
		if err == nil {
			return
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("load failed with %v", err)
		}
	}
}

// Cutting off the greater part of a large volume reads one path and reports
// the rest by subtree; expanded, every page is dead once.
func TestShrinkUnloaded(t *testing.T) {
	slots := newSlots()
	big, _ := dense(gibPages)
	tree := checkpoint(t, slots, big)
	src := &counting{Source: node.NewCache(slots, 1<<20)}
	var dead []node.Dead
	e := &pagetree.Edit{Epoch: 2, LSN: 2, Source: src, Dead: func(d node.Dead) { dead = append(dead, d) }}
	if err := e.Load(&tree, pages(99)); err != nil {
		t.Fatal(err)
	}
	e.Resize(&tree, 100)
	if src.loads != 3 || len(dead) > 300 || tree.Count() != 100 || tree.Height() != 2 {
		t.Fatalf("%d loads, %d deaths, %d pages left at height %d", src.loads, len(dead), tree.Count(), tree.Height())
	}
	seen := map[uint64]bool{}
	for len(dead) > 0 {
		d := dead[len(dead)-1]
		dead = dead[:len(dead)-1]
		if seen[d.Addr] || d.Birth != 1 || d.Death != 2 {
			t.Fatalf("death %v", d)
		}
		seen[d.Addr] = true
		if d.Subtree.Slot != 0 {
			for x, err := range pagetree.Expand(src, d) {
				if err != nil {
					t.Fatal(err)
				}
				dead = append(dead, x)
			}
		}
	}
	// All pages but 100, all nodes but the leaf of pages 0 to 63.
	if want := gibPages - 100 + 4096 + 64 + 1 - 1; len(seen) != want {
		t.Errorf("%d deaths, want %d", len(seen), want)
	}
	readAll(t, src, tree)
}

// Check finds a node that is not what its parent says, even one whose bytes
// are right by themselves.
func TestCheckFinds(t *testing.T) {
	slots := newSlots()
	tree := checkpoint(t, slots, sparse(5000, 1, 2, 4097))
	root := tree.AppendRoot(nil)
	visit := func(pagetree.Use) error { return nil }
	for name, at := range map[string]int{"count": 8, "sum": 16, "birth": 40, "check": 48} {
		bad := slices.Clone(root)
		bad[at] ^= 1
		wrong, err := pagetree.DecodeRoot(bad)
		if err == nil {
			err = pagetree.Check(wrong, slots.source(), visit)
		}
		if err == nil {
			t.Errorf("a root with another %s passes", name)
		}
	}
	if err := pagetree.Check(tree, slots.source(), visit); err != nil {
		t.Error(err)
	}
	for slot, b := range slots.bytes {
		b[17] ^= 1
		if err := pagetree.Check(tree, slots.source(), visit); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("flip in slot %v: %v", slot, err)
		}
		b[17] ^= 1
	}
}

func Example() {
	var tree pagetree.Tree
	e := &pagetree.Edit{Epoch: 1, LSN: 42, Dead: func(node.Dead) {}}
	e.Resize(&tree, 1000)
	if err := e.Load(&tree, slices.Values([]uint64{7})); err != nil {
		fmt.Println(err)
	}
	e.Set(&tree, 7, pagetree.Entry{Addr: uint64(heap.MakeSlot(1, 0)), Birth: 42, Hash: wal.HashPage(7, []byte("seven"))})
	before := tree // kept: the next edit has another epoch

	e = &pagetree.Edit{Epoch: 2, LSN: 43, Dead: func(d node.Dead) {
		fmt.Printf("slot %v died at %d\n", heap.Slot(d.Addr), d.Death)
	}}
	e.Remove(&tree, 7)
	fmt.Println(before.Count(), tree.Count(), tree.Sum())
	// Output:
	// slot 1:0 died at 43
	// 1 0 00000000000000000000000000000000
}

// Two trees without a common history are compared at the cost of where they
// differ: what reads the same has other births and other slots.
func TestDiffContentOfUnrelated(t *testing.T) {
	const size, every = 300_000, 7
	slots := newSlots()
	build := func(lsn wal.LSN, others map[uint64]bool) pagetree.Tree {
		var tree pagetree.Tree
		e := &pagetree.Edit{Epoch: uint64(lsn), LSN: lsn, Dead: func(node.Dead) {}}
		e.Resize(&tree, size)
		for no := uint64(0); no < size; no += every {
			content := uint64(1)
			if others[no] {
				content = 2
			}
			slot, err := slots.alloc(12)
			if err != nil {
				t.Fatal(err)
			}
			e.Set(&tree, no, pagetree.Entry{Addr: uint64(slot), Birth: lsn, Hash: wal.HashPage(no, []byte{byte(content)})})
		}
		return checkpoint(t, slots, tree)
	}
	others := map[uint64]bool{0: true, 70_000: true, 70_007: true, 299_999: true}
	a, b := build(1, nil), build(2, others)
	src := &counting{Source: node.NewCache(slots, 0), failAfter: 1 << 30}
	var got []uint64
	for c, err := range pagetree.DiffContent(src, a, b, 0, wal.MaxPages) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.Page)
	}
	if !slices.Equal(got, []uint64{0, 70_000, 70_007, 299_999}) {
		t.Errorf("pages %v differ", got)
	}
	if most := 2 * len(got) * a.Height(); src.loads > most {
		t.Errorf("%d nodes read, want at most %d", src.loads, most)
	}
}
