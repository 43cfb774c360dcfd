package heap

import "path/filepath"

// Where says, for error messages, at which byte of which file below the store's
// directory a slot begins; the offset is -1 when there is no such file.
func (h *Heap) Where(s Slot) (file string, offset int64) {
	file = filepath.Join("heap", fileName(s.File()))
	f := h.file(s.File())
	if f == nil {
		return file, -1
	}
	return file, f.offset(s.Index())
}
