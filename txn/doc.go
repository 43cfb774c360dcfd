// Package txn is Quire's manager: atomic, serializable transactions over many
// volumes of pages, committed through a write-ahead log, on a store that
// recovers by itself.
//
// # Use
//
//	m, rep, err := txn.Open(dir, txn.Options{Create: true}) // rep: what recovery did
//	c, err := m.Update(ctx, func(tx *txn.Tx) error { ... }) // retries conflicts until ctx ends
//	err = m.View(ctx, func(tx *txn.Tx) error { ... })       // one snapshot of everything
//	err = m.Close()
//
// The package's example is a whole program. Begin and Tx.Commit are there for
// those who cannot use a closure; Rollback may always be deferred. A Manager is
// used by any number of goroutines, a Tx by one at a time. One process has a
// store open for writing; others look at it with package recovery's View.
//
// # Guarantees
//
//   - All or nothing, across all volumes a transaction touches. After Commit
//     returns nil, every transaction begun later sees it (promise 11), and at
//     the default durability it survives a power cut (promise 5).
//   - Serializable by default: pages read, sizes, names found or not found, and
//     iterated ranges with their holes must all still be so when the transaction
//     is sequenced; the first committer wins, the other gets a *ConflictError
//     that names volume and page (promise 10). TxOptions.Isolation relaxes it to
//     snapshot isolation. A read-only transaction never conflicts, never waits
//     for a writer and writes nothing.
//   - A transaction may be far larger than memory: past Options.StageBytes its
//     pages are staged on disk, where they stay when it commits.
//   - A failed write or sync at or past the commit point stops all writing for
//     good (promise 6): *PoisonedError says why, and by how much what is visible
//     exceeds what is durable. Reads go on. Reopening recovers.
//   - An unknown outcome is an *UnknownError, never a guess. Manager.Outcome
//     resolves it as far as it can be proven (outcome.go).
//   - A store can follow another one, entry by entry, with the same LSNs and
//     hashes, serve reads, and be promoted when the other is lost (follow.go).
//   - A client that numbers its requests may send one again after any answer or
//     none: TxOptions.Actor and Seq make it commit once, also after reopening and
//     when the log has been trimmed (request.go).
//   - Old states stay readable for whoever holds them: a transaction until it
//     ends, Manager.Hold until it is released or past its deadline. Neither delays
//     a commit or a checkpoint. Manager.Holds lists who keeps what (hold.go).
//   - With Options.Archive the log is archived as it becomes durable, whatever the place
//     does meanwhile, and a store that was rolled back is found out (archive.go).
//   - Everything is bounded (promise 12): see Options. Commits are slowed
//     gradually, then held, when checkpoints fall behind, and refused when these
//     fail; a transaction past its deadline is rolled back, so that an abandoned
//     one pins nothing for ever; see also Limits below.
//
// # Tags and forks
//
// A tag is a name of a state, and keeps it (Tx.SetTag); Tx.At opens what it names.
// A fork is a volume that begins as another one, or as what a tag names (Tx.Fork).
// Neither copies a page. What a transaction alone still holds can be tagged and
// forked, too (Manager.SetTag, Manager.Fork): other stores need not have it any more,
// so its entry carries what is needed. Volume.Reset makes a volume what any of
// these is, and txnctl graph draws them all.
//
// # The walk of a commit
//
//	Begin -> Stage* -> Seal -> Sequence -> Append ==(commit point)== Publish -> Release
//
//	step      goroutine  does                                                   if it fails
//	Begin     caller     holds the published snapshot: O(1)                     nothing happened
//	Stage     caller     private copies, in memory or in slots                  this write is refused
//	Seal      caller     hashes images, puts many of them in their final place, rolled back
//	                     reads the tree nodes that sequencing needs
//	Sequence  leader     for all that wait, in memory: compares what was read   rolled back, no trace:
//	                     with the logical tips, applies the changes to them,    conflict, too large,
//	                     encodes the record into the open group                 no space
//	Append    flusher    writes the small images of all members, then their     unknown; the manager
//	                     records at once; syncs the log, and the heap, whose    is poisoned
//	                     write-out is under way
//	Publish   flusher    one pointer: the group's snapshot; wakes its members   -
//	Release   caller     drops hold and stage                                   cannot fail the commit
//
// The leader is the committer who came first; the others only wait to be told
// their fate. While one group is synced the next is sequenced. Groups become durable in
// order. Logical tips are those of all sequenced entries, published ones those
// of all groups written.
//
// # Who runs
//
// Four goroutines belong to a Manager, with Options.Archive five, and Close waits for them:
//
//   - the flusher appends, syncs and publishes groups, and freezes and rebases
//     the store for a checkpoint between two of them;
//
//   - the keeper writes checkpoints and frees slots;
//
//   - the preparer makes the next log generation and written heap space ready
//     ahead of need;
//
//   - the expirer rolls back abandoned transactions past their deadline, and
//     releases such holds. It waits for no disk. A transaction that is still used is rolled back by the first call past
//     its deadline, or past the end of its context, which returns ErrExpired or
//     the context's error.
//
//   - the archiver, if there is one, ships durable entries (archive.go). Nobody waits
//     for it but Open and Close, for bounded times.
//
// # Limits
//
// A transaction is one log record of at most wal.MaxRecord bytes, 1 MiB. Pages
// written take little of it; what takes most are changed volumes,
// of which about 4900 fit, and runs of discarded pages, of which about 60,000
// fit. Options.MaxTxBytes bounds the pages written. A write past it, and a
// Commit whose record does not fit, return wal.ErrTooLarge; Commit has rolled
// the transaction back then. Nothing was written, the manager goes on, and the
// same changes can be committed in parts.
//
// There may be Options.MaxHolds holds at once. What they keep on the disk is
// bounded by what they reach: a page that is overwritten a thousand times is kept
// once for each hold that lies between.
//
// The outcomes of RequestWindow requests are kept for each of MaxActors actors.
//
// # Assumptions
//
// Those of package vfs about the disk. The clock may jump: times in entries
// rise regardless, and nothing else depends on it but deadlines.
package txn
