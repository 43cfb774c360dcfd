package heap

import "errors"

// Batch hands out slots one at a time to one writer, who writes them all
// before he syncs any: only so may slots share a 4 KiB frame. It takes 64 KiB
// from the heap at a time. It is not for concurrent use.
type Batch struct {
	h    *Heap
	rest [MaxClass + 1][]Extent // in use, not handed out
}

// Batch begins one. The caller will call Close.
func (h *Heap) Batch() *Batch { return &Batch{h: h} }

// Slot hands out one slot. Errors are those of Alloc.
func (b *Batch) Slot(class Class) (Slot, error) {
	if !class.valid() {
		_, err := b.h.Alloc(class, 1, 1)
		return 0, err
	}
	rest := &b.rest[class]
	if len(*rest) == 0 {
		got, err := b.h.Alloc(class, MaxClass.Bytes()/class.Bytes(), 1)
		if err != nil {
			return 0, err
		}
		*rest = got
	}
	e := &(*rest)[0]
	s := e.First
	if e.First, e.Count = s+1, e.Count-1; e.Count == 0 {
		*rest = (*rest)[1:]
	}
	return s, nil
}

// Close gives back what was not handed out.
func (b *Batch) Close() error {
	var errs []error
	for class := range b.rest {
		errs = append(errs, b.h.ReleaseAll(b.rest[class]))
		b.rest[class] = nil
	}
	return errors.Join(errs...)
}

// ReleaseAll releases every extent of a list; see Release.
func (h *Heap) ReleaseAll(list []Extent) error {
	var errs []error
	for _, e := range list {
		errs = append(errs, h.Release(e))
	}
	return errors.Join(errs...)
}
