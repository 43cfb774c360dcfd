package manifest_test

import (
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// tib is the facts of 1 TiB in pages of 4 KiB, nine slots of ten in use.
func tib(b *testing.B) manifest.Facts {
	f := newFacts()
	f.Heap, f.Used = nil, new(manifest.SlotSet)
	const slots = 1<<18 - 1
	for number := uint32(1); number <= 1024; number++ {
		f.Heap = append(f.Heap, heap.FileInfo{Number: number, Class: 12, Slots: slots})
		for first := uint32(0); first+9 < slots; first += 10 {
			if err := f.Used.Add(heap.Extent{First: heap.MakeSlot(number, first), Count: 9}); err != nil {
				b.Fatal(err)
			}
		}
	}
	return f
}

// BenchmarkAppend is a checkpoint of 1,000 scattered slots on the real disk.
func BenchmarkAppend(b *testing.B) {
	m, err := manifest.Create(vfs.OS(), b.TempDir(), newFacts())
	if err != nil {
		b.Fatal(err)
	}
	e := manifest.Edit{}
	for i := range uint32(1000) {
		e.Used = append(e.Used, heap.Extent{First: heap.MakeSlot(1, 90*i), Count: 1})
	}
	free := manifest.Edit{Free: e.Used}
	lsn := wal.LSN(0)
	for b.Loop() {
		lsn++
		e.Checkpoint = &manifest.Checkpoint{LSN: lsn}
		if _, err := m.Append(e); err != nil {
			b.Fatal(err)
		}
		e, free = free, e
	}
}

// BenchmarkOpen reads and writes anew the manifest of a store of 1 TiB.
func BenchmarkOpen(b *testing.B) {
	at := b.TempDir()
	m, err := manifest.Create(vfs.OS(), at, tib(b))
	for b.Loop() && err == nil {
		if err = m.Close(); err == nil {
			m, _, _, err = manifest.Open(vfs.OS(), at)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
}
