package ship_test

import (
	"testing"

	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/backup/ship"
)

// benched is 2,000 entries of 16 pages of 512 bytes.
func benched() (made []archivetest.Made, bytes int64) {
	h := archivetest.New(1)
	made = append(made, h.Begin())
	for i := range 2000 {
		made = append(made, h.Write(uint64(i), 16))
		bytes += int64(len(made[i+1].Body))
	}
	return made, bytes
}

// BenchmarkShip ships to a store in memory, BenchmarkRead reads from it, and
// BenchmarkVerify verifies it.
func BenchmarkShip(b *testing.B) {
	made, bytes := benched()
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		shipped(b, memory(b), made, ship.Options{})
	}
}

func BenchmarkRead(b *testing.B) {
	made, bytes := benched()
	s := memory(b)
	shipped(b, s, made, ship.Options{})
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		r, err := ship.OpenReader(background, s, ship.ReadOptions{})
		ok(b, err)
		n := 0
		for _, err := range r.Entries(background, made[0].Entry.Timeline, 1, 0) {
			ok(b, err)
			n++
		}
		if n != len(made) {
			b.Fatal(n)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	made, bytes := benched()
	s := memory(b)
	shipped(b, s, made, ship.Options{})
	b.SetBytes(bytes)
	for b.Loop() {
		if r := verify(b, s); len(r.Problems) > 0 {
			b.Fatal(r.Problems)
		}
	}
}
