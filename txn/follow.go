package txn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/wal"
)

// # Following
//
// A follower is a store that takes its entries from another one instead of from
// transactions: the same entries, with the same LSNs and hashes, in the same order.
//
//	f, _, err := txn.Open(dir, txn.Options{Follower: true, Create: true})
//	for e, err := range writer.Watch(ctx, txn.WatchOptions{After: f.Stats().Head}) {
//		images, err := e.Images()
//		_, err = f.Apply(ctx, e.Entry, images)
//	}
//
// It serves all that reads: View, Diff, Outcome, Watch (so followers can be chained),
// Wait, Consumers, checkpoints. Transactions that write are ErrFollower.
//
// How an entry comes in:
//
//	step      does                                                 if it fails
//	Place     the next one? (LSN, hash before, timeline, epoch)    *ApplyError: gap, stale, diverged
//	TakeIn    reads the images from their source, verifies each,   *ApplyError; slots are given back
//	          lays them out anew for this disk
//	Sequence  checks everything the entry says of the states       *ApplyError, no trace
//	          before and after, then adds its record to the open
//	          group and makes its changes: apply.PrepareEntry and
//	          Prepared.Apply, which opening uses too
//	Append, Publish  the flusher's, as for commits that are        poisoned
//	          buffered (follow_pace.go)
//
// Apply returns when the entry is sequenced. It is durable and visible a moment
// later; Wait(ctx, applied.Position, Ack{Applied: true}) has it synced and waits for
// that, once for as many entries as one likes. Entries that come in faster than the disk
// takes them wait: at most two groups of wal.MaxGroupBytes of records and MaxApplyBytes of
// images are under way. A crash takes entries from the end that were not durable;
// the follower then goes on from Stats().Head, which is what opening found.
//
// An entry's hash does not cover where its images lie, so laying them out anew
// keeps it. That it is kept is checked by the next entry, which names it.
//
// # Timelines
//
// A timeline is begun by an entry that names its parent position. A follower that
// stands exactly there crosses it, and follows the new timeline from then on. At any
// other position the entry does not fit: a gap, or another history.
//
//	role       Begin, read-write  Apply           left by
//	writer     goes on            ErrNotFollower  opening with Options.Follower
//	follower   ErrFollower        goes on         Promote
//	successor  ErrFollower        ErrNotFollower  Promote, or the next opening: a writer
//
// The role is kept in the manifest (package recovery's role.go): a follower stays one
// until it is promoted, however it is opened.
//
// Promote decides durably that the store is a successor, then appends the entry
// that begins its timeline, with an epoch one higher, and is a writer when that is
// durable. A crash before the decision leaves the follower, one behind it a store
// that opening makes a writer. Entries that the old writer committed beyond the parent
// position are refused ever after: ErrStaleEpoch. What becomes of the old
// writer is up to whoever promotes: it does not know of it. Opened as a follower of
// the new one it finds out whether it went too far (ErrDiverged).

// MaxApplyBytes bounds the images of entries that were applied to a follower and
// wait for the disk, in bytes; one entry may exceed it.
const MaxApplyBytes = 4 << 20

// Role says who may write entries of a store's own.
type Role = manifest.Role

// Roles.
const (
	RoleWriter    = manifest.Writer
	RoleFollower  = manifest.Follower
	RoleSuccessor = manifest.Successor
)

// Role of the store now.
func (m *Manager) Role() Role { return Role(m.role.Load()) }

// following is what Apply and Promote, one at a time, have for themselves.
type following struct {
	mu      sync.Mutex
	scratch []byte // for images on their way into the log
	pace    pace   // not under mu
}

// Applied is what became of an entry.
type Applied struct {
	Position wal.Position
	// Skipped: the store has had this very entry before, and nothing was done.
	Skipped bool
}

// Apply adds the next entry of another store's log to this one, a follower, with
// the images that the entry brings: images reads the body into which the entry's
// locators point, as Event.Images does. Both are not used after it returns. It
// returns when the entry has its place; Wait tells when it is durable and
// visible.
//
// Every refusal is an *ApplyError and changes nothing; the entry that does come
// next can still be applied:
//
//	ErrGap          entries between the store's last and this one are missing
//	ErrStaleEpoch   it is of a writer that another one has superseded
//	ErrDiverged     it belongs to another history
//	ErrMissingBase  what it changes is not here as it says
//	ErrImage        an image is not what the entry says, or cannot be read
//	ErrNotFollower  the store is a writer, or was promoted
//	ErrCompacted    it is old, and whether it is the one that this store had then
//	                cannot be told any more
//
// Other errors: wal.ErrTooLarge, a full disk, ErrClosed, the context's: nothing
// was changed. ErrPoisoned: reopen the store. Calls are carried out one at a time.
//
// Cost: that of a commit without what a transaction costs; see
// BenchmarkFollower.
func (m *Manager) Apply(ctx context.Context, e *wal.Entry, images io.ReaderAt) (Applied, error) {
	m.committing.Add(1)
	defer m.committing.Add(-1)
	if m.open.ended() {
		return Applied{}, ErrClosed
	}
	m.following.mu.Lock()
	defer m.following.mu.Unlock()
	if err := m.mayApply(ctx, e); err != nil {
		return Applied{}, err
	}
	if known, err := m.placeOf(ctx, e); known.Skipped || err != nil {
		return known, err
	}
	if err := m.pressure.feel(ctx); err != nil {
		return Applied{}, err
	}
	in, err := m.takeIn(e, images)
	if err != nil {
		return Applied{}, m.failed(m.refusal(e, err))
	}
	err = m.enterLog(ctx, in.enter)
	if err != nil {
		return Applied{}, m.failed(m.refusal(e, errors.Join(err, in.release())))
	}
	return Applied{Position: in.pos}, nil
}

