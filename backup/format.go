package backup

import (
	"encoding/binary"
	"fmt"

	"github.com/quire-db/quire/wal"
)

// A page of LengthsVolume says how long the file in one volume is. Integers
// are little-endian.
//
//	offset size field
//	     0    4 magic "QLEN"
//	     4    1 version: 1
//	     5    3 zero
//	     8   16 volume UUID
//	    24    8 length in bytes
//	    32  480 zero
//
// A page is valid if and only if
//
//  1. it is all zeros: no record; or
//  2. magic and version fit, the UUID is not zero, the length is below 2^63,
//     and the rest is zeros.
//
// Another version is refused with wal.ErrVersion. Pages are covered by the
// store's page hashes. The record of a volume lies in the page that the last
// eight bytes of its UUID, a number, leave when divided by LengthsPages, or in
// the first one behind that was free when it was made; records never move.
const (
	lengthMagic   = "QLEN"
	lengthVersion = 1

	// LengthsVolume is the name of the volume that keeps exact lengths.
	LengthsVolume = ".lengths"
	// LengthsPageSize is its page size in bytes, LengthsPages its size in
	// pages. It is sparse: only records take space.
	LengthsPageSize = 512
	LengthsPages    = 1 << 24

	maxProbes = 4096
)

// EncodeLength is the page that says how long the file in a volume is.
func EncodeLength(id wal.VolumeID, length int64) []byte {
	b := make([]byte, LengthsPageSize)
	copy(b, lengthMagic)
	b[4] = lengthVersion
	copy(b[8:], id[:])
	binary.LittleEndian.PutUint64(b[24:], uint64(length))
	return b
}

// DecodeLength is the inverse of EncodeLength; ok is false for a page of zeros.
func DecodeLength(b []byte) (id wal.VolumeID, length int64, ok bool, err error) {
	switch {
	case len(b) != LengthsPageSize:
		return id, 0, false, badLength(fmt.Sprintf("%d bytes instead of %d", len(b), LengthsPageSize))
	case allZero(b):
		return id, 0, false, nil
	case string(b[:4]) != lengthMagic:
		return id, 0, false, badLength("its magic is wrong")
	case b[4] != lengthVersion:
		return id, 0, false, fmt.Errorf("backup: length record of version %d: %w", b[4], wal.ErrVersion)
	}
	id, length = wal.VolumeID(b[8:24]), int64(binary.LittleEndian.Uint64(b[24:]))
	if id == (wal.VolumeID{}) || length < 0 || !allZero(b[5:8]) || !allZero(b[32:]) {
		return id, 0, false, badLength("its fields cannot be")
	}
	return id, length, true, nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// badLength is an error of whoever wrote the page: its bytes are as committed.
func badLength(reason string) error {
	return fmt.Errorf("backup: a page of volume %q is no length record: %s", LengthsVolume, reason)
}
