package restore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

// choose finds the log that leads to the target, and the snapshots to begin with.
func (r *restoring) choose() error {
	if r.target.Timeline == (wal.TimelineID{}) {
		if err := r.newestTimeline(); err != nil {
			return err
		}
		r.got.Target = r.target
	}
	var err error
	if r.all, err = r.snapshots(); err != nil {
		return err
	}
	r.list = slices.DeleteFunc(slices.Clone(r.all), r.behind)
	return r.next()
}

// next takes the newest snapshot of the list that can be read, and nothing when there
// is none: the log may begin with the first entry.
func (r *restoring) next() (err error) {
	for len(r.list) > 0 {
		h := r.list[0]
		r.list = r.list[1:]
		if err = r.agrees(h); err == nil {
			if r.chain, err = snapshot.Chain(r.ctx, r.store, h.Position(), r.o.Identities); err == nil {
				return nil
			}
		}
		if !unusable(err) {
			return err
		}
		r.pass(err)
	}
	r.chain = nil
	return nil
}

// unusable reports whether an error is one of a snapshot that is damaged, or is being
// deleted: an older one, and more of the log, may do.
func unusable(err error) bool {
	return errors.Is(err, objects.ErrNotFound) || errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion) || errors.Is(err, snapshot.ErrDiverged)
}

func (r *restoring) pass(err error) { r.passed = append(r.passed, err) }

// agrees compares a snapshot with the log, which may not have its entry any more:
// one that a copy of the store took is of another history.
func (r *restoring) agrees(h archive.Header) error {
	for item, err := range r.logs.Entries(r.ctx, r.target.Timeline, h.Last, h.Last) {
		switch {
		case err != nil && (missing(err) || unusable(err)):
			return nil
		case err != nil:
			return err
		case item.Hash != h.Hash:
			return fmt.Errorf("%w: the snapshot at LSN %d is of entry %s, the log has %s", snapshot.ErrDiverged, h.Last, h.Hash, item.Hash)
		}
	}
	return nil
}

// behind reports whether a snapshot is behind the target.
func (r *restoring) behind(h archive.Header) bool {
	return r.target.LSN != 0 && h.Last > r.target.LSN || !r.target.Time.IsZero() && h.LastTime > r.target.Time.UnixNano()
}

// newestTimeline takes that of the highest epoch.
func (r *restoring) newestTimeline() error {
	logs, err := r.logs.Logs(r.ctx)
	if err != nil {
		return err
	}
	var best []archive.Start
	for _, id := range logs {
		l, err := r.logs.Log(r.ctx, id)
		if err != nil {
			return err
		}
		if n := len(best); n > 0 && best[0].Epoch < l.Start.Epoch {
			best = nil
		}
		if n := len(best); n == 0 || best[0].Epoch == l.Start.Epoch {
			best = append(best, l.Start)
		}
	}
	slices.SortFunc(best, func(a, b archive.Start) int { return bytes.Compare(a.Timeline[:], b.Timeline[:]) })
	switch len(best) {
	case 0:
		return &RefusedError{Target: r.target, Why: fmt.Errorf("the archive has no log: %w", ship.ErrGap)}
	case 1:
		r.target.Timeline = best[0].Timeline
		return nil
	}
	return &AmbiguousError{best}
}

// snapshots are those of the history that leads to the timeline, the newest first.
func (r *restoring) snapshots() (list []archive.Header, err error) {
	timeline, upTo := r.target.Timeline, wal.Position{}
	for {
		found, err := snapshot.List(r.ctx, r.store, timeline)
		if err != nil && !unusable(err) {
			return nil, err
		}
		if err != nil {
			r.pass(err)
		}
		for _, h := range found {
			if upTo.LSN == 0 || h.Last < upTo.LSN || h.Position() == upTo {
				list = append(list, h)
			}
		}
		l, err := r.logs.Log(r.ctx, timeline)
		if upTo.LSN != 0 && unusable(err) { // the archive begins later, or what is before is damaged
			if !errors.Is(err, objects.ErrNotFound) {
				r.pass(err)
			}
			return list, nil
		}
		if errors.Is(err, objects.ErrNotFound) {
			return nil, &RefusedError{Target: r.target, Why: fmt.Errorf("the archive has no log of timeline %s: %w", timeline, ship.ErrGap)}
		}
		if err != nil {
			return nil, err
		}
		if upTo = l.Start.Parent; upTo.LSN == 0 {
			return list, nil
		}
		timeline = upTo.Timeline
	}
}

// refuse makes an error that says what could be restored instead, if what is wrong is
// that something is missing.
func (r *restoring) refuse(err error) error {
	var gap *ship.GapError
	if !errors.As(err, &gap) {
		return err
	}
	e := &RefusedError{Target: r.target, Why: err, Before: r.got.Position, Time: r.got.Time, Passed: r.passed}
	for _, h := range slices.Backward(r.all) {
		if h.Last >= gap.First && r.behind(h) {
			if len(e.After) == 0 {
				e.AfterTime = time.Unix(0, h.LastTime)
			}
			e.After = append(e.After, h.Position())
		}
	}
	return e
}

// took notes a snapshot that was read.
func (r *restoring) took(m *snapshot.Manifest) {
	r.got.Position, r.got.Time = m.Position, time.Unix(0, m.Time)
	r.got.Snapshots = append(r.got.Snapshots, m.Position)
	r.got.Objects += 1 + len(m.Parts)
	r.got.Bytes += m.Stored()
	r.got.Volumes, r.got.Digest = m.Volumes, m.Digest
}
