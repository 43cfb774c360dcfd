package wal

import (
	"bytes"
	"errors"
	"fmt"
)

// DecodeEntry is the inverse of AppendEntry: b is one whole entry, in the one
// encoding it has. It does not keep b. Anything else is a *CorruptError whose
// File is "entry" and whose Offset is a byte of b, or -1 when the bytes are well
// formed and what they say is not valid; what only a newer Quire understands is
// ErrVersion. Memory stays below a small multiple of len(b). Cost: 0.2
// microseconds for one row.
func DecodeEntry(b []byte) (*Entry, error) {
	if err := checkVersion(b); err != nil {
		return nil, err
	}
	e := new(Entry)
	c := cursor{b: b}
	c.entry(e)
	if c.reason == "" && c.off != len(b) {
		c.fail(fmt.Sprintf("the entry ends here, %d bytes before the end", len(b)-c.off))
	}
	if c.reason != "" {
		return nil, &CorruptError{File: "entry", Offset: int64(c.off), LSN: e.First, Reason: c.reason}
	}
	if err := e.check(); errors.Is(err, ErrVersion) {
		return nil, fmt.Errorf("wal: cannot read entry %d, nothing was changed: %w", e.First, err)
	} else if err != nil {
		return nil, &CorruptError{File: "entry", Offset: -1, LSN: e.First, Reason: err.Error()}
	}
	return e, nil
}

// checkVersion looks at no more than must stay in its place for ever.
func checkVersion(b []byte) error {
	if len(b) < 8 || string(b[:4]) != entryMagic {
		return &CorruptError{File: "entry", Reason: `does not begin with "QENT" and a version`}
	}
	version, minimum := le.Uint16(b[4:]), le.Uint16(b[6:])
	if minimum < minimumReader || version < minimum {
		return &CorruptError{File: "entry", Offset: 4, Reason: fmt.Sprintf("version %d cannot need a reader of version %d", version, minimum)}
	}
	if minimum > FormatVersion {
		return fmt.Errorf("wal: cannot read an entry that needs format %d with this program of format %d, nothing was changed: %w", minimum, FormatVersion, ErrVersion)
	}
	return nil
}

// cursor takes fields off the front of b. At the first thing that cannot be it
// stays put and keeps the reason; what is taken after that is zero.
type cursor struct {
	b      []byte
	off    int
	reason string
}

func (c *cursor) fail(reason string) {
	if c.reason == "" {
		c.reason = reason
	}
}

// zeroes is what take returns once there is nothing left to take.
var zeroes [headerSize]byte

// fixed takes n bytes, at most len(zeroes). They alias b.
func (c *cursor) fixed(n int) []byte {
	if c.reason != "" || len(c.b)-c.off < n {
		c.fail("cut short")
		return zeroes[:n]
	}
	c.off += n
	return c.b[c.off-n : c.off]
}

func (c *cursor) u8() byte    { return c.fixed(1)[0] }
func (c *cursor) u16() uint16 { return le.Uint16(c.fixed(2)) }
func (c *cursor) u32() uint32 { return le.Uint32(c.fixed(4)) }
func (c *cursor) u64() uint64 { return le.Uint64(c.fixed(8)) }
func (c *cursor) lsn() LSN    { return LSN(c.u64()) }

// bytes takes n bytes of any number. They alias b.
func (c *cursor) bytes(n uint32) []byte {
	if c.reason != "" || uint64(len(c.b)-c.off) < uint64(n) {
		c.fail("cut short")
		return nil
	}
	c.off += int(n)
	return c.b[c.off-int(n) : c.off]
}

// list makes room for n elements of at least size bytes each, having seen that
// so many can follow. Without elements it is nil.
func list[T any](c *cursor, n uint32, size int) []T {
	if n == 0 || c.reason != "" {
		return nil
	}
	if uint64(n)*uint64(size) > uint64(len(c.b)-c.off) {
		c.fail(fmt.Sprintf("%d elements of %d bytes cannot follow", n, size))
		return nil
	}
	return make([]T, n)
}

func (c *cursor) entry(e *Entry) {
	exts, sections := c.header(e)
	if e.Kind == KindTimeline {
		e.Begin = new(BeginTimeline)
		c.begin(e.Begin)
	}
	e.Exts = list[Extension](c, exts, extensionSize)
	for i := range e.Exts {
		c.extension(&e.Exts[i])
	}
	e.Sections = list[Section](c, sections, sectionSize)
	for i := range e.Sections {
		if c.reason != "" {
			return
		}
		c.section(&e.Sections[i])
	}
}

