package pagetree

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/wal"
)

// Shape of a tree.
const (
	fanBits   = 6
	fan       = 1 << fanBits // children of a node
	maxHeight = 7            // 64^7 pages are wal.MaxPages
)

// Entry is what a tree knows of one present page.
type Entry struct {
	Addr  uint64  // a heap.Slot, or a log address; zero is "absent"
	Birth wal.LSN // the entry of the log that wrote this image
	Hash  wal.PageHash
}

// same reports whether both are the same image, wherever it lies now: a
// checkpoint moves images from the log to the heap.
func (e Entry) same(o Entry) bool { return e.Birth == o.Birth && e.Hash == o.Hash }

// Limits of a log address.
const (
	MaxLogOrdinal = 1<<20 - 1
	MaxLogOffset  = 1<<40 - 1
	logBit        = 1 << 63
)

// LogAddr is the address of an image that lies at byte offset of the log
// generation with this ordinal. The ordinal is the store's own short number
// for a generation, at most MaxLogOrdinal; offset is at most MaxLogOffset.
func LogAddr(ordinal uint32, offset int64) uint64 {
	if ordinal > MaxLogOrdinal || offset < 0 || offset > MaxLogOffset {
		panic(fmt.Sprintf("pagetree: log address %d:%d is beyond the limits", ordinal, offset))
	}
	return logBit | uint64(ordinal)<<40 | uint64(offset)
}

// IsLog reports whether addr is a log address.
func IsLog(addr uint64) bool { return addr&logBit != 0 }

// SplitLog is the inverse of LogAddr.
func SplitLog(addr uint64) (ordinal uint32, offset int64) {
	return uint32(addr >> 40 & MaxLogOrdinal), int64(addr & MaxLogOffset)
}

// Tree is the pages of one tip: an immutable value. The zero Tree is a volume
// of no pages. Copying it is free and shares everything; who keeps a copy of a
// tree that is still being edited must begin a new epoch (see Edit).
type Tree struct {
	pages uint64
	root  link  // its knot is nil when nothing is present or height is 0
	only  Entry // page 0 of a tree of height 0
}

// Pages is the size in pages, holes included.
func (t Tree) Pages() uint64 { return t.pages }

// Count is the number of present pages.
func (t Tree) Count() uint64 { return t.root.count }

// Sum is the sum of the hashes of all present pages.
func (t Tree) Sum() wal.Sum { return t.root.sum }

// Height is the number of node levels: 0 for up to one page, h for up to 64^h.
func (t Tree) Height() int { return heightFor(t.pages) }

func heightFor(pages uint64) int {
	h := 0
	for pages > span(h) {
		h++
	}
	return h
}

// span is the number of pages below a node of height h; a page has height 0.
func span(h int) uint64 { return 1 << (fanBits * h) }

// index is the place of page no in the node of height h above it.
func index(no uint64, h int) int { return int(no >> (fanBits * (h - 1)) % fan) }

// Lookup returns the entry of page no; ok is false when it is absent, as every
// page beyond the size is. Nodes that are not in memory come from src. Cost:
// one node a level.
func (t Tree) Lookup(src node.Source, no uint64) (e Entry, ok bool, err error) {
	h := t.Height()
	if h == 0 {
		return t.only, no == 0 && t.only.Addr != 0, nil
	}
	if no >= t.pages {
		return Entry{}, false, nil
	}
	for k := t.root.knot; k != nil; h-- {
		b, err := k.load(src, h)
		if err != nil {
			return Entry{}, false, err
		}
		i, ok := b.find(index(no, h))
		if !ok {
			break
		}
		if h == 1 {
			return b.leaf[i], true, nil
		}
		k = b.kids[i].knot
	}
	return Entry{}, false, nil
}
