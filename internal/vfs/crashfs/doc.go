// Package crashfs is a disk in memory that remembers every operation, so that a
// test can ask what a power cut would have left after any of them.
//
// # Use
//
// Run a workload once, then cut it everywhere (the example does so):
//
//	disk := crashfs.New()
//	... the workload; note disk.Ops() whenever something is acknowledged ...
//	for k := range disk.Ops() + 1 {
//		for _, model := range []crashfs.Model{crashfs.Ordered, crashfs.Posix, crashfs.Random(seed)} {
//			image := disk.Cut(k, model)
//			... open the store on image: what was acknowledged at or before k is there ...
//		}
//	}
//
// An image is a disk like any other: recovery runs on it, is recorded, and can
// be cut in turn. On failure print k, the model and Log()[k-1]: with a
// workload that does the same operations each time they reproduce the image.
//
// CrashAfter stops a running workload instead: every call after operation k is
// ErrCrashed, as for a process that died. Inject makes calls fail: FailAt once,
// FailFrom for ever, FailKind by kind, ShortWrite in part; or any function of
// the operation.
//
// # What counts
//
// Create, write, truncate, sync, syncdir, rename, link, remove and mkdir are
// counted, also when they fail; a lock is a create and a write. Reads are not counted.
// Operations of several goroutines have the order in which they got the disk's
// mutex.
//
// # What a cut leaves
//
// Data is durable by Sync of its file, a name by SyncDir of its directory. What
// is durable stays; the rest is at stake. After operation k
//
//	Ordered             keeps everything
//	KillOnly            keeps everything, and what is at stake stays at stake
//	Posix               drops everything at stake
//	MetadataOrdered(s)  keeps the names up to some operation, and tears data
//	Random(s)           keeps some changes of names in any order, and tears data
//
// MetadataOrdered is the manner of ext4 and xfs: one journal of names, written
// by SyncDir, and by Sync of a file that is new or changed its length, for the
// whole file system.
//
// Torn data of a file is one of: all that is at stake; nothing of it; or, for
// every sector of 512 bytes by itself, what it held at one of the moments since
// it was durable, the length likewise; in half of the cases that are mixed some
// sectors that were being written hold zeros, garbage, or what some file of the
// disk held earlier. So a tail may be short, long with holes, or full of valid
// old records.
//
// # Assumptions
//
// Sectors are written whole or not at all, or are damaged where they were being
// written: bytes that nobody wrote since they were durable do not change
// (powersafe overwrite, as in SQLite and raft-wal). A rename within a directory
// happens or does not. One between directories is two changes, so that Random
// and Posix can leave both names or neither. A disk that lies about Sync is not
// modelled.
//
// After a Sync that failed the page cache holds what was written and calls it
// clean, as ext4, xfs and btrfs do ("Can Applications Recover from fsync
// Failures?", ATC 2020): reads return it, no later Sync writes it, and what a
// power cut leaves of it is open until that later Sync, and nothing after it.
//
// # Design
//
// Every file is a list of moments; a moment is an immutable content that shares
// its sectors with the moments around it, the content that was durable then,
// and where the moments at stake begin. A directory is the same with maps of
// names. A cut finds the last moment of each reachable file by binary search
// and takes or mixes contents by pointer. That is why any cut of a finished
// run costs microseconds: 390,000 a second where data is torn, two million where
// not, for the workload of BenchmarkCut. Memory grows with the workload, by two
// to eight KiB an operation; files of zeros are free.
//
// Rejected: to run the workload anew for every crash point (quadratic, and the
// goroutines of a real store do not repeat themselves); to keep the bytes of
// each operation and replay them (quadratic again).
package crashfs
