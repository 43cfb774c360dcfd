// Package restore makes a store of an archive: of a snapshot and the entries behind
// it, or of the entries alone.
//
// # Use
//
//	got, err := restore.Run(ctx, store, dir, restore.Target{LSN: 4711}, restore.Options{Open: ...})
//	got, err := restore.Run(ctx, store, dir, restore.Target{}, restore.Options{Volumes: []string{"mail"}, Open: ...})
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
// When volumes are named, all this is made in <dir>.restoring.whole, up to the proof, and
//
//	promote   the whole store, to a timeline that nobody sees         both directories, which the
//	                                                                  next run empties
//	drop      deletes all other volumes, some in a transaction        the same
//	extract   exports what is left, as a snapshot is, and loads it    the same
//	          into <dir>.restoring, so that it takes no more space
//	          than it needs; removes the whole store
//	prove     each volume's refs have the states that they had in     the staging directory
//	          the whole one
//	promote   to a timeline of its own, and switch, as above          the same, or the store
//
// Tips that a fork shares with a volume that is left out stay, as in any store that has
// deleted it. Names are those in the state restored, NoVolumeError says which was not
// there. Rejected: to load only the trees that are wanted. The entries behind a snapshot
// need all that they change, and what pins what would be known in two places.
//
// The store of some volumes is not a part of the old history: no follower of that, nor for
// its archive. It is told by its own, which begins with a snapshot.
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
//   - A volume restored by name has, tags included, the very states that it has in a
//     whole restore, which was made for that and proven.
//   - Memory: that of snapshot.Reader, pagestore.Loader and ship.Reader; with volumes
//     named that of an open store and a Loader at once.
package restore
