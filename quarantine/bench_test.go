package quarantine_test

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/quarantine"
)

// A transaction far larger than memory: 1 GiB, in order, scattered over 12.5
// GiB (the density of DESIGN 6), and at random over 1 TiB, which is the worst.
func BenchmarkStageGiB(b *testing.B) {
	const pages = 1 << 18
	for _, c := range []struct {
		name string
		page func(i uint64) uint64
	}{
		{"dense", func(i uint64) uint64 { return i }},
		{"scattered", func(i uint64) uint64 { return i*25/2 + i*7%12 }},
		{"random", func(uint64) uint64 { return rand.Uint64N(1 << 28) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(pages * 4096)
			for b.Loop() {
				a, _ := setup(b, vfs.OS(), b.TempDir(), quarantine.Limits{})
				before := heapBytes()
				s := a.Begin(txn)
				p := s.Volume(vol, 4096)
				src := page(4096, 1, 1)
				for i := range uint64(pages) {
					must(b, p.Write(c.page(i), src))
				}
				b.ReportMetric(float64(heapBytes()-before-a.Bytes())/float64(p.Len()), "index-B/page")
				_, err := s.Seal()
				must(b, err)
				must(b, s.Release())
			}
		})
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // pools keep what one collection found
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The stage of a small transaction, as 64 writers make them.
func BenchmarkStageSmall(b *testing.B) {
	a, _ := setup(b, vfs.OS(), b.TempDir(), quarantine.Limits{})
	src := page(4096, 1, 1)
	b.ReportAllocs()
	for b.Loop() {
		s := a.Begin(txn)
		p := s.Volume(vol, 4096)
		for no := range uint64(16) {
			must(b, p.Write(no*1000, src))
		}
		_, err := s.Seal()
		must(b, err)
		must(b, s.Release())
	}
}
