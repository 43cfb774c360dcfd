package txn

import (
	"errors"
	"sync"

	"github.com/quire-db/quire/wal"
)

// prover tells whether a position is one of this store's, for those who name
// one that they were told earlier. Positions come mostly in rising order: so one
// reader goes on from where it was, and what it met is kept for those that come
// a little late. Cost: a decoded entry for each LSN that rises, once; one file of
// the log for an LSN far off. Memory: 230 KiB and a read buffer, from its first
// use on.
type prover struct {
	mu  sync.Mutex
	t   *tail
	met []wal.Position // by LSN modulo its length

	ended bool // the manager was closed
}

// proverMemory is how many positions are remembered.
const proverMemory = 4096

// prove returns nil if pos, at or below the horizon, is this store's, a
// *PositionError with ErrDiverged if it is not, and one with ErrCompacted if
// the log does not tell any more.
func (m *Manager) prove(pos wal.Position) error {
	if here, known := m.landmark(pos.LSN); known {
		return m.compare(pos, here)
	}
	p := &m.prover
	p.mu.Lock()
	defer p.mu.Unlock()
	here, err := p.find(m, pos.LSN)
	if errors.Is(err, wal.ErrCompacted) {
		return m.badPosition(pos, ErrCompacted)
	}
	if err != nil {
		return err
	}
	return m.compare(pos, here)
}

// find reads the log up to lsn, unless it was read there already.
func (p *prover) find(m *Manager, lsn wal.LSN) (wal.Position, error) {
	if p.ended {
		return wal.Position{}, ErrClosed
	}
	if p.met == nil {
		p.met = make([]wal.Position, proverMemory)
	}
	at := &p.met[lsn%proverMemory]
	if at.LSN == lsn {
		return *at, nil
	}
	if p.t == nil || lsn < p.t.next || lsn-p.t.next >= proverMemory {
		p.close()
		p.t = &tail{m: m, next: lsn}
	}
	for p.t.next <= lsn {
		rec, err := p.t.read()
		if err != nil {
			p.close()
			return wal.Position{}, err
		}
		p.met[rec.LSN%proverMemory] = positionOf(rec)
	}
	return *at, nil
}

func (p *prover) close() {
	if p.t != nil {
		p.t.close()
		p.t = nil
	}
}

// end lets go of the file; Close calls it.
func (p *prover) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.close()
}
