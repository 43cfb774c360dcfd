// Package restore makes a store of an archive: of a snapshot and the entries behind
// it, or of the entries alone.
//
// # Use
//
//	got, err := restore.Run(ctx, store, dir, restore.Target{LSN: 4711}, restore.Options{Open: ...})
//
// Package txn has this with Open filled in.
//
// # The steps
//
//	step      does                                                    a crash behind it leaves
//	choose    the log, the newest snapshot that is not behind the     nothing
//	          target, and those that it follows from
//	stage     makes <dir>.restoring, and locks it                     the directory, which the
//	                                                                  next run empties
//	load      the snapshots; compares the digest of each              the same
//	follow    opens that store as a follower, and applies entries     the same
//	          up to the target, by the code that replication uses
//	prove     makes all of it durable, and takes the digest           the same
//	promote   unless it is to stay a follower: begins a timeline      the same
//	switch    renames it to dir, which is not there or empty          the store, whole
//
// # Guarantees
//
//   - Nothing is restored short: whatever is missing between the snapshot and the
//     target, or up to where the log is known to have gone, is a *RefusedError that
//     names it and the nearest points that can be restored; dir is as it was. What was
//     never archived (ship.GapError.Next) is such a range, with the snapshot behind it
//     as the nearest point.
//   - A snapshot that is damaged, half deleted, or of another history is passed over
//     for an older one and more of the log, and told of (Restored.Passed).
//   - Points in time are those of the entries. A time is that of the last entry which
//     is not younger; nothing is kept in dates of files.
//   - Every object is verified as it is read, every image against its hash, every
//     entry against the state before and after it, and what a snapshot becomes
//     against its digest.
//   - The archive is not changed, but for a pin that keeps a prune from beginning until it is
//     released. Where none can be put, and of a prune that had begun already, what is deleted
//     meanwhile is passed over or a refusal, never a shorter store.
//   - The store that is made has an identity of its own, and begins a timeline of
//     its own when it is promoted, of an epoch above all that the archive has then. Until
//     then it follows the log that it is from. Two restores whose timelines the archive
//     learns of later may tie: then the next one asks which (AmbiguousError).
//   - Memory: that of snapshot.Reader, pagestore.Loader and ship.Reader.
package restore
