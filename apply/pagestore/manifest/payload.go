package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// A payload is a 2-byte set of parts and then these, in the order of their
// bits. Little-endian; v is an unsigned varint.
//
//	bit  part
//	  0  timeline: UUID (16), epoch (8)
//	  1  checkpoint: LSN (8), entry hash (32), time (8), root: slot (8), birth (8), check (16)
//	  2  low-water mark (8)
//	  3  generations: count (v), each: id (8), first (8), last (8), length (8), sealed (1), chain (32)
//	  4  heap files: count (v), each: number (4), class (1), slots (4)
//	  5  used extents: count (v), each: slots since the end of the one before (v), slots (v)
//	  6  free extents: likewise
//	  7  used slots: count of files (v), each: number (4), words (v), the words (8 each)
//	  8  options: created (8), page size (4), heap file bytes (8)
//	  9  clean LSN (8)
//	 10  consumers: count (v), each: length of the name (1), name, timeline (16), LSN (8), hash (32), dropped (1), kept (8)
//	 11  node: role (1), UUID or zero (16), length of the place (2), place
//
// A snapshot has the parts 0 to 4 and 7 to 9, 10 if there are consumers, 11 if the
// node is not the zero one, and stands for itself; an edit has any of 0 to 6, 10 and 11. A part that is not listed
// is a newer program's: wal.ErrVersion. Consumers ascend by name. Extents ascend and lie in one file each; words are the
// bits of 64 slots, the lowest first, files ascend and no last word is zero.
// A payload is valid if and only if it is exactly that, counts fit its length,
// and slots lie in heap files that are named (Edit).
const (
	partTimeline = 1 << iota
	partCheckpoint
	partLowWater
	partGenerations
	partHeap
	partUsed
	partFree
	partBitmaps
	partOptions
	partClean
	partConsumers
	partNode

	snapshotParts = partTimeline | partCheckpoint | partLowWater | partGenerations | partHeap |
		partBitmaps | partOptions | partClean
	editParts = partTimeline | partCheckpoint | partLowWater | partGenerations | partHeap | partUsed | partFree | partConsumers | partNode
	allParts  = snapshotParts | editParts

	generationBytes = 8 + 8 + 8 + 8 + 1 + 32
	fileBytes       = 4 + 1 + 4
	consumerBytes   = 1 + 1 + 16 + 8 + 32 + 1 + 8 // with the shortest name
)

var errPayload = errors.New("a record is not in the form of its parts")

// encodeSnapshot is a payload that holds all of f but Seq and Store.
func encodeSnapshot(f *Facts) []byte {
	b := make([]byte, 0, 256+len(f.Generations)*generationBytes+len(f.Heap)*fileBytes+f.Used.bytes())
	parts := uint16(snapshotParts)
	if len(f.Consumers) > 0 {
		parts |= partConsumers
	}
	if f.Node != (Node{}) {
		parts |= partNode
	}
	b = binary.LittleEndian.AppendUint16(b, parts)
	b = appendTimeline(b, Timeline{f.Timeline, f.Epoch})
	b = appendCheckpoint(b, f.Checkpoint)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.LowWater))
	b = appendGenerations(b, f.Generations)
	b = appendFiles(b, f.Heap)
	b = appendBitmaps(b, f.Used)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Options.Created))
	b = binary.LittleEndian.AppendUint32(b, f.Options.PageSize)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Options.HeapFileBytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Clean))
	if len(f.Consumers) > 0 {
		b = appendConsumers(b, f.Consumers)
	}
	if f.Node != (Node{}) {
		b = appendNode(b, f.Node)
	}
	return b
}

// encodeEdit is a payload that holds e.
func encodeEdit(e Edit) []byte {
	parts, b := uint16(0), make([]byte, 2, 256)
	if e.Timeline != nil {
		parts, b = parts|partTimeline, appendTimeline(b, *e.Timeline)
	}
	if e.Checkpoint != nil {
		parts, b = parts|partCheckpoint, appendCheckpoint(b, *e.Checkpoint)
	}
	if e.LowWater != 0 {
		parts, b = parts|partLowWater, binary.LittleEndian.AppendUint64(b, uint64(e.LowWater))
	}
	if e.Generations != nil {
		parts, b = parts|partGenerations, appendGenerations(b, *e.Generations)
	}
	if len(e.Heap) > 0 {
		parts, b = parts|partHeap, appendFiles(b, e.Heap)
	}
	if len(e.Used) > 0 {
		parts, b = parts|partUsed, appendExtents(b, e.Used)
	}
	if len(e.Free) > 0 {
		parts, b = parts|partFree, appendExtents(b, e.Free)
	}
	if e.Consumers != nil {
		parts, b = parts|partConsumers, appendConsumers(b, *e.Consumers)
	}
	if e.Node != nil {
		parts, b = parts|partNode, appendNode(b, *e.Node)
	}
	binary.LittleEndian.PutUint16(b, parts)
	return b
}

