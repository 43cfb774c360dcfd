// Package manifest keeps a store's node facts: which checkpoint, log
// generations and heap files are its own, which slots are in use, whose
// timeline it writes. They are what recovery begins with; none of them travels
// with entries (DESIGN 1).
//
// # Use
//
// Create makes the file of a new store, Open continues an existing one, Load
// only reads. Append makes an Edit durable and returns the sequence number
// that frames of the log carry from then on; CloseClean ends a session with
// nothing left to recover. The caller holds the store's lock. See the example.
//
// # Guarantees
//
//  1. An Edit is durable as a whole when Append returns, or was refused with
//     nothing changed, a full disk (ErrNoSpace) among the reasons, or the
//     manifest is poisoned and Load finds it whole or not at all (promises 5
//     and 6).
//  2. Facts do not go back: an older checkpoint, low-water mark, epoch or
//     acknowledgement of a consumer, a slot used twice or freed twice is refused
//     by Append and is corruption when read. So is a low-water mark above what
//     a consumer has still to read.
//  3. Whatever a crash leaves opens. Only bytes of the one append that was
//     never acknowledged are ignored, and reported as TornBytes.
//  4. After CloseClean every changed byte is detected. Without it a damaged
//     last record looks like a torn one: then Facts.Seq is lower than a number
//     in the log's frames, which whoever reads the log must take for
//     corruption, never for an older state to go on from (promise 8).
//  5. A record that is damaged before a valid one is corruption.
//
// # Assumptions
//
// Sync makes a file's bytes durable, SyncDir a directory's names; a rename is
// all or nothing. What a failed sync left is unknown. A read after a kill may
// show what no power cut would leave, so Open writes what it read anew and
// syncs it before anything is done on the strength of it.
//
// # Design
//
// The file is a snapshot and then edits, each synced. A checkpoint thereby
// costs one small write, however large the store, about three bytes for each
// run of slots. When the edits exceed four times the snapshot, and 1 MiB, the
// next Append writes a new file and renames it; so do Open and CloseClean.
//
// An append that extended the file could meet a full disk half-way, and then
// nobody knows what is there. So Append writes zeros ahead of need and syncs
// them before it changes anything: the record then goes where there is space,
// and a full disk is an ordinary refusal. (A file system that never writes in
// place may still refuse then; that poisons.)
//
//	on disk                         after a crash          left by
//	no MANIFEST                     no store               Create: temp, sync, rename, sync directory
//	snapshot, edits, zeros          the last valid record  Append
//	snapshot, edits, torn record    the record before it   Open: a new file
//	snapshot, temporary file        the snapshot           Open removes the temporary
//	snapshot with a clean LSN       the same               the first Append
//
// Sequence numbers never repeat, also over new files: so a block that an old
// file left on the disk holds no record that could pass for the next.
//
// Used slots are one bit each, 32 MiB for 1 TiB of pages of 4 KiB, in memory
// as in the snapshot; a list of runs would take eight times that when every
// other slot is free. Folding whatever the heap believes at that moment was
// rejected: keeping the set here lets every edit be checked against it.
//
// # Files
//
//	MANIFEST      format.go, payload.go
//	MANIFEST.tmp  a new one before its rename; means nothing
package manifest