func (c *cursor) header(e *Entry) (exts, sections uint32) {
	c.fixed(len(entryMagic))
	if v := c.u16(); v > FormatVersion {
		e.Version = v
	}
	c.u16() // minimum reader, seen by checkVersion
	e.Flags = c.u16()
	e.Kind = Kind(c.u8())
	exts = uint32(c.u8())
	sections = c.u32()
	e.First, e.Last = c.lsn(), c.lsn()
	copy(e.Timeline[:], c.fixed(16))
	e.Epoch = c.u64()
	copy(e.Prev[:], c.fixed(32))
	copy(e.Txn[:], c.fixed(16))
	copy(e.Actor[:], c.fixed(16))
	e.Seq = c.u64()
	e.Time = int64(c.u64())
	return exts, sections
}

func (c *cursor) begin(b *BeginTimeline) {
	copy(b.Parent[:], c.fixed(16))
	b.ParentLSN = c.lsn()
	copy(b.ParentHash[:], c.fixed(32))
	copy(b.Store[:], c.fixed(16))
	b.PageAlgo, b.HashAlgo = c.u8(), c.u8()
	b.Reason = string(c.bytes(uint32(c.u8())))
}

func (c *cursor) extension(x *Extension) {
	x.Type = ExtType(c.u16())
	switch c.u16() {
	case 0:
	case 1:
		x.Critical = true
	default:
		c.fail("the critical mark of an extension is neither 0 nor 1")
	}
	x.Bytes = c.clone(c.u32())
}

// clone takes n bytes as a slice of their own, nil when empty.
func (c *cursor) clone(n uint32) []byte {
	if n == 0 {
		return nil
	}
	return bytes.Clone(c.bytes(n))
}

func (c *cursor) section(s *Section) {
	copy(s.Ref.Volume[:], c.fixed(16))
	s.Expect.LSN, s.Expect.State = c.lsn(), c.state()
	copy(s.Base.Ref.Volume[:], c.fixed(16))
	s.Base.LSN, s.Base.State = c.lsn(), c.state()
	s.Result = c.state()
	s.Seq, s.PrevChange = c.u64(), c.lsn()
	s.Action = Action(c.u8())
	ref, base, volume := uint32(c.u8()), uint32(c.u8()), uint32(c.u8())
	refAttrs := c.u32()
	s.Ref.Name = RefName(c.bytes(ref))
	s.Base.Ref.Name = RefName(c.bytes(base))
	if volume > 0 {
		s.Attrs = &VolumeAttrs{Name: string(c.bytes(volume)), PageSize: c.u32(), PageAlgo: c.u8(), Mode: c.u8()}
	}
	s.RefAttrs = list[RefAttr](c, refAttrs, refAttrSize)
	for i := range s.RefAttrs {
		s.RefAttrs[i].Type = c.u16()
		s.RefAttrs[i].Bytes = c.clone(c.u32())
	}
	c.delta(&s.Delta)
}

func (c *cursor) state() State {
	b := c.fixed(28)
	return State{le.Uint32(b), le.Uint64(b[4:]), Sum{le.Uint64(b[12:]), le.Uint64(b[20:])}}
}

func (c *cursor) delta(d *Delta) {
	discards, rows, chunks := c.u32(), c.u32(), c.u32()
	d.Discards = list[PageRange](c, discards, discardSize)
	for i := range d.Discards {
		d.Discards[i] = PageRange{c.u64(), c.u64()}
	}
	d.Rows = list[Row](c, rows, RowSize)
	for i := range d.Rows {
		d.Rows[i] = decodeRow(c.fixed(RowSize))
	}
	d.Chunks = list[Chunk](c, chunks, chunkSize)
	for i := range d.Chunks {
		d.Chunks[i] = decodeChunk(c.fixed(chunkSize))
	}
}

func decodeRow(b []byte) Row {
	return Row{le.Uint64(b), PageHash(b[8:24]), Locator(le.Uint64(b[24:]))}
}

func decodeChunk(b []byte) Chunk {
	return Chunk{le.Uint64(b), le.Uint32(b[8:]), Hash(b[12:44]), le.Uint64(b[44:]), le.Uint32(b[52:])}
}

// DecodeRows is the inverse of AppendRows: b is n rows. What they say is not
// looked at; Section.EachRow does that, and verifies the digest of a chunk.
func DecodeRows(b []byte, n int) ([]Row, error) {
	if n < 0 || n > MaxInlineRows || len(b) != n*RowSize {
		return nil, &CorruptError{File: "entry body", Offset: -1, Reason: fmt.Sprintf("%d bytes are not %d rows of %d bytes, at most %d", len(b), n, RowSize, MaxInlineRows)}
	}
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = decodeRow(b[i*RowSize:])
	}
	return rows, nil
}
