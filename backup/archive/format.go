package archive

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// Keys, under the prefix that the store's URL names. <lsn> is 20 decimal
// digits, <ms> 13: milliseconds since 1970. UUIDs are in lower case.
//
//	FORMAT                                    what made the archive
//	logs/<timeline>/start                     what the log continues
//	logs/<timeline>/append/<first lsn>        whole entries, from that LSN on
//	logs/<timeline>/pack/<first>-<last>       the entries from one LSN to another
//	logs/<timeline>/floor/<lsn>               appends below it may be gone
//	logs/<timeline>/trim/<lsn>                entries below it may be gone
//	logs/<timeline>/mark/<lsn>                entries up to it were put
//	logs/<timeline>/snap/<lsn>/manifest       a snapshot at that LSN
//	logs/<timeline>/snap/<lsn>/merged/<number of 6 digits, from 1>
//	                                          the same on another base: the highest counts
//	logs/<timeline>/snap/<lsn>/part/<uuid>-<number of 6 digits>
//	                                          a part of it, by one attempt
//	blobs/<uuid>                              a large image that an entry names
//	pins/<ms>-<uuid>                          what a reader needs, until then
//
// A key is valid if and only if
//
//  1. it has one of these forms, with exactly that many digits;
//  2. LSNs are not 0 and fit 64 bits, and a pack's first is not above its last;
//  3. no UUID is all zeros, nor is the number of a merged snapshot.
//
// The bytes of FORMAT, start, floor, trim and mark are below; append, pack, snapshots
// and blobs are sealed objects (seal_format.go). Those of pins are package
// pins'.
//
// FORMAT is
//
//	offset size field
//	     0    4 magic "QARC"
//	     4    1 version: 1
//	     5    3 zero
//	     8   16 archive UUID, random: tells it from another at the same URL
//	    24    8 when it was made, nanoseconds since 1970
//	    32    4 CRC32C of the bytes before
//
// start is
//
//	offset size field
//	     0    4 magic "QALS"
//	     4    1 version: 1
//	     5    3 zero
//	     8   16 timeline: the key's
//	    24    8 epoch of the timeline
//	    32    8 first LSN: of the first entry in the log
//	    40   32 hash of the entry before that, zero before LSN 1
//	    72   16 parent timeline, zero for the first of a store
//	    88    8 LSN at which the timeline left its parent
//	    96   32 hash of the parent's entry at that LSN
//	   128    4 CRC32C of the bytes before
//
// floor, trim and mark are
//
//	offset size field
//	     0    4 magic "QALN"
//	     4    1 version: 1
//	     5    1 1 floor, 2 mark, 3 trim
//	     6    2 zero
//	     8   16 timeline: the key's
//	    24    8 LSN: the key's
//	    32    4 CRC32C of the bytes before
//
// Integers are little-endian. An object is valid if and only if
//
//  1. it has its magic, version, length, zeros and checksum;
//  2. the archive UUID, or the timeline, is not zero;
//  3. of a start: the first LSN is above the parent's; when it is the next, the
//     hash before it is the parent's;
//  4. the first LSN is 1 exactly when the hash before it is zero;
//  5. parent timeline, LSN and hash are all zero or none is, and the
//     parent is not the timeline itself;
//  6. a floor, trim or mark has its key's bytes, of which there are no others.
//
// Another version is refused with wal.ErrVersion, whatever follows it. What is
// added to version 1 is added as new kinds of keys, which a reader of this
// version reports (ErrKey) and does not delete.
const (
	formatMagic, formatBytes = "QARC", 36
	startMagic, startBytes   = "QALS", 132
	noteMagic, noteBytes     = "QALN", 36

	version = 1
)

var le = binary.LittleEndian

// Format is the object that makes a place in a store an archive.
type Format struct {
	Archive uuid.UUID
	Made    int64 // nanoseconds since 1970
}

// EncodeFormat is the bytes of FORMAT.
func EncodeFormat(f Format) []byte {
	b := begin(formatMagic, formatBytes)
	copy(b[8:], f.Archive[:])
	le.PutUint64(b[24:], uint64(f.Made))
	return finish(b)
}

// DecodeFormat is the inverse of EncodeFormat.
func DecodeFormat(b []byte) (Format, error) {
	if err := checkFrame(FormatKey, b, formatMagic, formatBytes); err != nil {
		return Format{}, err
	}
	f := Format{Archive: uuid.UUID(b[8:24]), Made: int64(le.Uint64(b[24:]))}
	if f.Archive == uuid.Nil {
		return Format{}, corrupt(FormatKey, "the archive's UUID is zero")
	}
	return f, nil
}

// Start says which history a log in the archive continues.
type Start struct {
	Timeline wal.TimelineID
	Epoch    uint64
	First    wal.LSN      // of the first entry in the log
	Before   wal.Hash     // of entry First-1
	Parent   wal.Position // where the timeline left its parent; zero for the first of a store
}

