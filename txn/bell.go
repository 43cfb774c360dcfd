package txn

import (
	"context"
	"sync"
	"sync/atomic"
)

// bell wakes those who wait for the store to get on. To ring it costs a load
// when nobody listens, so commits do not pay for watchers that are not there,
// and never waits for those that are.
//
// Whoever listens first and then looks misses nothing: what is changed before
// ring either is seen by that look, or closes the channel that listen returned.
type bell struct {
	listening atomic.Int32
	mu        sync.Mutex
	c         chan struct{} // closed by ring; nil when nobody has listened since
}

// ring wakes everybody who listens.
func (b *bell) ring() {
	if b.listening.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}

// listen returns a channel that the next ring closes, and what must be called
// when it is no longer waited for.
func (b *bell) listen() (rung <-chan struct{}, leave func()) {
	b.listening.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c, func() { b.listening.Add(-1) }
}

// waitUntil waits until holds says so, or returns why it never will: the
// context's error, ErrClosed, or that the manager is poisoned.
func (m *Manager) waitUntil(ctx context.Context, holds func() bool) error {
	for {
		rung, leave := m.progress.listen()
		stopped := m.poisoned() // before the look: what was reached until then counts
		if holds() {
			leave()
			return nil
		}
		if stopped != nil {
			leave()
			return stopped
		}
		var err error
		select {
		case <-rung:
		case <-ctx.Done():
			err = ctx.Err()
		case <-m.closing:
			err = ErrClosed
		}
		leave()
		if err != nil {
			return err
		}
	}
}
