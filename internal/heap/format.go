package heap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/quire-db/quire/wal"
)

// A heap file is a header of 4,096 bytes and slots of one size behind it, up
// to the end of the file. Slots have no format of their own: what names a slot
// holds the hash of what lies in it. Integers are little-endian.
//
//	offset  size  field
//	     0     4  magic "QHEP"
//	     4     2  version, 1
//	     6     1  class: slots have 1<<class bytes, 9 to 16
//	     7     1  zero
//	     8     4  number of the file, as in its name, 1 to MaxFile
//	    12    16  UUID of the store
//	    28  4064  zero
//	  4092     4  CRC32C of the bytes before
//
// A header is valid if and only if
//
//  1. its magic is right and its version is 1 (a greater one is wal.ErrVersion),
//  2. its CRC fits,
//  3. all bytes that are zero above are zero,
//  4. class, number and store are those expected of the file.
//
// Another layout of header or slots takes the next version number; zero bytes
// are not given a meaning within a version.
const (
	headerMagic   = "QHEP"
	headerVersion = 1
	headerBytes   = 4096
	headerCRC     = headerBytes - 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what a file says about itself.
type header struct {
	class  Class
	number uint32
	store  uuid.UUID
}

func (h header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, headerMagic)
	binary.LittleEndian.PutUint16(b[4:], headerVersion)
	b[6] = byte(h.class)
	binary.LittleEndian.PutUint32(b[8:], h.number)
	copy(b[12:], h.store[:])
	binary.LittleEndian.PutUint32(b[headerCRC:], crc32.Checksum(b[:headerCRC], castagnoli))
	return b
}

// decodeHeader checks b by itself. A reason that is not nil says what is wrong;
// it wraps wal.ErrVersion for a newer version.
func decodeHeader(b []byte) (h header, reason error) {
	if len(b) != headerBytes || string(b[:4]) != headerMagic {
		return h, fmt.Errorf("not a heap file: want magic %q and a header of %d bytes", headerMagic, headerBytes)
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v > headerVersion {
		return h, fmt.Errorf("heap file version %d, this program knows up to %d: %w", v, headerVersion, wal.ErrVersion)
	} else if v != headerVersion {
		return h, fmt.Errorf("heap file version %d does not exist", v)
	}
	want := binary.LittleEndian.Uint32(b[headerCRC:])
	if got := crc32.Checksum(b[:headerCRC], castagnoli); got != want {
		return h, fmt.Errorf("header has CRC %08x, says %08x", got, want)
	}
	h.class = Class(b[6])
	h.number = binary.LittleEndian.Uint32(b[8:])
	h.store = uuid.UUID(b[12:28])
	if !bytes.Equal(b, h.encode()) {
		return h, fmt.Errorf("header has bytes that must be zero")
	}
	if !h.class.valid() || h.number == 0 || h.number > MaxFile {
		return h, fmt.Errorf("header has class %d and number %d", h.class, h.number)
	}
	return h, nil
}

func (c Class) valid() bool { return c >= MinClass && c <= MaxClass }
