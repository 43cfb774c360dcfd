// Package crash cuts the power beneath a whole store, at every operation of its
// life, and checks what recovery makes of it. It holds tests only.
//
// # Use
//
//	go test ./tests/crash                                  // 2,000 crash points, 200 faults
//	CRASH_POINTS=20000 go test -count=1 -v ./tests/crash   // with the totals
//
// TestCrash runs the others in the build in which tidwall/wal too writes to a
// disk of package crashfs (see package tidwallfs); there their names begin with
// TestHooked.
//
// # What is done
//
// A life (life_test.go, kinds_test.go) is recorded once: a store is made;
// writers beside each other commit what lies in the log, in slots, and in a
// stage on disk; they discard, truncate, create, rename, exchange and delete,
// conflict, roll back, undo to savepoints, and some do not wait for the disk.
// Checkpoints run between and beside them, generations of the log fill up, the
// store is closed and opened. Four more lives go on from what a kill and three
// kinds of power cut left of the first.
//
// They fork volumes, tags and forks, set, move and drop tags, reset to them, and
// delete what was forked and tagged (tips_test.go). States that only a reader
// holds are forked and tagged, too, while their volumes change: that takes entries
// of which the caller does not hear, so these may be missing in the record, two
// for each such call. All that tags point to is read at each cut.
//
// A consumer lags behind checkpoints and acknowledges half of what there is now and
// then (feed_test.go). At each cut it must stand where it had acknowledged, or
// later, and all behind that must be there: every entry, every image.
//
// Then (enumerate_test.go) the disk is cut behind each operation of all lives,
// under nine models: Ordered, KillOnly, Posix, three of MetadataOrdered, three
// of Random. What is left is opened and read completely. One in sixteen is gone
// on with: committed, checkpointed, closed and opened twice. Of one in a hundred
// the opening and closing just done is cut in turn at each of its operations,
// and so once more of those. Half are given to recovery.Verify before or after.
//
// A follower's life (follow_test.go) is cut likewise: made, fed with the stream of a
// life's writer beside checkpoints, closed and opened, promoted, written. What is left
// must be the follower it was, with the writer's state and hash at an LSN that is not
// below what it had acknowledged; it is fed the rest and promoted. From the operation
// on at which Promote is called it may be a writer, from its answer on it must be. And
// the opening of a copy (copy_test.go): whatever is cut, it begins its timeline once.
//
// In fault_test.go the operations of a life fail instead, once or for ever, with
// EIO, ENOSPC or half of a write done; the living store is read, then opened on
// a disk that is well again. A disk that is full (nothing grows, no names) must
// poison nothing, and the same manager must go on when there is room.
//
// # The oracle
//
// Each transaction notes what it does as effects on a map of pages
// (oracle_test.go). Its LSN gives it a place, so there is one right state for
// each LSN. A cut behind operation k must open, and end at an LSN L with
//
//	L >= the LSNs acknowledged as durable by operation k, and those found by
//	     an opening that was over by then    else it counts as lost
//	the store holds exactly state L          else as partial
//
// so order, wholeness, and that nothing else is there need no further rule.
//
// A third of the transactions are numbered requests (request_test.go). What is
// opened must answer for each of them: committed at its LSN up to L, not
// committed above. Where it is gone on with, all are sent again, twice: those up
// to L must not run, the others must commit once.
//
// Verify must be content, change nothing, and call a closed store clean.
//
// # Repeating a failure
//
// The goroutines of a store do not repeat themselves, so neither does a life. A
// failure prints the cut and the operations before it; a bug that a cut of one
// life finds is found by some cut of nearly every life.
//
// # Track record
//
// What these tests found, and what finds it:
//
//	bug                                                        found by
//	a store with a deleted volume behind its checkpoint did    TestHookedCrashEverywhere, kind naming
//	not open: replay wanted a base of the deletion
//	two volumes that exchange names conflicted for ever, or    TestHookedCrashEverywhere, kind swapping
//	one lost its name
//	a checkpoint after a failed append held entries that the   TestHookedFaultEverywhere, EIO once
//	log does not: the store did not open any more
//	the store's directory was not synced when the first        TestHookedFaultEverywhere, EIO once at 2
//	opening failed there: the second lost all in a power cut
//	a commit on a full disk waited for a log generation until  TestHookedDiskFull
//	its context ended, instead of saying that there is no room
//	a full generation was called sealed before the slots that  TestHookedBufferedAcrossGenerations
//	its buffered entries name were synced: behind a power cut
//	the store was corrupt instead of shorter
//	a power cut in an opening, between naming a heap file and   TestHookedCrashEverywhere, cuts inside
//	removing one with a lower number that no record names:     recovery
//	the store was refused for that file
//
// # Cost
//
// 70 to 550 points a second on two cores; the log generations of 2 MiB, the
// smallest there are, are scanned four times by an opening.
package crash
