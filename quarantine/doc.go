// Package quarantine keeps what no entry names yet: the pages that transactions
// have staged, and copies of log tails that recovery cut off.
//
// # Use
//
// An Area is one store's quarantine. Begin makes a Stage for a transaction;
// Stage.Volume gives the Pages of a volume to write, discard, truncate and read
// back; Mark and RollbackTo are savepoints. Seal ends staging:
//
//	stage := area.Begin(txn)
//	defer stage.Release()
//	... stage.Volume(id, pageSize).Write(no, page) ...
//	sealed, err := stage.Seal()    // images hashed, in the order of the body
//	for p := range sealed.Volumes() {
//		... sealed.Rows(p), p.Discards(), p.Cut() ...
//	}
//	extents, err := sealed.Body()  // synced in place, or none: AppendBody
//	... the entry is sequenced and durable, or its outcome is unknown ...
//	sealed.Adopt()                 // Release leaves the slots
//
// At Open of a store, before the first Begin, Sweep removes what a crash left,
// and the oldest copies of cut tails.
//
// # Guarantees
//
//  1. No tree and no reader reaches a staged page (promise 1). Slots of a stage
//     are marked used in the heap's memory only: after a crash they are free,
//     since no record names them.
//  2. Write keeps a copy; a page of zeros is a discard. A write that fails, on
//     a full disk say, leaves the stage as it was.
//  3. A stage has at most Limits.StageBytes of images in memory, all of them
//     Limits.TotalBytes, but for one page a stage. What is more lies in the
//     heap, in runs of 1 MiB, and each page is written once, or once more each
//     time it is changed after it had left memory.
//  4. What comes back from the heap is verified (promise 9).
//  5. After Seal all images are in memory, or all in the heap, then durable
//     once Body has returned. Slots that hold none of them are free.
//  6. Release frees all that was not adopted. It does not fail for a commit:
//     by then its outcome is known.
//
// # Assumptions
//
// A Stage and its Pages are used by one goroutine at a time. Whoever stages
// knows the base: which discarded pages it has, and how large it is.
//
// # Design
//
// A volume's index (index.go) maps page numbers to image ids in chunks of 64
// pages; parts of it are shared with savepoints and copied when changed. The
// table of images (images.go) says where each is: in memory or in which slot,
// and its hash. Ids ascend, so the images made since a savepoint are those from
// some id on: RollbackTo drops them, and an image made before is not changed
// but replaced. An image that has a slot keeps it while it is in memory again,
// and an id that is free keeps it for the next page.
//
// Measured for a staged GiB of 4 KiB pages (BenchmarkStageGiB): 30 bytes of
// index a page when they lie together, 45 at a density of one in 12, 106 for
// pages at random in 1 TiB. So 4 GiB staged in order cost 30 MiB beside
// StageBytes.
//
// Images of one volume lie in slots of its page size, so the body of a stage
// that has spilled is extents of one file a page size. The body of one that has
// not is for the sequencer to place: into the record when the group is small.
//
// # Files
//
//	<store>/quarantine/<transaction>.stage  ledger of a stage that has spilled
//	                                        (format.go); removed by Release
//	<store>/quarantine/<number>-<name>.tail bytes cut off the log by recovery; of
//	                                        these copies, numbered as they were
//	                                        made, Sweep keeps the newest MaxTails
//	<store>/quarantine/<...>.tail.tmp       such a copy being made
package quarantine
