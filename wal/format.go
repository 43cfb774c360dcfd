package wal

import "encoding/binary"

// The portable entry, version 1. Little-endian, no padding, no optional field:
// an Entry has exactly one encoding, and the encoding says nothing else. A
// state is page size u32, pages u64, sum u128; it is zero where its LSN is.
//
// Header, 136 bytes:
//
//	  0   4  magic "QENT"
//	  4   2  version of the writer
//	  6   2  minimum reader, 1
//	  8   2  flags, 0
//	 10   1  kind
//	 11   1  number of extensions
//	 12   4  number of sections
//	 16   8  first LSN
//	 24   8  last LSN
//	 32  16  timeline
//	 48   8  epoch
//	 56  32  hash of entry first-1
//	 88  16  transaction
//	104  16  actor
//	120   8  seq of the actor
//	128   8  time, ns since 1970
//
// Begin, only in a begin-timeline entry, 75 bytes and the reason:
//
//	 0  16  parent timeline
//	16   8  parent LSN
//	24  32  hash of the parent's entry at that LSN
//	56  16  store
//	72   1  algorithm of page hashes and sums
//	73   1  algorithm of entry and delta hashes
//	74   1  length of the reason, and the reason
//
// Extension, 8 bytes and its bytes:
//
//	0   2  type
//	2   2  1 when critical, else 0
//	4   4  length, and the bytes
//
// Section, 156 bytes and what varies:
//
//	  0  16  volume
//	 16  36  expect: LSN u64, state
//	 52  16  base: volume
//	 68  36  base: LSN u64, state
//	104  28  result state
//	132   8  seq of the ref
//	140   8  LSN of the ref's previous change
//	148   1  action
//	149   1  length of the ref's name
//	150   1  length of the base's ref name
//	151   1  length of the volume's name; 0 when no volume attributes follow
//	152   4  number of ref attributes
//	156      ref name, base's ref name
//	         volume attributes: name, page size u32, page algorithm u8, mode u8
//	         ref attributes, each: type u16, length u32, bytes
//	         delta
//
// Delta, 12 bytes and what varies; in the entry hash its id stands in its place:
//
//	 0   4  number of discards
//	 4   4  number of rows
//	 8   4  number of chunks
//	12      discards, each: first page u64, pages u64
//	        rows, each 32 bytes: page u64, hash, locator u64
//	        chunks, each 56 bytes: first page u64, rows u32, digest, offset in
//	        the body u64, length in the body u32
//
// An entry is valid if and only if
//
//  1. magic, minimum reader and flags are as above, the version is not below the
//     minimum reader, the kind is known, and its bytes end where the last section
//     does;
//  2. first is at least 1, and last equals first (range entry: is not below it);
//     the previous hash is zero exactly when first is 1; LSN 1 is no transaction;
//  3. timeline and transaction are named (a range entry may leave the latter
//     out), time is above 0, and seq is zero when actor is;
//  4. it has a Begin exactly when it is a begin-timeline entry, and then no
//     section; the parent is zero at LSN 1, else another timeline at first-1 with
//     the previous hash; the store is named, the reason is UTF-8;
//  5. extensions ascend by type from 1, a known type comes once, none that is
//     unknown or reserved is critical, and a message is UTF-8;
//  6. sections ascend by (volume, name), at most one a ref, and every name that
//     is not the empty ref name is a ValidName;
//  7. expect, base and previous change are older than first, expect is not
//     younger than the previous change, and that is zero exactly when seq is 1
//     (range entry: zero also when the range holds the ref's first change);
//  8. every state not absent has a valid page size, at most MaxPages pages, and
//     no sum without pages; base and attributes have the result's page size;
//  9. a deletion expects a state and has neither base, result, attributes nor
//     delta;
//  10. ref attributes ascend strictly by type from 1;
//  11. discards are maximal runs, ascending, below the sizes of base and result;
//  12. rows ascend by page, below the size of the result, outside the discards;
//     an image is raw, as long as a page, and ends within MaxBody;
//  13. up to MaxInlineRows rows lie inline, more in chunks, all but the last of
//     which hold MaxInlineRows, ascending without overlap, 32 bytes a row;
//  14. every number is within the limits below.
//
// The rows of a chunk are held to 12 when they are read (EachRow); that expect,
// base and result are what the store holds is for apply to see.
//
// Version rule: bytes move only with a new minimum reader, which older programs
// refuse with ErrVersion. A writer that only adds extensions which may be ignored,
// or uses what is reserved, keeps minimum reader 1; this program keeps and hashes
// the first, and refuses the second with ErrVersion where it would change what the
// entry does: critical extensions, encodings, algorithms, modes.
const (
	FormatVersion = 1 // written by this program, and the newest it must understand
	minimumReader = 1
	entryMagic    = "QENT"
)

// Sizes in bytes of the parts that do not vary.
const (
	headerSize    = 136
	sectionSize   = 156 + deltaSize
	deltaSize     = 12
	extensionSize = 8
	refAttrSize   = 6
	discardSize   = 16
	chunkSize     = 56

	// RowSize is the size of a row, inline and in a chunk.
	RowSize = 32
)

// Limits of an entry. All are portable: any store that reads version 1 reads an
// entry within them. MaxChunks chunks are MaxBody bytes of 4 KiB pages.
const (
	MaxExtensions     = 255
	MaxExtensionBytes = 64 << 10 // each
	MaxSections       = 1 << 16
	MaxRefAttrs       = 64 // of a section
	MaxRefAttrBytes   = 64 << 10
	MaxDiscards       = 1 << 16 // of a delta
	MaxChunks         = 1 << 16 // of a delta
	MaxNameBytes      = 255
	MaxReasonBytes    = 255
)

var le = binary.LittleEndian
