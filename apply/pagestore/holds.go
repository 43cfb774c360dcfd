package pagestore

import (
	"sync"

	"github.com/quire-db/quire/wal"
)

// holds knows the published snapshot and which older ones are still read. A
// hold costs the same whatever the store holds: a snapshot is one root.
type holds struct {
	mu        sync.Mutex
	published *Snapshot
	oldest    *Snapshot // list of snapshots with readers, by number
	newest    *Snapshot
	length    int    // of the list
	gone      uint64 // snapshots that left the list
	rebases   uint64 // checkpoints that ended
	unsettled int    // pins that the next checkpoint settles
	numbers   uint64
	readers   int
}

// publish makes s the snapshot that readers begin on.
func (h *holds) publish(s *Snapshot) {
	h.mu.Lock()
	h.numbers++
	s.number, s.basis = h.numbers, h.rebases
	h.published = s
	h.mu.Unlock()
}

// acquire holds the published snapshot.
func (h *holds) acquire() *Snapshot {
	h.mu.Lock()
	s := h.published
	h.retain(s)
	h.mu.Unlock()
	return s
}

// retain holds s, which is published or held. Callers hold h.mu.
func (h *holds) retain(s *Snapshot) {
	if s.readers == 0 {
		h.append(s)
	}
	s.readers++
	h.readers++
}

// release drops one hold and reports whether the oldest snapshot went with it.
func (h *holds) release(s *Snapshot) (oldest bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drop(s)
}

// drop is release for callers that hold h.mu.
func (h *holds) drop(s *Snapshot) (oldest bool) {
	s.readers--
	h.readers--
	if s.readers > 0 {
		return false
	}
	oldest = h.oldest == s
	h.remove(s)
	return oldest
}

func (h *holds) append(s *Snapshot) {
	h.length++
	s.prev, s.next = h.newest, nil
	if h.newest != nil {
		h.newest.next = s
	} else {
		h.oldest = s
	}
	h.newest = s
}

func (h *holds) remove(s *Snapshot) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		h.oldest = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		h.newest = s.prev
	}
	s.prev, s.next = nil, nil
	h.length--
	h.gone++
}

// current is the published snapshot, without a hold: for its Head only.
func (h *holds) current() *Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.published
}

// heldLSNs lists the LSNs of the snapshots with readers, rising, each once; gone
// rises when one is released.
func (h *holds) heldLSNs() (lsns []wal.LSN, gone uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	lsns = make([]wal.LSN, 0, h.length)
	for s := h.oldest; s != nil; s = s.next {
		if n := len(lsns); n == 0 || lsns[n-1] != s.Head.LSN {
			lsns = append(lsns, s.Head.LSN)
		}
	}
	return lsns, h.gone
}

// oldestNumber is the number below which no snapshot needs files of the log, or
// what became of them, any more.
func (h *holds) oldestNumber() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.oldest
	for s != nil && s.settled {
		s = s.next
	}
	if s == nil {
		return h.published.number
	}
	return min(h.published.number, s.number)
}

// HoldStats says what is held.
type HoldStats struct {
	Readers  int     // holds
	Oldest   wal.LSN // the oldest snapshot held; the published one when none is
	InMemory int     // LSNs that only Hold holds, whose nodes the next checkpoint writes
}

func (h *holds) stats() HoldStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := HoldStats{Readers: h.readers, Oldest: h.published.Head.LSN, InMemory: h.unsettled}
	if h.oldest != nil {
		st.Oldest = h.oldest.Head.LSN
	}
	return st
}

// heldBetween reports whether some LSN h of lsns, which rise, has
// birth <= h < death.
func heldBetween(lsns []wal.LSN, birth, death wal.LSN) bool {
	_, _, held := reachedBy(lsns, birth, death)
	return held
}
