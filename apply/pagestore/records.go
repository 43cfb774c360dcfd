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
//	"r" volume UUID, ""            ref record: the volume's current tip
//	"r" volume UUID, ref name      tag record
//	"l" LSN u64, section u32       lineage record
//	"t" lineage, tip LSN u64       tip record: a tip that tags and forks keep
//	"e" lineage, tip LSN u64       nothing: that tip has no pins left, and waits for the sweep
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
// Tag record:
//
//	offset  size  field
//	0       1     version, 1
//	1       12    lineage: LSN u64, section u32
//	13      8     LSN of the tip
//	21      8     seq: changes of this ref, dense from 1
//	29      8     LSN of the last change
//	37      8     LSN of the creation
//	45      8     time of the last change, nanoseconds since 1970
//
// Lineage and tip record:
//
//	offset  size  field
//	0       1     version, 1
//	1       1     1 when the lineage has ended: it has no current tip
//	2       12    origin lineage, zero for none, and always in a tip record
//	14      8     LSN of the origin's tip
//	22      8     fork LSN: what is born at or before it belongs to the origin
//	30      8     after: what is born at or before it belongs to the kept tip before this one
//	38      8     LSN of the tip
//	46      4     pins: tags and forks that name the tip; zero in a lineage record
//	50      4     page size in bytes
//	54      ..    root, as package pagetree encodes it; empty when the lineage has ended
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
	prefixTip     = "t"
	prefixEnding  = "e"
)

// LineageID names one line of tips: the entry that began it and the section
// of that entry. It is never reused, since LSNs are not.
type LineageID struct {
	LSN     wal.LSN
	Section uint32
}

func nameKey(name string) string { return prefixName + name }

func refKey(r wal.Ref) string { return prefixRef + string(r.Volume[:]) + string(r.Name) }

func (id LineageID) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(id.LSN))
	return binary.BigEndian.AppendUint32(dst, id.Section)
}

func lineageKey(id LineageID) string { return string(id.append([]byte(prefixLineage))) }

// tipID names one tip of a lineage.
type tipID struct {
	Lineage LineageID
	Tip     wal.LSN
}

const tipIDSize = 20

// lastTip is above the LSN of any tip.
const lastTip = ^wal.LSN(0)

func (id tipID) key(prefix string) string {
	return string(binary.BigEndian.AppendUint64(id.Lineage.append([]byte(prefix)), uint64(id.Tip)))
}

// parseTipID takes a key without its prefix.
func parseTipID(k string) (tipID, error) {
	if len(k) != tipIDSize {
		return tipID{}, badRecord("tip", fmt.Sprintf("its key is %x", k))
	}
	b := []byte(k)
	id := LineageID{wal.LSN(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])}
	return tipID{id, wal.LSN(binary.BigEndian.Uint64(b[12:]))}, nil
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

// tagRecord is what the catalogue keeps for a named ref.
type tagRecord struct {
	At      tipID
	Seq     uint64
	Changed wal.LSN
	Created wal.LSN
	Time    int64 // of the last change
}

const tagRecordSize = 53

func (r tagRecord) encode() catalogue.Raw {
	b := make([]byte, tagRecordSize)
	b[0] = recordVersion
	putLineage(b[1:], r.At.Lineage)
	binary.LittleEndian.PutUint64(b[13:], uint64(r.At.Tip))
	binary.LittleEndian.PutUint64(b[21:], r.Seq)
	binary.LittleEndian.PutUint64(b[29:], uint64(r.Changed))
	binary.LittleEndian.PutUint64(b[37:], uint64(r.Created))
	binary.LittleEndian.PutUint64(b[45:], uint64(r.Time))
	return b
}

func decodeTag(v catalogue.Value) (tagRecord, error) {
	b, ok := v.(catalogue.Raw)
	if !ok {
		return tagRecord{}, badRecord("tag", "it is a lineage")
	}
	if err := checkRecord(b, tagRecordSize, "tag"); err != nil {
		return tagRecord{}, err
	}
	if len(b) != tagRecordSize {
		return tagRecord{}, badRecord("tag", "it is too long")
	}
	return tagRecord{
		At:      tipID{getLineage(b[1:]), wal.LSN(binary.LittleEndian.Uint64(b[13:]))},
		Seq:     binary.LittleEndian.Uint64(b[21:]),
		Changed: wal.LSN(binary.LittleEndian.Uint64(b[29:])),
		Created: wal.LSN(binary.LittleEndian.Uint64(b[37:])),
		Time:    int64(binary.LittleEndian.Uint64(b[45:])),
	}, nil
}

