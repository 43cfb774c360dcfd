package wal

import (
	"bytes"
	"fmt"
	"hash/crc32"
)

// A record of the library is one frame: a header, then the payload, which is
// the entry, its body map and its inline bytes, back to back. Little-endian.
//
//	offset size field
//	     0    4 magic "QFRM"
//	     4    1 version: 1
//	     5    1 kind: 1 entry, 2 mark
//	     6    2 flags: bit 0, the images in extents were synced before the record existed (Exempt)
//	     8    8 generation nonce
//	    16   16 timeline of the entry; of entry LSN in a mark
//	    32    8 LSN of the entry; of the last entry before it in a mark
//	    40    8 first LSN of the group; 0 in a mark
//	    48    8 durable mark: the highest LSN known synced when the frame was written
//	    56    8 manifest sequence it was written under
//	    64   32 hash of entry LSN-1; of entry LSN in a mark
//	    96    4 bytes of the entry
//	   100    4 extents in the body map
//	   104    4 inline bytes
//	   108    4 CRC32C of the payload
//	   112    4 CRC32C of the 112 bytes before
//	   116      entry (format.go), body map {slot u64, length in bytes u64} each, inline bytes
//
// A header is valid if and only if
//
//  1. magic, nonce and header CRC fit;
//  2. the version is 1, the kind is known, unknown flags are zero;
//  3. header and payload are at most MaxRecord bytes;
//  4. entry: 0 < LSN, 0 < entry bytes, durable mark < group's first LSN <= LSN;
//  5. mark: durable mark <= LSN; flags, group, lengths and payload CRC are zero.
//
// A frame is valid by itself if its header is and the payload has that CRC and
// exactly that length. Versions may change anything but magic, version, nonce
// and the place of the header CRC, by which every version knows its successors.
const (
	frameMagic   = "QFRM"
	frameVersion = 1
	frameHeader  = 116
	extentSize   = 16

	flagExempt = 1
)

// MaxRecord is the limit of one record in bytes, frame and inline bytes
// included. What is larger lies in extents.
const MaxRecord = 1 << 20

// FrameKind says what a frame carries.
type FrameKind uint8

// Kinds of frames.
const (
	FrameEntry FrameKind = 1
	FrameMark  FrameKind = 2 // nothing but its durable mark
)

// Extent is a piece of the heap in a body map; what a slot means is the heap's
// business.
type Extent struct {
	Slot   uint64
	Length uint64 // bytes
}

