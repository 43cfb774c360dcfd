package node

import (
	"errors"
	"fmt"
	"sync"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Slots is the heap as the cache needs it; *heap.Heap is one.
type Slots interface {
	Class(file uint32) (heap.Class, error)
	ReadSlot(s heap.Slot, dst []byte) error
}

// Cache is a Source that keeps decoded nodes, up to a number of bytes. Nodes
// that were not asked for lately go first (a clock a shard, that is one bit a
// node instead of a list to relink). Any number of goroutines use it at once;
// two that miss the same node both read it.
type Cache struct {
	slots  Slots
	shards [shards]shard
}

const (
	shards    = 64
	itemBytes = 128 // beside the node: map entry, item and place on the clock
)

type shard struct {
	mu     sync.Mutex
	limit  int // bytes
	used   int // bytes
	bySlot map[heap.Slot]*item
	clock  []*item
	hand   int
}

type item struct {
	ref   Ref
	value any
	cost  int // bytes
	pos   int // on the clock
	asked bool
}

// NewCache is a cache of at most capBytes of nodes read from slots.
func NewCache(slots Slots, capBytes int) *Cache {
	c := &Cache{slots: slots}
	for i := range c.shards {
		c.shards[i].limit = capBytes / shards
		c.shards[i].bySlot = make(map[heap.Slot]*item)
	}
	return c
}

// Load implements Source.
func (c *Cache) Load(ref Ref, decode func(slot []byte) (any, int, error)) (any, error) {
	s := c.shard(ref.Slot)
	if v, ok := s.get(ref); ok {
		return v, nil
	}
	v, cost, err := c.read(ref, decode)
	if err != nil {
		return nil, err
	}
	s.add(&item{ref: ref, value: v, cost: cost + itemBytes})
	return v, nil
}

// Bytes is what the cache holds now.
func (c *Cache) Bytes() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.used
		s.mu.Unlock()
	}
	return n
}

// shard mixes the slot's bits: neighbours are often used together.
func (c *Cache) shard(s heap.Slot) *shard {
	return &c.shards[uint64(s)*0x9e3779b97f4a7c15>>58]
}

// read reads and verifies a whole slot, before any of it is believed. The
// buffer is the decoder's to keep.
func (c *Cache) read(ref Ref, decode func([]byte) (any, int, error)) (any, int, error) {
	class, err := c.slots.Class(ref.Slot.File())
	if err != nil {
		return nil, 0, fmt.Errorf("node: find slot %v: %w", ref.Slot, err)
	}
	b := make([]byte, class.Bytes())
	if err := c.slots.ReadSlot(ref.Slot, b); err != nil {
		return nil, 0, fmt.Errorf("node: read slot %v: %w", ref.Slot, err)
	}
	if wal.HashPage(uint64(ref.Slot), b) != ref.Check {
		return nil, 0, corrupt(ref, class, "does not hash to what its parent says")
	}
	v, cost, err := decode(b)
	if err == nil || errors.Is(err, wal.ErrVersion) {
		return v, cost, err
	}
	return nil, 0, corrupt(ref, class, err.Error())
}

// fileHeader is the size in bytes of what precedes slot 0 of a heap file.
const fileHeader = 4096

func corrupt(ref Ref, class heap.Class, reason string) error {
	return &wal.CorruptError{
		File:   fmt.Sprintf("heap/%08x", ref.Slot.File()),
		Offset: fileHeader + int64(ref.Slot.Index())<<class,
		LSN:    ref.Birth,
		Reason: fmt.Sprintf("tree node in slot %v: %s", ref.Slot, reason),
	}
}

// get finds a node. A slot that was reused since has another check.
func (s *shard) get(ref Ref) (any, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.bySlot[ref.Slot]
	if it == nil || it.ref != ref {
		return nil, false
	}
	it.asked = true
	return it.value, true
}

func (s *shard) add(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.bySlot[it.ref.Slot]; old != nil {
		s.remove(old)
	}
	if it.cost > s.limit {
		return
	}
	for s.used+it.cost > s.limit {
		s.evict()
	}
	it.pos = len(s.clock)
	s.clock = append(s.clock, it)
	s.bySlot[it.ref.Slot] = it
	s.used += it.cost
}

// evict drops the next node that nobody asked for since the hand last came by.
func (s *shard) evict() {
	for ; ; s.hand++ {
		s.hand %= len(s.clock)
		it := s.clock[s.hand]
		if !it.asked {
			s.remove(it)
			return
		}
		it.asked = false
	}
}

// remove takes it off the clock; the last one takes its place.
func (s *shard) remove(it *item) {
	end := len(s.clock) - 1
	s.clock[it.pos] = s.clock[end]
	s.clock[it.pos].pos = it.pos
	s.clock[end] = nil
	s.clock = s.clock[:end]
	delete(s.bySlot, it.ref.Slot)
	s.used -= it.cost
}
