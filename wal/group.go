package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// MaxGroupBytes is the limit of a group in bytes of its records; in a small
// generation it is three quarters of that.
const MaxGroupBytes = 4 << 20

// Body says where the bytes lie that an entry's locators point into: inline in
// the record, or in extents of the heap, one after the other. Not both.
type Body struct {
	Inline  []byte
	Extents []Extent
	Exempt  bool // the extents were synced before the entry was sequenced
}

// Placed is what Add knows of a record before it is written.
type Placed struct {
	Hash   Hash  // of the entry
	Gen    GenID // where it will lie
	Inline int64 // byte of the generation's file at which its inline bytes begin
}

// Group is a run of records that become durable together. It belongs to the
// sequencer until it is handed to Log.Append, which ends it.
type Group struct {
	log      *Log
	gen      *generation
	manifest uint64
	base     int64 // byte of the file at which the first record begins
	size     int64 // bytes in the file, the library's length prefixes included
	first    LSN
	end      Position // of the last entry
	buf      []byte   // the frames back to back
	ends     []int    // of each frame in buf
}

// Len is the number of entries; Bytes what they take in the file.
func (g *Group) Len() int   { return len(g.ends) }
func (g *Group) Bytes() int { return int(g.size) }

// First and Last are the LSNs of its entries; zero without any.
func (g *Group) First() LSN { return g.first }
func (g *Group) Last() LSN  { return g.end.LSN }

// Abandon ends a group that nothing was added to: it stands in the way of
// AppendMark no longer.
func (g *Group) Abandon() {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	if g.log.open == g && len(g.ends) == 0 {
		g.log.open = nil
	}
}

// Add encodes the next entry of the log, whose LSN and previous hash must
// continue it. Nothing has happened when it fails: with ErrTooLarge the record
// is over MaxRecord, with ErrGroupFull it fits another group. It keeps nothing
// of e and body. Cost: memory only, under 2 microseconds for one row.
func (g *Group) Add(e *Entry, body Body) (Placed, error) {
	l := g.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.mayAdd(g, e, body); err != nil {
		return Placed{}, err
	}
	hash, err := g.encode(e, body)
	if err != nil {
		g.buf = g.buf[:g.used()]
		return Placed{}, err
	}
	record := int64(len(g.buf) - g.used())
	if len(g.ends) == 0 {
		g.base, g.first = g.gen.planned, e.First
	}
	g.ends = append(g.ends, len(g.buf))
	g.size += lengthPrefix(record) + record
	g.end = Position{e.Timeline, e.Last, hash}
	g.gen.planned, l.end = g.base+g.size, g.end
	return Placed{hash, g.gen.id, g.gen.planned - int64(len(body.Inline))}, nil
}

// mayAdd checks what the sequencer must have got right. Callers hold l.mu.
func (l *Log) mayAdd(g *Group, e *Entry, body Body) error {
	switch {
	case l.failed != nil:
		return l.failed
	case l.open != g:
		return fmt.Errorf("wal: add entry %d: the group was appended, or a later one begun", e.First)
	case e.First != e.Last || e.First != l.end.LSN+1:
		return fmt.Errorf("wal: add entry %d to %d: the log ends at %d", e.First, e.Last, l.end.LSN)
	case e.Prev != l.end.Hash:
		return fmt.Errorf("wal: add entry %d: its previous hash is not that of entry %d", e.First, l.end.LSN)
	case len(body.Inline) > 0 && len(body.Extents) > 0:
		return fmt.Errorf("wal: add entry %d: its body is both inline and in extents", e.First)
	}
	return nil
}

// encode appends one frame to the buffer; its durable mark and header CRC are
// left to Append.
func (g *Group) encode(e *Entry, body Body) (Hash, error) {
	at := g.used()
	if int64(len(body.Inline))+int64(len(body.Extents))*extentSize > MaxRecord {
		return Hash{}, tooLarge(e.First, len(body.Inline)+len(body.Extents)*extentSize)
	}
	var blank [frameHeader]byte
	buf, err := AppendEntry(append(g.buf, blank[:]...), e)
	if err != nil {
		return Hash{}, fmt.Errorf("wal: encode entry %d: %w", e.First, err)
	}
	f := Frame{
		Kind: FrameEntry, Exempt: body.Exempt, Gen: g.gen.id, Timeline: e.Timeline,
		LSN: e.First, GroupFirst: g.first, Manifest: g.manifest, Prev: e.Prev,
		entryBytes: uint32(len(buf) - at - frameHeader), extents: uint32(len(body.Extents)), inlineBytes: uint32(len(body.Inline)),
	}
	if len(g.ends) == 0 {
		f.GroupFirst = e.First
	}
	buf = append(appendExtents(buf, body.Extents), body.Inline...)
	g.buf = buf
	switch record := int64(len(buf) - at); {
	case record > MaxRecord:
		return Hash{}, tooLarge(e.First, int(record))
	case g.size+lengthPrefix(record)+record > g.log.opts.groupBytes():
		return Hash{}, ErrGroupFull
	}
	f.payloadSum = crc32.Checksum(buf[at+frameHeader:], castagnoli)
	f.put(buf[at:])
	return e.Hash(), nil
}

func tooLarge(n LSN, size int) error {
	return fmt.Errorf("wal: record of entry %d has %d bytes, over the limit of %d; put its images in extents: %w", n, size, MaxRecord, ErrTooLarge)
}

// used is the part of the buffer that whole frames take.
func (g *Group) used() int {
	if len(g.ends) == 0 {
		return 0
	}
	return g.ends[len(g.ends)-1]
}

// seal gives every frame its durable mark and returns the frames.
func (g *Group) seal(durable LSN) [][]byte {
	frames := make([][]byte, len(g.ends))
	at := 0
	for i, end := range g.ends {
		frames[i] = g.buf[at:end]
		binary.LittleEndian.PutUint64(frames[i][56:], g.manifest)
		sealFrame(frames[i], durable)
		at = end
	}
	return frames
}

// lengthPrefix is the size of the unsigned varint that the library puts before
// a record of n bytes.
func lengthPrefix(n int64) int64 {
	size := int64(1)
	for ; n >= 1<<7; n >>= 7 {
		size++
	}
	return size
}
