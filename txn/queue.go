package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quire-db/quire/wal"
)

// ticket is a sealed transaction on its way through the sequencer.
type ticket struct {
	s     *sealed
	since uint64 // attempts at a log generation begun before it came
	state atomic.Int32
	p     placed
	err   error // why it is not committed; whoever signals done sets it first
	done  chan struct{}
}

// States of a ticket. Between taken and the next it is the leader's alone.
const (
	queued    = iota // its committer may withdraw it
	withdrawn        // by its committer
	taken            // by the leader
	refused          // rolled back, err says why
	sequenced        // a member of a group
)

// placed is what sequencing made of a transaction.
type placed struct {
	pos    wal.Position
	time   int64
	synced bool // its group was
}

// queue is where committers leave their tickets. One of them at a time leads:
// it sequences all that wait, in order, so that the others need not take turns
// at the sequencer's mutex.
type queue struct {
	mu      sync.Mutex
	waiting []*ticket
	led     bool
}

// join adds a ticket and reports whether its committer has to lead.
func (q *queue) join(t *ticket) (lead bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, t)
	lead = !q.led
	q.led = true
	return lead
}

// next takes all that wait; none ends the lead.
func (q *queue) next() []*ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.waiting
	q.waiting = nil
	q.led = len(batch) > 0
	return batch
}

// putBack returns tickets that could not be sequenced yet to the front.
func (q *queue) putBack(batch []*ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(slices.Clone(batch), q.waiting...)
}

// sequence hands a transaction to the sequencer. Its ticket is signalled when
// it is refused, published or failed.
func (m *Manager) sequence(ctx context.Context, s *sealed) (*ticket, error) {
	if err := m.pressure.feel(ctx); err != nil {
		return nil, err
	}
	t := &ticket{s: s, since: m.attempts.Load(), done: make(chan struct{}, 1)}
	if m.queue.join(t) {
		m.lead(t)
	}
	return t, nil
}

// lead sequences what waits until nothing does. A committer leads only as long
// as that needs no waiting and its own ticket is not done; then another
// goroutine leads on.
func (m *Manager) lead(own *ticket) {
	for batch := m.queue.next(); len(batch) > 0; batch = m.queue.next() {
		for i, t := range batch {
			wait := m.sequenceOne(t)
			if wait == nil {
				continue
			}
			m.queue.putBack(batch[i:])
			if own != nil {
				go m.leadLater(wait)
				return
			}
			m.pause(wait)
			break
		}
		m.poke()
		if own != nil && len(own.done) > 0 {
			go m.lead(nil)
			return
		}
	}
}

// leadLater leads when wait is over.
func (m *Manager) leadLater(wait <-chan struct{}) {
	m.pause(wait)
	m.lead(nil)
}

// pause waits, but not longer than the manager is open: then every ticket is
// refused.
func (m *Manager) pause(wait <-chan struct{}) {
	select {
	case <-wait:
	case <-m.closing:
	}
}

// sequenceOne gives a ticket its place in the log and in the logical tips, as
// a member of the open group, or refuses it without a trace. When there is no
// room for its record yet it returns what to wait for.
func (m *Manager) sequenceOne(t *ticket) (wait <-chan struct{}) {
	if !t.state.CompareAndSwap(queued, taken) {
		return nil
	}
	g, err := m.trySequence(t)
	switch {
	case err == nil:
		t.state.Store(sequenced)
		return nil
	case errors.Is(err, wal.ErrNotReady):
		wait = m.prepared.wait(m.wal.Ready)
		m.pokeKeepers()
		// An older failure says nothing: there may be room by now.
		if last := m.noGeneration.Load(); last != nil && last.number > t.since {
			t.refuse(fmt.Errorf("txn: no room in the log, nothing was written: %w", last.err))
			return nil
		}
	case errors.Is(err, wal.ErrGroupFull):
		wait = g.done
		m.poke()
	default:
		t.refuse(err)
		return nil
	}
	if m.isClosing() {
		t.refuse(ErrClosed)
		return nil
	}
	t.state.Store(queued) // its committer may withdraw it meanwhile
	return wait
}

func (m *Manager) isClosing() bool {
	select {
	case <-m.closing:
		return true
	default:
		return false
	}
}

// refuse ends a ticket that got no place.
func (t *ticket) refuse(err error) {
	t.err = err
	t.state.Store(refused)
	t.done <- struct{}{}
}

// wait waits for the ticket's fate. rolledBack says that nothing was written.
func (t *ticket) wait(ctx context.Context) (rolledBack bool, err error) {
	select {
	case <-t.done:
		return t.state.Load() == refused, t.err
	case <-ctx.Done():
	}
	if t.state.CompareAndSwap(queued, withdrawn) {
		return true, ctx.Err()
	}
	for t.state.Load() == taken { // the leader is at it, in memory
		time.Sleep(50 * time.Microsecond)
	}
	select {
	case <-t.done: // both: the group's word counts
		return t.state.Load() == refused, t.err
	default:
		t.s.image = nil // the flusher may be writing it; it is not used again
		return false, &UnknownError{Txn: t.s.tx.id, LSN: t.p.pos.LSN, Cause: context.Cause(ctx)}
	}
}
