package pagetree

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/wal"
)

// Bury says, of the nodes that t reaches in memory only, that those die with it
// which next does not reach and which were born after after: whoever gives one of
// them a slot hears of it. Memory only, under the sequencer's mutex; t is in no
// tree that is edited. The rest of what dies with t Lost finds.
func Bury(t, next Tree, after, death wal.LSN) {
	l := loser{src: inMemory{}, after: after, death: death, mark: true}
	l.walk(t.side(), next.side(), max(t.Height(), next.Height()))
}

// inMemory is the source of a walk that goes no further than what is in memory.
type inMemory struct{}

var errNotInMemory = errors.New("not in memory")

func (inMemory) Load(node.Ref, func([]byte) (any, int, error)) (any, error) {
	return nil, errNotInMemory
}

// Lost yields what t reaches and next does not, pages and nodes, born after
// after: what dies with t when next follows it. Nodes that Bury has marked are
// passed over, but not what is below them. Cost: the nodes of t that next does
// not share and that are younger.
func Lost(src node.Source, t, next Tree, after, death wal.LSN) iter.Seq2[node.Dead, error] {
	return func(yield func(node.Dead, error) bool) {
		l := loser{src: src, after: after, death: death, yield: yield}
		l.walk(t.side(), next.side(), max(t.Height(), next.Height()))
	}
}

type loser struct {
	src          node.Source
	after, death wal.LSN
	mark         bool // nodes without a slot, instead of yielding
	yield        func(node.Dead, error) bool
}

// walk yields what dies below height h of a; false ends it.
func (l *loser) walk(a, b side, h int) bool {
	if a.empty() || a.shares(b) {
		return true
	}
	if h == 0 {
		return l.mark || a.page.Birth <= l.after || l.dead(a.page.Addr, a.page.Birth)
	}
	if a.height == h {
		if a.knot.birth <= l.after {
			return true // nothing below is younger
		}
		if goOn, below := l.node(a.knot); !below || !goOn {
			return goOn
		}
	}
	an, err := a.load(l.src, h)
	if err != nil {
		return l.fail(err)
	}
	bn, err := b.load(l.src, h)
	if l.mark && err != nil {
		bn, b = nil, side{height: h} // what is below it has slots: a shares none of it
	} else if err != nil {
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

// node does what is to be done with a node that dies; below says whether to go
// on below it.
func (l *loser) node(k *knot) (goOn, below bool) {
	slot := k.slot.Load()
	switch {
	case l.mark && slot == 0:
		k.body.death = l.death
		return true, true
	case l.mark, slot != 0 && (k.body == nil || k.body.death == 0):
		return l.mark || l.dead(slot, k.birth), !l.mark
	}
	return true, true // marked: whoever gave it a slot was told
}

func (l *loser) dead(addr uint64, birth wal.LSN) bool {
	return l.yield(node.Dead{Addr: addr, Birth: birth, Death: l.death}, nil)
}

func (l *loser) fail(err error) bool {
	l.yield(node.Dead{}, fmt.Errorf("pagetree: compare a tip with the next: %w", err))
	return false
}