func appendTimeline(b []byte, t Timeline) []byte {
	return binary.LittleEndian.AppendUint64(append(b, t.ID[:]...), t.Epoch)
}

func appendCheckpoint(b []byte, c Checkpoint) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(c.LSN))
	b = append(b, c.Hash[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Time))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Root.Slot))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Root.Birth))
	return append(b, c.Root.Check[:]...)
}

func appendGenerations(b []byte, gens []wal.Generation) []byte {
	b = binary.AppendUvarint(b, uint64(len(gens)))
	for _, g := range gens {
		b = binary.LittleEndian.AppendUint64(b, uint64(g.ID))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.First))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.Last))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.Length))
		sealed := byte(0)
		if g.Sealed {
			sealed = 1
		}
		b = append(append(b, sealed), g.Chain[:]...)
	}
	return b
}

func appendFiles(b []byte, files []heap.FileInfo) []byte {
	b = binary.AppendUvarint(b, uint64(len(files)))
	for _, f := range files {
		b = binary.LittleEndian.AppendUint32(b, f.Number)
		b = append(b, byte(f.Class))
		b = binary.LittleEndian.AppendUint32(b, f.Slots)
	}
	return b
}

// appendExtents sorts and joins what it is given, which stays as it is.
func appendExtents(b []byte, extents []heap.Extent) []byte {
	packed := pack(extents)
	b = binary.AppendUvarint(b, uint64(len(packed)))
	end := heap.Slot(0)
	for _, e := range packed {
		b = binary.AppendUvarint(b, uint64(e.First-end))
		b = binary.AppendUvarint(b, uint64(e.Count))
		end = e.First + heap.Slot(e.Count)
	}
	return b
}

// pack is the same slots, which are disjoint, in the fewest ascending extents.
func pack(extents []heap.Extent) []heap.Extent {
	sorted := slices.SortedFunc(slices.Values(extents), func(a, b heap.Extent) int {
		return int(int64(a.First) - int64(b.First))
	})
	packed := sorted[:0]
	for _, e := range sorted {
		if n := len(packed); n > 0 && packed[n-1].First+heap.Slot(packed[n-1].Count) == e.First && packed[n-1].First.File() == e.First.File() {
			packed[n-1].Count += e.Count
		} else {
			packed = append(packed, e)
		}
	}
	return packed
}

