package txn

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// intake is an entry of another store on its way into this one's log. Its body
// is laid out anew: the images of each section in page order, one section after
// the other, then the index chunks of those that have them, each section's from a
// whole slot on. A body that is not large is kept in memory until the entry is
// sequenced; a large one goes to its slots piece by piece.
type intake struct {
	m     *Manager
	e     *wal.Entry // a copy with locators for the new body
	size  int64      // of the body
	from  uint64     // where index chunks begin in it; wal.MaxBody without any
	image []byte     // the body, when it is in memory; the manager's scratch
	slots []heap.Extent
	owned bool // an entry of this store names the slots
	pos   wal.Position

	at    int64  // of the body, while it is taken in
	piece []byte // of a large body, not written yet
}

// pieceBytes of a large body are written at once. Every slot size divides it.
const pieceBytes = 256 << 10

// takeIn reads the body of an entry, verifying every image, and puts it where it
// may stay. After an error nothing is left of it.
func (m *Manager) takeIn(e *wal.Entry, images io.ReaderAt) (*intake, error) {
	if images == nil {
		images = bytes.NewReader(nil)
	}
	in := &intake{m: m, from: wal.MaxBody}
	own := *e
	own.Sections = slices.Clone(e.Sections)
	in.e = &own
	if err := in.allocate(); err != nil {
		return nil, joinIf(err, in.release())
	}
	for i := range own.Sections {
		if err := in.section(&own.Sections[i], images); err != nil {
			return nil, joinIf(err, in.release())
		}
	}
	return in, in.chunks(e, images)
}

// allocate sizes the body and, if it is large, takes the slots for it.
func (in *intake) allocate() error {
	var index int64
	for i := range in.e.Sections {
		s := &in.e.Sections[i]
		in.size += int64(s.Delta.RowCount()) * int64(s.Result.PageSize)
		if len(s.Delta.Chunks) > 0 {
			index += roundUp(int64(s.Delta.RowCount()) * wal.RowSize)
		}
	}
	if index > 0 {
		in.from = uint64(in.size)
	}
	in.size += index
	if in.size > in.m.opts.MaxTxBytes+index {
		return fmt.Errorf("txn: the images of the entry take %d bytes, Options.MaxTxBytes are %d: %w", in.size, in.m.opts.MaxTxBytes, wal.ErrTooLarge)
	}
	if in.size <= largeBody && index == 0 {
		f := &in.m.following
		f.scratch = slices.Grow(f.scratch[:0], int(in.size))[:in.size]
		in.image = f.scratch
		return nil
	}
	in.piece = make([]byte, 0, pieceBytes)
	return in.takeSlots()
}

// roundUp is to whole slots of the index.
func roundUp(n int64) int64 {
	size := int64(indexClass.Bytes())
	return (n + size - 1) / size * size
}

// takeSlots takes slots for each section's images, then for the index.
func (in *intake) takeSlots() error {
	for i := range in.e.Sections {
		s := &in.e.Sections[i]
		if n := s.Delta.RowCount(); n > 0 {
			if err := in.alloc(heap.ClassFor(int(s.Result.PageSize)), int(n)); err != nil {
				return err
			}
		}
	}
	if index := in.size - int64(in.from); in.from < wal.MaxBody && index > 0 {
		return in.alloc(indexClass, int(index)/indexClass.Bytes())
	}
	return nil
}

func (in *intake) alloc(class heap.Class, n int) error {
	got, err := in.m.store.Heap().Alloc(class, n, 1)
	if err != nil {
		return fmt.Errorf("txn: no space for %d pages, nothing was written: %w", n, err)
	}
	in.slots = append(in.slots, got...)
	return nil
}

// section takes in the images of a section, and, when its rows are inline, puts
// rows with the new locators in their place.
func (in *intake) section(s *wal.Section, images io.ReaderAt) error {
	rows := make([]wal.Row, 0, len(s.Delta.Rows))
	for row, err := range s.EachRow(images) {
		if err == nil {
			err = in.take(row, images)
		}
		if err != nil {
			return &imageError{s.Ref.Volume, row.Page, err}
		}
		if row.Locator, err = in.keep(row.Locator.Length()); err != nil {
			return err
		}
		if len(s.Delta.Chunks) == 0 {
			rows = append(rows, row)
		}
	}
	s.Delta.Digest = wal.Hash{} // what the caller says of it is not believed
	if len(s.Delta.Chunks) == 0 {
		s.Delta.Rows = rows
	}
	return in.write()
}

// take reads one image behind the body and verifies it.
func (in *intake) take(row wal.Row, images io.ReaderAt) error {
	dst := in.room(int(row.Locator.Length()))
	if n, err := images.ReadAt(dst, int64(row.Locator.Offset())); n < len(dst) {
		return err
	}
	if wal.HashPage(row.Page, dst) != row.Hash {
		return errHash
	}
	return nil
}

