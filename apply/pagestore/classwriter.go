package pagestore

import "github.com/quire-db/quire/internal/heap"

// classWriter joins writes to consecutive slots of each class: nodes of several
// sizes, and images, whose slots were handed out in the order in which they are
// written, but each from another file.
type classWriter struct {
	frozen  *Frozen
	heap    *heap.Heap
	classes [heap.MaxClass + 1]*slotWriter
}

func (f *Frozen) newClassWriter(h *heap.Heap) *classWriter {
	return &classWriter{frozen: f, heap: h}
}

// write is slotWriter.write.
func (w *classWriter) write(slot heap.Slot, data []byte) error {
	out := &w.classes[heap.ClassFor(len(data))]
	if *out == nil {
		*out = w.frozen.newWriter(w.heap)
	}
	return (*out).write(slot, data)
}

// flush is slotWriter.flush of all.
func (w *classWriter) flush() error {
	for _, out := range w.classes {
		if out == nil {
			continue
		}
		if err := out.flush(); err != nil {
			return err
		}
	}
	return nil
}
