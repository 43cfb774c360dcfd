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
// # Consumers
//
// A consumer is a name and a position in the manifest. What is behind the
// position, entries and the images that they brought, is kept, through
// checkpoints, restarts and crashes, until the consumer acknowledges it:
//
//	c, err := m.Consumer(ctx, "search-index")
//	for e, err := range c.Watch(ctx, txn.WatchOptions{}) {
//		...
//		err = c.Ack(ctx, e.Position) // now and then: one synced write
//	}
//
//	state    holds                                          left by
//	kept for log and images behind Acked are there          Ack: the same, further on; DropConsumer
//	lagging  more than Options.ConsumerLagBytes is kept     the next checkpoint: dropped
//	dropped  nothing is kept; the name says why             DropConsumer
//
// Positions only rise. A dropped consumer is reported to the logger as an error,
// counted in Stats, and told to whoever uses it, as a *DroppedError, until its
// name is dropped. Limits: MaxConsumers and MaxConsumerName; what is kept for one,
// above Options.ConsumerLagBytes, by one checkpoint's worth. Opening scans the log
// that is kept.
//
// # Waiting
//
// Wait is for those who hold a position and want to know what has become of it.
// It ends with a typed result whatever happens and never undoes a commit.
package txn
