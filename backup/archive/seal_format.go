package archive

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// A sealed object is the one outer form of all objects with content: append,
// pack, skip, blob, and a snapshot's manifest and parts. Its header is clear, so that
// lists, searches for gaps and checks of what is stored need no key.
//
//	offset size field
//	     0    4 magic "QSEA"
//	     4    1 version: 1
//	     5    1 kind: 1 append, 2 pack, 3 manifest, 4 part, 5 blob, 6 skip
//	     6    1 compression of the plain bytes: 0 none, 1 zstd
//	     7    1 encryption of what compression left: 0 none, 1 age
//	     8   16 timeline: the log's
//	    24    8 epoch of the last entry
//	    32    8 first LSN
//	    40    8 last LSN
//	    48   32 hash of entry first-1; zero before LSN 1, and of manifests and parts
//	    80   32 hash of entry last
//	   112    8 time of the first entry, nanoseconds since 1970
//	   120    8 time of the last entry
//	   128   16 UUID: of the blob, or of the attempt at a snapshot; else zero
//	   144    4 number of a part, or of a merged snapshot's manifest; else zero
//	   148    4 how many blobs the entries lie in
//	   152    8 items: entries; of a manifest the number of its parts; else 1
//	   160    8 plain length
//	   168    8 stored length
//	   176   16 xxh3-128 of the blobs' UUIDs and the stored bytes, low half first
//	   192    4 CRC32C of the bytes before
//	   196      UUIDs of the blobs, 16 bytes each, in the order of the entries
//	            stored bytes: the plain ones, compressed, encrypted
//
// A blob and the objects of a snapshot belong to one entry: the blob holds what
// that entry brings, the snapshot is of the state behind it. A skip lies by the key
// of the append in whose place it is, and stands for entries that were never
// archived: it has the hashes around them, and nothing else. An object is valid if
// and only if
//
//  1. magic, version, kind and CRC are as above, and compression and encryption are
//     known;
//  2. timeline, first LSN and last hash are not zero, last is not below first, and the
//     hash before is zero exactly when first is 1, or of a manifest or part;
//  3. times are above 0, and the last is above the first unless both are one entry's;
//     of a skip both are that of the snapshot that stands for its entries;
//  4. of append and pack: items are last-first+1, there is no UUID; of a skip:
//     there are no items, UUID, blobs or plain bytes; of the others: first is last, there
//     is a UUID, there are no blobs;
//  5. only a part or manifest has a number, which its key can show;
//  6. lengths are within MaxPlain and MaxStored, and equal when neither compressed
//     nor encrypted; blobs are at most MaxRefs;
//  7. its size is that of the header, the UUIDs and the stored length, the
//     xxh3-128 fits, and the plain bytes are as many as the header says;
//  8. it agrees with its key: timeline, LSNs, UUID and number are the key's, and a skip's
//     key is that of an append.
//
// Another version is wal.ErrVersion, and so is an unknown compression or encryption.
//
// Neither sum is a seal against forgers: who can write to the place can make
// an archive of his own. age finds out changed bytes, the hashes of entries a
// changed history; the header of an encrypted object is not under its key.
const (
	sealMagic = "QSEA"

	// HeaderBytes is how much of a sealed object says what it is.
	HeaderBytes = 196

	// MaxPlain and MaxStored bound a sealed object, in bytes; MaxRefs the blobs it names.
	MaxPlain  = 1 << 30
	MaxStored = MaxPlain + MaxPlain/64
	MaxRefs   = 1 << 17

	refBytes = 16
)

// Compression of the plain bytes.
type Compression uint8

// Compressions.
const (
	CompressionNone Compression = 0
	CompressionZstd Compression = 1
)

func (c Compression) String() string { return name(uint8(c), "none", "zstd") }

// Encryption of what compression left.
type Encryption uint8

// Encryptions.
const (
	EncryptionNone Encryption = 0
	EncryptionAge  Encryption = 1
)

func (e Encryption) String() string { return name(uint8(e), "none", "age") }

func name(n uint8, names ...string) string {
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprint(n)
}

