// Package archive is the layout of an archive in an object store: which keys
// there are, what each means, and the bytes of the objects that begin an archive and
// a log. Whoever ships entries, takes snapshots, restores, verifies or deletes
// agrees on it here. The package does no input or output.
//
// # Use
//
//	err := store.Put(ctx, archive.FormatKey, objects.Bytes(archive.EncodeFormat(f)))
//	key := archive.Key{Kind: archive.KindAppend, Log: timeline, First: 42}.String()
//	for item, err := range store.List(ctx, archive.LogPrefix(timeline)) {
//		k, err := archive.ParseKey(item.Key)
//	}
//
// # Rules of the layout
//
//  1. A log is a timeline: one archive holds the histories of a store and of its
//     successors, each under its timeline's UUID, and "start" names the parent.
//  2. An object of "append" holds whole entries and is named by the first LSN
//     only; the next is named by the last LSN + 1. So two archivers of one timeline
//     put the same key next, the store decides between them, and a copied
//     directory cannot fork the archive. The head is found by probing.
//  3. "Exists" means: compare timeline and hashes. The same is done; anything
//     else is divergence, and stops.
//  4. "pack" holds exactly the entries First to Last, of several appends; these
//     are deleted once it is there.
//  5. "floor" is put before the first deletion below it, and looked for after every
//     append: a writer that stalled cannot bring an old LSN back. The highest
//     counts.
//  6. What is referred to is put before what refers to it: a snapshot's parts,
//     each attempt's under a UUID of its own, before its manifest, which names
//     them; blobs before the entry that names them. What nothing refers to is
//     rubbish of an attempt that ended.
//  7. A pin keeps all that a reader needs until it expires; it may be put again,
//     under a later expiry, and is deleted when the reader is done.
//  8. No key is another's path prefix, and none differs from another only in case.
//
// # Guarantees
//
//   - Each Key has one text, and ParseKey takes no other: keys sort as their
//     numbers do, and an archive has no two names for one thing.
//   - Objects decode to what was encoded, or to an error: wal.ErrCorrupt, or
//     wal.ErrVersion for those of a newer Quire. Every bit is covered.
//   - Nothing is in names, dates or modes of files but what keys say.
//
// # Design
//
// LSNs have 20 decimal digits, the most that a uint64 has, so that lists of any
// tool show them in order and people read them as they are printed elsewhere.
// Rejected: hexadecimal (nobody compares it with a log line), a log named by
// the archiver (two of them would fork it), ranges in the names of appends (two
// archivers that cut entries differently would both succeed).
package archive
