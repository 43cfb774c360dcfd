package pagetree_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// memSlots is a heap in memory: one file a class, slots never used twice.
type memSlots struct {
	mu    sync.RWMutex
	next  [heap.MaxClass + 1]uint32
	bytes map[heap.Slot][]byte
}

func newSlots() *memSlots { return &memSlots{bytes: make(map[heap.Slot][]byte)} }

func (m *memSlots) alloc(c heap.Class) (heap.Slot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next[c]++
	return heap.MakeSlot(uint32(c), m.next[c]), nil
}

func (m *memSlots) write(s heap.Slot, b []byte) error {
	if len(b) != heap.Class(s.File()).Bytes() {
		return fmt.Errorf("write of %d bytes to slot %v", len(b), s)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes[s] = append([]byte(nil), b...)
	return nil
}

func (m *memSlots) Class(file uint32) (heap.Class, error) { return heap.Class(file), nil }

func (m *memSlots) ReadSlot(s heap.Slot, dst []byte) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.bytes[s]
	if !ok || len(b) != len(dst) {
		return fmt.Errorf("read of %d bytes from slot %v that has %d", len(dst), s, len(b))
	}
	copy(dst, b)
	return nil
}

// source reads slots through a small cache.
func (m *memSlots) source() node.Source { return node.NewCache(m, 64<<10) }

// image is a made-up page entry: its address and hash follow from n.
func image(addr uint64, birth wal.LSN) pagetree.Entry {
	var h wal.PageHash
	binary.LittleEndian.PutUint64(h[:], addr*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(h[8:], ^uint64(birth)*0xbf58476d1ce4e5b9)
	return pagetree.Entry{Addr: addr, Birth: birth, Hash: h}
}

var rounds atomic.Uint64

// checkpoint brings t to the heap and returns it clean.
func checkpoint(t testing.TB, slots *memSlots, tree pagetree.Tree) pagetree.Tree {
	t.Helper()
	moved := pagetree.Moved{}
	for p := range pagetree.LogPages(tree, rounds.Add(1)) {
		moved[p.Addr], _ = slots.alloc(12)
	}
	if err := pagetree.Freeze(tree, slots.alloc, func(d node.Dead) { t.Errorf("freeze: %v died", d) }); err != nil {
		t.Fatal(err)
	}
	if err := pagetree.Write(tree, moved, slots.write); err != nil {
		t.Fatal(err)
	}
	return pagetree.Rebase(tree, moved, new(pagetree.Memo))
}
