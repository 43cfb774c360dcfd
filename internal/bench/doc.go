// Package bench measures what commits cost beside what the disk itself costs.
//
// A figure of transactions per second says little of an engine when nobody
// knows what the disk below it would have given. So a measurement here has
// three subjects, and each takes its turn many times in one run:
//
//   - the engine: N writers, each committing P random pages of a filled volume;
//   - a plain file that grows: the same writers hand over the same bytes, and
//     one goroutine writes what has gathered and syncs it, as the engine's
//     flusher does;
//   - the same over space that was written before, the least that any log on
//     this disk must pay.
//
// The two files are the floors. The ratio of the engine to a floor is a figure
// of the engine and not of the disk, since whatever else the disk does at the
// time it does to all three. Run measures; Result is what it found; the command
// txnctl bench commit is a thin shell around them.
//
// # What is counted, and when
//
// The engine's slices are twice as long as the floors'. A slice of the engine
// ends only when no checkpoint is running, so that no part of what its commits
// cause is done in a floor's time; checkpoints happen as they always do. A
// floor's slice has a run-in that is not counted. Before everything there is a
// warm-up of all three.
//
// Latency is of one transaction, from having its pages in hand to the
// acknowledgement, kept in a Histogram with an error below 2 per cent. Syncs of
// the engine are counted where it asks the disk for them, in a Counter around
// its vfs.FS. Processor time is the whole process's, its background work and the
// collector included. What reached the device is read from the block device's own
// counter (see Meter), which counts everybody's writes; where it cannot be
// read, the process's own write counter stands in, and Result says so.
//
// # Honest floors
//
// The floors do the writers' work too: pages are chosen and filled in the same
// way. Their group loop gathers as the engine's does, waiting up to a quarter of
// a sync for those who are likely to come back. Small payloads of a group are
// copied together and written by one system call; large ones are written from
// where they lie. They hash nothing, index nothing and could not be read back:
// they are a bound, not a rival.
//
// # Files
//
// Everything is made below Config.Dir, which must be on the disk to be
// measured: floor.grown and floor.written, removed at the end, and the store,
// which is the caller's to keep or to remove.
package bench