// Frame is the header of one record.
type Frame struct {
	Kind       FrameKind
	Exempt     bool // its extents were synced before it was sequenced
	Gen        GenID
	Timeline   TimelineID
	LSN        LSN
	GroupFirst LSN
	Durable    LSN
	Manifest   uint64 // sequence
	Prev       Hash

	entryBytes  uint32
	extents     uint32
	inlineBytes uint32
	payloadSum  uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// put encodes all of the header but the durable mark and the header CRC.
func (f *Frame) put(b []byte) {
	copy(b, frameMagic)
	b[4], b[5] = frameVersion, byte(f.Kind)
	if f.Exempt {
		le.PutUint16(b[6:], flagExempt)
	}
	le.PutUint64(b[8:], uint64(f.Gen))
	copy(b[16:], f.Timeline[:])
	le.PutUint64(b[32:], uint64(f.LSN))
	le.PutUint64(b[40:], uint64(f.GroupFirst))
	le.PutUint64(b[56:], f.Manifest)
	copy(b[64:], f.Prev[:])
	le.PutUint32(b[96:], f.entryBytes)
	le.PutUint32(b[100:], f.extents)
	le.PutUint32(b[104:], f.inlineBytes)
	le.PutUint32(b[108:], f.payloadSum)
}

// sealFrame writes what is known only when the frame is appended.
func sealFrame(b []byte, durable LSN) {
	le.PutUint64(b[48:], uint64(durable))
	le.PutUint32(b[112:], crc32.Checksum(b[:112], castagnoli))
}

// badFrame says why bytes are not a valid frame, or not the one that must come
// here. Whether that is a torn tail or corruption, the scan decides.
type badFrame string

func (e badFrame) Error() string { return string(e) }

// decodeFrame decodes the header at the start of b. Errors are badFrame, or
// wrap ErrVersion.
func decodeFrame(b []byte, gen GenID) (Frame, error) {
	if len(b) < frameHeader || string(b[:4]) != frameMagic {
		return Frame{}, badFrame("no frame begins here")
	}
	if GenID(le.Uint64(b[8:])) != gen {
		return Frame{}, badFrame("the frame belongs to another generation")
	}
	if le.Uint32(b[112:]) != crc32.Checksum(b[:112], castagnoli) {
		return Frame{}, badFrame("the frame's header does not match its checksum")
	}
	if b[4] > frameVersion {
		return Frame{}, fmt.Errorf("wal: frame version %d, this program knows %d: %w", b[4], frameVersion, ErrVersion)
	}
	f := Frame{
		Kind:        FrameKind(b[5]),
		Exempt:      b[6]&flagExempt != 0,
		Gen:         gen,
		Timeline:    TimelineID(b[16:32]),
		LSN:         LSN(le.Uint64(b[32:])),
		GroupFirst:  LSN(le.Uint64(b[40:])),
		Durable:     LSN(le.Uint64(b[48:])),
		Manifest:    le.Uint64(b[56:]),
		Prev:        Hash(b[64:96]),
		entryBytes:  le.Uint32(b[96:]),
		extents:     le.Uint32(b[100:]),
		inlineBytes: le.Uint32(b[104:]),
		payloadSum:  le.Uint32(b[108:]),
	}
	if b[4] != frameVersion || le.Uint16(b[6:])&^flagExempt != 0 || !f.wellFormed() {
		return Frame{}, badFrame("the frame's header breaks its own rules")
	}
	return f, nil
}

// wellFormed checks rules 2 to 5 as far as they are about the decoded fields.
func (f *Frame) wellFormed() bool {
	switch f.Kind {
	case FrameEntry:
		return f.entryBytes > 0 && f.size() <= MaxRecord && f.Durable < f.GroupFirst && f.GroupFirst <= f.LSN
	case FrameMark:
		return f.size() == frameHeader && f.payloadSum == 0 && !f.Exempt && f.GroupFirst == 0 && f.Durable <= f.LSN
	}
	return false
}

// size is the length in bytes of header and payload. It cannot overflow.
func (f *Frame) size() int64 {
	return frameHeader + int64(f.entryBytes) + int64(f.extents)*extentSize + int64(f.inlineBytes)
}

// payload splits b, a whole frame, into its parts after checking them. The
// parts alias b.
func (f *Frame) payload(b []byte) (entry, bodyMap, inline []byte, err error) {
	if int64(len(b)) != f.size() {
		return nil, nil, nil, badFrame("the frame is cut short")
	}
	b = b[frameHeader:]
	if crc32.Checksum(b, castagnoli) != f.payloadSum {
		return nil, nil, nil, badFrame("the frame's payload does not match its checksum")
	}
	entry, b = b[:f.entryBytes], b[f.entryBytes:]
	return entry, b[:f.extents*extentSize], b[f.extents*extentSize:], nil
}

func appendExtents(dst []byte, extents []Extent) []byte {
	for _, x := range extents {
		dst = le.AppendUint64(dst, x.Slot)
		dst = le.AppendUint64(dst, x.Length)
	}
	return dst
}

func decodeExtents(b []byte) []Extent {
	if len(b) == 0 {
		return nil
	}
	xs := make([]Extent, len(b)/extentSize)
	for i := range xs {
		xs[i].Slot = le.Uint64(b[i*extentSize:])
		xs[i].Length = le.Uint64(b[i*extentSize+8:])
	}
	return xs
}

// eachFrame calls visit for every valid header of gen in b, wherever it begins,
// whatever surrounds it. A header that starts in b and ends behind it is not
// found. Cost: a search for eight bytes.
func eachFrame(b []byte, gen GenID, visit func(Frame) error) error {
	var nonce [8]byte
	le.PutUint64(nonce[:], uint64(gen))
	for at := 8; at < len(b); at++ {
		i := bytes.Index(b[at:], nonce[:])
		if i < 0 {
			return nil
		}
		at += i
		f, err := decodeFrame(b[at-8:], gen)
		if _, bad := err.(badFrame); bad {
			continue
		}
		if err == nil {
			err = visit(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
