package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

// Backup puts a snapshot of the store into an archive, which package ship has begun:
// of the newest state when it is called, whatever is committed meanwhile. It holds
// that state, and reads it. While transactions commit it takes a twelfth of the
// processors (giver); alone it takes what it can use. The options' page size is the
// store's, and their GiveWay is the manager's unless there is one. Without recipients it is
// encrypted to those of Options.Archive, wherever it is put: a service that archives in secret
// does not put its state beside that in the clear. Earlier snapshots are read with the
// identities of Options.Archive unless there are others; that chooses an increment's base
// safely where it is this manager that archives, since that compares the histories.
//
// Errors are those of snapshot.Take; snapshot.ErrTaken says that the archive has it
// already, snapshot.ErrNoArchive that nobody has begun one: with Options.Archive that is done
// when the place was first reached. ship.ErrDiverged: the archive is another store's, or the
// manager's own that was stopped by that; nothing was put. Wait's, as the state must be durable: nothing in an archive is ahead of its
// store. Cost: that of pagestore.Export.
func (m *Manager) Backup(ctx context.Context, place objects.Store, o snapshot.Options) (*snapshot.Manifest, error) {
	h, err := m.Hold(ctx, HoldOptions{Owner: "backup", Reason: "a snapshot is taken"})
	if err != nil {
		return nil, fmt.Errorf("txn: backup: %w", err)
	}
	defer h.Release()
	snap, err := h.acquire()
	if err != nil {
		return nil, fmt.Errorf("txn: backup: %w", err)
	}
	defer m.store.Release(snap)
	if _, err := m.Wait(ctx, snap.Head.Position, Ack{Applied: true}); err != nil {
		return nil, fmt.Errorf("txn: backup of LSN %d: %w", snap.LSN(), err)
	}
	if err := m.belongs(ctx, place, snap.Head.Timeline, o.Retry); err != nil {
		return nil, fmt.Errorf("txn: backup of LSN %d: %w", snap.LSN(), err)
	}
	o.PageSize = m.store.Facts().Options.PageSize
	if len(o.Seal.Recipients) == 0 {
		o.Seal.Recipients = m.opts.Archive.Ship.Seal.Recipients
	}
	if len(o.Identities) == 0 {
		o.Identities = m.opts.Archive.Ship.Identities
	}
	if o.GiveWay == nil {
		o.GiveWay = (&giver{m: m}).giveWay
	}
	return snapshot.Take(ctx, place, snap, o)
}

// belongs refuses an archive of another history: a snapshot in it would be a log without a
// start, which no restore from it can get past. A timeline that is still to be archived is known by
// those before it.
func (m *Manager) belongs(ctx context.Context, place objects.Store, timeline wal.TimelineID, retry objects.RetryOptions) error {
	if st := m.archiveStats(); errors.Is(st.Err, ship.ErrDiverged) && st.URL == place.String() {
		return st.Err
	}
	retry.Tries = cmp.Or(retry.Tries, snapshot.DefaultTries)
	calm, err := objects.Retrying(place, retry)
	if err != nil {
		return err
	}
	begun, err := archive.Has(ctx, calm, archive.Key{Kind: archive.KindFormat})
	if err == nil && !begun {
		err = snapshot.ErrNoArchive
	}
	if err != nil {
		return err
	}
	ours, err := archive.Has(ctx, calm, archive.Key{Kind: archive.KindStart, Log: timeline})
	if err == nil && !ours {
		err = m.noStranger(ctx, place, retry)
	}
	return err
}

// noStranger compares this store with an archive that has no log of its timeline.
func (m *Manager) noStranger(ctx context.Context, place objects.Store, retry objects.RetryOptions) error {
	past := &archiver{m: m}
	h, err := past.history(ctx)
	if err != nil {
		return err
	}
	_, err = ship.Open(ctx, place, h, ship.Options{History: past.history, Retry: retry, Now: m.opts.Now})
	if errors.Is(err, ship.ErrAhead) { // it is of this timeline, begun meanwhile
		return nil
	}
	return err
}

// backupShare is the part of all processors that a backup takes while transactions
// commit: they lose about as much of their rate when it is the processors that bound it.
const backupShare = 1.0 / 12

// longestPiece bounds what a piece of work counts for: one that took longer waited for
// the disk. On a machine that others keep busy, pieces take longer than they work, and
// so do commits.
const longestPiece = 20 * time.Millisecond

// giver paces the goroutines of one backup. Each tells what it worked; together they are
// not ahead of their share.
type giver struct {
	m *Manager

	mu  sync.Mutex
	lsn wal.LSN   // published when it last looked; mu
	due time.Time // when the share makes up for the work so far; mu
}

// giveWay waits, when somebody commits or did so since it was last called, until
// the work is made up for.
func (g *giver) giveWay(worked time.Duration) {
	if wait := g.wait(worked, time.Now()); wait > 0 {
		time.Sleep(wait)
	}
}

func (g *giver) wait(worked time.Duration, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	lsn := g.m.store.Published().LSN
	busy := lsn != g.lsn || g.m.committing.Load() > 0
	if g.lsn = lsn; !busy {
		g.due = now
		return 0
	}
	worked = min(worked, longestPiece)
	if begun := now.Add(-worked); g.due.Before(begun) {
		g.due = begun
	}
	g.due = g.due.Add(time.Duration(float64(worked) / (backupShare * float64(runtime.GOMAXPROCS(0)))))
	return g.due.Sub(now)
}
