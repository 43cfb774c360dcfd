// Package demo shows the main job on real input: import, concurrent commits, a
// kill, recovery, and a proof that what was promised is there and nothing else; then a
// backup of the living store, an accident, and a restore to one second before it.
//
// Run goes through these steps; the command txnctl demo prints them:
//
//	import   every file of a tree becomes a volume, each directory one transaction
//	commit   a child process opens the store and commits from several writers
//	kill     the child gets SIGKILL with commits in flight
//	recover  the store is opened again
//	prove    acknowledgements and every page are held against what was asked for
//	verify   the store is closed and all of it is checked
//	backup   several write again; a snapshot is taken, and the log shipped, meanwhile
//	accident a volume is deleted, and the writers go on
//	restore  another store is made of the archive, as of one second before that
//	compare  its sums are held against the store's at that LSN, and every page
//	         against the files and what was committed until then
//
// # What the proof rests on
//
// The child writes a line to the file tries before each commit, and one to the
// file acks after each acknowledgement, with the LSN and the transaction's ID;
// a kill cannot take back what a process has written to a file. What writer w
// changes in its commit k follows from w, k and a seed alone (Plan.Edits), so
// the parent knows what every page must be at any LSN without asking the store:
// it takes the imported files as they are on the disk and replays the edits in
// order of LSN. Then it checks:
//
//  1. Every acknowledged transaction has its LSN in the log, under its ID.
//  2. The commits of each writer are there without a hole: all that were
//     acknowledged, and at most the one that was in flight.
//  3. The volumes are those that were imported, no more and no fewer, and every
//     page of them is what the commits up to the last LSN say. A transaction
//     changes pages of several volumes, so half of one would show.
//
// The order of transactions that were never acknowledged is taken from the log
// as it lies on the disk after the kill, read before anything is recovered.
//
// What was restored is proven in two ways. Its digest must be that of the store that
// lives on, at that LSN, which is read from that store's own log and not from the
// archive. And its pages must be what the child's commits and those of the store's
// second life say, up to the last one that is not younger than the time asked for,
// which must be the LSN that was restored.
//
// The manager's clock runs 20 times as fast in the second life, so that nobody
// has to wait for the second before the accident; times in it are up to some minutes
// ahead.
//
// # Assumptions
//
// The tree of files does not change meanwhile. A kill is not a power cut: what
// the process has written survives in the system's cache. Power cuts are the
// business of the crash tests, which cut at every operation.
//
// # Files
//
// Below Config.Dir: store/, archive/, restored/, plan.json, tries and acks. They are the caller's to
// remove.
package demo
