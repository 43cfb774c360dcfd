package crashfs

import (
	"maps"
	"slices"
	"sort"
)

// node is a file or a directory and all that happened to it. Only the history
// that fits its kind is used.
type node struct {
	dir   bool
	born  int // operation that made it
	file  history[content, span]
	names history[entries, change]
}

// history is what happened to a file or directory: moments, each with the
// value that programs see, the value that a power cut cannot take away, and
// where the changes begin that it can. There is always a first moment.
type history[V, C any] struct{ moments []moment[V, C] }

type moment[V, C any] struct {
	op      int // number of the operation that made it; 0 is before all
	seen    V
	durable V
	atStake int // moments from here to this one are not durable
	dirty   int // moments from here on are what a sync would write
	change  C
}

// span is the bytes of a file that an operation touched.
type span struct {
	off, end int64
	data     bool // written, not cut off or added as zeros
}

// id names a node of a file system and of all images of it. The root is 0.
type id int

// entries are the names of a directory, immutable.
type entries map[string]id

// change is what an operation did to the names of one directory. Its parts
// happen together: a rename within a directory is one change.
type change []binding

// binding gives name to a node, or to nothing when node is 0.
type binding struct {
	name string
	node id
}

// with is the entries after a change.
func (e entries) with(c change) entries {
	fresh := make(entries, len(e)+len(c))
	maps.Copy(fresh, e)
	for _, b := range c {
		if b.node == 0 {
			delete(fresh, b.name)
		} else {
			fresh[b.name] = b.node
		}
	}
	return fresh
}

func newHistory[V, C any](v V) history[V, C] {
	return history[V, C]{[]moment[V, C]{{seen: v, durable: v, atStake: 1, dirty: 1}}}
}

func newNode(dir bool, born int) *node {
	return &node{dir: dir, born: born, file: newHistory[content, span](content{}), names: newHistory[entries, change](nil)}
}

func (h *history[V, C]) last() *moment[V, C] { return &h.moments[len(h.moments)-1] }

// add records that operation op made v of the value.
func (h *history[V, C]) add(op int, v V, c C) {
	m := *h.last()
	m.op, m.seen, m.change = op, v, c
	h.moments = append(h.moments, m)
}

// keep records that operation op made v durable and left nothing at stake.
func (h *history[V, C]) keep(op int, v V) {
	n := len(h.moments) + 1
	h.moments = append(h.moments, moment[V, C]{op: op, seen: h.last().seen, durable: v, atStake: n, dirty: n})
}

// forget records that a sync failed: what it should have written is clean in
// the page cache and no later sync writes it (ATC'20, "Can Applications
// Recover from fsync Failures?"). Whether it reached the disk is open.
func (h *history[V, C]) forget(op int) {
	m := *h.last()
	var none C
	m.op, m.dirty, m.change = op, len(h.moments)+1, none
	h.moments = append(h.moments, m)
}

// at is the history as it stood after operation op.
func (h *history[V, C]) at(op int) history[V, C] {
	n := sort.Search(len(h.moments), func(i int) bool { return h.moments[i].op > op })
	return history[V, C]{slices.Clip(h.moments[:n])}
}

// pending are the moments at stake.
func (h *history[V, C]) pending() []moment[V, C] { return h.moments[h.last().atStake:] }

// durableAfterSync is what a sync leaves on the disk: all that is seen, or, when an earlier
// sync failed, the durable content with what was written since.
func durableAfterSync(h *history[content, span]) content {
	m := h.last()
	if m.dirty == m.atStake {
		return m.seen
	}
	d := m.durable.edit(m.seen.size)
	for _, p := range h.moments[m.dirty:] {
		for i := p.change.off / SectorSize; i*SectorSize < min(p.change.end, m.seen.size); i++ {
			d.set(i, m.seen.sector(i))
		}
	}
	return d.done(m.seen.size)
}
