package snapshot

import (
	"math/bits"

	"github.com/quire-db/quire/wal"
)

// ChooseBase chooses the base of the next increment, at LSN now, among the snapshots that
// the newest one needs: the first is the whole one, the last the newest, which is
// below now. With none, zero: the next one is to be whole.
//
// It is the oldest of them in the smallest aligned block of LSNs (of 2^k, beginning at a
// multiple of that) that has both the newest snapshot and now. When every LSN has a
// snapshot, that is now without its lowest bit, so that the increments form a binary
// counter:
//
//	LSN   8 9 10 11 12 13 14 15 16
//	base  0 8  8 10  8 12 12 14  0
//
// A chain is bounded: the blocks of its steps grow from the newest to the oldest, since
// the first snapshot in a block follows from one outside. So it has at most one
// snapshot more than its LSNs have binary digits, 31 after a billion entries, and
// fewer where snapshots are few: about half the binary logarithm of their number, and
// one. Deleting snapshots changes nothing of that, as long as the chains of those that
// stay do, nor does merging.
//
// What it costs: a change is held by at most one increment for each size of blocks, so
// about the binary logarithm of the number of snapshots times, and an increment by no
// means more than a whole snapshot. The bound would cost nothing if increments were merged
// instead; but that takes time and space where the archive is pruned, and the key.
func ChooseBase(chain []wal.Position, now wal.LSN) wal.Position {
	if len(chain) == 0 {
		return wal.Position{}
	}
	newest := chain[len(chain)-1].LSN
	shift := bits.Len64(uint64(newest ^ now))
	for _, p := range chain {
		if p.LSN>>shift == now>>shift {
			return p
		}
	}
	return chain[len(chain)-1] // not reached: the newest is in the block
}
