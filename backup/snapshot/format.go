package snapshot

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/wal"
)

// The plain bytes of a snapshot's manifest. Integers are little-endian. What the
// snapshot is of, which attempt put its parts, and how many, the header of the sealed
// object says, which needs no key.
//
//	offset size field
//	     0    4 magic "QSNM"
//	     4    1 version: 1
//	     5    3 zero
//	     8   16 timeline of the base, zero for a whole snapshot
//	    24    8 LSN of the base
//	    32   32 hash of entry LSN of the base
//	    64    8 items of the portable form
//	    72    8 images
//	    80    8 bytes of these
//	    88    8 volumes
//	    96   16 digest of all refs and their states
//	   112    4 page size of volumes that name none
//	   116    4 parts
//	   120   32 for each part, in order: plain bytes u64, bytes of the object u64,
//	            xxh3-128 of its stored bytes
//
// It is valid if and only if magic, version, length and zeros are as above, the
// base is a position or all zero, and before the snapshot, there is a part,
// no part has more than MaxPartBytes plain bytes or none, and the page size is valid.
const (
	manifestMagic   = "QSNM"
	manifestVersion = 1
	manifestFixed   = 120
	partSize        = 32

	// MaxPartBytes bounds the plain bytes of a part.
	MaxPartBytes = 64 << 20
	maxParts     = 1e6
)

// Manifest describes a snapshot.
type Manifest struct {
	Position wal.Position
	Epoch    uint64
	Time     int64        // of the entry, nanoseconds since 1970
	Base     wal.Position // zero for a whole snapshot
	Attempt  uuid.UUID    // that put the parts
	Merged   uint32       // how often it was put on another base; 0 when it is as it was taken
	Items    uint64       // of the portable form
	Images   uint64
	Bytes    uint64 // of images
	Volumes  uint64
	Digest   wal.PageHash // of all refs and their states
	PageSize uint32       // of volumes that name none
	Parts    []Part
}

// Part of a snapshot.
type Part struct {
	Plain int64 // bytes of the portable form
	Size  int64 // of the object, in bytes
	Sum   [16]byte
}

// Head is the state that the snapshot is of.
func (m *Manifest) Head() pagestore.Head {
	return pagestore.Head{Position: m.Position, Epoch: m.Epoch, Time: m.Time}
}

// Whole reports whether the snapshot needs no other one.
func (m *Manifest) Whole() bool { return m.Base == wal.Position{} }

// Prove compares what became of the snapshot in a store with what it says: wal.ErrCorrupt
// when that is not the same.
func (m *Manifest) Prove(volumes uint64, digest wal.PageHash) error {
	if volumes == m.Volumes && digest == m.Digest {
		return nil
	}
	return &wal.CorruptError{File: m.Key().String(), Offset: -1, LSN: m.Position.LSN,
		Reason: fmt.Sprintf("what it becomes are %d volumes with digest %s, it says %d with %s", volumes, digest, m.Volumes, m.Digest)}
}

// Plain is the bytes of the portable form.
func (m *Manifest) Plain() (bytes int64) {
	for _, p := range m.Parts {
		bytes += p.Plain
	}
	return bytes
}

// Stored is the bytes of the parts in the archive.
func (m *Manifest) Stored() (bytes int64) {
	for _, p := range m.Parts {
		bytes += p.Size
	}
	return bytes
}

// Key is that of the manifest.
func (m *Manifest) Key() archive.Key {
	k := manifestKey(m.Position)
	k.Number = m.Merged
	return k
}

func manifestKey(p wal.Position) archive.Key {
	return archive.Key{Kind: archive.KindManifest, Log: p.Timeline, First: p.LSN}
}

// PartKey is that of a part.
func (m *Manifest) PartKey(number int) archive.Key {
	return archive.Key{Kind: archive.KindPart, Log: m.Position.Timeline, First: m.Position.LSN, ID: m.Attempt, Number: uint32(number)}
}

// header of the manifest, or of a part.
func (m *Manifest) header(k archive.Key, items uint64) archive.Header {
	return archive.Header{
		Kind: k.Kind, Log: k.Log, Epoch: m.Epoch, First: k.First, Last: k.First, Hash: m.Position.Hash,
		FirstTime: m.Time, LastTime: m.Time, ID: m.Attempt, Number: k.Number, Items: items,
	}
}

