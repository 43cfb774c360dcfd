package txn

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/quire-db/quire/wal"
)

// WatchOptions say what to watch. The zero value is all there is, from LSN 1 on.
type WatchOptions struct {
	// After is the position behind which to begin: that of the last event seen,
	// of a Commit, or Stats.Head for what comes from now on.
	After wal.Position
	// Volumes and Refs filter: with any of them, only entries that change one of
	// these volumes, whichever ref of it, or set or delete one of these refs.
	Volumes []wal.VolumeID
	Refs    []wal.Ref
}

// progressEntries is the number of entries that a filter passes over before
// there is a progress event. There is one, too, before a watcher that has passed
// over any begins to wait: it can always resume from where it stands.
const progressEntries = 1024

// Watch yields the entries behind a position, as they become durable, in LSN
// order, without gap or repetition, until the loop is left or an error is
// yielded, which is the last thing that is:
//
//	ErrFuture, ErrDiverged, ErrCompacted  nothing follows this position here: see there
//	ErrPoisoned    all that is durable was yielded, and no more will be; reopen and resume
//	ErrClosed      the manager was closed; resume when it is open again
//	wal.ErrCorrupt the log is damaged
//	ctx.Err()
//
// A watcher takes as long as it likes: it delays nothing. If a checkpoint trims
// the log behind which it has fallen back it ends with ErrCompacted.
//
// Each call of the iterator begins anew at After. Cost: one read of the log for
// each watcher, in pieces of up to 1 MiB.
func (m *Manager) Watch(ctx context.Context, o WatchOptions) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		w := &watcher{m: m, opts: o, at: o.After, tail: tail{m: m, next: o.After.LSN}}
		defer w.tail.close()
		if err := w.start(ctx); err != nil {
			yield(nil, w.explain(err))
			return
		}
		for {
			e, err := w.event(ctx)
			if err != nil {
				yield(nil, w.explain(err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// watcher is one run of Watch.
type watcher struct {
	m       *Manager
	opts    WatchOptions
	tail    tail
	at      wal.Position // of the last entry read
	limit   wal.LSN      // horizon when it was last looked at
	skipped int          // entries passed over since the last event
}

// start makes sure of After, and opens the log behind it.
func (w *watcher) start(ctx context.Context) error {
	after := w.opts.After
	if after.LSN > w.m.store.Published().LSN {
		return w.m.badPosition(after, ErrFuture)
	}
	if err := w.reach(ctx, after.LSN); err != nil {
		return err
	}
	here, known := w.m.landmark(after.LSN)
	if !known {
		rec, err := w.tail.read()
		if err == nil {
			return w.m.compare(after, positionOf(rec))
		}
		if !errors.Is(err, wal.ErrCompacted) {
			return err
		}
		// The next entry names its hash, if that is still there.
	} else if err := w.m.compare(after, here); err != nil {
		return err
	}
	w.tail.close()
	w.tail.next = after.LSN + 1
	return w.tail.begin()
}

func positionOf(rec *wal.Record) wal.Position {
	return wal.Position{Timeline: rec.Timeline, LSN: rec.LSN, Hash: rec.Hash}
}

// reach waits until an entry is at or below the horizon.
func (w *watcher) reach(ctx context.Context, lsn wal.LSN) error {
	if lsn <= w.limit {
		return nil
	}
	return w.m.waitUntil(ctx, func() bool {
		w.limit = w.m.horizon()
		return lsn <= w.limit
	})
}

// event returns the next entry that passes the filter, or progress.
func (w *watcher) event(ctx context.Context) (*Event, error) {
	for {
		if err := w.stopped(ctx); err != nil {
			return nil, err
		}
		if w.skipped > 0 && (w.skipped >= progressEntries || w.waits()) {
			w.skipped = 0
			return &Event{Position: w.at, m: w.m}, nil
		}
		if err := w.reach(ctx, w.tail.next); err != nil {
			return nil, err
		}
		rec, err := w.entry()
		if err != nil {
			return nil, err
		}
		if w.opts.wants(rec.Entry) {
			w.skipped = 0
			return &Event{Position: w.at, Entry: rec.Entry, m: w.m, rec: rec}, nil
		}
		w.skipped++
	}
}

// stopped is why nothing more is yielded, though there may be something.
func (w *watcher) stopped(ctx context.Context) error {
	if w.m.closed() {
		return ErrClosed
	}
	return ctx.Err()
}

// waits reports whether the next entry is still to come.
func (w *watcher) waits() bool {
	if w.tail.next > w.limit {
		w.limit = w.m.horizon()
	}
	return w.tail.next > w.limit
}

// entry reads the next one, which must continue the one before.
func (w *watcher) entry() (*wal.Record, error) {
	rec, err := w.tail.read()
	if err != nil {
		return nil, err
	}
	if rec.Prev != w.at.Hash {
		return nil, w.m.compare(w.at, wal.Position{LSN: w.at.LSN, Hash: rec.Prev})
	}
	w.at = positionOf(rec)
	return rec, nil
}

// explain makes errors of the log those that Watch documents.
func (w *watcher) explain(err error) error {
	var known *PositionError
	switch {
	case w.m.closed():
		return ErrClosed // what went wrong may come from that
	case errors.As(err, &known):
		return err
	case errors.Is(err, wal.ErrCompacted):
		return w.m.badPosition(w.at, ErrCompacted)
	}
	return err
}

// wants reports whether an entry passes the filter.
func (o *WatchOptions) wants(e *wal.Entry) bool {
	if len(o.Volumes) == 0 && len(o.Refs) == 0 {
		return true
	}
	for i := range e.Sections {
		ref := e.Sections[i].Ref
		if slices.Contains(o.Volumes, ref.Volume) || slices.Contains(o.Refs, ref) {
			return true
		}
	}
	return false
}

// closed reports whether Close has begun to end what runs.
func (m *Manager) closed() bool {
	select {
	case <-m.closing:
		return true
	default:
		return false
	}
}
