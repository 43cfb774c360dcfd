package pagestore

import "github.com/quire-db/quire/internal/heap"

// freed counts what Reclaim freed since the store was opened.
type freed struct {
	slots uint64
	bytes uint64
}

// add counts slots that go. What they are of is known as long as the heap is open.
func (f *freed) add(h *heap.Heap, e heap.Extent) {
	f.slots += uint64(e.Count)
	if class, err := h.Class(e.First.File()); err == nil {
		f.bytes += uint64(e.Count) << class
	}
}

// soFar is what was freed.
func (l *limbo) soFar() freed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.freed
}