// mayApply refuses what has nothing to do with where the store stands.
func (m *Manager) mayApply(ctx context.Context, e *wal.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.poisoned(); err != nil {
		return err
	}
	if e.Kind == wal.KindRange {
		return fmt.Errorf("txn: apply entry %d: it is a range entry, nothing was changed: %w", e.First, apply.ErrUnsupported)
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("txn: apply entry %d: %w", e.First, err)
	}
	if m.Role() == RoleFollower {
		return nil
	}
	refused := &ApplyError{LSN: e.First, Head: m.head(), Err: ErrNotFollower}
	if e.Epoch < m.headEpoch() {
		refused.Err, refused.Cause = ErrStaleEpoch, ErrNotFollower
	}
	return refused
}

// head is the last entry sequenced, headEpoch its epoch.
func (m *Manager) head() wal.Position {
	m.seq.mu.Lock()
	defer m.seq.mu.Unlock()
	return m.seq.draft.Head.Position
}

func (m *Manager) headEpoch() uint64 {
	m.seq.mu.Lock()
	defer m.seq.mu.Unlock()
	return m.seq.draft.Head.Epoch
}

// placeOf says whether an entry is the one that comes next here, or was here
// before.
func (m *Manager) placeOf(ctx context.Context, e *wal.Entry) (Applied, error) {
	head, epoch := m.head(), m.headEpoch()
	refused := &ApplyError{LSN: e.First, Head: head}
	begins := e.Kind == wal.KindTimeline && e.First > 1
	switch {
	case e.First <= head.LSN:
		return m.applyAgain(ctx, e, epoch)
	case e.Epoch < epoch, begins && e.Epoch == epoch:
		refused.Err = ErrStaleEpoch
	case e.First > head.LSN+1:
		refused.Err = ErrGap
	case e.Prev != head.Hash, begins && e.Begin.Parent != head.Timeline,
		e.Kind == wal.KindTransaction && (e.Timeline != head.Timeline || e.Epoch != epoch):
		refused.Err = ErrDiverged
	default:
		return Applied{}, nil
	}
	return Applied{}, refused
}

// applyAgain compares an entry with the one that the store has in its place.
func (m *Manager) applyAgain(ctx context.Context, e *wal.Entry, epoch uint64) (Applied, error) {
	pos := wal.Position{Timeline: e.Timeline, LSN: e.First, Hash: e.Hash()}
	m.hurryTo(pos.LSN)
	if err := m.awaitLSN(ctx, pos.LSN, true); err != nil { // then the log has it
		return Applied{}, err
	}
	err := m.prove(pos)
	if err == nil {
		return Applied{Position: pos, Skipped: true}, nil
	}
	refused := &ApplyError{LSN: e.First, Head: m.head(), Err: ErrCompacted, Cause: err}
	switch {
	case errors.Is(err, ErrDiverged) && e.Epoch < epoch:
		refused.Err = ErrStaleEpoch // and diverged, as Cause says
	case errors.Is(err, ErrDiverged):
		refused.Err = ErrDiverged
	case !errors.Is(err, ErrCompacted):
		return Applied{}, err
	}
	return Applied{}, refused
}

// enterLog has something sequenced by one who is not a committer's ticket,
// and waits for room as long as there is none.
func (m *Manager) enterLog(ctx context.Context, sequence func() (*group, error)) error {
	since := m.attempts.Load()
	for {
		g, err := sequence()
		var wait <-chan struct{}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, wal.ErrNotReady):
			wait = m.prepared.wait(m.wal.Ready)
			m.pokeKeepers()
			if last := m.noGeneration.Load(); last != nil && last.number > since {
				return fmt.Errorf("txn: no room in the log, nothing was written: %w", last.err)
			}
		case errors.Is(err, wal.ErrGroupFull):
			wait = g.done
			m.following.pace.full.Store(true)
			m.poke()
		default:
			return err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter sequences the entry, as trySequence does a transaction.
func (in *intake) enter() (*group, error) {
	m := in.m
	m.seq.mu.Lock()
	defer m.seq.mu.Unlock()
	if err := m.poisoned(); err != nil {
		return nil, err
	}
	g, err := m.openGroup()
	if err != nil {
		return nil, err
	}
	if g.payload > 0 && g.payload+in.size > MaxApplyBytes {
		return g, wal.ErrGroupFull
	}
	p, err := apply.PrepareEntry(m.seq.draft, in.e, in.index())
	if err == nil {
		err = p.Foretell()
	}
	if err != nil {
		return nil, err
	}
	rec, where, err := in.locate(g)
	if err != nil {
		return nil, err
	}
	placed, err := g.log.Add(in.e, rec)
	if err != nil {
		return g, err
	}

	// From here on nothing is refused: the logical tips change.
	if len(rec.Extents) == 0 {
		where = apply.InLog(m.ordinals.of(g.log.Gen()), placed.Inline, rec.Inline)
	}
	if err := p.Apply(placed.Hash, where); err != nil {
		m.poison(err) // of what Foretell does not know; the log has not got it either
		return nil, m.poisoned()
	}
	in.pos = m.seq.draft.Head.Position
	in.joined(g, rec)
	return g, nil
}

// joined makes the entry a member of the group. Nobody waits for it there.
func (in *intake) joined(g *group, rec wal.Body) {
	g.inline += len(rec.Inline)
	g.payload += in.size
	if g.log.Len() == 1 || in.m.hurries(in.pos.LSN) {
		in.m.poke() // it gathers
	}
	in.m.stats.payload.Add(uint64(in.size))
	if len(in.slots) == 0 {
		return
	}
	in.owned = true
	g.heap = true
	if in.image != nil {
		g.images = append(g.images, in.pieces(0, bytes.Clone(in.image))...)
	}
}
