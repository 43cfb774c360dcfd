package txn

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// Promote makes a follower a writer on a timeline of its own, which goes on from
// the last entry applied. It returns the position of the entry that begins it,
// once that is durable: from then on read-write transactions begin, and Apply
// is refused. Entries of the old writer beyond are ErrStaleEpoch wherever
// the new timeline has been followed to.
//
// Errors: ErrNotFollower; ErrNothingToPromote; a full disk, or the context's before the
// decision was durable: the store is a follower as before. ErrPoisoned: it is one or
// the other, and reopening tells (Role). Behind the decision the context is not
// asked any more.
//
// What was not applied yet is not there: whoever promotes applies first what can
// still be had of the old writer's log.
func (m *Manager) Promote(ctx context.Context) (wal.Position, error) { return m.PromoteAbove(ctx, 0) }

// PromoteAbove is Promote with an epoch for the new timeline that is above the
// parent's, as always, and above one that is given: whoever knows of other successors of
// the old writer keeps their timelines and this one apart.
func (m *Manager) PromoteAbove(ctx context.Context, epoch uint64) (wal.Position, error) {
	m.committing.Add(1)
	defer m.committing.Add(-1)
	if m.open.ended() {
		return wal.Position{}, ErrClosed
	}
	m.following.mu.Lock()
	defer m.following.mu.Unlock()
	if err := m.mayPromote(ctx, epoch); err != nil {
		return wal.Position{}, err
	}
	if err := m.setRole(RoleSuccessor); err != nil { // ======== the decision ========
		return wal.Position{}, fmt.Errorf("txn: promote: %w", err)
	}
	pos, err := m.beginTimeline(context.WithoutCancel(ctx), recovery.ReasonPromotion, wal.Position{}, epoch)
	if err != nil {
		return wal.Position{}, fmt.Errorf("txn: promote: %w", m.takeBack(err))
	}
	if err := m.setRole(RoleWriter); err != nil {
		if m.poisoned() != nil {
			return wal.Position{}, fmt.Errorf("txn: promote: %w", err)
		}
		// No space for the record: it is a writer now, and again when it is opened.
		m.role.Store(uint32(RoleWriter))
		m.log.Warn().Err(err).Msg("the promotion is not complete in the manifest; the next opening begins another timeline")
	}
	m.progress.ring() // an archiver may wait for that
	m.log.Warn().Stringer("position", pos).Msg("promoted: the store is a writer, on a new timeline")
	return pos, nil
}

// mayPromote waits until all that was applied is durable.
func (m *Manager) mayPromote(ctx context.Context, epoch uint64) error {
	head := m.head()
	switch {
	case m.Role() == RoleWriter:
		return fmt.Errorf("txn: promote: %w", ErrNotFollower)
	case head.LSN == 0:
		return ErrNothingToPromote
	case max(epoch, m.headEpoch()) == math.MaxUint64:
		return fmt.Errorf("txn: promote: there is no epoch above %d; nothing was changed", uint64(math.MaxUint64))
	}
	m.hurryTo(head.LSN)
	if err := m.awaitLSN(ctx, head.LSN, true); err != nil {
		return fmt.Errorf("txn: promote: entry %d is not durable yet: %w", head.LSN, err)
	}
	return ctx.Err()
}

// setRole makes a role durable, and then this manager's.
func (m *Manager) setRole(r Role) error {
	err := m.editManifest(func(f manifest.Facts) manifest.Edit {
		n := f.Node
		n.Role = r
		return manifest.Edit{Node: &n}
	})
	if err != nil {
		return m.failed(err)
	}
	m.role.Store(uint32(r))
	return nil
}

// takeBack makes the store a follower again when there was no room to begin its
// timeline. If there is not even room for that, Promote may be called again.
func (m *Manager) takeBack(err error) error {
	if m.poisoned() != nil {
		return err
	}
	return joinIf(err, m.setRole(RoleFollower))
}

// errMoved: an entry was sequenced since the position that was named.
var errMoved = errors.New("txn: the store has gone on")

// beginTimeline appends the entry that begins a timeline behind the last entry,
// and waits until it is durable. Its epoch is above one that is given. errMoved: the
// last entry is not the one that at names.
func (m *Manager) beginTimeline(ctx context.Context, reason string, at wal.Position, above uint64) (wal.Position, error) {
	var pos wal.Position
	err := m.enterLog(ctx, func() (g *group, err error) {
		g, pos, err = m.sequenceTimeline(reason, at, above)
		return g, err
	})
	if err != nil {
		return pos, m.failed(err)
	}
	return pos, m.awaitLSN(ctx, pos.LSN, true)
}

// sequenceTimeline makes such an entry the last of the logical tips, which it
// does not change.
func (m *Manager) sequenceTimeline(reason string, at wal.Position, above uint64) (*group, wal.Position, error) {
	m.seq.mu.Lock()
	defer m.seq.mu.Unlock()
	if at.LSN != 0 && m.seq.draft.Head.Position != at {
		return nil, wal.Position{}, errMoved
	}
	if err := m.poisoned(); err != nil {
		return nil, wal.Position{}, err
	}
	g, err := m.openGroup()
	if err != nil {
		return nil, wal.Position{}, err
	}
	d, facts := m.seq.draft, m.store.Facts()
	head := d.Head
	e := &wal.Entry{
		Kind: wal.KindTimeline, First: head.LSN + 1, Last: head.LSN + 1,
		Timeline: wal.TimelineID(m.newUUID()), Epoch: max(head.Epoch, above) + 1, Prev: head.Hash,
		Txn: wal.TxnID(m.newUUID()), Time: max(m.opts.Now().UnixNano(), head.Time+1),
		Begin: &wal.BeginTimeline{
			Parent: head.Timeline, ParentLSN: head.LSN, ParentHash: head.Hash, Store: facts.ID(),
			PageAlgo: wal.AlgoXXH3, HashAlgo: wal.AlgoSHA256, Reason: reason,
		},
	}
	placed, err := g.log.Add(e, wal.Body{})
	if errors.Is(err, wal.ErrGroupFull) {
		return g, wal.Position{}, err
	}
	if err != nil {
		return nil, wal.Position{}, err
	}
	d.Advance(e, placed.Hash)
	g.synced = true
	m.following.pace.full.Store(true) // nobody else comes
	m.poke()
	return g, d.Head.Position, nil
}

// logPlace says loudly what opening found out about whose store it is.
func (m *Manager) logPlace(rep *recovery.Report) {
	if rep.Copied {
		m.log.Warn().Str("dir", m.dir).Stringer("store", m.store.Stats().Store).
			Msg("the store lies in another directory than before and may be a copy: it is a store of its own now")
	}
	if rep.Demoted {
		m.log.Warn().Msg("the store was a writer; opened with Options.Follower it is a follower, until it is promoted")
	}
	if rep.Began != "" && !rep.Created {
		m.log.Warn().Stringer("position", m.store.Published().Position).Str("reason", rep.Began).Msg("opening began a timeline")
	}
}
