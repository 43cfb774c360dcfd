package txn

import (
	"errors"
	"fmt"

	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// Errors of Watch, Wait and consumers about a position. Every one of them is a
// *PositionError.
var (
	// ErrCompacted: the log no longer has what follows the position, or the
	// images that an entry brought. Begin anew from a snapshot.
	ErrCompacted = wal.ErrCompacted
	// ErrFuture: the position is beyond the end of the log. Whoever has it knows
	// of a commit that this store never had, or has lost: a buffered one that a
	// crash took, or the store is an older copy.
	ErrFuture = recovery.ErrFuture
	// ErrDiverged: the entry with that LSN is another one here: the store and
	// whoever has the position followed different histories.
	ErrDiverged = errors.New("another history")
)

// PositionError says of a position why nothing can go on from it here. It wraps
// ErrCompacted, ErrFuture or ErrDiverged. Nothing was changed.
type PositionError struct {
	Position wal.Position
	Here     wal.Position // what the store has at that LSN, when Err is ErrDiverged; its timeline may not be known
	First    wal.LSN      // the first entry that the log still has
	Last     wal.LSN      // the last entry there is
	Err      error
}

func (e *PositionError) Error() string {
	s := fmt.Sprintf("txn: position %s: %v: ", e.Position, e.Err)
	switch e.Err {
	case ErrCompacted:
		return s + fmt.Sprintf("the log begins with LSN %d; begin anew from a snapshot", e.First)
	case ErrFuture:
		return s + fmt.Sprintf("the log ends with LSN %d; this store never had the entry, or has lost it", e.Last)
	}
	return s + fmt.Sprintf("entry %d has the hash %x here; begin anew from a snapshot of one of the two", e.Position.LSN, e.Here.Hash[:8])
}

func (e *PositionError) Unwrap() error { return e.Err }

// badPosition is a *PositionError about pos.
func (m *Manager) badPosition(pos wal.Position, why error) *PositionError {
	e := &PositionError{Position: pos, Last: m.store.Published().LSN, Err: why}
	if gens := m.store.Facts().Generations; len(gens) > 0 {
		e.First = gens[0].First
	}
	return e
}

// horizon is the last entry that is both durable and visible to transactions
// begun from now on: whoever was told of it finds it.
func (m *Manager) horizon() wal.LSN {
	return min(m.durable(), m.store.Published().LSN)
}

// compare says of a position and the one that the store has at its LSN whether
// they are the same. A zero timeline of here is not known.
func (m *Manager) compare(pos, here wal.Position) error {
	if pos.Hash == here.Hash && (here.Timeline == wal.TimelineID{} || pos.Timeline == here.Timeline) {
		return nil
	}
	e := m.badPosition(pos, ErrDiverged)
	e.Here = here
	return e
}

// landmark is what the store has at an LSN without reading the log: its head,
// its checkpoint, the ends of sealed generations.
func (m *Manager) landmark(lsn wal.LSN) (wal.Position, bool) {
	if lsn == 0 {
		return wal.Position{}, true
	}
	if head := m.store.Published().Position; head.LSN == lsn {
		return head, true
	}
	facts := m.store.Facts()
	if facts.Checkpoint.LSN == lsn {
		return wal.Position{LSN: lsn, Hash: facts.Checkpoint.Hash}, true
	}
	for _, g := range facts.Generations {
		if g.Sealed && g.Last == lsn && g.Length > 0 {
			return wal.Position{LSN: lsn, Hash: g.Chain}, true
		}
	}
	return wal.Position{}, false
}
