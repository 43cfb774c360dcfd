package pagetree

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/wal"
)

// Lost yields what t reaches and next does not, pages and nodes, born after
// after: what dies with t when next follows it. Nodes without a slot are passed
// over, since nobody will give them one: t must be in no tree that is still to
// be frozen, and next in none that is edited. Cost: the nodes of t that next
// does not share and that are younger.
func Lost(src node.Source, t, next Tree, after, death wal.LSN) iter.Seq2[node.Dead, error] {
	return func(yield func(node.Dead, error) bool) {
		l := loser{src: src, after: after, death: death, yield: yield}
		l.walk(t.side(), next.side(), max(t.Height(), next.Height()))
	}
}

type loser struct {
	src          node.Source
	after, death wal.LSN
	yield        func(node.Dead, error) bool
}

// walk yields what dies below height h of a; false ends it.
func (l *loser) walk(a, b side, h int) bool {
	if a.empty() || a.shares(b) {
		return true
	}
	if h == 0 {
		return l.dead(a.page.Addr, a.page.Birth)
	}
	if a.height == h && (a.knot.birth <= l.after || !l.dead(a.knot.slot.Load(), a.knot.birth)) {
		return a.knot.birth <= l.after // nothing below is younger
	}
	an, err := a.load(l.src, h)
	if err != nil {
		return l.fail(err)
	}
	bn, err := b.load(l.src, h)
	if err != nil {
		return l.fail(err)
	}
	for rest := a.places(an, h); rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if !l.walk(a.at(an, i, h), b.at(bn, i, h), h-1) {
			return false
		}
	}
	return true
}

func (l *loser) dead(addr uint64, birth wal.LSN) bool {
	if addr == 0 || birth <= l.after {
		return true
	}
	return l.yield(node.Dead{Addr: addr, Birth: birth, Death: l.death}, nil)
}

func (l *loser) fail(err error) bool {
	l.yield(node.Dead{}, fmt.Errorf("pagetree: compare a tip with the next: %w", err))
	return false
}