// EncodeStart is the bytes of a start.
func EncodeStart(s Start) []byte {
	b := begin(startMagic, startBytes)
	copy(b[8:], s.Timeline[:])
	le.PutUint64(b[24:], s.Epoch)
	le.PutUint64(b[32:], uint64(s.First))
	copy(b[40:], s.Before[:])
	copy(b[72:], s.Parent.Timeline[:])
	le.PutUint64(b[88:], uint64(s.Parent.LSN))
	copy(b[96:], s.Parent.Hash[:])
	return finish(b)
}

// DecodeStart is the inverse of EncodeStart, for the object of a timeline's log:
// another timeline's is corruption, since it was put by that one's key.
func DecodeStart(timeline wal.TimelineID, b []byte) (Start, error) {
	key := Key{Kind: KindStart, Log: timeline}.String()
	if err := checkFrame(key, b, startMagic, startBytes); err != nil {
		return Start{}, err
	}
	s := Start{
		Timeline: wal.TimelineID(b[8:24]),
		Epoch:    le.Uint64(b[24:]),
		First:    wal.LSN(le.Uint64(b[32:])),
		Before:   wal.Hash(b[40:72]),
		Parent:   wal.Position{Timeline: wal.TimelineID(b[72:88]), LSN: wal.LSN(le.Uint64(b[88:])), Hash: wal.Hash(b[96:128])},
	}
	if s.Timeline != timeline {
		return Start{}, corrupt(key, fmt.Sprintf("it is that of timeline %s", s.Timeline))
	}
	if reason := s.invalid(); reason != "" {
		return Start{}, corrupt(key, reason)
	}
	return s, nil
}

// invalid says why a start cannot be; empty when it can.
func (s Start) invalid() string {
	p := s.Parent
	hasParent := p.Timeline != wal.TimelineID{}
	switch {
	case s.Timeline == wal.TimelineID{}:
		return "its timeline is zero"
	case hasParent != (p.LSN != 0) || hasParent != (p.Hash != wal.Hash{}):
		return "its parent is neither a position nor none"
	case p.Timeline == s.Timeline:
		return "its timeline is its own parent"
	case s.First <= p.LSN:
		return fmt.Sprintf("its first LSN %d is not above its parent's %d", s.First, p.LSN)
	case s.First == 1 != (s.Before == wal.Hash{}):
		return fmt.Sprintf("the hash before LSN %d is %s", s.First, s.Before)
	case s.First == p.LSN+1 && s.Before != p.Hash:
		return "the hash before its first entry is not its parent's"
	}
	return ""
}

// notes are the kinds of keys that EncodeNote has bytes for.
var notes = map[Kind]byte{KindFloor: 1, KindMark: 2, KindTrim: 3}

// EncodeNote is the bytes of a floor, trim or mark, which say no more than its key: so one
// under a key that is not its own is found.
func EncodeNote(k Key) []byte {
	b := begin(noteMagic, noteBytes)
	b[5] = notes[k.Kind]
	copy(b[8:], k.Log[:])
	le.PutUint64(b[24:], uint64(k.First))
	return finish(b)
}

// CheckNote returns nil if b is the floor, trim or mark of that key.
func CheckNote(k Key, b []byte) error {
	switch {
	case len(b) > 4 && string(b[:4]) == noteMagic && b[4] != version:
		return tooNew(k.String(), fmt.Sprintf("version %d, this program knows %d", b[4], version))
	case notes[k.Kind] == 0, string(b) != string(EncodeNote(k)):
		return corrupt(k.String(), "it does not have the bytes that belong to its key")
	}
	return nil
}

// begin makes an object of n bytes.
func begin(magic string, n int) []byte {
	b := make([]byte, n)
	copy(b, magic)
	b[4] = version
	return b
}

// finish adds the checksum.
func finish(b []byte) []byte {
	le.PutUint32(b[len(b)-4:], objects.Checksum(0, b[:len(b)-4]))
	return b
}

// checkFrame checks what all objects have: rule 1.
func checkFrame(key string, b []byte, magic string, n int) error {
	switch {
	case len(b) < 5 || string(b[:4]) != magic:
		return corrupt(key, "its magic is wrong")
	case b[4] != version:
		return fmt.Errorf("archive: %s has version %d, this program knows %d, nothing was changed: %w", key, b[4], version, wal.ErrVersion)
	case len(b) != n:
		return corrupt(key, fmt.Sprintf("%d bytes instead of %d", len(b), n))
	case objects.Checksum(0, b[:n-4]) != le.Uint32(b[n-4:]):
		return corrupt(key, "its checksum is wrong")
	case b[5] != 0 || b[6] != 0 || b[7] != 0:
		return corrupt(key, "bytes that are zero are not")
	}
	return nil
}

func corrupt(key, reason string) error {
	return fmt.Errorf("archive: %w", &wal.CorruptError{File: key, Offset: -1, Reason: reason})
}