// keep makes the image that was taken the end of the body.
func (in *intake) keep(n uint32) (wal.Locator, error) {
	at := uint64(in.at)
	in.at += int64(n)
	if len(in.piece) < pieceBytes {
		return wal.RawLocator(at, n), nil
	}
	return wal.RawLocator(at, n), in.write()
}

// room is where the next n bytes of the body go.
func (in *intake) room(n int) []byte {
	if in.image != nil {
		return in.image[in.at : in.at+int64(n)]
	}
	in.piece = in.piece[:len(in.piece)+n]
	return in.piece[len(in.piece)-n:]
}

// write writes what has gathered of a large body. Whole slots have, but at the
// end of the index.
func (in *intake) write() error {
	if len(in.piece) == 0 {
		return nil
	}
	h := in.m.store.Heap()
	if err := h.WritePieces(in.pieces(in.at-int64(len(in.piece)), in.piece)); err != nil {
		return err
	}
	h.StartSync(startBytes)
	in.piece = in.piece[:0]
	return nil
}

// pieces is where data, which is the body from an offset on, is to be written.
func (in *intake) pieces(off int64, data []byte) (list []heap.Piece) {
	h, begin := in.m.store.Heap(), int64(0)
	for _, e := range in.slots {
		class, err := h.Class(e.First.File())
		if err != nil || len(data) == 0 {
			break // it was handed out: there is a class
		}
		end := begin + int64(e.Count)<<class
		if off < end {
			skip := uint32((off - begin) >> class)
			n := min(int64(len(data)), end-off)
			count := uint32((n + int64(class.Bytes()) - 1) >> class)
			list = append(list, heap.Piece{Slots: heap.Extent{First: e.First + heap.Slot(skip), Count: count}, Data: data[:n]})
			data, off = data[n:], off+n
		}
		begin = end
	}
	return list
}

// chunks makes the index chunks of large sections anew, with the new locators.
// e is the entry as it came.
func (in *intake) chunks(e *wal.Entry, images io.ReaderAt) error {
	at := uint64(0) // of the section's first image
	for i := range e.Sections {
		s := &e.Sections[i]
		if len(s.Delta.Chunks) > 0 {
			made, err := in.chunksOf(s, at, images)
			if err != nil {
				return joinIf(err, in.release())
			}
			in.e.Sections[i].Delta.Chunks = made
		}
		at += s.Delta.RowCount() * uint64(s.Result.PageSize)
	}
	return nil
}

// chunksOf appends the chunks of one section to the body. at is where its images
// begin.
func (in *intake) chunksOf(s *wal.Section, at uint64, images io.ReaderAt) (made []wal.Chunk, err error) {
	size := s.Result.PageSize
	rows := make([]wal.Row, 0, wal.MaxInlineRows)
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		made = append(made, wal.ChunkOf(rows, uint64(in.at)))
		b := wal.AppendRows(nil, rows)
		rows = rows[:0]
		copy(in.room(len(b)), b)
		in.at += int64(len(b))
		return in.write()
	}
	for row, err := range s.EachRow(images) {
		if err != nil {
			return nil, &imageError{s.Ref.Volume, row.Page, err}
		}
		row.Locator = wal.RawLocator(at, size)
		at += uint64(size)
		if rows = append(rows, row); len(rows) == wal.MaxInlineRows {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	in.at = int64(in.from) + roundUp(in.at-int64(in.from))
	return made, nil
}

// index is where index chunks are read from.
func (in *intake) index() io.ReaderAt {
	if in.from == wal.MaxBody {
		return bytes.NewReader(nil)
	}
	body, err := in.m.store.Heap().Body(in.slots)
	if err != nil {
		return bytes.NewReader(nil) // it was handed out; reading says so
	}
	return body
}

// locate says what the record says of the body, and where that is in the heap;
// in the log is known when the record is added.
func (in *intake) locate(g *group) (wal.Body, apply.Body, error) {
	if in.size == 0 {
		return wal.Body{}, apply.Body{Addr: func(uint64) uint64 { return 0 }}, nil
	}
	if in.image != nil && in.slots == nil {
		if g.inline+len(in.image) <= in.m.opts.InlineBytes {
			return wal.Body{Inline: in.image}, apply.Body{}, nil
		}
		if err := in.takeSlots(); err != nil {
			return wal.Body{}, apply.Body{}, err
		}
	}
	h := in.m.store.Heap()
	b := wal.Body{Extents: make([]wal.Extent, len(in.slots))}
	for i, x := range in.slots {
		class, err := h.Class(x.First.File())
		if err != nil {
			return b, apply.Body{}, err
		}
		b.Extents[i] = wal.Extent{Slot: uint64(x.First), Length: uint64(x.Count) << class}
	}
	where, err := apply.InHeap(h, in.slots, in.from)
	return b, where, err
}

// release gives slots back that no entry names.
func (in *intake) release() error {
	if in.owned || len(in.slots) == 0 {
		return nil
	}
	slots := in.slots
	in.slots = nil
	return in.m.store.Heap().ReleaseAll(slots)
}
