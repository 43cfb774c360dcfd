// Package repair makes a damaged store whole again: from an archive, and from what of
// the store's own log is whole and the archive has not got.
//
// # Use
//
//	got, err := repair.Run(ctx, archive, dir, repair.Options{Open: ...})
//
// Package txn has this with Open filled in. What is lost without an archive,
// recovery.Assess says.
//
// # What it makes
//
// Nothing is mended in place: a disk that has damaged one block may damage the next, and
// what a repair decided wrongly could not be looked at again. A store is built beside the
// damaged one, proven, and takes its name; the damaged one is kept under another.
//
//	snapshot ── entries of the archive ── entries of the store's own log ── same position
//	    the newest at or before the store's first entry         that the archive has not
//
// Where the log does not lead there, since the archive is behind and the store's log begins
// later, or since an old entry that only consumers read is damaged, there is another way:
//
//	snapshot ── what the damaged store's checkpoint has that is younger ── entries of its own log
//
// An increment of a snapshot needs nothing of its base (package snapshot), so nothing
// of the damaged store is read that the archive has: damaged pages and nodes of trees
// come from the snapshot, and the trees have the sums that they had. All of the catalogue
// must be readable, whose digest is the proof. The log of the new store begins behind
// that checkpoint (Repaired.Checkpoint), and so consumers that are not so far are dropped.
//
// Entries are what they were, byte for byte: their hashes are compared with those that the
// damaged store still names. So consumers and followers go on where they were. The
// log of the new store begins where that of the damaged one did, if the archive reaches
// so far back; else consumers that need more are carried over as dropped, which they are
// told, and Repaired.LogFrom says where the log begins.
//
// # Position and timeline
//
//	the new store ends                                 it is
//	at the last entry that was durable, or behind it   what the damaged one was, on the same timeline
//	before it, or nobody can tell (no manifest)        refused: *LossError names what is lost;
//	                                                   with AcceptLoss a writer on a new timeline
//
// Nothing was lost in the first case, so nobody can have seen a history that is not the new
// store's, and no new timeline is needed: consumers, followers and the archive see one
// store that was away for a while. It has a UUID of its own. What must not be is that
// the damaged one goes on too: it is renamed away under its lock. A follower is never
// refused for what it lacks: its writer has it.
//
// # The steps
//
//	step    does                                              a crash behind it leaves
//	finish  ends the switch of a run before                   -
//	assess  takes the store's lock; finds out what is lost    nothing
//	base    restores a snapshot into <dir>.repairing          that, which the next run removes
//	walk    applies entries, from archive and own log in      the same
//	        turns, until neither has the next
//	judge   if something is lost, begins anew with
//	patch   the other way, with walk and judge behind it;     the same
//	        what both lose is refused
//	carry   consumers and role, in one record                 the same
//	prove   Verify; the digest of all refs and states is that the same
//	        of the damaged store where its catalogue can be
//	        read, and at the same entry
//	name    renames it to <dir>.repaired, which only a        <dir>.repaired: the next run makes it anew, or,
//	        proven store is ever called                       where <dir> is gone, goes on here
//	switch  renames <dir> to <dir>.damaged-<time>, then       the same; then the repaired store
//	        <dir>.repaired to <dir>
//
// # Guarantees
//
//   - The damaged store is byte for byte as it was, but for its name (and LOCK, when that
//     was longer than an owner's name), whatever the outcome. Nothing is deleted but
//     what a run of repair had begun to make.
//   - Entries are verified with all their images, from wherever they come, and follow
//     each other by hash. A store and an archive of different histories are ErrDiverged.
//   - What cannot be had is named: LSNs, and time, transaction and actor of entries whose
//     records can still be read.
//   - A dry run makes no file and takes no lock.
//   - Memory: that of package restore, and 100 bytes for each damaged place of the log.
//
// # Not there
//
// What is younger than the archive, and damaged, is lost, and all that came with it: no
// part of a state is made up. Holds are of processes, and gone with them.
package repair
