package model

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
)

// State is what the store holds: volumes by name. It is copied before it is
// changed.
type State map[string]*Volume

// Volume is the model of one. Absent pages read as zeros.
type Volume struct {
	PageSize int
	Size     uint64 // pages
	Pages    map[uint64][]byte
	Tags     map[string]*Volume // what they point to: never changed
}

func (s State) clone() State {
	c := State{}
	for name, v := range s {
		c[name] = v.copied()
		c[name].Tags = maps.Clone(v.Tags)
	}
	return c
}

func (v *Volume) page(no uint64) []byte {
	if p, ok := v.Pages[no]; ok {
		return p
	}
	return make([]byte, v.PageSize)
}

func (v *Volume) write(no uint64, p []byte) {
	v.Size = max(v.Size, no+1)
	if bytes.Count(p, []byte{0}) == len(p) {
		delete(v.Pages, no)
		return
	}
	v.Pages[no] = p
}

func (v *Volume) truncate(pages uint64) {
	v.Size = pages
	maps.DeleteFunc(v.Pages, func(no uint64, _ []byte) bool { return no >= pages })
}

// readAt is io.ReaderAt.
func (v *Volume) readAt(n int, off int64) ([]byte, error) {
	var out []byte
	for len(out) < n {
		at := uint64(off) + uint64(len(out))
		no, in := at/uint64(v.PageSize), at%uint64(v.PageSize)
		if no >= v.Size {
			return out, io.EOF
		}
		p := v.page(no)[in:]
		out = append(out, p[:min(len(p), n-len(out))]...)
	}
	return out, nil
}

// writeAt is io.WriterAt.
func (v *Volume) writeAt(data []byte, off int64) {
	for len(data) > 0 {
		no, in := uint64(off)/uint64(v.PageSize), int(off)%v.PageSize
		p := slices.Clone(v.page(no))
		n := copy(p[in:], data)
		v.write(no, p)
		data, off = data[n:], off+int64(n)
	}
}

// digest is the content of the volume, readable.
func (v *Volume) digest() string {
	s := fmt.Sprintf("%d pages of %d:", v.Size, v.PageSize)
	for _, no := range slices.Sorted(maps.Keys(v.Pages)) {
		s += fmt.Sprintf(" %d=%s", no, sum(v.Pages[no]))
	}
	return s
}

// sum tells pages apart and is short.
func sum(p []byte) string {
	h := uint64(14695981039346656037)
	for _, b := range p {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return fmt.Sprintf("%x", h>>32)
}
