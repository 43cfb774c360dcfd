package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

// history finds the log of the archive that the store's history is in: that of its
// timeline, or of the nearest one before it.
func (r *repairing) history() error {
	timeline := r.timeline()
	if timeline == (wal.TimelineID{}) {
		return fmt.Errorf("%w: neither manifest nor log of the store can be read; restore from the archive into a new directory instead: %w", ErrHistory, restore.ErrRefused)
	}
	parents, err := r.parents()
	if err != nil {
		return err
	}
	for at := timeline; ; {
		l, err := r.logs.Log(r.ctx, at)
		if err == nil {
			r.log, r.known = at, l.Mark
			if r.limit != 0 {
				r.known = min(l.Mark, r.limit)
			}
			return nil
		}
		if !errors.Is(err, objects.ErrNotFound) {
			return err
		}
		parent, ok := parents[at]
		if !ok {
			return fmt.Errorf("%w: there is none of timeline %s: %w", ErrHistory, timeline, restore.ErrRefused)
		}
		at, r.limit = parent.Timeline, parent.LSN
		r.expect[parent.LSN] = parent.Hash
	}
}

// timeline is that on which the store was.
func (r *repairing) timeline() wal.TimelineID {
	at := wal.Position{Timeline: r.own.Facts.Timeline, LSN: r.own.Facts.Checkpoint.LSN}
	for _, run := range r.own.Runs() {
		if run.Last >= at.LSN {
			at = wal.Position{Timeline: run.Timeline, LSN: run.Last}
		}
	}
	return at.Timeline
}

// parents are the positions that timelines of the store's own log go on from.
func (r *repairing) parents() (map[wal.TimelineID]wal.Position, error) {
	parents := map[wal.TimelineID]wal.Position{}
	err := r.own.Begins(r.ctx, func(e *wal.Entry) {
		if b := e.Begin; b.ParentLSN != 0 {
			parents[e.Timeline] = wal.Position{Timeline: b.Parent, LSN: b.ParentLSN, Hash: b.ParentHash}
		}
	})
	return parents, err
}

// candidate is where the new store could begin; zero is the log's first entry.
type candidate = wal.Position

// candidates are the snapshots of the store's history, in the order in which they are
// tried: first those whose store would have all of the log that the damaged one had, the
// newest of them first; then the others, so that as much of the log as can be is there.
func (r *repairing) candidates() ([]candidate, error) {
	var before, behind []candidate
	snaps, err := r.snapshots()
	if err != nil {
		return nil, err
	}
	for _, h := range snaps {
		if h.Last < r.own.First || r.own.First == 0 {
			before = append(before, h.Position())
		} else {
			behind = append(behind, h.Position())
		}
	}
	sortNewest(before)
	sortNewest(behind)
	slices.Reverse(behind)
	return append(append(before, candidate{}), behind...), nil
}

func sortNewest(list []candidate) {
	slices.SortFunc(list, func(a, b candidate) int { return int(min(1, max(-1, int64(b.LSN-a.LSN)))) })
}

// snapshots are those of the log, and of the parts of those before it that lead there.
func (r *repairing) snapshots() (list []archive.Header, err error) {
	upTo := wal.Position{Timeline: r.log, LSN: r.limit}
	for {
		found, err := snapshot.List(r.ctx, r.store, upTo.Timeline)
		if err != nil && !isDamage(err) {
			return nil, err
		}
		r.pass(err)
		for _, h := range found {
			if upTo.LSN == 0 || h.Last <= upTo.LSN {
				list = append(list, h)
			}
		}
		l, err := r.logs.Log(r.ctx, upTo.Timeline)
		if errors.Is(err, objects.ErrNotFound) {
			return list, nil // the archive begins later
		}
		if err != nil {
			return nil, err
		}
		if upTo = l.Start.Parent; upTo.LSN == 0 {
			return list, nil
		}
	}
}

// isDamage reports whether an error is one of an archive that lacks something, or of which
// something is damaged: another way may lead on.
func isDamage(err error) bool {
	for _, target := range []error{objects.ErrNotFound, wal.ErrCorrupt, wal.ErrVersion, ship.ErrGap, snapshot.ErrDiverged, restore.ErrRefused} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func (r *repairing) pass(err error) {
	if err != nil && len(r.got.Passed) < maxPassed {
		r.got.Passed = append(r.got.Passed, err)
	}
}

// maxPassed bounds what is told of damage that did not matter in the end.
const maxPassed = 100

// base makes the store as it was at a snapshot.
func (r *repairing) base() error {
	list, err := r.candidates()
	if err != nil {
		return err
	}
	for _, c := range list {
		if err = r.begin(c); err == nil {
			return r.open()
		}
		if !isDamage(err) {
			return err
		}
		if c.LSN != 0 || len(list) == 1 {
			r.pass(err)
		}
	}
	return fmt.Errorf("the archive has nothing that can be begun with: %w: %w", restore.ErrRefused, errors.Join(r.got.Passed...))
}

// begin restores a snapshot; or the first entry, behind which all others come.
func (r *repairing) begin(c candidate) error {
	if !r.o.DryRun {
		if err := r.discard(); err != nil {
			return err
		}
	}
	got, err := restore.Run(r.ctx, r.store, r.place.making(), restore.Target{Timeline: r.log, LSN: max(c.LSN, 1)}, restore.Options{
		Disk: r.o.Disk, Identities: r.o.Identities, Retry: r.o.Retry, Follower: true, DryRun: r.o.DryRun, Now: r.o.Now,
		Open: r.opener, Progress: func(p restore.Progress) { r.progress(Progress(p)) },
	})
	if err != nil {
		return err
	}
	for _, err := range got.Passed {
		r.pass(err)
	}
	r.at, r.got.Time, r.got.Base = got.Position, got.Time, wal.Position{}
	r.got.LogFrom = 1
	if n := len(got.Snapshots); n > 0 {
		r.got.Base = got.Snapshots[n-1]
		r.got.LogFrom = r.got.Base.LSN + 1
	}
	r.got.Archived, r.begun = got.Entries, r.got.Base
	return r.met(r.at)
}

// keeper is the consumer that keeps the log from the snapshot on while the store is made.
const keeper = "quire: repair"

// opener opens the store that is made, and keeps its log from there on.
func (r *repairing) opener(dir string, make bool) (restore.Replica, error) {
	replica, err := r.o.Open(dir, make)
	if err != nil {
		return nil, err
	}
	if err := replica.Keep(context.WithoutCancel(r.ctx), keeper); err != nil {
		return nil, errors.Join(err, replica.Close())
	}
	return replica, nil
}

func (r *repairing) open() error {
	if r.o.DryRun {
		return r.met(r.at)
	}
	replica, err := r.o.Open(r.place.making(), false)
	if err != nil {
		return err
	}
	r.replica = replica
	if err := replica.Keep(r.ctx, keeper); err != nil { // a restored one does already
		return err
	}
	return r.met(r.at)
}