// Header is what a sealed object says of itself to whoever has no key.
type Header struct {
	Kind        Kind // KindAppend, KindPack, KindSkip, KindManifest, KindPart or KindBlob
	Compression Compression
	Encryption  Encryption
	Log         wal.TimelineID
	Epoch       uint64
	First, Last wal.LSN
	Before      wal.Hash // of entry First-1
	Hash        wal.Hash // of entry Last
	FirstTime   int64    // nanoseconds since 1970
	LastTime    int64
	ID          uuid.UUID
	Number      uint32
	Refs        uint32 // blobs
	Items       uint64
	Plain       int64 // bytes
	Stored      int64
	Sum         [16]byte
}

// Size of the whole object in bytes.
func (h *Header) Size() int64 { return HeaderBytes + int64(h.Refs)*refBytes + h.Stored }

// Position of the last entry.
func (h *Header) Position() wal.Position {
	return wal.Position{Timeline: h.Log, LSN: h.Last, Hash: h.Hash}
}

// codes are the kinds as the format has them.
var codes = map[Kind]byte{KindAppend: 1, KindPack: 2, KindManifest: 3, KindPart: 4, KindBlob: 5, KindSkip: 6}

func kindOf(code byte) Kind {
	for k, c := range codes {
		if c == code {
			return k
		}
	}
	return 0
}

// encode is the first HeaderBytes of the object.
func (h *Header) encode() []byte {
	b := begin(sealMagic, HeaderBytes)
	b[5], b[6], b[7] = codes[h.Kind], byte(h.Compression), byte(h.Encryption)
	copy(b[8:], h.Log[:])
	le.PutUint64(b[24:], h.Epoch)
	le.PutUint64(b[32:], uint64(h.First))
	le.PutUint64(b[40:], uint64(h.Last))
	copy(b[48:], h.Before[:])
	copy(b[80:], h.Hash[:])
	le.PutUint64(b[112:], uint64(h.FirstTime))
	le.PutUint64(b[120:], uint64(h.LastTime))
	copy(b[128:], h.ID[:])
	le.PutUint32(b[144:], h.Number)
	le.PutUint32(b[148:], h.Refs)
	le.PutUint64(b[152:], h.Items)
	le.PutUint64(b[160:], uint64(h.Plain))
	le.PutUint64(b[168:], uint64(h.Stored))
	copy(b[176:], h.Sum[:])
	return finish(b)
}

// DecodeHeader reads the first HeaderBytes of the sealed object that has a key and
// a size in bytes: rules 1 to 6, 8, and the size of rule 7. b may be longer.
// Errors: wal.ErrCorrupt, wal.ErrVersion.
func DecodeHeader(key Key, size int64, b []byte) (Header, error) {
	name := key.String()
	b = b[:min(len(b), HeaderBytes)]
	switch {
	case len(b) < 5 || string(b[:4]) != sealMagic:
		return Header{}, corrupt(name, "its magic is wrong")
	case b[4] != version:
		return Header{}, tooNew(name, fmt.Sprintf("version %d, this program knows %d", b[4], version))
	case len(b) != HeaderBytes:
		return Header{}, corrupt(name, fmt.Sprintf("%d bytes, its header alone has %d", len(b), HeaderBytes))
	case objects.Checksum(0, b[:HeaderBytes-4]) != le.Uint32(b[HeaderBytes-4:]):
		return Header{}, corrupt(name, "the checksum of its header is wrong")
	case b[6] > byte(CompressionZstd) || b[7] > byte(EncryptionAge):
		return Header{}, tooNew(name, fmt.Sprintf("compression %d and encryption %d, this program knows %d and %d", b[6], b[7], CompressionZstd, EncryptionAge))
	}
	h := decodeFields(b)
	reason := h.invalid()
	if reason == "" && h.Size() != size {
		reason = fmt.Sprintf("it has %d bytes, its header says %d", size, h.Size())
	}
	if reason == "" {
		reason = h.disagrees(key)
	}
	if reason != "" {
		return Header{}, corrupt(name, reason)
	}
	return h, nil
}

