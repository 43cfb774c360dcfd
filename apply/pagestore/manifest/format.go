package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/quire-db/quire/wal"
)

// The file is a header and then records. Little-endian.
//
//	header              offset  size  field
//	                         0     8  magic "QUIREMAN"
//	                         8     2  version, 1
//	                        10     2  oldest version of a reader, 1
//	                        12     4  zero
//	                        16    16  store UUID
//	                        32     4  CRC32C of bytes 0 to 31
//
//	record                   0     4  magic "QMRC"
//	                         4     4  n, length of the payload
//	                         8     8  sequence number, from 1
//	                        16     4  CRC32C of the record before, of the header for the first
//	                        20     4  CRC32C, going on from that of the header, of bytes 0 to 19 and the payload
//	                        24     n  payload (payload.go)
//
// A file is a valid manifest if and only if
//
//  1. magic, CRC and version of the header fit, and so does the zero;
//  2. the first record is valid and a snapshot;
//  3. each later one is valid, an edit, numbered one above the record before,
//     names its CRC, and is true of the facts so far (Edit);
//  4. behind the last of these there are zeros, or none, or a torn tail: bytes
//     without any valid record that is numbered above the last.
//
// The zeros are space taken ahead for the records to come. A file that says
// that the store was closed cleanly is written without.
//
// The torn tail is what a crash leaves of one append, since each is synced
// before the next. The file as a whole comes to be by a rename after its sync,
// so header and snapshot are never torn. Every new file takes a new sequence
// number: blocks that an older file left on the disk therefore never hold a
// number above the last, and CRCs that begin with the header's tell stores
// apart.
//
// The header keeps its form in all versions; what is newer than the reader is
// refused with wal.ErrVersion.
const (
	magic       = "QUIREMAN"
	version     = 1
	headerBytes = 36

	recordMagic = "QMRC"
	recordBytes = 24 // before the payload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendHeader also returns the header's CRC, with which all others begin.
func appendHeader(b []byte, store uuid.UUID) ([]byte, uint32) {
	at := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = append(b, 0, 0, 0, 0)
	b = append(b, store[:]...)
	crc := crc32.Checksum(b[at:], castagnoli)
	return binary.LittleEndian.AppendUint32(b, crc), crc
}

func decodeHeader(b []byte) (store uuid.UUID, crc uint32, err error) {
	crc = crc32.Checksum(b[:32], castagnoli)
	switch {
	case string(b[:8]) != magic:
		return store, 0, errors.New("this is no manifest")
	case binary.LittleEndian.Uint32(b[32:]) != crc:
		return store, 0, errors.New("the header does not fit its checksum")
	case binary.LittleEndian.Uint16(b[10:]) > version:
		return store, 0, fmt.Errorf("manifest: this store needs a program that reads version %d, this one reads %d: %w",
			binary.LittleEndian.Uint16(b[10:]), version, wal.ErrVersion)
	case binary.LittleEndian.Uint16(b[8:]) != version || binary.LittleEndian.Uint16(b[10:]) != version || binary.LittleEndian.Uint32(b[12:]) != 0:
		return store, 0, errors.New("version or reserved bytes of the header cannot be")
	}
	return uuid.UUID(b[16:32]), crc, nil
}

// record is one record without its payload.
type record struct {
	length    uint32
	seq       uint64
	prev, crc uint32
}

// appendRecord appends a record but for its payload, which follows; seed is
// the header's CRC. It also returns the record's own CRC.
func appendRecord(b []byte, seed uint32, seq uint64, prev uint32, payload []byte) ([]byte, uint32) {
	at := len(b)
	b = append(b, recordMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint32(b, prev)
	crc := recordCRC(seed, b[at:], payload)
	return binary.LittleEndian.AppendUint32(b, crc), crc
}

// decodeRecord reads the first recordBytes; ok says that they may begin a
// record, whose CRC is still to be compared.
func decodeRecord(b []byte) (r record, ok bool) {
	r.length = binary.LittleEndian.Uint32(b[4:])
	r.seq = binary.LittleEndian.Uint64(b[8:])
	r.prev = binary.LittleEndian.Uint32(b[16:])
	r.crc = binary.LittleEndian.Uint32(b[20:])
	return r, string(b[:4]) == recordMagic
}

// recordCRC is the CRC of a record by its first 20 bytes and its payload.
func recordCRC(seed uint32, head, payload []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, head[:20]), castagnoli, payload)
}
