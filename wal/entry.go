package wal

// Entry is the portable record of one transaction (DESIGN 5). Its bytes, its
// identity and their rules are in format.go.
type Entry struct {
	Version  uint16 // of the format; 0 is FormatVersion. A newer one that admits this reader is kept
	Kind     Kind
	Flags    uint16 // none is defined; unknown flags are refused
	First    LSN    // equal to Last but in a range entry
	Last     LSN
	Timeline TimelineID
	Epoch    uint64
	Prev     Hash // hash of entry First-1, across timelines too; zero before LSN 1
	Txn      TxnID
	Actor    ActorID // zero when the client does not number its requests
	Seq      uint64  // zero when Actor is
	Time     int64   // nanoseconds since 1970, above that of the entry before
	Begin    *BeginTimeline
	Exts     []Extension
	Sections []Section // sorted by ref, at most one a ref
}

// Kind of an entry.
type Kind uint8

// Kinds. A range entry is reserved: decoded, never applied by this version.
const (
	KindTransaction Kind = 1
	KindTimeline    Kind = 2
	KindRange       Kind = 3
)

// BeginTimeline is the payload of a KindTimeline entry; LSN 1 is one.
type BeginTimeline struct {
	Parent     TimelineID // zero for the first timeline of a store
	ParentLSN  LSN
	ParentHash Hash
	Store      [16]byte // UUID of the store that began it
	PageAlgo   uint8    // AlgoXXH3: hash of pages and sums
	HashAlgo   uint8    // AlgoSHA256: hash of entries and deltas
	Reason     string   // at most 255 bytes
}

// Algorithm ids.
const (
	AlgoXXH3   = 1
	AlgoSHA256 = 1
)

// Extension is a typed addition to an entry. One with an unknown type is
// refused when critical, kept and hashed when not.
type Extension struct {
	Type     ExtType
	Critical bool
	Bytes    []byte
}

// ExtType says what an extension's bytes mean.
type ExtType uint16

// Extension types. Those from ExtSource on are reserved: known by name,
// refused when critical.
const (
	ExtMessage       ExtType = 1 // UTF-8 text for people
	ExtMetadata      ExtType = 2 // the embedder's bytes
	ExtRequestDigest ExtType = 3 // tells another request with the same (actor, seq)
	ExtSource        ExtType = 16
	ExtGroup         ExtType = 17
	ExtOrigin        ExtType = 18
	ExtReadSet       ExtType = 19
	ExtRangeEndHash  ExtType = 20
)

// Section is the one operation there is: SetRef.
type Section struct {
	Ref        Ref
	Action     Action
	Expect     Expect
	Base       Base
	Result     State // what the ref holds afterwards; zero for ActionDelete
	Seq        uint64
	PrevChange LSN          // of this ref; zero on its first change
	Attrs      *VolumeAttrs // on creation or change of them, else nil
	RefAttrs   []RefAttr
	Delta      Delta
}

// Action of a section.
type Action uint8

// Actions.
const (
	ActionSet    Action = 1
	ActionDelete Action = 2
)

// Expect is the value the ref must have before: absent (zero LSN) or a tip.
type Expect struct {
	LSN   LSN
	State State
}

// Base is the ref value, set by an earlier entry, that the delta is relative
// to. A zero LSN is the empty base: no pages.
type Base struct {
	Ref   Ref
	LSN   LSN
	State State
}

// VolumeAttrs are the attributes of a volume.
type VolumeAttrs struct {
	Name     string
	PageSize uint32
	PageAlgo uint8
	Mode     uint8 // ModeLocal
}

// ModeLocal is the only mode of a volume so far.
const ModeLocal = 0

// RefAttr is a typed attribute of a ref, kept and hashed.
type RefAttr struct {
	Type  uint16
	Bytes []byte
}

// Delta leads from the base to the result: discards first, then rows.
type Delta struct {
	Discards []PageRange // every base page below Result.Pages absent in the result; maximal runs, ascending
	Rows     []Row       // ascending by page; empty when Chunks is not
	Chunks   []Chunk     // above MaxInlineRows rows
	Digest   Hash        // DigestRows(Rows) where known beforehand, else zero; not encoded
}

// MaxInlineRows is the number of rows above which a delta's rows lie in chunks.
const MaxInlineRows = 4096

// PageRange is the pages [First, First+Count).
type PageRange struct{ First, Count uint64 }

// Row says that a page has these bytes.
type Row struct {
	Page    uint64
	Hash    PageHash
	Locator Locator
}

// Chunk is up to MaxInlineRows consecutive rows that lie in the body.
type Chunk struct {
	FirstPage uint64
	Rows      uint32
	Digest    Hash // of the rows without locators
	Offset    uint64
	Length    uint32 // bytes in the body
}

// Locator says where in the entry's body an image lies and how it is encoded:
// encoding in bits 60 to 63, length in bytes in bits 40 to 59, offset in bytes
// in bits 0 to 39. The body is a string of bytes; where it lies is the
// record's business.
type Locator uint64

// Encoding of an image in the body.
type Encoding uint8

// Encodings. All but EncodingRaw are reserved and refused.
const (
	EncodingRaw     Encoding = 0
	EncodingZstd    Encoding = 1
	EncodingFromRef Encoding = 2
	EncodingRemote  Encoding = 3
)

// MaxBody is the limit of a body in bytes.
const MaxBody = 1 << 40

// RawLocator locates length plain bytes at offset of the body. length is at
// most MaxPageSize, offset below MaxBody.
func RawLocator(offset uint64, length uint32) Locator {
	return Locator(uint64(length)<<40 | offset)
}

// Encoding, Length in bytes and Offset in bytes of the image.
func (l Locator) Encoding() Encoding { return Encoding(l >> 60) }
func (l Locator) Length() uint32     { return uint32(l>>40) & (1<<20 - 1) }
func (l Locator) Offset() uint64     { return uint64(l) & (1<<40 - 1) }
