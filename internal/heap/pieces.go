package heap

import (
	"cmp"
	"slices"
	"sync"
)

// Piece is slots and what to write to them. Data may end early in the last
// slot: zeros follow it.
type Piece struct {
	Slots Extent
	Data  []byte
}

// maxJoined bounds the bytes of neighbours that are put together for one write.
const maxJoined = 1 << 20

var joinBuffers = sync.Pool{New: func() any { return new([]byte) }}

// WritePieces is Write for many pieces, which it sorts: neighbours are written
// together, because a disk takes one long write in the time of two short ones.
func (h *Heap) WritePieces(list []Piece) error {
	slices.SortFunc(list, func(a, b Piece) int { return cmp.Compare(a.Slots.First, b.Slots.First) })
	buf := joinBuffers.Get().(*[]byte)
	defer joinBuffers.Put(buf)
	for len(list) > 0 {
		f := h.file(list[0].Slots.First.File())
		if f == nil {
			return h.noSuch(list[0].Slots.First)
		}
		n, size := neighbours(list, f.class)
		data := list[0].Data
		if len(data) < size {
			data = slices.Grow((*buf)[:0], size)
			for _, p := range list[:n] {
				data = append(data, p.Data...)
				data = append(data, make([]byte, int(p.Slots.Count)<<f.class-len(p.Data))...)
			}
			*buf = data
		}
		if err := h.Write(list[0].Slots.First, data); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// neighbours is how many pieces of list, all in slots of one class, lie side by
// side from the first on, and how many bytes they take.
func neighbours(list []Piece, class Class) (n, size int) {
	first, next := list[0].Slots.First, list[0].Slots.First
	for n < len(list) {
		e := list[n].Slots
		bytes := int(e.Count) << class
		if e.First != next || e.First.File() != first.File() || (n > 0 && size+bytes > maxJoined) {
			break
		}
		n, size, next = n+1, size+bytes, next+Slot(e.Count)
	}
	return n, size
}
