package txn

import (
	"context"
	"errors"
	"slices"

	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// enter notes a state.
func (a *archiver) enter(s ArchiveState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stats.State != s {
		a.stats.State = s
	}
}

// set notes the archiver that is at work; nil for none.
func (a *archiver) set(s *ship.Archiver) {
	a.ship = s
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now != nil {
		a.stats = a.withShip(a.stats)
	}
	a.now = s
}

// shipped is up to where the archive is known to have the log.
func (a *archiver) shipped() wal.Position {
	if a.ship == nil {
		return wal.Position{}
	}
	return a.ship.Status().Shipped
}

// failed notes an error.
func (a *archiver) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.LastError, a.stats.LastErrorAt, a.stats.Failing = err.Error(), a.m.opts.Now(), true
}

// withShip adds what the archiver at work says. Under a.mu.
func (a *archiver) withShip(s ArchiveStats) ArchiveStats {
	if a.now == nil {
		return s
	}
	st := a.now.Status()
	s.Shipped, s.Skipped = st.Shipped, s.Skipped+st.Skipped
	if st.LastSuccess.After(s.LastSuccess) {
		s.LastSuccess = st.LastSuccess
		s.Failing = s.Failing && s.LastErrorAt.After(s.LastSuccess)
	}
	if st.LastErrorAt.After(s.LastErrorAt) {
		s.LastError, s.LastErrorAt, s.Failing = st.LastError, st.LastErrorAt, st.Failing
	}
	return s
}

// archiveStats is how archiving stands.
func (m *Manager) archiveStats() ArchiveStats {
	a := m.archive
	if a == nil {
		return ArchiveStats{}
	}
	a.mu.Lock()
	s, level := a.withShip(a.stats), a.level
	a.mu.Unlock()
	facts := m.store.Facts()
	if c, ok := facts.Consumer(ArchiveConsumer); ok {
		s.Acked = c.Acked
		if c.Dropped {
			s.LagBytes, s.Dropped = c.Kept, &DroppedError{Name: c.Name, Acked: c.Acked, Kept: c.Kept}
		} else {
			s.LagBytes = m.store.KeptFor(c.Acked.LSN)
		}
	}
	if at, durable := max(s.Shipped.LSN, s.Acked.LSN), m.horizon(); durable > at {
		s.LagEntries, s.Lag = uint64(durable-at), max(0, m.opts.Now().Sub(level))
	}
	return s
}

// history is where the store stands, and where it left the timelines before, as far as
// its log tells: what ship.Options.History wants.
func (a *archiver) history(ctx context.Context) (ship.History, error) {
	m := a.m
	head := m.store.Published().Position
	if err := m.waitUntil(ctx, func() bool { return m.durable() >= head.LSN }); err != nil {
		return nil, err
	}
	if a.timeline != head.Timeline {
		if err := a.readPast(head.LSN); err != nil {
			return nil, err
		}
		a.timeline = head.Timeline
	}
	return append(slices.Clone(a.past), head), nil
}

// readPast reads of the log where timelines were left.
func (a *archiver) readPast(last wal.LSN) error {
	facts := a.m.store.Facts()
	t := tail{m: a.m, next: facts.Generations[0].First}
	defer t.close()
	past := slices.Clone(a.past)
	for t.next <= last {
		rec, err := t.read()
		if errors.Is(err, wal.ErrCompacted) { // a checkpoint came by
			t.close()
			t.next = a.m.store.Facts().Generations[0].First
			continue
		}
		if err != nil {
			return err
		}
		b := rec.Entry.Begin
		if b == nil || b.ParentLSN == 0 {
			continue
		}
		if p := (wal.Position{Timeline: b.Parent, LSN: b.ParentLSN, Hash: b.ParentHash}); !slices.Contains(past, p) {
			past = append(past, p)
		}
	}
	a.past = past
	return nil
}
