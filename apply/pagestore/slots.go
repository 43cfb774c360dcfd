package pagestore

import (
	"github.com/quire-db/quire/internal/heap"
)

// taker hands out slots for one checkpoint and remembers which.
type taker struct {
	batch *heap.Batch
	used  []heap.Extent
}

func newTaker(h *heap.Heap) *taker { return &taker{batch: h.Batch()} }

func (t *taker) take(c heap.Class) (heap.Slot, error) {
	s, err := t.batch.Slot(c)
	if err == nil {
		t.used = addSlot(t.used, s)
	}
	return s, err
}

// giveBack frees the slot that was taken last.
func (t *taker) giveBack(h *heap.Heap, s heap.Slot) error {
	if last := &t.used[len(t.used)-1]; last.Count > 1 {
		last.Count--
	} else {
		t.used = t.used[:len(t.used)-1]
	}
	return h.Release(heap.Extent{First: s, Count: 1})
}

// addSlot adds a slot to a list of extents, lengthening the last one where
// it can.
func addSlot(list []heap.Extent, slot heap.Slot) []heap.Extent {
	if n := len(list); n > 0 {
		last := &list[n-1]
		if last.First+heap.Slot(last.Count) == slot && last.First.File() == slot.File() {
			last.Count++
			return list
		}
	}
	return append(list, heap.Extent{First: slot, Count: 1})
}

// slotWriter joins writes to consecutive slots.
type slotWriter struct {
	heap  *heap.Heap
	first heap.Slot
	next  heap.Slot
	buf   []byte
}

const slotWriterBytes = 256 << 10

func newSlotWriter(h *heap.Heap) *slotWriter { return &slotWriter{heap: h} }

// write puts data, one whole slot, into slot.
func (w *slotWriter) write(slot heap.Slot, data []byte) error {
	if len(w.buf) > 0 && (slot != w.next || slot.File() != w.first.File() || len(w.buf)+len(data) > slotWriterBytes) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(w.buf) == 0 {
		w.first = slot
	}
	w.buf = append(w.buf, data...)
	w.next = slot + 1
	return nil
}

// flush writes what has gathered and waits until the disk has it: a commit's
// sync must not find a pile of the checkpoint's. After an error it is kept, and
// flush may be called again.
func (w *slotWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.heap.Write(w.first, w.buf)
	if err == nil {
		err = w.heap.WriteOut(heap.Extent{First: w.first, Count: uint32(w.next - w.first)})
	}
	if err == nil {
		w.buf = w.buf[:0]
	}
	return err
}
