// Package heap keeps slots: pieces of 512 bytes to 64 KiB in large files, and
// says which of them are free.
//
// # Use
//
// Open takes the files that the manifest knows; all slots are free then, and
// recovery says with MarkUsed which are not. A writer gets slots from
//
//   - Alloc: any number, as few runs as there are, written later with Write;
//   - Batch: one at a time, for the nodes of a checkpoint;
//   - Place: for data that is there already and large, which is written at once.
//
// Sync makes what was written durable. Release makes slots free again; when
// that is allowed (dead in a durable checkpoint, reached by no hold, born below
// the low-water mark: DESIGN 6) is the page store's to know. ReadSlot,
// ReadExtent and Body read. See the example.
//
// # Guarantees
//
//  1. A slot is handed out to one call until it is released.
//  2. Slots that share a 4 KiB frame were handed out by one Alloc, Place or
//     Batch, and the frame is handed out again when all its slots are free. So
//     a write that is torn in the middle of a device's block harms no slot that
//     another writer has made durable, given that a caller does not write some
//     slots of one call after he synced others.
//  3. Space that is handed out was written before, if with zeros, so a full
//     disk is an error of Alloc or Place, an ordinary one, and never one of the
//     commit that writes to the slots.
//  4. A file's name and header are durable before any of its slots is handed
//     out: what a durable record names can be opened.
//  5. After Sync returns nil, all writes that had returned before it was called
//     are durable, also when another Sync was running. After one sync has
//     failed nothing is written any more (promise 6: ErrPoisoned).
//  6. Reads take no lock and wait for nobody.
//  7. Open changes nothing on disk, but that it makes the directory of an empty
//     heap. What it finds wrong is a *wal.CorruptError.
//
// # Assumptions
//
// The heap does not check what it reads: whoever names a slot has the hash of
// what is in it (promise 9). One process writes the files, which the store's
// lock sees to. A device writes blocks of at most 4 KiB atomically or tears
// them; it does not harm others.
//
// # Design
//
// All slots of a file have one size. A file is known by the slots that the
// manifest says it has at least; it may be longer, when it grew after the
// manifest was written. A file that was made after that is a leftover at Open:
// MarkUsed adopts it, since a record names slots of it, or RemoveLeftovers
// removes it.
//
// The free space of a class is bitmaps in regions of 4,096 slots, with hints
// which regions have a run of 16 KiB, 64 KiB or 1 MiB (space.go). Alloc goes on where
// it was (next fit), prefers runs of 64 KiB and takes any run when there are
// none: scattered reuse writes each page once, where moving live pages to make
// room costs about 2.5 at 77 percent full (reviews/storage.md, finding 36). It
// costs 32 MiB of memory a TiB of 4 KiB slots, plus one bit a slot below 4 KiB,
// and about a tenth of a microsecond a slot in a heap of 1 TiB that is full.
//
// Growing is a quarter of what a class has, up to 4 MiB, or a part in 32; Fill does it
// before it is needed, synced, so that a commit meets space whose metadata is
// durable. Place grows a file by the data itself, so that a transaction larger
// than memory is not written twice.
//
// Which lock guards what:
//
//	Heap.growing  one growth or adoption at a time; held while the disk works
//	Heap.mu       all bitmaps and counts; held for memory work only
//	file.syncing  one fdatasync of a file at a time
//	(none)        the table of files and their lengths are atomic values
//
// growing is taken before mu, syncing may be taken with growing held.
//
// # Files
//
// <store>/heap/<file number, 8 hexadecimal digits>; format.go has the header.
package heap
