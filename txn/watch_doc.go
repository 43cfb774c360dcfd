// # Watching
//
// Watch yields the entries of the log as they become durable. A watcher is a
// reader of the log's files: it has no queue, no lock and no goroutine. It reads
// entry after entry through a descriptor of its own, up to the horizon, and only
// there waits for the flusher to ring. So however slow it is, commits,
// checkpoints and trimming do not know of it; what it costs is a read buffer of
// 1 MiB and a record at most, and one file of the log, which keeps its space on
// the disk until the watcher is through with it.
//
//	state     holds                                     left by
//	starting  After is looked at                        start: ErrFuture, ErrDiverged, ErrCompacted
//	reading   next <= horizon                           an entry, or progress, is yielded
//	waiting   next > horizon                            a ring; the context; Close; poison
//	ended     an error was yielded, or the loop left    -
//
// Invariants:
//
//  1. Entries come in LSN order, each once, none left out: only the entry is
//     taken whose LSN and previous hash continue the one before.
//  2. What is at or below the horizon is durable and published: a watcher never
//     sees what a crash could take back, and a transaction begun when it sees an
//     entry sees it too.
//  3. Every event's position may be given as After, to this manager or a later
//     one: what follows is what would have followed here, or a typed error.
//  4. A file of the log may be removed while a watcher reads it: it is read to
//     its end, and the next is found by its first LSN or is gone as well, which
//     is ErrCompacted. Nothing is passed over.
//
// A position names its entry by its hash. So a store that was put back to an
// older copy, or that a crash robbed of buffered commits, is found out when a
// watcher comes back: ErrFuture as long as it has fewer entries, ErrDiverged
// when it has others.
//
// Wait is for those who hold a position and want to know what has become of it.
// It ends with a typed result whatever happens and never undoes a commit.
package txn