func decodeFields(b []byte) Header {
	return Header{
		Kind: kindOf(b[5]), Compression: Compression(b[6]), Encryption: Encryption(b[7]),
		Log: wal.TimelineID(b[8:24]), Epoch: le.Uint64(b[24:]),
		First: wal.LSN(le.Uint64(b[32:])), Last: wal.LSN(le.Uint64(b[40:])),
		Before: wal.Hash(b[48:80]), Hash: wal.Hash(b[80:112]),
		FirstTime: int64(le.Uint64(b[112:])), LastTime: int64(le.Uint64(b[120:])),
		ID: uuid.UUID(b[128:144]), Number: le.Uint32(b[144:]), Refs: le.Uint32(b[148:]), Items: le.Uint64(b[152:]),
		Plain: int64(le.Uint64(b[160:])), Stored: int64(le.Uint64(b[168:])), Sum: [16]byte(b[176:192]),
	}
}

// invalid says which of the rules 1 to 6 is broken; empty when none is.
func (h *Header) invalid() string {
	if codes[h.Kind] == 0 {
		return "its kind is unknown"
	}
	if reason := h.invalidHistory(); reason != "" {
		return reason
	}
	entries := h.Kind == KindAppend || h.Kind == KindPack
	switch {
	case h.Kind == KindSkip:
		if h.Items != 0 || h.ID != uuid.Nil || h.Refs != 0 || h.Plain != 0 || h.Number != 0 {
			return fmt.Sprintf("it stands for entries that are not there, and has %d, UUID %s, %d blobs, %d bytes", h.Items, h.ID, h.Refs, h.Plain)
		}
	case entries && (h.Items != uint64(h.Last-h.First)+1 || h.ID != uuid.Nil):
		return fmt.Sprintf("%d entries from LSN %d to %d, UUID %s", h.Items, h.First, h.Last, h.ID)
	case !entries && (h.First != h.Last || h.ID == uuid.Nil || h.Refs != 0):
		return fmt.Sprintf("LSN %d to %d, %d blobs, UUID %s", h.First, h.Last, h.Refs, h.ID)
	case h.Number > maxPart, h.Kind != KindPart && h.Kind != KindManifest && h.Number != 0:
		return fmt.Sprintf("number %d", h.Number)
	}
	return h.invalidLengths()
}

func (h *Header) invalidHistory() string {
	switch {
	case h.Log == wal.TimelineID{}:
		return "its timeline is zero"
	case h.First == 0 || h.Last < h.First:
		return fmt.Sprintf("LSN %d to %d", h.First, h.Last)
	case (h.Before == wal.Hash{}) != (h.First == 1 || h.Kind == KindManifest || h.Kind == KindPart), h.Hash == wal.Hash{}:
		return fmt.Sprintf("hashes %s and %s around LSN %d to %d", h.Before, h.Hash, h.First, h.Last)
	case h.FirstTime <= 0, h.LastTime < h.FirstTime, (h.LastTime == h.FirstTime) != (h.First == h.Last || h.Kind == KindSkip):
		return fmt.Sprintf("times %d and %d of LSN %d to %d", h.FirstTime, h.LastTime, h.First, h.Last)
	}
	return ""
}

func (h *Header) invalidLengths() string {
	bare := h.Compression == CompressionNone && h.Encryption == EncryptionNone
	switch {
	case h.Plain < 0 || h.Plain > MaxPlain, h.Stored < 0 || h.Stored > MaxStored, bare && h.Plain != h.Stored:
		return fmt.Sprintf("%d plain bytes stored as %d", h.Plain, h.Stored)
	case h.Refs > MaxRefs:
		return fmt.Sprintf("%d blobs, at most %d", h.Refs, MaxRefs)
	}
	return ""
}

// disagrees says how header and key differ (rule 8); empty when they do not.
func (h *Header) disagrees(k Key) string {
	own := Key{Kind: h.Kind, Log: h.Log, First: h.First}
	switch h.Kind {
	case KindPack:
		own.Last = h.Last
	case KindSkip:
		own.Kind = KindAppend
	case KindPart:
		own.ID, own.Number = h.ID, h.Number
	case KindManifest:
		own.Number = h.Number
	case KindBlob:
		own = Key{Kind: KindBlob, ID: h.ID}
	}
	if own != k {
		return fmt.Sprintf("it is what belongs to %s", own)
	}
	return ""
}

func tooNew(key, has string) error {
	return fmt.Errorf("archive: %s has %s, nothing was changed: %w", key, has, wal.ErrVersion)
}
