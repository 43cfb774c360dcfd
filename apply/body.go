package apply

import (
	"bytes"
	"fmt"
	"sort"

	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// InLog is the body of a record that lies inline in a log generation, from
// byte offset of its file on.
func InLog(ordinal uint32, offset int64, inline []byte) Body {
	return Body{
		ReaderAt: bytes.NewReader(inline),
		Addr:     func(off uint64) uint64 { return pagetree.LogAddr(ordinal, offset+int64(off)) },
	}
}

// InHeap is a body that lies in extents of the heap. indexed is the offset from
// which on it holds index chunks and no images; the body's size when it holds
// none. Extents that do not exist are a *wal.CorruptError.
func InHeap(h *heap.Heap, extents []heap.Extent, indexed uint64) (Body, error) {
	r, err := h.Body(extents)
	if err != nil {
		return Body{}, err
	}
	begins := make([]uint64, len(extents))
	sizes := make([]uint64, len(extents)) // of a slot
	b := Body{ReaderAt: r, Extents: extents}
	var end uint64
	for i, e := range extents {
		class, err := h.Class(e.First.File())
		if err != nil {
			return Body{}, err
		}
		if end >= indexed {
			b.Index = append(b.Index, e)
		}
		begins[i], sizes[i] = end, uint64(class.Bytes())
		end += uint64(e.Count) << class
	}
	b.Addr = func(off uint64) uint64 {
		i := sort.Search(len(begins), func(i int) bool { return begins[i] > off }) - 1
		return uint64(extents[i].First) + (off-begins[i])/sizes[i]
	}
	return b, nil
}

// BodyOf is the body of a record of the log whose generation has that ordinal.
func BodyOf(h *heap.Heap, ordinal uint32, rec *wal.Record) (Body, error) {
	if len(rec.Extents) == 0 {
		return InLog(ordinal, rec.InlineOffset, rec.Inline), nil
	}
	extents, err := Extents(h, rec)
	if err != nil {
		return Body{}, err
	}
	return InHeap(h, extents, indexedFrom(rec.Entry))
}

// Extents are the heap's extents that a record names.
func Extents(h *heap.Heap, rec *wal.Record) ([]heap.Extent, error) {
	extents := make([]heap.Extent, len(rec.Extents))
	for i, x := range rec.Extents {
		slot := heap.Slot(x.Slot)
		class, err := h.Class(slot.File())
		if err != nil {
			return nil, err
		}
		count := x.Length >> class
		if count == 0 || count<<class != x.Length || count > heap.MaxIndex || x.Slot >= 1<<48 {
			return nil, &wal.CorruptError{File: "wal/" + rec.Gen.Path(), Offset: rec.Offset, LSN: rec.LSN,
				Reason: fmt.Sprintf("extent %d has %d bytes from slot %v of %d on", i, x.Length, slot, class.Bytes())}
		}
		extents[i] = heap.Extent{First: slot, Count: uint32(count)}
	}
	return extents, nil
}

// indexedFrom is the offset of the first index chunk in the entry's body.
func indexedFrom(e *wal.Entry) uint64 {
	from := uint64(wal.MaxBody)
	for i := range e.Sections {
		for _, c := range e.Sections[i].Delta.Chunks {
			from = min(from, c.Offset)
		}
	}
	return from
}
