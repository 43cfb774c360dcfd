// Package pagetree is the index of a volume: a persistent radix tree from page
// numbers to where the image of each present page lies, when it was written
// and what it hashes to.
//
// # Shape
//
// A node has 64 places. The height follows from the size in pages alone: none
// for up to one page, whose entry stands in the root itself; h for up to 64^h.
// So a volume of one page costs no node, and two trees of one size have the
// same shape. Nodes are packed, a bitmap and the entries present: what is
// sparse stays small. An inner entry holds, beside the child, the sum and
// the count of the pages below it. So a tree knows the state of its volume
// without reading anything, and cutting off a terabyte reads one node a level.
//
// # Versions
//
// A Tree is an immutable value of a few words. An edit copies the nodes from
// the root to the page (three for 1 GiB) and shares all others with the tree
// before. Readers take a tree and need no lock, ever. Copying on every change
// would be wasteful inside a group of entries that is published as one, hence
// epochs: a node made in an epoch is changed in place until the epoch ends.
// Whatever keeps a copy of a tree ends it: publishing, a fork, a tag.
//
//	e := &pagetree.Edit{Epoch: 7, LSN: 42, Source: src, Dead: died}
//	err := e.Load(&tree, pages) // may read the disk and fail; content unchanged
//	e.Set(&tree, 5, entry)      // from here on memory only, cannot fail
//	e.Remove(&tree, 9)
//	published := tree           // and the next Edit has another Epoch
//
// # A node's life
//
//	state      where                       by               ends by
//	open       memory, changed in place    Load, Set        end of the epoch
//	closed     memory                      end of epoch     Freeze, or garbage collection
//	frozen     memory, has a slot          Freeze           Write
//	written    memory and heap             Write            Rebase
//	clean      heap, cached by node.Source Rebase           Dead, then reuse
//
// A node that a later version replaces before it was frozen never had a slot
// and costs nothing. If a checkpoint of an older tree freezes it after that,
// Freeze reports it dead in the same breath. So every slot handed out is
// reached by the newest tree of its lineage, or reported dead exactly once,
// with the LSNs between which it was reachable. The page images that entries
// name are reported by the same rule; one that lies in the log is reported by
// its log address, and the caller, who moves images, knows its slot.
//
// A fork is a copy of the tree in another lineage. What is not younger than
// the fork is its origin's (Edit.Origin) and never reported by the fork.
//
// # Checkpoints
//
// Under the sequencer's mutex Freeze assigns slots to all nodes of a published
// tree that have none. Without it, beside readers and further edits, the
// caller moves the images of LogPages to slots and Write encodes the nodes,
// children first, since a parent holds the hash of its child's slot. When all
// is durable Rebase, under the mutex again, makes trees that reach what was
// written through the heap; the garbage collector takes the nodes once no
// reader's tree does.
//
// # Concurrency
//
// One sequencer edits, under a mutex; Freeze and the Rebase of trees still in
// use run under the same one. One checkpointer runs Write. Any number of
// goroutines read trees whose epoch is closed. knot.go says, field by field,
// who may touch what.
//
// # Reading
//
// Lookup, Ascend, Diff and Check take nodes that are not in memory from a
// node.Source, verified. Diff skips what two trees share, in memory or by
// slot, and decides by birth and hash: its cost is that of the changes. It is
// what validation, reset and incremental backup are made of. The trees read
// must be held: see package node on death.
//
// # Cost
//
// Load and Set of a random page in 1 GiB, all nodes in memory: 1 microsecond,
// 7 KiB of garbage in six objects. Lookup: 25 ns in memory, 0.2 microseconds
// through the cache. A million pages in order: 50 ms. A full leaf takes 2 KiB
// of the heap, a full inner node 4 KiB, a sparse one from 512 bytes on.
// Reproduce with go test -bench . ./apply/pagestore/pagetree.
//
// # Format
//
// format.go draws nodes and roots. Nodes carry a version; a root is part of a
// catalogue record, which does.
package pagetree
