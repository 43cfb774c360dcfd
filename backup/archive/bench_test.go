package archive_test

import (
	"bytes"
	"io"
	"testing"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
)

// BenchmarkFrames makes the frames of 1,000 entries of 8 pages each of 512
// bytes, BenchmarkSeal and BenchmarkOpen their object of about 4 MiB, half of which can be
// compressed.
func BenchmarkFrames(b *testing.B) {
	made := history(manyWrites()...)
	var plain []byte
	b.ReportAllocs()
	for b.Loop() {
		plain = plain[:0]
		for _, m := range made {
			f, err := archive.NewFrame(m.Entry, m.Images())
			ok(b, err)
			plain, err = f.Append(plain)
			ok(b, err)
		}
	}
	b.SetBytes(int64(len(plain)))
}

func manyWrites() []int {
	n := make([]int, 1000)
	for i := range n {
		n[i] = 8
	}
	return n
}

func ways(b *testing.B) map[string]archive.SealOptions {
	recipients := []age.Recipient{identity(b).Recipient()}
	return map[string]archive.SealOptions{
		"none": {Uncompressed: true}, "zstd": {}, "age": {Recipients: recipients, Uncompressed: true}, "both": {Recipients: recipients},
	}
}

func BenchmarkSeal(b *testing.B) {
	made := history(manyWrites()...)
	plain, _, _ := frames(b, made, archive.InlineBytes)
	for name, o := range ways(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				object := seal(b, headerOf(archive.KindAppend, made), nil, plain, o)
				b.ReportMetric(float64(len(object)), "stored-B")
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	made := history(manyWrites()...)
	plain, _, _ := frames(b, made, archive.InlineBytes)
	h := headerOf(archive.KindAppend, made)
	for name, o := range ways(b) {
		b.Run(name, func(b *testing.B) {
			object := seal(b, h, nil, plain, o)
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				o, err := archive.Open(keyOf(h), bytes.NewReader(object), int64(len(object)), []age.Identity{identity(b)})
				ok(b, err)
				r, err := archive.NewEntries(o, nil)
				ok(b, err)
				for err == nil {
					_, err = r.Next()
				}
				if err != io.EOF {
					b.Fatal(err)
				}
				o.Close()
			}
		})
	}
}
