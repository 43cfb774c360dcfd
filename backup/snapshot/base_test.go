package snapshot_test

import (
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

// increments are the bases of snapshots, by LSN; 0 for a whole one.
type increments map[wal.LSN]wal.LSN

// chain is what a snapshot needs, the whole one first.
func (in increments) chain(at wal.LSN) (chain []wal.Position) {
	for ; at != 0; at = in[at] {
		chain = append(chain, wal.Position{LSN: at})
	}
	slices.Reverse(chain)
	return chain
}

func (in increments) newest() (newest wal.LSN) {
	for at := range in {
		newest = max(newest, at)
	}
	return newest
}

// prune deletes those that are not needed by what keep wants.
func (in increments) prune(keep func(wal.LSN) bool) {
	needed := map[wal.LSN]bool{}
	for at := range in {
		if keep(at) {
			for _, p := range in.chain(at) {
				needed[p.LSN] = true
			}
		}
	}
	for at := range in {
		if !needed[at] {
			delete(in, at)
		}
	}
}

// TestChainsAreBounded: whatever is taken, whole and not, at whatever LSNs, and whatever
// is pruned meanwhile, no chain has more than one snapshot for each binary digit, and one.
func TestChainsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, now := increments{}, wal.LSN(0)
		wide := rapid.SampledFrom([]wal.LSN{1, 5, 1000, 1 << 40}).Draw(t, "width")
		for range rapid.IntRange(1, 150).Draw(t, "snapshots") {
			now += wal.LSN(rapid.Uint64Range(1, uint64(wide)).Draw(t, "step"))
			base := snapshot.ChooseBase(in.chain(in.newest()), now)
			if rapid.IntRange(0, 40).Draw(t, "whole") == 0 {
				base = wal.Position{}
			}
			if _, there := in[base.LSN]; base.LSN != 0 && !there || base.LSN >= now {
				t.Fatalf("the base of %d is %d", now, base.LSN)
			}
			in[now] = base.LSN
			if n := len(in.chain(now)); n > bits.Len64(uint64(now))+1 {
				t.Fatalf("snapshot %d has a chain of %d: %v", now, n, in.chain(now))
			}
			if rapid.IntRange(0, 9).Draw(t, "prune") == 0 {
				every := wal.LSN(rapid.IntRange(1, 9).Draw(t, "every"))
				in.prune(func(at wal.LSN) bool { return at == now || at%every == 0 })
			}
		}
	})
}

// TestBaseIsABinaryCounter: with a snapshot at every LSN the base is the LSN without its
// lowest bit, chains are as long as there are bits, and a change is in as many increments
// as there are sizes of blocks.
func TestBaseIsABinaryCounter(t *testing.T) {
	in := increments{1: 0}
	const last = 1 << 10
	held := [last + 1]int{}
	for now := wal.LSN(2); now <= last; now++ {
		base := snapshot.ChooseBase(in.chain(now-1), now).LSN
		if want := max(1, now&(now-1)); base != want {
			t.Fatalf("the base of %d is %d, want %d", now, base, want)
		}
		in[now] = base
		for at := base + 1; at <= now; at++ {
			held[at]++
		}
	}
	if most := slices.Max(held[:]); most > 11 {
		t.Errorf("a change is in %d increments", most)
	}
}
