// Package retain deletes from an archive what a policy does not want to be kept, and never
// anything that what it wants needs.
//
// # Use
//
//	policy := retain.Policy{Last: 3, Daily: 14, Monthly: 12, Within: 7 * 24 * time.Hour}
//	planned, err := retain.Plan(ctx, store, policy, retain.Options{})  // what stays and why, what goes
//	planned, err = retain.Run(ctx, store, policy, retain.Options{})    // the same, done
//
// # What is promised
//
// A policy is a union: a snapshot stays if any of its rules wants it, for each line by
// itself. A line is the history that leads to a timeline: its snapshots, and those of its
// ancestors up to where it left them. A timeline that another one has left, and to which nothing
// was added for Policy.Left, has no line any more; what others need of it stays.
//
//   - A snapshot that stays can be restored: it stays with all those that it is based on.
//   - Within: every LSN and time since then can be restored. The newest snapshot that is not
//     younger stays, too, and all entries from it on; where there is none, all entries.
//   - Without Within the same holds from the oldest snapshot that stays on.
//   - Snapshots older than those entries can be restored at exactly their LSN. That the
//     entries around them are gone is no damage: a trim says so, and Verify knows it. A trim
//     is never higher than the first entry that is still there, so what is lost behind it
//     is found.
//   - The last object of a log stays, with its start, mark, trim and floor: an archiver finds
//     where to go on, and children where they come from.
//   - What a note says is believed only if it is whole, has its own key and is not above the log:
//     with another one nothing is deleted, and the error names it.
//   - A policy without a rule is refused; each rule keeps something. A snapshot that is damaged
//     satisfies none: it is named, and stays as long as those around it. Without the
//     key of an encrypted one, all that are older in its line may be its base, and stay.
//
// Times are those in the entries, never those of files; hours, days, weeks and months are
// those of the location of Options.Now.
//
// # The steps
//
//	step                                              a crash behind it leaves
//	with Options.Merge: merge what others only need   snapshots twice, a directory for a store
//	list all; end if nothing is to go                 nothing
//	put a pin, look for others': end if there are     a pin, which ends
//	list again, and plan again
//	confirm the manifests that stay: put them again   the same
//	put trims and floors                              these, which are true
//	delete manifests, the newest first                parts, which nothing names
//	delete parts of these, and of attempts that ended some of them
//	delete objects of entries below the trims         some of them
//	delete blobs of entries below the trims           some of them
//	delete notes that higher ones replace, old pins   some of them
//
// So nothing is ever there in half: a snapshot is there if its manifest is, and its bases
// outlive it; what a trim is above may be gone. The next run finds what is left, and
// goes on. All else that is at work beside it is safe:
//
//	archiver     puts entries behind the last object, which stays, and blobs only for those
//	Take, Pack   are pinned: they, or the run, have waited (package pins)
//	restore      pinned as well. One that began within the run finds what is promised
//	another run  pinned; one of them yields
//
// A snapshot that was merged is there twice until the manifest that needs more is deleted;
// both are the same state, and whoever reads takes either.
//
// Parts are left over when they were there before the run looked for pins, and no manifest
// names them behind that: a Take that was at work then was pinned, or is done. Blobs
// are when the entry that their headers name is below the trim: what an archiver has put ahead
// is above.
//
// # Limits
//
// Memory: about 200 bytes an object of the archive, and its manifests. Calls: a list of all,
// a header for each object that goes, each snapshot and, where logs are trimmed, each blob; one
// for each deletion, 8 at once. What an archive holds longer than its policy says is at
// most the object in which a trim falls: 256 MiB with its blobs.
package retain
