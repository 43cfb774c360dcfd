package txn

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/quire-db/quire/wal"
)

// Commit is what a committed transaction got. A transaction that changed
// nothing has the position of the snapshot it read, and no entry.
type Commit struct {
	Txn      wal.TxnID
	Position wal.Position
	Time     time.Time // of the entry
	Empty    bool      // nothing was changed, so nothing was logged
	Durable  bool      // synced; false for a buffered commit
	Repeated bool      // of the transaction that committed the same request before; this one left no trace
}

// Commit makes the transaction's changes permanent, all or none, and ends it
// whatever the outcome:
//
//	nil                  committed, at the durability asked for
//	ErrConflict          rolled back; run it again
//	wal.ErrTooLarge, a full disk, a cancelled context, ErrExpired  rolled back
//	ErrUnknownOutcome    whole or absent; known after reopening (promise 5)
//	ErrPoisoned          not written; reopen the store
//	ErrRequest           rolled back; its Actor and Seq are those of another request, or too old
//
// With Actor and Seq a transaction that changed nothing is logged too. If the
// same request was committed meanwhile by another transaction, that one's result
// is returned, Repeated, and this one is rolled back.
//
// After it returns nil, every transaction begun later sees the changes.
func (tx *Tx) Commit(ctx context.Context) (Commit, error) {
	if err := tx.use(); err != nil {
		return Commit{}, err
	}
	defer tx.mu.Unlock()
	m := tx.m
	m.committing.Add(1)
	defer m.committing.Add(-1)

	s, err := tx.seal(ctx) // Seal
	if err != nil {
		return Commit{}, tx.giveUp(s, err)
	}
	if len(s.vols) == 0 && tx.opts.Seq == 0 {
		tx.end(ErrTxDone)
		return Commit{Txn: tx.id, Position: tx.snap.Head.Position, Time: time.Unix(0, tx.snap.Head.Time), Empty: true}, nil
	}
	t, err := m.sequence(ctx, s) // Sequence
	if err != nil {
		return Commit{}, tx.giveUp(s, err)
	}

	// ======== commit point: the flusher appends and syncs the group ========
	rolledBack, err := t.wait(ctx)
	if rolledBack {
		return m.orFirst(ctx, tx.opts, tx.giveUp(s, err))
	}

	s.dropImage()
	tx.end(ErrTxDone) // Release; cannot fail the commit
	if err != nil {
		return Commit{}, err
	}
	return Commit{Txn: tx.id, Position: t.p.pos, Time: time.Unix(0, t.p.time), Durable: t.p.synced}, nil
}

// giveUp rolls back a transaction that was not sequenced.
func (tx *Tx) giveUp(s *sealed, err error) error {
	if s != nil {
		err = joinIf(err, s.release())
		s.dropImage()
	}
	tx.end(ErrTxDone)
	return tx.m.failed(err)
}

func joinIf(err, more error) error {
	if more == nil {
		return err
	}
	return errors.Join(err, more)
}

// View runs f in a read-only transaction.
func (m *Manager) View(ctx context.Context, f func(*Tx) error) error {
	tx, err := m.Begin(ctx, TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return f(tx)
}

// Update runs f in a read-write transaction and commits it, again after every
// conflict until ctx ends. f may run several times, and keeps nothing of a run
// that did not commit. An error of f rolls back and is returned.
func (m *Manager) Update(ctx context.Context, f func(*Tx) error) (Commit, error) {
	return m.UpdateWith(ctx, TxOptions{}, f)
}

// UpdateWith is Update with options. With Actor and Seq f is not run when that
// request is known to have committed: its first result is returned, Repeated.
func (m *Manager) UpdateWith(ctx context.Context, o TxOptions, f func(*Tx) error) (Commit, error) {
	for try := 0; ; try++ {
		c, err := m.updateOnce(ctx, o, f)
		if !errors.Is(err, ErrConflict) {
			return c, err
		}
		m.stats.conflicts.Add(1)
		if !backOff(ctx, try) {
			return Commit{}, joinIf(err, ctx.Err())
		}
	}
}

func (m *Manager) updateOnce(ctx context.Context, o TxOptions, f func(*Tx) error) (Commit, error) {
	tx, err := m.Begin(ctx, o)
	if err != nil {
		return firstOf(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return Commit{}, err
	}
	return tx.Commit(ctx)
}

// backOff waits a random time that grows with the tries, from 20 microseconds
// to 20 milliseconds at most, and reports whether ctx still goes on.
func backOff(ctx context.Context, try int) bool {
	most := 20 * time.Microsecond << min(try, 10)
	timer := time.NewTimer(rand.N(most) + 1)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
