package node

import (
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Ref says where a tree node lies in the heap and what it must hash to. The
// zero Ref is "none".
type Ref struct {
	Slot  heap.Slot
	Birth wal.LSN      // the entry that made this version of the node
	Check wal.PageHash // wal.HashPage(uint64(Slot), all bytes of the slot)
}

// Source loads nodes that lie in the heap.
type Source interface {
	// Load returns the node at ref, decoded by decode from the whole verified
	// slot, or the decoded node kept from an earlier Load. What it returns is
	// shared: nobody changes it. cost is the node's size in memory in bytes.
	// Errors are *wal.CorruptError, or the disk's.
	Load(ref Ref, decode func(slot []byte) (decoded any, cost int, err error)) (any, error)
}

// Dead is a slot, or a log position, that a later version replaced. It was
// reachable in states from Birth on and no longer is in those from Death on.
type Dead struct {
	Addr         uint64 // a heap.Slot, or a log address (pagetree.LogAddr)
	Birth, Death wal.LSN
	// Subtree, when its Slot is not zero, says that everything below died with
	// it: a node of the page tree that was never loaded. Addr equals its slot.
	Subtree Ref
	Height  int     // of Subtree: 1 is a leaf node
	Origin  wal.LSN // of Subtree: what is not younger belongs to another lineage and lives on
}
