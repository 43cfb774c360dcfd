package quarantine

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Sealed is a stage that changes no more, its images hashed and in their order
// in the entry's body. Either all of them are in memory, then the body is
// volume after volume, ascending by id, page after page, and whoever writes
// the record says where it lies; or all of them are in the heap, then the body
// is Extents, one after the other.
type Sealed struct {
	stage   *Stage
	volumes []*Pages // ascending by id
	placed  bool     // the body is in the heap
	extents []heap.Extent
	begins  []uint64 // of each extent in the body, bytes; in memory, of each volume
	size    uint64
	tail    []byte // what was appended, in memory
}

// Seal ends staging. When anything has spilled the rest spills too, and slots
// that hold no image of the final state are freed. After an error, a full disk,
// the stage may be rolled back or sealed again. A body above wal.MaxBody is
// wal.ErrTooLarge.
func (s *Stage) Seal() (*Sealed, error) {
	if s.sealed {
		return nil, errSealed
	}
	b := &Sealed{stage: s, placed: s.ledger != nil}
	for _, p := range s.volumes {
		b.volumes = append(b.volumes, p)
	}
	slices.SortFunc(b.volumes, func(x, y *Pages) int { return bytes.Compare(x.volume[:], y.volume[:]) })
	if err := b.arrange(); err != nil {
		return nil, wrap("seal", err)
	}
	if b.size > wal.MaxBody {
		return nil, fmt.Errorf("quarantine: seal a body of %d bytes: %w", b.size, wal.ErrTooLarge)
	}
	s.sealed = true
	return b, nil
}

func (b *Sealed) arrange() error {
	if b.placed {
		return b.arrangeHeap()
	}
	for _, p := range b.volumes {
		b.begins = append(b.begins, b.size)
		b.size += uint64(p.Len()) << p.class
		for no, id := range p.index.staged(0, wal.MaxPages) {
			p.images.at(id).hash = wal.HashPage(no, p.inMemory(id).buf.bytes)
		}
	}
	return nil
}

func (b *Sealed) arrangeHeap() error {
	if err := b.stage.spill(); err != nil {
		return err
	}
	var slots []heap.Slot
	for _, p := range b.volumes {
		if err := p.freeUnused(); err != nil {
			return err
		}
		for _, id := range p.index.staged(0, wal.MaxPages) {
			slots = append(slots, p.images.at(id).slot())
		}
	}
	for _, e := range extentsOf(slots) {
		if err := b.add(e); err != nil {
			return err
		}
	}
	return nil
}

// freeUnused frees the slots of images that the final state does not have:
// those of savepoints, and of pages dropped.
func (p *Pages) freeUnused() error {
	needed := make([]uint64, p.images.n/64+1)
	for _, id := range p.index.staged(0, wal.MaxPages) {
		needed[id/64] |= 1 << (id % 64)
	}
	var unused []heap.Slot
	for id := range p.images.n {
		if m := p.images.at(id); needed[id/64]&(1<<(id%64)) == 0 && m.slot() != 0 {
			unused = append(unused, m.slot())
			m.addr = 0
		}
	}
	p.stage.marks, p.free = nil, nil
	return p.stage.area.heap.ReleaseAll(extentsOf(unused))
}

// add appends an extent to the body.
func (b *Sealed) add(e heap.Extent) error {
	class, err := b.stage.area.heap.Class(e.First.File())
	if err != nil {
		return err
	}
	b.extents, b.begins = append(b.extents, e), append(b.begins, b.size)
	b.size += uint64(e.Count) << class
	return nil
}

// Volumes yields the volumes of the stage, ascending by id, those included of
// which nothing is staged.
func (b *Sealed) Volumes() iter.Seq[*Pages] { return slices.Values(b.volumes) }

// Rows yields the rows of a volume's delta, ascending by page, with locators
// into the body.
func (b *Sealed) Rows(p *Pages) iter.Seq[wal.Row] {
	return func(yield func(wal.Row) bool) {
		offset := b.offsets(p)
		for no, id := range p.index.staged(0, wal.MaxPages) {
			m := p.images.at(id)
			if !yield(wal.Row{Page: no, Hash: m.hash, Locator: wal.RawLocator(offset(m), p.PageSize())}) {
				return
			}
		}
	}
}

