package txn

import (
	"sync"
	"time"

	"github.com/quire-db/quire/wal"
)

// openTxs are the transactions that have begun and not ended.
type openTxs struct {
	mu     sync.Mutex
	first  *Tx
	count  int
	closed bool
}

func (o *openTxs) add(tx *Tx) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	if tx.next = o.first; o.first != nil {
		o.first.prev = tx
	}
	o.first = tx
	o.count++
	return nil
}

func (o *openTxs) remove(tx *Tx) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if tx.prev != nil {
		tx.prev.next = tx.next
	} else if o.first == tx {
		o.first = tx.next
	} else {
		return // removed already
	}
	if tx.next != nil {
		tx.next.prev = tx.prev
	}
	tx.prev, tx.next = nil, nil
	o.count--
}

func (o *openTxs) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

// ended reports whether the manager is closed or closing.
func (o *openTxs) ended() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

func (o *openTxs) all() []*Tx {
	o.mu.Lock()
	defer o.mu.Unlock()
	var txs []*Tx
	for tx := o.first; tx != nil; tx = tx.next {
		txs = append(txs, tx)
	}
	return txs
}

func (o *openTxs) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}

// rollBackAll ends what is still open when the manager closes.
func (o *openTxs) rollBackAll() {
	for _, tx := range o.all() {
		tx.mu.Lock()
		if tx.ended == nil {
			tx.end(ErrClosed)
		}
		tx.mu.Unlock()
	}
}

// expirer rolls back what was abandoned. Whoever still uses a transaction finds
// out by itself (Tx.use), so its tick is no deadline's precision. It waits for
// no disk: a checkpoint may take longer than any deadline, and what is abandoned
// pins the slots that the checkpoint could free.
func (m *Manager) expirer() {
	defer m.running.Done()
	tick := time.NewTicker(expirerTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.expireOverdue()
			m.expireHolds()
		case <-m.closing:
			return
		}
	}
}

const expirerTick = 250 * time.Millisecond

// expireOverdue rolls back what is past its deadline, so that nothing
// abandoned holds old tips for ever.
func (m *Manager) expireOverdue() {
	now := m.opts.Now()
	for _, tx := range m.open.all() {
		if tx.expire(now) {
			m.log.Warn().Stringer("txn", tx.id).Time("deadline", tx.deadline).Msg("transaction past its deadline was rolled back")
		}
	}
}

// ordinals are the short numbers that log addresses give to generations.
type ordinals struct {
	mu sync.Mutex
	m  map[wal.GenID]uint32
}

func (o *ordinals) set(m map[wal.GenID]uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.m = m
}

func (o *ordinals) add(id wal.GenID, n uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.m[id] = n
}

// forget drops a generation that is gone.
func (o *ordinals) forget(id wal.GenID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.m, id)
}

func (o *ordinals) of(id wal.GenID) uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.m[id]
}

// signal wakes all who wait for a condition.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

// wait returns a channel that is closed at the next wake, or closed already
// when the condition holds.
func (s *signal) wait(holds func() bool) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
	}
	if holds() {
		done := make(chan struct{})
		close(done)
		return done
	}
	return s.c
}

func (s *signal) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
