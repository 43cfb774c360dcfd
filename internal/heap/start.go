package heap

import "github.com/quire-db/quire/internal/vfs"

// StartSync lets the disk begin with what the next Sync will wait for, if that
// is at least so many bytes since the last StartSync.
func (h *Heap) StartSync(least int64) {
	if n := h.unstarted.Load(); n < least || !h.unstarted.CompareAndSwap(n, 0) {
		return // somebody else does it, when another wrote meanwhile
	}
	for _, f := range *h.files.Load() {
		if f != nil && f.dirty.Load() {
			vfs.StartSync(f.f)
		}
	}
}

// WriteOut has the disk write the slots of e now, so that what a checkpoint
// writes does not pile up for the next commit's Sync. It makes nothing durable.
// A failure poisons the heap, as that of Sync does.
func (h *Heap) WriteOut(e Extent) error {
	if err := h.writable(); err != nil {
		return err
	}
	f, err := h.locate(e)
	if err != nil {
		return err
	}
	return h.poison(vfs.WriteOut(f.f, f.offset(e.First.Index()), int64(e.Count)<<f.class))
}