// lineageRecord is a lineage with its current tip, or one kept tip of a lineage.
// It is put into the catalogue as it is, live, and encoded when a checkpoint has
// given its root a slot.
type lineageRecord struct {
	Ended    bool
	Origin   tipID
	Fork     wal.LSN
	After    wal.LSN
	Tip      wal.LSN
	Pins     uint32
	PageSize uint32
	Tree     pagetree.Tree

	written pagetree.Tree // Tree by its slots; set by the checkpoint that wrote it
}

// unwritten is a copy to be changed. It leaves out what a checkpoint may be
// setting at the moment.
func (l *lineageRecord) unwritten() lineageRecord { return l.with(l.Tree) }

// with is a copy of the record for a newer form of its tree.
func (l *lineageRecord) with(t pagetree.Tree) lineageRecord {
	return lineageRecord{Ended: l.Ended, Origin: l.Origin, Fork: l.Fork, After: l.After, Tip: l.Tip, Pins: l.Pins, PageSize: l.PageSize, Tree: t}
}

const lineageRecordFixed = 54

// Size is the encoded length in bytes; it does not depend on the tree.
func (l *lineageRecord) Size() int { return lineageRecordFixed + pagetree.RootSize }

// Append encodes the record; the tree's root must have been written.
func (l *lineageRecord) Append(dst []byte) []byte { return l.written.AppendRoot(l.appendFixed(dst)) }

// appendFixed encodes what is before the root.
func (l *lineageRecord) appendFixed(dst []byte) []byte {
	var b [lineageRecordFixed]byte
	b[0] = recordVersion
	if l.Ended {
		b[1] = 1
	}
	putLineage(b[2:], l.Origin.Lineage)
	binary.LittleEndian.PutUint64(b[14:], uint64(l.Origin.Tip))
	binary.LittleEndian.PutUint64(b[22:], uint64(l.Fork))
	binary.LittleEndian.PutUint64(b[30:], uint64(l.After))
	binary.LittleEndian.PutUint64(b[38:], uint64(l.Tip))
	binary.LittleEndian.PutUint32(b[46:], l.Pins)
	binary.LittleEndian.PutUint32(b[50:], l.PageSize)
	return append(dst, b[:]...)
}

func decodeLineage(b []byte) (*lineageRecord, error) {
	if err := checkRecord(b, lineageRecordFixed+pagetree.RootSize, "lineage"); err != nil {
		return nil, err
	}
	l, err := decodeFixed(b[:lineageRecordFixed])
	if err != nil {
		return nil, err
	}
	if l.Tree, err = pagetree.DecodeRoot(b[lineageRecordFixed:]); err != nil {
		return nil, badRecord("lineage", err.Error())
	}
	if l.written = l.Tree; len(b) != l.Size() {
		return nil, badRecord("lineage", "its lengths disagree")
	}
	return l, nil
}

// decodeFixed is the inverse of appendFixed.
func decodeFixed(b []byte) (*lineageRecord, error) {
	if err := checkRecord(b, lineageRecordFixed, "lineage"); err != nil {
		return nil, err
	}
	l := &lineageRecord{
		Ended:    b[1] == 1,
		Origin:   tipID{getLineage(b[2:]), wal.LSN(binary.LittleEndian.Uint64(b[14:]))},
		Fork:     wal.LSN(binary.LittleEndian.Uint64(b[22:])),
		After:    wal.LSN(binary.LittleEndian.Uint64(b[30:])),
		Tip:      wal.LSN(binary.LittleEndian.Uint64(b[38:])),
		Pins:     binary.LittleEndian.Uint32(b[46:]),
		PageSize: binary.LittleEndian.Uint32(b[50:]),
	}
	if b[1] > 1 || !wal.ValidPageSize(l.PageSize) {
		return nil, badRecord("lineage", "a field is out of bounds")
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
