package heap

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/uuid"
)

var update = flag.Bool("update", false, "write golden files anew")

// Bitmaps against a plain slice of bools.
func TestBitmap(t *testing.T) {
	const n = 300
	b, plain := make(bitmap, n/64+1), make([]bool, n)
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		from := uint32(r.IntN(n + 1))
		to := from + uint32(r.IntN(n+1-int(from)))
		value, changed := r.IntN(2) == 0, 0
		for i := from; i < to; i++ {
			if plain[i] != value {
				plain[i] = value
				changed++
			}
		}
		op := b.clear
		if value {
			op = b.set
		}
		if got := op(from, to); got != changed {
			t.Fatalf("[%d,%d): %d bits changed, want %d", from, to, got, changed)
		}
		from = uint32(r.IntN(n))
		set, clear := from, from
		for set < n && !plain[set] {
			set++
		}
		for clear < n && plain[clear] {
			clear++
		}
		if b.nextSet(from, n) != set || b.nextClear(from, n) != clear {
			t.Fatalf("from %d: next set %d, clear %d; want %d, %d", from, b.nextSet(from, n), b.nextClear(from, n), set, clear)
		}
		after := from
		for i := uint32(0); i < from; i++ {
			if plain[i] {
				after = i + 1
			} else if i == 0 {
				after = 0
			}
		}
		if got := b.afterSet(0, from); got != after {
			t.Fatalf("before %d: last set bit is before %d, want %d", from, got, after)
		}
		if b.empty(from, set) != true || b.full(from, clear) != true {
			t.Fatalf("[%d,%d) not empty or [%d,%d) not full", from, set, from, clear)
		}
	}
}

// The header of a version is what it was on the day the version was made.
func TestGoldenHeader(t *testing.T) {
	h := header{12, 0xabcd, uuid.MustParse("0198c7a0-0000-7000-8000-000000000001")}
	const file = "testdata/header-v1.hex"
	if *update {
		if err := os.WriteFile(file, []byte(hex.EncodeToString(h.encode())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || !bytes.Equal(golden, h.encode()) {
		t.Errorf("the header is not encoded as version 1: %v", err)
	}
	if got, err := decodeHeader(golden); err != nil || got != h {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestHeaderFlips(t *testing.T) {
	b := header{9, 7, uuid.UUID{1, 2, 3}}.encode()
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeHeader(b); err == nil {
			t.Fatalf("flipped bit %d was not seen", bit)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add(header{9, 7, uuid.UUID{1, 2, 3}}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHeader(b); err == nil && !bytes.Equal(h.encode(), b) {
			t.Errorf("%+v is encoded otherwise", h)
		}
	})
}

// spaceOf is a class's allocator of n bytes without files beneath.
func spaceOf(class Class, n int64) *space {
	s := newSpace(class)
	const perFile = 1 << 30
	for number := uint32(1); int64(number-1)*perFile < n; number++ {
		f := &file{header: header{class: class, number: number}}
		s.grow(f, 0, uint32(min(perFile, n)>>class))
	}
	return &s
}

// One slot of 1 TiB in use but for every thousandth: the worst place to look.
func BenchmarkTakeOneOfTerabyte(b *testing.B) {
	s := spaceOf(12, 1<<40)
	for range s.regions {
		s.take(nil, regionUnits, regionUnits)
	}
	r := rand.New(rand.NewPCG(1, 1))
	slots := int64(len(s.regions) * regionUnits)
	free := func() {
		for range slots / 1000 {
			at := r.Int64N(slots)
			reg, unit := s.regions[at/regionUnits], uint32(at%regionUnits)
			if !reg.taken.empty(unit, unit+1) {
				s.release(reg, unit, unit+1)
			}
		}
	}
	var got []Extent
	left := uint32(1)
	for b.Loop() {
		if left > 0 {
			b.StopTimer()
			free()
			b.StartTimer()
		}
		got, left = s.take(got[:0], 1, 1)
	}
	b.ReportMetric(float64(len(s.regions)*regionUnits/8)/(1<<20), "MiB-of-bits")
}

func BenchmarkTakeOneOfEmpty(b *testing.B) {
	s := spaceOf(12, 1<<30)
	var got []Extent
	for b.Loop() {
		var left uint32
		if got, left = s.take(got[:0], 1, 1); left > 0 {
			b.StopTimer()
			for _, r := range s.regions {
				s.release(r, 0, min(regionUnits, uint32(s.total)-r.base))
			}
			b.StartTimer()
		}
	}
}
