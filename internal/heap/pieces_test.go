package heap_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

// WritePieces writes what each piece says, whatever their order; neighbours
// take one write.
func TestWritePieces(t *testing.T) {
	disk := crashfs.New()
	h := open(t, small(disk), nil)
	rng := rand.New(rand.NewPCG(1, 2))
	var list []heap.Piece
	want := map[heap.Extent][]byte{}
	for _, class := range []heap.Class{9, 12, 14} {
		for i := range 40 {
			got, err := h.Alloc(class, 1+rng.IntN(3), 1)
			must(t, err)
			if i%5 == 0 {
				continue // a gap
			}
			for _, e := range got {
				full := make([]byte, int(e.Count)<<class)
				early := rng.IntN(2) * rng.IntN(class.Bytes())
				for j := range full[:len(full)-early] {
					full[j] = byte(rng.Uint32())
				}
				list = append(list, heap.Piece{Slots: e, Data: full[:len(full)-early]})
				want[e] = full
			}
		}
	}
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	before := disk.Ops()
	must(t, h.WritePieces(list))
	if n := disk.Ops() - before; n > len(list)/2 {
		t.Errorf("%d writes for %d pieces, of which four in five lie side by side", n, len(list))
	}
	for e, full := range want {
		got := make([]byte, len(full))
		must(t, h.ReadExtent(e, 0, got))
		if !bytes.Equal(got, full) {
			t.Errorf("slots %v do not hold what was written", e)
		}
	}
}

func TestWritePiecesToNoFile(t *testing.T) {
	h := open(t, small(crashfs.New()), nil)
	err := h.WritePieces([]heap.Piece{{Slots: heap.Extent{First: heap.MakeSlot(99, 0), Count: 1}, Data: make([]byte, 4096)}})
	if !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("written to a file that is not there: %v", err)
	}
}
