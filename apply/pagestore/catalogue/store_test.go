package catalogue_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// store is a heap in memory with one file a class. It knows which slots are
// in use and fails on a slot that dies twice or was never alive.
type store struct {
	mu     sync.Mutex
	slots  map[heap.Slot][]byte // nil until written
	class  map[heap.Slot]heap.Class
	dead   map[heap.Slot]node.Dead
	cache  map[heap.Slot]any
	next   uint32
	faults []string
	budget int // loads until each fails; negative is no limit
}

func newStore() *store {
	return &store{
		slots: map[heap.Slot][]byte{}, class: map[heap.Slot]heap.Class{},
		dead: map[heap.Slot]node.Dead{}, cache: map[heap.Slot]any{}, budget: -1,
	}
}

func (s *store) Alloc(c heap.Class) (heap.Slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	slot := heap.MakeSlot(uint32(c), s.next)
	s.slots[slot], s.class[slot] = nil, c
	return slot, nil
}

func (s *store) Write(slot heap.Slot, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.class[slot]; !ok || c.Bytes() != len(b) || s.slots[slot] != nil {
		s.fault("slot %s of class %d: written twice, or with %d bytes", slot, c, len(b))
	}
	s.slots[slot] = bytes.Clone(b)
	return nil
}

func (s *store) Dead(d node.Dead) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := heap.Slot(d.Addr)
	if _, twice := s.dead[slot]; twice {
		s.fault("slot %s died twice", slot)
	}
	if _, ok := s.class[slot]; !ok || d.Birth >= d.Death {
		s.fault("slot %s died at %d, born %d, without being alive", slot, d.Death, d.Birth)
	}
	s.dead[slot] = d
}

// Load implements node.Source.
func (s *store) Load(ref node.Ref, decode func([]byte) (any, int, error)) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.budget == 0 {
		return nil, errDisk
	}
	s.budget--
	if n, ok := s.cache[ref.Slot]; ok {
		return n, nil
	}
	b := s.slots[ref.Slot]
	if b == nil || wal.HashPage(uint64(ref.Slot), b) != ref.Check {
		return nil, &wal.CorruptError{File: "heap", Offset: -1, LSN: ref.Birth, Reason: "check"}
	}
	n, _, err := decode(b)
	if err == nil {
		s.cache[ref.Slot] = n
	}
	return n, err
}

func (s *store) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// account checks that every slot ever allocated is reachable from c or dead,
// and none both.
func (s *store) account(t testing.TB, c catalogue.Catalogue) {
	t.Helper()
	reached := map[heap.Slot]bool{}
	err := c.Check(s, func(ref node.Ref, size int) error {
		if reached[ref.Slot] || s.class[ref.Slot] != heap.ClassFor(size) {
			t.Errorf("slot %s reached twice, or of another class than its node", ref.Slot)
		}
		reached[ref.Slot] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for slot := range s.class {
		if _, dead := s.dead[slot]; dead == reached[slot] {
			t.Errorf("slot %s: dead %v, reached %v", slot, dead, reached[slot])
		}
	}
	for _, f := range s.faults {
		t.Error(f)
	}
	if t.Failed() {
		t.FailNow()
	}
}

type diskError struct{}

func (diskError) Error() string { return "disk on fire" }

var errDisk error = diskError{}
