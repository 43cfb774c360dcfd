package ship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// leap is a way over entries that the stream has no more: to a snapshot, behind which
// the archive goes on. Its hash is compared before anything is put.
//
//	state    holds                                        next
//	leaping  the stream is read, not shipped              behind the snapshot, same hash: jump
//	                                                      other hash: leap to the next snapshot
//	jump     put a skip where the archive ends            nil, or the same exists: gathering
//	                                                      exists: adopted, and from its end
//	                                                      the next skip, or awaiting
type leap struct {
	to    wal.Position
	epoch uint64
	time  int64 // of its entry
	gap   *GapError
}

// Behind says where the stream begins, when that is known before its first entry: behind
// a position of the store's history. If entries are missing before, and a snapshot covers
// them, the archive goes on behind that one, as Run would have it; else it is a GapError. It
// is called before Run, if at all.
func (a *Archiver) Behind(ctx context.Context, at wal.Position) error {
	if a.seen == (wal.Position{}) || a.seen.LSN >= at.LSN {
		return nil
	}
	gap := &GapError{Timeline: at.Timeline, First: a.seen.LSN + 1, Last: at.LSN, Stream: true}
	err := a.leapTo(ctx, at.Timeline, at.LSN, gap)
	if err == nil && a.leap.to.LSN == at.LSN && a.leap.to.Hash != at.Hash {
		err = a.leapTo(ctx, at.Timeline, at.LSN+1, gap)
	}
	if err != nil {
		return err
	}
	if a.leap.to.LSN == at.LSN {
		return a.jump(ctx)
	}
	a.seen = at
	return nil
}

// skip finds the snapshot behind which the archive can go on, though the stream
// begins with e. Without one the gap is what it was.
func (a *Archiver) skip(ctx context.Context, e *wal.Entry, gap *GapError) error {
	if err := a.flush(ctx); err != nil {
		return err
	}
	a.await = nil
	if err := a.rereadHistory(ctx); err != nil {
		return err
	}
	if err := a.leapTo(ctx, e.Timeline, e.First-1, gap); err != nil {
		return err
	}
	if a.leap.to.LSN >= e.First {
		return nil
	}
	if a.leap.to.Hash != e.Prev { // a copy of the store took it
		return a.leapTo(ctx, e.Timeline, e.First, gap)
	}
	if err := a.jump(ctx); err != nil {
		return err
	}
	if e.Timeline != a.log {
		return a.changeLog(ctx, e)
	}
	return nil
}

// leapTo chooses the first snapshot from an LSN on, in the log of a timeline or those
// of the store's history before and behind.
func (a *Archiver) leapTo(ctx context.Context, timeline wal.TimelineID, from wal.LSN, gap *GapError) error {
	a.leap = nil
	var keys []archive.Key
	for _, s := range a.history.around(timeline) {
		err := a.place.each(ctx, archive.KindPrefix(s.Timeline, archive.KindManifest), func(k archive.Key, _ int64) {
			if k.Kind == archive.KindManifest && k.First >= from && (s.LSN == 0 || k.First <= s.LSN) {
				keys = append(keys, k)
			}
		}, nil)
		if err != nil {
			return err
		}
	}
	slices.SortFunc(keys, func(a, b archive.Key) int { return cmp.Compare(a.First, b.First) })
	for _, k := range keys {
		h, err := a.place.check(ctx, k)
		switch {
		case err == nil:
			a.leap = &leap{to: h.Position(), epoch: h.Epoch, time: h.LastTime, gap: gap}
			return nil
		case !errors.Is(err, objects.ErrNotFound) && !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion):
			return err
		}
	}
	return gap
}

// around are the ends of timelines in which a snapshot can be that is of this history:
// a zero LSN for the last one, which has none.
func (h History) around(timeline wal.TimelineID) History {
	if !h.has(timeline) {
		return History{{Timeline: timeline}}
	}
	own := slices.Clone(h)
	own[len(own)-1].LSN = 0
	return own
}

// check reads an object whole, and verifies what needs no key.
func (p place) check(ctx context.Context, k archive.Key) (h archive.Header, err error) {
	r, size, err := p.Get(ctx, k.String(), 0, -1)
	if err != nil {
		return h, err
	}
	h, _, err = archive.Check(k, r, size)
	return h, errors.Join(err, r.Close())
}

// land follows the stream to the snapshot.
func (a *Archiver) land(ctx context.Context, pos wal.Position) error {
	switch to := a.leap.to; {
	case pos.LSN < to.LSN:
		return nil
	case pos != to:
		key := archive.Key{Kind: archive.KindManifest, Log: to.Timeline, First: to.LSN}
		err := a.leapTo(ctx, pos.Timeline, pos.LSN+1, a.leap.gap)
		if errors.Is(err, ErrGap) {
			err = errors.Join(err, &DivergedError{Key: key.String(), Store: pos, Archive: to})
		}
		return err
	}
	return a.jump(ctx)
}

