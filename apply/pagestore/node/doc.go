// Package node is what the page trees and the catalogue have in common: how a
// tree node that lies in the heap is named, loaded and reported dead.
//
// # Names
//
// A Ref is all that a parent knows of a child in the heap: its slot, the entry
// of the log that made this version, and the hash of the slot's bytes. The
// hash covers the whole slot, padding included, and takes the slot's number as
// its seed. So whatever a disk does (a flipped bit, a block written elsewhere,
// a write that never happened and left the slot's former node) the bytes do
// not hash to what the parent says, and are never decoded. A tree is verified
// from its root, whose Ref the manifest holds (promise 9).
//
// # Loading
//
// A Source loads nodes. Trees call it when they follow a Ref, with their own
// decoder, so a Source knows nothing of what a node means. A decoder gets the
// whole slot, verified, and may keep the bytes; what it returns is shared by
// all who load the same Ref and changed by nobody.
//
// Cache is the Source of a store. It keeps decoded nodes, bounded in bytes, in
// 64 shards with a lock and a clock each. A node is kept under its slot and
// believed only if the whole Ref is the one asked for: a slot that was freed
// and reused has another birth and check. There is therefore no invalidation:
// nobody tells the cache what died or was written. Two goroutines that miss
// the same node both read it; that is rarer than the bookkeeping to prevent it
// is dear.
//
//	src := node.NewCache(heap, 64<<20)
//	entry, ok, err := tree.Lookup(src, page)
//
// A hit costs 15 ns, a miss one read of the slot, 0.2 microseconds a KiB to
// hash it, and the decoding.
//
// # Death
//
// Trees are persistent: an edit copies the nodes it changes. What it leaves
// behind it reports as Dead, with the states that could reach it: those from
// Birth on and before Death. A slot is reusable when Death is at or below a
// durable checkpoint, no held LSN lies in [Birth, Death), and the low-water
// mark is above Birth (DESIGN 6). Births and deaths are LSNs of entries, so a
// hold is a number and not a reference count. tips.go of package
// pagestore has the rules of holds that last, and of forks.
//
// # Errors
//
// Bytes that are not what was written are a *wal.CorruptError, which names the
// file, the byte at which the slot begins, and the entry that made the node.
// A node of a newer format wraps wal.ErrVersion. All else is the disk's own
// error. Nothing is kept of a node that could not be loaded: the next Load
// tries again.
package node