func appendBitmaps(b []byte, s *SlotSet) []byte {
	files := s.numbers()
	b = binary.AppendUvarint(b, uint64(len(files)))
	for _, file := range files {
		words := trim(s.files[file])
		b = binary.LittleEndian.AppendUint32(b, file)
		b = binary.AppendUvarint(b, uint64(len(words)))
		for _, w := range words {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	return b
}

// decodeSnapshot is the inverse of encodeSnapshot.
func decodeSnapshot(b []byte) (Facts, error) {
	r := reader{b: b}
	parts := r.u16()
	switch {
	case parts&^allParts != 0:
		return Facts{}, errNewer(parts)
	case parts&^(partConsumers|partNode) != snapshotParts:
		return Facts{}, errors.New("the first record is not a snapshot")
	}
	e := Edit{}
	r.edit(&e, snapshotParts&editParts)
	f := Facts{}
	used := r.bitmaps()
	f.Options = Options{Created: int64(r.u64()), PageSize: r.u32(), HeapFileBytes: int64(r.u64())}
	clean := wal.LSN(r.u64())
	if parts&partConsumers != 0 {
		e.Consumers = r.consumers()
	}
	if parts&partNode != 0 {
		e.Node = r.node()
	}
	if err := r.end(); err != nil {
		return Facts{}, err
	}
	if err := f.apply(e); err != nil {
		return Facts{}, err
	}
	f.Used, f.Clean = used, clean
	return f, f.checkUsed()
}

// decodeEdit is the inverse of encodeEdit.
func decodeEdit(b []byte) (Edit, error) {
	r, e := reader{b: b}, Edit{}
	parts := r.u16()
	if parts&^allParts != 0 {
		return Edit{}, errNewer(parts)
	}
	if parts&^uint16(editParts) != 0 {
		return Edit{}, fmt.Errorf("a record with the parts %#x is not an edit", parts)
	}
	r.edit(&e, parts)
	if parts&partConsumers != 0 {
		e.Consumers = r.consumers()
	}
	if parts&partNode != 0 {
		e.Node = r.node()
	}
	return e, r.end()
}

func errNewer(parts uint16) error {
	return fmt.Errorf("manifest: a record has the parts %#x, this program knows %#x: %w", parts, allParts, wal.ErrVersion)
}

// reader takes a payload apart. Past the end, and after any fault, it yields
// zeros and remembers.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return errPayload
	}
	return nil
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *reader) varint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count is a number of items of at least size bytes each that are still there.
func (r *reader) count(size int) int {
	n := r.varint()
	if n > uint64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) edit(e *Edit, parts uint16) {
	if parts&partTimeline != 0 {
		e.Timeline = &Timeline{wal.TimelineID(r.take(16)), r.u64()}
	}
	if parts&partCheckpoint != 0 {
		e.Checkpoint = r.checkpoint()
	}
	if parts&partLowWater != 0 {
		e.LowWater = wal.LSN(r.u64())
	}
	if parts&partGenerations != 0 {
		e.Generations = r.generations()
	}
	if parts&partHeap != 0 {
		e.Heap = r.files()
	}
	if parts&partUsed != 0 {
		e.Used = r.extents()
	}
	if parts&partFree != 0 {
		e.Free = r.extents()
	}
}

func (r *reader) checkpoint() *Checkpoint {
	c := &Checkpoint{LSN: wal.LSN(r.u64()), Hash: wal.Hash(r.take(32)), Time: int64(r.u64())}
	c.Root.Slot, c.Root.Birth, c.Root.Check = heap.Slot(r.u64()), wal.LSN(r.u64()), wal.PageHash(r.take(16))
	return c
}

func (r *reader) generations() *[]wal.Generation {
	gens := make([]wal.Generation, r.count(generationBytes))
	for i := range gens {
		g := &gens[i]
		g.ID, g.First, g.Last, g.Length = wal.GenID(r.u64()), wal.LSN(r.u64()), wal.LSN(r.u64()), int64(r.u64())
		sealed := r.u8()
		g.Sealed, r.bad = sealed == 1, r.bad || sealed > 1
		g.Chain = wal.Hash(r.take(32))
	}
	return &gens
}

func (r *reader) files() []heap.FileInfo {
	files := make([]heap.FileInfo, r.count(fileBytes))
	for i := range files {
		files[i] = heap.FileInfo{Number: r.u32(), Class: heap.Class(r.u8()), Slots: r.u32()}
	}
	return files
}

func (r *reader) extents() []heap.Extent {
	const slots = (heap.MaxFile + 1) << 28
	extents := make([]heap.Extent, r.count(2))
	end := uint64(0)
	for i := range extents {
		gap, n := r.varint(), r.varint()
		first := end + gap
		if gap >= slots || n == 0 || n > heap.MaxIndex || first+n > slots || first>>28 != (first+n-1)>>28 {
			r.bad = true
			return nil
		}
		extents[i] = heap.Extent{First: heap.Slot(first), Count: uint32(n)}
		end = first + n
	}
	return extents
}

func (r *reader) bitmaps() *SlotSet {
	s := &SlotSet{files: make(map[uint32][]uint64)}
	last := uint32(0)
	for range r.count(4 + 1 + 8) {
		file, words := r.u32(), make([]uint64, r.count(8))
		for i := range words {
			words[i] = r.u64()
			s.count += uint64(bits.OnesCount64(words[i]))
		}
		if file <= last || len(words) == 0 || words[len(words)-1] == 0 {
			r.bad = true
			return s
		}
		last, s.files[file] = file, words
	}
	return s
}
