// Package pagestore keeps the states of a store: every volume at every
// snapshot that somebody holds, in memory and in the heap.
//
// # One root
//
// The whole store at one LSN is one immutable value, a Snapshot: the root of
// the catalogue (package catalogue), a persistent B+tree of records that name
// volumes and lineages; a lineage's record holds the root of its page tree
// (package pagetree). Changing a page makes a new leaf, new nodes above it, a
// new record and new catalogue nodes, and shares the rest. To begin a
// transaction is to take the published Snapshot: the same cost whatever the
// store holds. Who reads a Snapshot waits for nobody and delays nobody.
//
// A Draft is the next state while it is made. The one goroutine that has it
// applies entries (package apply), and Cut ends a group of them: the group's
// nodes, which were changed in place, are frozen by it.
//
// # Where nodes and images are
//
// Between checkpoints new nodes are in memory only, reached by pointers.
// Older ones lie in heap slots, reached by node.Ref through a bounded cache.
// An image lies in the heap from the moment its entry is logged, or in the log
// itself when its group was small: then the tree's leaf has a log address.
//
// # A checkpoint
//
//	step    who         does                                               if it fails
//	Sweep   sequencer   takes tips that nothing pins out of the catalogue   left to the next
//	Freeze  sequencer   assigns slots to all nodes in memory of a Cut,      Thaw: the next covers it
//	                    which is published
//	Write   checkpoint  copies images from the log to slots, writes nodes,  Thaw; a failed sync poisons
//	                    children first, syncs the heap, appends one record
//	                    to the manifest: from here on it is the checkpoint
//	Rebase  sequencer   draft and published snapshot reach what was         poisons
//	                    written by slot: memory and log are let go
//	Bury    checkpoint  what the tree lost waits in limbo for its holds     -
//
// Slots are assigned at Freeze, not at Write, so that what supersedes a node
// while it is being written knows which slot dies. The Cut is published even when
// no entry is new in it: a sweep, or transactions that were refused, have replaced
// nodes that the Cut before reaches, and those dead nodes are about to be freed. An image that was moved and
// superseded meanwhile is found through the checkpoint's table of moves.
// Commits go on throughout; the sequencer is stopped for Freeze and Rebase
// only, which take time for the nodes in memory.
//
// # The life of a slot
//
//	state      is                                            becomes
//	free       in nobody's trees, may be handed out          taken
//	taken      a stage's, a checkpoint's or an entry's       born (an entry or checkpoint names it), free
//	born       reached by the draft                          dead (a later version replaced it)
//	dead       not reached from its death on                 in limbo, when a durable checkpoint has lost it
//	in limbo   a held snapshot may reach it, or a record     free, when none does
//	           that a consumer has still to read
//
// A slot born at b and dead at d is reached by the snapshots of [b, d); a hold
// is the LSN of a published snapshot. Slots that the same holds reach wait
// together, so a long hold keeps one set of slots, whatever happens since
// (limbo.go). The manifest keeps the set of slots that
// the checkpoint reaches, as changes from one checkpoint to the next: born less
// dead. Everything else is derived on opening: slots that entries behind the
// checkpoint name are born again by applying them, and what only readers or
// stages had is free.
//
// Invariants:
//
//  1. A slot that any held or published snapshot, the last checkpoint or the
//     log from the low-water mark on names is not free (lowwater.go).
//  2. After Bury every slot is reached, in limbo, taken or free; nothing leaks.
//  3. No page is returned whose hash is not the one its leaf names (promise 9).
//  4. The checkpoint's entries are durable in the log before its record is.
//
// # What only holds reach
//
// A snapshot that is held pins nodes in memory that no checkpoint would write,
// since newer ones have replaced them. For Hold, which may last, a checkpoint
// writes them all the same, and the hold's snapshot reaches them by slot from
// then on (spill.go). Their slots are born and dead at once.
//
// # Retired logs
//
// A checkpoint that has moved a generation's images lets its file be removed.
// Snapshots from before the Rebase still have addresses in it: a table says
// where the images went, and those that only held snapshots reach are copied to
// slots. So a reader costs slots for what it alone still sees, no matter how
// long it reads.
//
// # Requests
//
// What became of the numbered requests of actors is kept in the catalogue, for
// a window of each and a bounded number of them: requests.go says how, and
// requests_format.go in which records.
//
// Files: MANIFEST (package manifest) and heap/ (package heap).
package pagestore
