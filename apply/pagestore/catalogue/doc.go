// Package catalogue is the page store's persistent map from keys to small
// values: the volumes' names, refs, lineages and outcomes (DESIGN 1, internal
// volume 0). A million volumes cost a million items in the heap and, in
// memory, the nodes that are looked at.
//
// # Use
//
// A Catalogue is one immutable version. An Edit makes newer ones by Put and
// Delete; Get and Scan read any version, whatever happens to newer ones. A
// checkpoint takes a published version through Freeze, Write and Rebase; its
// Root then names it for ever. See the example.
//
// A value is bytes (Raw), or live: anything that knows its Size and can append
// its encoding once Write asks for it. The page store puts lineages in whose
// page trees are Go pointers; Dirty finds them, Rebase turns them into what
// the checkpoint has written.
//
// # Guarantees
//
//  1. A version never changes: readers need no lock and no copy.
//  2. A Put or Delete that fails leaves the version as it was (all that can
//     fail comes before the first change) and has told Dead of nothing.
//  3. Every slot that Freeze took is reachable from the newest version, or was
//     told to Dead exactly once. Slots of nodes that had been replaced before
//     an older version was frozen are told by Freeze itself.
//  4. What is read from the heap was verified against the check its parent
//     holds, then by its form and level; Check verifies places too (promise 9).
//  5. A node has at most 4 KiB and a depth of at most 16 is ever followed.
//
// # Who may do what at once
//
//	readers        Get, Scan, Check on any version       no lock
//	sequencer      Put, Delete on the newest version     its mutex
//	checkpointer   Freeze, Rebase                        the sequencer's mutex
//	checkpointer   Write, Root                           no lock, beside all of these
//
// A version may be given to readers once its epoch is over: nodes made by an
// epoch are changed in place while it lasts, so a group of commits copies each
// node once. An edit that was begun cannot be taken back within its epoch.
// Freeze takes versions in the order of their epochs, each after its own is
// over; the sequencer may be epochs ahead. Rebase takes all versions that are
// to go on after one checkpoint with one Memo, the newest among them.
//
// # Life of a node
//
//	state    holds                               left by
//	open     its epoch may change it             the end of its epoch
//	shared   nobody changes it; no slot          Freeze, or replaced (own, bury)
//	frozen   has a slot; may be being written    Write, or replaced: told to Dead
//	written  slot and check are known            Rebase: pointers become node.Refs
//	stored   loaded through node.Source          replaced: told to Dead
//
// # Design
//
// A B+tree with nodes of variable length: items are packed, and a node lies in
// the smallest slot class that holds it, so half-full nodes cost little. A
// node that outgrows 4 KiB is halved, or, if it grew at its end, leaves its
// left part full, because keys that begin with an LSN or a UUID of version 7
// come in order. One that shrinks below a quarter is joined with a neighbour
// if both fit into one. The separators of inner nodes are the shortest that
// tell their neighbours apart.
//
// A radix tree as the pages have was rejected: keys are names and UUIDs. So
// was a copy on every Put: with groups of 16 the in-place edit halves its cost.
//
// # Cost
//
// With 10,000 keys in memory: Get 0.15 microseconds, Put of an existing key
// 0.4 when its leaf is this epoch's, 2.7 when its path is copied first, 1.5 on
// average in groups of 16.
// `go test -bench . ./apply/pagestore/catalogue` measures.
package catalogue
