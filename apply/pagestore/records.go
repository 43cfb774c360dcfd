package pagestore

import (
	"encoding/binary"
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// The catalogue's records. Integers are little-endian, in keys big-endian so
// that they sort.
//
//	key                            value
//	"n" name                       volume UUID, 16 bytes
//	"r" volume UUID, ref name      ref record
//	"l" LSN u64, section u32       lineage record
//	"v"                            number of volumes, u64
//
// Ref record:
//
//	offset  size  field
//	0       1     version, 1
//	1       12    lineage: LSN u64, section u32
//	13      8     seq: changes of this ref, dense from 1
//	21      8     LSN of the last change
//	29      8     LSN of the creation
//	37      4     page size in bytes
//	41      1     page hash algorithm
//	42      1     mode
//	43      1     length of the name
//	44      ..    name
//
// Lineage record:
//
//	offset  size  field
//	0       1     version, 1
//	1       12    origin lineage, zero for none
//	13      8     fork LSN: slots born at or before it belong to the origin
//	21      8     LSN of the newest tip
//	29      4     page size in bytes
//	33      ..    root, as package pagetree encodes it
//
// A record is valid if and only if its version is 1, its length is exactly
// what its fields say and its page size is valid. Another version is refused
// with wal.ErrVersion. Records are covered by the check of the node that holds
// them.
const recordVersion = 1

const (
	keyVolumes    = "v"
	prefixName    = "n"
	prefixRef     = "r"
	prefixLineage = "l"
)

// LineageID names one line of tips: the entry that began it and the section
// of that entry. It is never reused, since LSNs are not.
type LineageID struct {
	LSN     wal.LSN
	Section uint32
}

func nameKey(name string) string { return prefixName + name }

func refKey(r wal.Ref) string { return prefixRef + string(r.Volume[:]) + string(r.Name) }

func lineageKey(id LineageID) string {
	var k [13]byte
	k[0] = prefixLineage[0]
	binary.BigEndian.PutUint64(k[1:], uint64(id.LSN))
	binary.BigEndian.PutUint32(k[9:], id.Section)
	return string(k[:])
}

// refRecord is what the catalogue keeps for a ref.
type refRecord struct {
	Lineage LineageID
	Seq     uint64
	Changed wal.LSN
	Created wal.LSN
	Attrs   wal.VolumeAttrs
}

const refRecordFixed = 44

func (r refRecord) encode() catalogue.Raw {
	b := make([]byte, refRecordFixed, refRecordFixed+len(r.Attrs.Name))
	b[0] = recordVersion
	putLineage(b[1:], r.Lineage)
	binary.LittleEndian.PutUint64(b[13:], r.Seq)
	binary.LittleEndian.PutUint64(b[21:], uint64(r.Changed))
	binary.LittleEndian.PutUint64(b[29:], uint64(r.Created))
	binary.LittleEndian.PutUint32(b[37:], r.Attrs.PageSize)
	b[41] = r.Attrs.PageAlgo
	b[42] = r.Attrs.Mode
	b[43] = byte(len(r.Attrs.Name))
	return append(b, r.Attrs.Name...)
}

func decodeRef(b []byte) (refRecord, error) {
	if err := checkRecord(b, refRecordFixed, "ref"); err != nil {
		return refRecord{}, err
	}
	r := refRecord{
		Lineage: getLineage(b[1:]),
		Seq:     binary.LittleEndian.Uint64(b[13:]),
		Changed: wal.LSN(binary.LittleEndian.Uint64(b[21:])),
		Created: wal.LSN(binary.LittleEndian.Uint64(b[29:])),
		Attrs: wal.VolumeAttrs{
			PageSize: binary.LittleEndian.Uint32(b[37:]),
			PageAlgo: b[41],
			Mode:     b[42],
			Name:     string(b[refRecordFixed:]),
		},
	}
	if len(r.Attrs.Name) != int(b[43]) || !wal.ValidPageSize(r.Attrs.PageSize) {
		return refRecord{}, badRecord("ref", "its lengths disagree")
	}
	return r, nil
}

// lineageRecord is a lineage and its newest tip. It is put into the catalogue
// as it is, live, and encoded when a checkpoint has given its root a slot.
type lineageRecord struct {
	Origin LineageID
	Fork   wal.LSN
	Tip    wal.LSN
	Tree   pagetree.Tree

	PageSize uint32

	written pagetree.Tree // Tree by its slots; set by the checkpoint that wrote it
}

// unwritten is a copy to be changed. It leaves out what a checkpoint may be
// setting at the moment.
func (l *lineageRecord) unwritten() lineageRecord {
	return lineageRecord{Origin: l.Origin, Fork: l.Fork, Tip: l.Tip, Tree: l.Tree, PageSize: l.PageSize}
}

const lineageRecordFixed = 33

// Size is the encoded length in bytes; it does not depend on the tree.
func (l *lineageRecord) Size() int { return lineageRecordFixed + pagetree.RootSize }

// Append encodes the record; the tree's root must have been written.
func (l *lineageRecord) Append(dst []byte) []byte {
	var b [lineageRecordFixed]byte
	b[0] = recordVersion
	putLineage(b[1:], l.Origin)
	binary.LittleEndian.PutUint64(b[13:], uint64(l.Fork))
	binary.LittleEndian.PutUint64(b[21:], uint64(l.Tip))
	binary.LittleEndian.PutUint32(b[29:], l.PageSize)
	return l.written.AppendRoot(append(dst, b[:]...))
}

func decodeLineage(b []byte) (*lineageRecord, error) {
	if err := checkRecord(b, lineageRecordFixed+pagetree.RootSize, "lineage"); err != nil {
		return nil, err
	}
	tree, err := pagetree.DecodeRoot(b[lineageRecordFixed:])
	if err != nil {
		return nil, badRecord("lineage", err.Error())
	}
	l := &lineageRecord{
		Origin:   getLineage(b[1:]),
		Fork:     wal.LSN(binary.LittleEndian.Uint64(b[13:])),
		Tip:      wal.LSN(binary.LittleEndian.Uint64(b[21:])),
		PageSize: binary.LittleEndian.Uint32(b[29:]),
		Tree:     tree,
		written:  tree,
	}
	if len(b) != l.Size() || !wal.ValidPageSize(l.PageSize) {
		return nil, badRecord("lineage", "its lengths disagree")
	}
	return l, nil
}

func putLineage(b []byte, id LineageID) {
	binary.LittleEndian.PutUint64(b, uint64(id.LSN))
	binary.LittleEndian.PutUint32(b[8:], id.Section)
}

func getLineage(b []byte) LineageID {
	return LineageID{wal.LSN(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:])}
}

func checkRecord(b []byte, min int, kind string) error {
	if len(b) > 0 && b[0] != recordVersion {
		return fmt.Errorf("pagestore: %s record of version %d: %w", kind, b[0], wal.ErrVersion)
	}
	if len(b) < min {
		return badRecord(kind, "it is too short")
	}
	return nil
}

func badRecord(kind, reason string) error {
	return &wal.CorruptError{File: "heap", Offset: -1, Reason: "catalogue: a " + kind + " record is not valid: " + reason}
}
