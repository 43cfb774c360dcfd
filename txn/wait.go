package txn

import (
	"context"
	"errors"
	"fmt"

	"github.com/quire-db/quire/wal"
)

// Ack is what Wait waits for. The zero value waits until the position is
// durable here.
type Ack struct {
	// Applied: the entry is published too, so that transactions begun from now
	// on see it.
	Applied bool
	// Consumers: that many have acknowledged the position, dropped ones not
	// counted.
	Consumers int
}

// Reached is what has been reached of a position.
type Reached struct {
	Durable bool // here
	Applied bool // transactions begun now see it
	// Consumers that have acknowledged it; counted only if Ack.Consumers asks.
	Consumers int
}

func (r Reached) has(a Ack) bool {
	return r.Durable && (r.Applied || !a.Applied) && r.Consumers >= a.Consumers
}

// WaitError says that Wait ended before what it waited for, and what was
// reached by then. It says nothing against the commit, which stands.
type WaitError struct {
	Position wal.Position
	Want     Ack
	Reached  Reached
	Cause    error // ctx.Err(), ErrClosed or a *PoisonedError
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("txn: waited for LSN %d, want %+v, reached %+v: %v; a commit that was acknowledged stands, wait again",
		e.Position.LSN, e.Want, e.Reached, e.Cause)
}

func (e *WaitError) Unwrap() error { return e.Cause }

// Wait waits until a position has reached what a asks for, and returns what was
// reached, with any error too. A position that the store does not have yet is
// waited for: another store's, of which this one will get the entries. Errors: a
// *WaitError when the context ends first, or writing has stopped; ErrDiverged
// when this store has another entry there. Nothing is ever undone.
//
// Cost: see prover; what is at the head of the store costs nothing.
func (m *Manager) Wait(ctx context.Context, pos wal.Position, a Ack) (Reached, error) {
	var r Reached
	m.hurryTo(pos.LSN)
	err := m.waitUntil(ctx, func() bool {
		r = m.reached(pos, a)
		return r.has(a)
	})
	if err != nil {
		return r, &WaitError{Position: pos, Want: a, Reached: r, Cause: err}
	}
	if err := m.prove(pos); err != nil && !errors.Is(err, ErrCompacted) {
		return Reached{}, err
	}
	return r, nil
}

func (m *Manager) reached(pos wal.Position, a Ack) Reached {
	r := Reached{
		Durable: m.durable() >= pos.LSN,
		Applied: m.store.Published().LSN >= pos.LSN,
	}
	if a.Consumers > 0 {
		r.Consumers = m.acknowledged(pos.LSN)
	}
	return r
}
