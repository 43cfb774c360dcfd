// Package wal holds the nouns of Quire, the portable record of a transaction,
// and the log that keeps these records on disk.
//
// The nouns are LSN, Position, State, Ref, the IDs and hashes (nouns.go). An
// Entry is one transaction, the same bytes' worth on every store (entry.go; its
// format and identity are in format.go). A record is how this log keeps an entry
// on this disk: a frame around it, its body map and its inline images (frame.go).
//
// # Writing
//
// One process writes a log, and each time it opens the store it begins a
// generation of its own:
//
//	l, err := wal.OpenLog(wal.LogOptions{FS: fsys, Dir: dir, After: last})
//	gen, err := l.Prepare(last.LSN + 1)    // a zero-filled, synced file
//	...                                    // the manifest names gen
//	err = l.Adopt(gen)                     // it may be written
//
//	g, err := l.NewGroup(manifestSeq)      // sequencer: memory only
//	placed, err := g.Add(entry, body)      // says where the inline bytes will lie
//	err = l.Append(g, durable)             // flusher: one write for the group
//	err = l.Sync()                         // commit point
//
// The next group may be filled while one is written. While Ready says no, the
// next generation is prepared in the background; NewGroup moves on to it when
// the current one is full, and SealRetired returns, for the manifest, the bounds
// of those left behind whose entries are durable with all their images. Close
// returns those of the last one.
//
// # Reading
//
// Scan says what a log holds, from its first generation to its last valid
// record, and what of that is known durable. Records and Reader go through the
// entries, beside the writer too. None of them changes a file.
//
// # Guarantees
//
//   - A record is returned only if its checksums fit, it belongs to this very
//     generation, and it continues the entry before it: LSNs are dense, and each
//     frame holds the hash of the entry before (promises 3 and 9).
//   - Nothing at or below a durable mark is ever taken for a torn tail, and what
//     lies above is cut from the first bad LSN on (promise 8). The rule is at
//     Scan; damage above the last mark cannot be told from a torn write.
//   - After a failed write or sync nothing is written, synced or closed through
//     the library, and every call returns ErrPoisoned (promise 6).
//   - A record is at most MaxRecord bytes, a group at most MaxGroupBytes; reading
//     takes 1 MiB and one record (promise 12).
//
// # Assumptions
//
// The caller holds the store's lock, and the manifest names a generation before
// anything in it is acknowledged. A write may be torn at any byte or sector, in
// any order, until it was synced; a synced file keeps its length and bytes, and
// a synced directory its names. Entries arrive in LSN order from one sequencer,
// and one flusher appends. Groups become durable in order: a mark handed to
// Append or AppendMark must be durable already.
//
// # Design
//
// The log's records are those of github.com/tidwall/wal: a length as an unsigned
// varint, then the bytes. Of the library nothing is used but opening an empty
// directory, writing a batch, and closing; hazard_test.go has a test for each of
// its hazards and for this. So a generation is one directory with one segment
// file. The library creates it; we open it too, before the first record, so that
// errors of syncing reach our descriptor, and fill it with zeros, so that a sync
// need not write metadata. The library keeps all records of a segment in memory:
// that bounds GenerationBytes.
//
// All lengths are known when an entry is added, so its place in the file is
// foretold, and page trees may point to inline bytes before they are written.
// Therefore a mark is only written when nothing sequenced waits to be appended.
//
// Recovery copies what lies above Durable to the new generation, syncs it, lets
// AppendMark say that it is durable, syncs again, and only then lets the manifest
// name it, by its first LSN: from then on it stands for what it was copied from
// (see superseded). Then CutBack cuts the old file and the manifest calls it
// sealed. A crash between any two of these loses nothing.
//
// Rejected: counters for nonces (an own old log inside a page would pass for the
// current one); the library's Read, Truncate and segments (see the hazards);
// trusting a sync that follows a failed one; skipping a bad record to reach a
// good one behind it.
//
// # Files
//
//	wal/<16 hexadecimal digits>/00000000000000000001
//
// is a generation: its nonce, and its records from byte 0 on, then zeros until it
// is sealed. A directory there that the manifest does not name is a leftover of a
// crash; List and Remove are for it.
package wal
