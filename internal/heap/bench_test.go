package heap_test

import (
	"math/rand/v2"
	"testing"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
)

func onDisk(b *testing.B) *heap.Heap {
	return open(b, heap.Options{FS: vfs.OS(), Dir: b.TempDir(), Store: store}, nil)
}

func BenchmarkAllocOne(b *testing.B) {
	h := onDisk(b)
	must(b, h.EnsureWritten(12, 64<<20))
	for b.Loop() {
		got, err := h.Alloc(12, 1, 0)
		must(b, err)
		must(b, h.Release(got[0]))
	}
}

func BenchmarkReadSlot(b *testing.B) {
	h := onDisk(b)
	got, err := h.Alloc(12, 16384, 4096)
	must(b, err)
	b.SetBytes(4096)
	b.RunParallel(func(pb *testing.PB) {
		page := make([]byte, 4096)
		for pb.Next() {
			s := got[0].First + heap.Slot(rand.Uint32N(got[0].Count))
			if err := h.ReadSlot(s, page); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	h := onDisk(b)
	data := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	var held [][]heap.Extent
	for b.Loop() {
		got, err := h.Place(12, data)
		must(b, err)
		if held = append(held, got); len(held) == 64 {
			for _, e := range held {
				must(b, h.ReleaseAll(e))
			}
			held = held[:0]
		}
	}
}
