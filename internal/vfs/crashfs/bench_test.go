package crashfs_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// BenchmarkCut is a cut, and the check of what it left, of a workload that
// appends synced records to a log that was filled with zeros.
func BenchmarkCut(b *testing.B) {
	r := newRig(b)
	f := r.synced("/log", string(make([]byte, 1<<20)))
	for i := range 500 {
		r.write(f, strings.Repeat("r", 300), int64(i*300))
		if i%2 == 0 {
			r.ok(f.Sync())
		}
	}
	for _, m := range []crashfs.Model{crashfs.Ordered, crashfs.Posix, crashfs.KillOnly, crashfs.MetadataOrdered(1), crashfs.Random(1)} {
		b.Run(m.String(), func(b *testing.B) {
			buf := make([]byte, 512)
			for i := range b.N {
				image := r.Cut(i%(r.Ops()+1), m)
				if f, err := image.Open("/log"); err == nil {
					f.ReadAt(buf, 0)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cuts/s")
		})
	}
}

// BenchmarkWrite is what recording costs: a record of 300 bytes and its sync.
func BenchmarkWrite(b *testing.B) {
	r := newRig(b)
	f := r.synced("/log", string(make([]byte, 16<<20)))
	record := bytes.Repeat([]byte("r"), 300)
	b.ReportAllocs()
	for i := range b.N {
		if _, err := f.WriteAt(record, int64(i%50_000)*300); err != nil {
			b.Fatal(err)
		}
		r.ok(f.Sync())
	}
}