// jump has the archive go on behind the snapshot: by a skip where each log ends, and the
// start of the snapshot's own.
func (a *Archiver) jump(ctx context.Context) error {
	l := a.leap
	for a.log != l.to.Timeline {
		if end, ok := a.history.end(a.log); ok {
			if err := a.skipTo(ctx, end); err != nil {
				return err
			}
			if err := a.mark(ctx); err != nil {
				return err
			}
		}
		a.await, a.marked, a.appends = nil, 0, 0
		if err := a.startBehind(ctx); err != nil {
			return err
		}
	}
	if err := a.skipTo(ctx, l.to); err != nil {
		return err
	}
	a.seen, a.leap = l.to, nil
	return nil
}

// end is where a timeline ends.
func (h History) end(timeline wal.TimelineID) (wal.Position, bool) {
	i := slices.IndexFunc(h, func(p wal.Position) bool { return p.Timeline == timeline })
	if i < 0 {
		return wal.Position{}, false
	}
	return h[i], true
}

// startBehind begins the snapshot's log where it left its parent, or behind the snapshot
// when that is not known. Entries may have to be skipped in it, too.
func (a *Archiver) startBehind(ctx context.Context) error {
	to := a.leap.to
	s := archive.Start{Timeline: to.Timeline, Epoch: a.leap.epoch, First: to.LSN + 1, Before: to.Hash}
	if parent, ok := a.history.before(to.Timeline); ok {
		s.First, s.Before, s.Parent = parent.LSN+1, parent.Hash, parent
	}
	err := a.putStart(ctx, s)
	if errors.Is(err, ErrGap) { // in the log that is there
		err = nil
	}
	return err
}

// skipTo puts a skip from where the log ends to a position, unless it goes so far.
func (a *Archiver) skipTo(ctx context.Context, to wal.Position) error {
	for {
		s, err := a.startOf(ctx, a.log)
		if err != nil {
			return err
		}
		head, err := a.place.head(ctx, s)
		if err != nil {
			return err
		}
		switch {
		case head.LSN == to.LSN && head.Hash != to.Hash:
			return &DivergedError{Key: archive.LogPrefix(a.log), Store: to, Archive: head}
		case head.LSN > to.LSN:
			a.await = &awaited{pos: head}
			return nil
		case head.LSN == to.LSN:
			a.gauge.shipped(to)
			return nil
		}
		if err := a.putSkip(ctx, s, head, to); err != nil && !errors.Is(err, objects.ErrExists) {
			return err
		}
	}
}

// putSkip puts one: the commit point behind which the entries are given up.
func (a *Archiver) putSkip(ctx context.Context, s archive.Start, head, to wal.Position) error {
	key := archive.Key{Kind: archive.KindAppend, Log: a.log, First: head.LSN + 1}
	object, _, err := archive.Seal(archive.Header{
		Kind: archive.KindSkip, Log: a.log, Epoch: s.Epoch, First: key.First, Last: to.LSN,
		Before: head.Hash, Hash: to.Hash, FirstTime: a.leap.time, LastTime: a.leap.time,
	}, nil, nil, a.o.Seal)
	if err != nil {
		return err
	}
	if err := a.put(ctx, key, object); err != nil {
		return err
	}
	if err := a.appended(ctx, key, to); err != nil {
		return err
	}
	a.gauge.change(func(st *Status) { st.Skipped += uint64(to.LSN - head.LSN) })
	return nil
}

// skipped says that entry next was never archived, unless the skip is a leftover.
func (w *walk) skipped(l *Log, h *archive.Header) error {
	if l.within(h) {
		return nil
	}
	return &GapError{Timeline: h.Log, First: w.next, Last: h.Last, Next: h.Position()}
}

// within reports whether another object begins or ends in the range of a skip.
func (l *Log) within(h *archive.Header) bool {
	next := l.behind(h.First)
	return next != 0 && next <= h.Last ||
		slices.ContainsFunc(l.packs, func(p span) bool { return p.first <= h.Last && p.last >= h.First })
}

// stale takes skips out of a log that a writer which stalled has left in it.
func (v *verifier) stale(l *verified) {
	whole := new(Log)
	for i := range l.objects {
		whole.add(&l.objects[i])
	}
	l.objects = slices.DeleteFunc(l.objects, func(h archive.Header) bool {
		left := h.Kind == archive.KindSkip && whole.within(&h)
		if left {
			v.add(keyOf(&h), Leftover, fmt.Errorf("ship: it says that entries %d to %d were never archived, and some of them are", h.First, h.Last))
		}
		return left
	})
}
