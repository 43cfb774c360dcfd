package heap

import "github.com/quire-db/quire/internal/vfs"

// StartSync lets the disk begin with what the next Sync will wait for.
func (h *Heap) StartSync() {
	for _, f := range *h.files.Load() {
		if f != nil && f.dirty.Load() {
			vfs.StartSync(f.f)
		}
	}
}
