// Package archive is the layout of an archive in an object store: which keys
// there are, what each means, and the bytes of their objects but for what is within
// snapshots. Whoever ships entries, takes snapshots, restores, verifies or deletes
// agrees on it here. The package does no input or output of its
// own, but that ReadHeader asks a store for the beginning of an object.
//
// # Use
//
//	err := store.Put(ctx, archive.FormatKey, objects.Bytes(archive.EncodeFormat(f)))
//	key := archive.Key{Kind: archive.KindAppend, Log: timeline, First: 42}.String()
//	for item, err := range store.List(ctx, archive.LogPrefix(timeline)) {
//		k, err := archive.ParseKey(item.Key)
//	}
//
//	frame, err := archive.NewFrame(entry, images)   // an entry with its images
//	plain, err = frame.Append(plain)                // several of them
//	object, h, err := archive.Seal(header, nil, plain, archive.SealOptions{})
//
//	o, err := archive.Open(key, r, size, identities)
//	entries, err := archive.NewEntries(o, fetch)    // fetch: a blob's bytes
//	item, err := entries.Next()                     // verified; io.EOF: so is the whole
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
//  4. "pack" holds exactly the entries First to Last, of several appends or packs;
//     these are deleted once it is there, appends once a floor is above them, too.
//  5. "floor" is put before the first deletion of appends below it, and looked for
//     after every append: a writer that stalled cannot bring an old LSN back. An
//     append whose first LSN is below is not to be put, and is deleted by who did.
//     The highest counts; it is never above the next LSN. That entries are gone,
//     in packs too, is for "trim" to say, put before as well: otherwise a pack that was
//     lost could not be told from one that was deleted.
//  6. What is referred to is put before what refers to it: a snapshot's parts,
//     each attempt's under a UUID of its own, before its manifest, which names
//     them; blobs before the entry that names them. What nothing refers to is
//     rubbish of an attempt that ended. The manifest of a snapshot that was merged is put
//     beside the one that was there, which is deleted before what only that needs is.
//  7. A pin keeps all that a reader needs until it expires; it may be put again,
//     under a later expiry, and is deleted when the reader is done.
//  8. A mark is put behind the last append from time to time, when a log ends and
//     when its writer does: without it nobody could tell that the newest objects
//     are gone. The highest counts; lower ones may be deleted.
//  9. Where entries can no longer be had, a skip is put in place of the append that would
//     hold the first of them: sealed, with the hashes around them, and empty. So an
//     archiver that has them and one that has not contend for one key, too. It ends
//     where a snapshot of this history is that is in the archive already, or where the
//     timeline was left below that snapshot: the log goes on behind it, entries before
//     are restored without it, states within it not at all. It counts unless a pack or
//     an append has entries in its range: then it was put below a floor by a writer that
//     stalled, and is a leftover.
//  10. No key is another's path prefix, and none differs from another only in case.
//
// # Guarantees
//
//   - Each Key has one text, and ParseKey takes no other: keys sort as their
//     numbers do, and an archive has no two names for one thing.
//   - Objects decode to what was encoded, or to an error: wal.ErrCorrupt, or
//     wal.ErrVersion for those of a newer Quire. Every bit is covered.
//   - Nothing is in names, dates or modes of files but what keys say.
//   - A sealed object is found out when any bit of it changed, when it was cut or
//     lengthened, and when it is by another's key: without its key, but for
//     damage that was resealed. What an entry read from it is, and what its images
//     are, was verified when Next returned it; images in blobs, when they are read.
//   - Hostile bytes cost an error and bounded memory: no length is believed before
//     as many bytes are there, and nothing is decompressed beyond its plain length.
//
// # Limits
//
//	MaxPlain       1 GiB    plain bytes of a sealed object
//	MaxRefs        131,072  blobs that one names
//	MaxEntryBytes  1 MiB    an entry without its body
//	InlineBytes    8 MiB    payload of an entry that lies beside it
//	BlobBytes      16 MiB   plain bytes of a blob
//	MaxRuns        1 Mi     pieces in which what an entry names of its body lies
//
// # Design
//
// Sealed objects (seal_format.go) have a clear header of fixed size, so that one
// range of HeaderBytes tells which entries an object has, of which history, and
// what is to be expected of its stored bytes. Blobs are named in the clear, too:
// otherwise a missing one, or one that nothing needs any more, could not be told
// without the key. The entry stays as it is, byte for byte, with its locators; a frame
// (frame_format.go) says where what they name of the body lies, and the rest of the body
// stays behind. Images lie in the order in which they will be read, not in that of
// the body: of a large transaction that wrote at random each blob is then needed
// once, and not once for each image. Only a body in more than MaxRuns pieces keeps
// its own order.
//
// LSNs have 20 decimal digits, the most that a uint64 has, so that lists of any
// tool show them in order and people read them as they are printed elsewhere.
// Rejected: hexadecimal (nobody compares it with a log line), a log named by
// the archiver (two of them would fork it), ranges in the names of appends (two
// archivers that cut entries differently would both succeed).
package archive
