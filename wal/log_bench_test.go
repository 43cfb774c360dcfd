package wal

import (
	"fmt"
	"testing"
)

// chain writes n entries by the shortest way, for benchmarks.
func (r *rig) chain(n, perGroup int, body Body) {
	r.t.Helper()
	for n > 0 {
		if !r.log.Ready() {
			r.prepare(0)
		}
		k := min(n, perGroup)
		r.append(k, r.last.LSN, body)
		n -= k
	}
	r.must(r.log.Sync())
}

func BenchmarkGroupAdd(b *testing.B) {
	for _, size := range []int{0, 4096} {
		b.Run(fmt.Sprintf("inline=%d", size), func(b *testing.B) {
			r := newRig(b)
			body, l := inline(size), r.log
			g, err := l.NewGroup(1)
			r.must(err)
			r.add(g, Body{})
			e := r.next()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				// Always the same entry at the same place: Add alone.
				before, end := *g, l.end
				if _, err := g.Add(e, body); err != nil {
					b.Fatal(err)
				}
				buf := g.buf
				*g, l.end = before, end
				g.buf = buf[:g.used()]
				g.gen.planned = g.base + g.size
			}
		})
	}
}

func BenchmarkAppendSync(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			r := newRig(b)
			for range b.N {
				if !r.log.Ready() {
					b.StopTimer()
					r.prepare(0)
					b.StartTimer()
				}
				r.commit(n, inline(4096))
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

func BenchmarkScan(b *testing.B) {
	for _, c := range []struct{ inline, entries int }{{4096, 14_000}, {0, 100_000}} {
		b.Run(fmt.Sprintf("inline=%d", c.inline), func(b *testing.B) {
			r := newRig(b)
			r.chain(c.entries, 64, inline(c.inline))
			var size int64
			for i := range r.gens {
				size += int64(len(r.bytes(i)))
			}
			b.SetBytes(size)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				res, err := r.scan()
				r.must(err)
				if res.Last != r.last.LSN {
					b.Fatal("short")
				}
			}
			b.ReportMetric(float64(c.entries*b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