// offsets returns the function that says where in the body the images of p
// lie, called in the order of pages.
func (b *Sealed) offsets(p *Pages) func(*image) uint64 {
	if !b.placed {
		next := b.begins[slices.Index(b.volumes, p)]
		return func(*image) uint64 { next += uint64(p.pageBytes()); return next - uint64(p.pageBytes()) }
	}
	i := 0 // extents are ascending by slot as far as images go; most often the last one serves again
	images := b.extents[:len(b.extents)-len(b.stage.appended)]
	return func(m *image) uint64 {
		if e := images[i]; m.slot() < e.First || m.slot() >= e.First+heap.Slot(e.Count) {
			i = sort.Search(len(images), func(i int) bool { return images[i].First > m.slot() }) - 1
		}
		return b.begins[i] + uint64(m.slot()-images[i].First)<<p.class
	}
}

// Images yields page numbers and bytes of a volume, ascending, when the body
// is in memory. The bytes are the stage's until Release, and are not changed.
func (b *Sealed) Images(p *Pages) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for no, id := range p.index.staged(0, wal.MaxPages) {
			if b.placed || !yield(no, p.inMemory(id).buf.bytes) {
				return
			}
		}
	}
}

// InHeap reports whether the body is in the heap.
func (b *Sealed) InHeap() bool { return b.placed }

// Size is the body's length in bytes.
func (b *Sealed) Size() uint64 { return b.size }

// AppendBody appends the body to dst when it is in memory.
func (b *Sealed) AppendBody(dst []byte) []byte {
	for _, p := range b.volumes {
		for _, image := range b.Images(p) {
			dst = append(dst, image...)
		}
	}
	return append(dst, b.tail...)
}

// Append appends bytes that are no image, chunks of rows, to the body and
// returns their offset. In the heap they take whole slots of 4 KiB, zeros
// behind them.
func (b *Sealed) Append(data []byte) (offset uint64, err error) {
	offset = b.size
	if offset+uint64(len(data)) > wal.MaxBody-appendSlot {
		return 0, fmt.Errorf("quarantine: append to a body of %d bytes: %w", offset, wal.ErrTooLarge)
	}
	if !b.placed {
		b.tail = append(b.tail, data...)
		b.size += uint64(len(data))
		return offset, nil
	}
	return offset, wrap("append", b.appendHeap(data))
}

const (
	appendClass heap.Class = 12
	appendSlot             = 1 << appendClass
)

func (b *Sealed) appendHeap(data []byte) error {
	s := b.stage
	if rest := len(data) % appendSlot; rest > 0 {
		data = append(slices.Clip(data), zeroPage[:appendSlot-rest]...)
	}
	extents, err := s.area.heap.Place(appendClass, data)
	if err != nil {
		return err
	}
	if err := s.note(appendClass, extents); err != nil {
		return errors.Join(err, s.area.heap.ReleaseAll(extents))
	}
	s.appended = append(s.appended, extents...)
	for _, e := range extents {
		if err := b.add(e); err != nil {
			return err
		}
	}
	return nil
}

// Body syncs the body in place and returns its extents, or none when it is in
// memory. A record that names them may say that they were durable before it
// was (Exempt). An error is heap.ErrPoisoned.
func (b *Sealed) Body() ([]heap.Extent, error) {
	var files []uint32
	for _, e := range b.extents {
		files = append(files, e.First.File())
	}
	slices.SortFunc(files, cmp.Compare)
	if files = slices.Compact(files); len(files) == 0 {
		return nil, nil
	}
	return b.extents, wrap("sync", b.stage.area.heap.Sync(files...))
}

// Adopt says that an entry names the body's slots, or may: Release will leave
// them.
func (b *Sealed) Adopt() { b.stage.adopted = true }
