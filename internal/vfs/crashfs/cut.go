package crashfs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
)

// Model is what a cut leaves on the disk. What is durable (data by Sync, names
// by SyncDir) stays in all of them.
type Model struct {
	kind model
	seed uint64
}

type model string

const (
	killOnly        model = "kill"
	ordered         model = "ordered"
	metadataOrdered model = "metadata-ordered"
	posix           model = "posix"
	random          model = "random"
)

// Models without chance.
var (
	// KillOnly: the process died and the machine did not. Everything is there,
	// and what was at stake still is: a cut of the image can lose it.
	KillOnly = Model{kind: killOnly}
	// Ordered: the disk wrote every operation in order; all is durable.
	Ordered = Model{kind: ordered}
	// Posix: the least that POSIX promises. What is not durable is gone, so a
	// synced file without a synced name is gone too.
	Posix = Model{kind: posix}
)

// MetadataOrdered is a journaling file system in the manner of ext4: names
// change in the order of the operations, up to a point at or after the last
// write of the journal, and data that was not synced is torn by chance.
func MetadataOrdered(seed uint64) Model { return Model{metadataOrdered, seed} }

// Random keeps a random part of the names and of the data that are at stake,
// in any order.
func Random(seed uint64) Model { return Model{random, seed} }

func (m Model) String() string {
	if m.kind == random || m.kind == metadataOrdered {
		return fmt.Sprintf("%s(%d)", m.kind, m.seed)
	}
	return string(m.kind)
}

// Cut returns the disk as a machine finds it that was cut off right after
// operation k (0 to Ops) of this one, which is not changed. A disk that a
// power cut left counts its operations from 0, one that a kill left counts on
// from k. The same operations, k and model give the same disk. Cost: a few
// microseconds, and for each file one per sector at stake.
func (f *FS) Cut(k int, m Model) *FS {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if k < 0 || k > len(f.log) {
		panic(fmt.Sprintf("crashfs: cut after operation %d of %d", k, len(f.log)))
	}
	if m.kind == killOnly {
		return f.killed(k)
	}
	c := cut{from: f, op: k, model: m, image: &FS{nodes: make([]*node, len(f.nodes)), limit: math.MaxInt}}
	c.journal = c.chooseJournal()
	c.keep(0)
	return c.image
}

// killed is the disk with its page cache at operation k.
func (f *FS) killed(k int) *FS {
	image := &FS{
		log:     f.log[:k:k],
		limit:   math.MaxInt,
		commits: f.commits[:commitsUntil(f.commits, k)],
	}
	image.commits = image.commits[:len(image.commits):len(image.commits)]
	for _, n := range f.nodes {
		if n != nil {
			n = &node{dir: n.dir, born: n.born, file: n.file.at(k), names: n.names.at(k)}
		}
		image.nodes = append(image.nodes, n)
	}
	return image
}

func commitsUntil(commits []int, k int) int {
	return sort.SearchInts(commits, k+1)
}

// cut builds the image of a power cut.
type cut struct {
	from    *FS
	op      int
	model   Model
	journal int // names are those after this operation: MetadataOrdered
	image   *FS
}

// chance is a source of its own for each node, so that the choice for one does
// not depend on the order in which nodes are visited.
func (c *cut) chance(n id) *rand.Rand {
	return rand.New(rand.NewPCG(c.model.seed, uint64(c.op)<<32|uint64(n)))
}

func (c *cut) chooseJournal() int {
	first := 0
	if n := commitsUntil(c.from.commits, c.op); n > 0 {
		first = c.from.commits[n-1]
	}
	switch r := c.chance(math.MaxUint32); r.IntN(3) {
	case 0:
		return first
	case 1:
		return c.op
	default:
		return first + r.IntN(c.op-first+1)
	}
}

// keep puts node n, and what can be reached from it, in the image.
func (c *cut) keep(n id) {
	if c.image.nodes[n] != nil {
		return
	}
	old := c.from.nodes[n]
	fresh := &node{dir: old.dir}
	c.image.nodes[n] = fresh
	if !old.dir {
		fresh.file = newHistory[content, span](c.content(n))
		return
	}
	names := c.names(n)
	fresh.names = newHistory[entries, change](names)
	for _, child := range names {
		c.keep(child)
	}
}

func (c *cut) names(n id) entries {
	h := c.from.nodes[n].names.at(c.op)
	switch c.model.kind {
	case ordered:
		return h.last().seen
	case posix:
		return h.last().durable
	case metadataOrdered:
		h = h.at(c.journal)
		return h.last().seen
	default:
		return someNames(&h, c.chance(n))
	}
}

// someNames is the durable names with some of the changes at stake.
func someNames(h *history[entries, change], r *rand.Rand) entries {
	names := h.last().durable
	likely := r.IntN(5) // of 4: none, some, half, most, all
	for _, m := range h.pending() {
		if r.IntN(4) < likely {
			names = names.with(m.change)
		}
	}
	return names
}

func (c *cut) content(n id) content {
	h := c.from.nodes[n].file.at(c.op)
	switch c.model.kind {
	case ordered:
		return h.last().seen
	case posix:
		return h.last().durable
	default:
		return c.torn(&h, c.chance(n))
	}
}