var le = binary.LittleEndian

func (m *Manifest) encode() []byte {
	b := make([]byte, manifestFixed, manifestFixed+len(m.Parts)*partSize)
	copy(b, manifestMagic)
	b[4] = manifestVersion
	copy(b[8:], m.Base.Timeline[:])
	le.PutUint64(b[24:], uint64(m.Base.LSN))
	copy(b[32:], m.Base.Hash[:])
	for i, n := range []uint64{m.Items, m.Images, m.Bytes, m.Volumes} {
		le.PutUint64(b[64+8*i:], n)
	}
	copy(b[96:], m.Digest[:])
	le.PutUint32(b[112:], m.PageSize)
	le.PutUint32(b[116:], uint32(len(m.Parts)))
	for _, p := range m.Parts {
		b = le.AppendUint64(b, uint64(p.Plain))
		b = le.AppendUint64(b, uint64(p.Size))
		b = append(b, p.Sum[:]...)
	}
	return b
}

// decode is the inverse of encode, for the sealed object with header h.
func decode(h *archive.Header, b []byte) (*Manifest, error) {
	bad := func(reason string) error {
		k := manifestKey(h.Position())
		k.Number = h.Number
		key := k.String()
		return fmt.Errorf("snapshot: %w", &wal.CorruptError{File: key, Offset: -1, Reason: reason})
	}
	switch {
	case len(b) < 5 || string(b[:4]) != manifestMagic:
		return nil, bad("its magic is wrong")
	case b[4] != manifestVersion:
		return nil, fmt.Errorf("snapshot: the manifest has version %d, this program knows %d, nothing was changed: %w", b[4], manifestVersion, wal.ErrVersion)
	case len(b) < manifestFixed || b[5] != 0 || b[6] != 0 || b[7] != 0 || (len(b)-manifestFixed)/partSize != int(le.Uint32(b[116:])) || (len(b)-manifestFixed)%partSize != 0:
		return nil, bad("its length, or a byte that is zero, is wrong")
	}
	m := &Manifest{
		Position: h.Position(), Epoch: h.Epoch, Time: h.LastTime, Attempt: h.ID, Merged: h.Number,
		Base:  wal.Position{Timeline: wal.TimelineID(b[8:24]), LSN: wal.LSN(le.Uint64(b[24:])), Hash: wal.Hash(b[32:64])},
		Items: le.Uint64(b[64:]), Images: le.Uint64(b[72:]), Bytes: le.Uint64(b[80:]), Volumes: le.Uint64(b[88:]),
		Digest: wal.PageHash(b[96:112]), PageSize: le.Uint32(b[112:]),
	}
	for rest := b[manifestFixed:]; len(rest) > 0; rest = rest[partSize:] {
		m.Parts = append(m.Parts, Part{int64(le.Uint64(rest)), int64(le.Uint64(rest[8:])), [16]byte(rest[16:32])})
	}
	if reason := m.invalid(); reason != "" {
		return nil, bad(reason)
	}
	return m, nil
}

func (m *Manifest) invalid() string {
	p := m.Base
	whole := m.Whole()
	switch {
	case !whole && (p.Timeline == wal.TimelineID{} || p.LSN == 0 || p.Hash == wal.Hash{} || p.LSN >= m.Position.LSN):
		return fmt.Sprintf("its base is %v", p)
	case len(m.Parts) == 0 || len(m.Parts) > maxParts:
		return fmt.Sprintf("it has %d parts", len(m.Parts))
	case !wal.ValidPageSize(m.PageSize):
		return fmt.Sprintf("its page size is %d", m.PageSize)
	}
	for i, part := range m.Parts {
		if part.Plain <= 0 || part.Plain > MaxPartBytes || part.Size <= 0 || part.Size > archive.MaxStored+archive.HeaderBytes {
			return fmt.Sprintf("part %d has %d bytes, %d of them plain", i, part.Size, part.Plain)
		}
	}
	return ""
}
