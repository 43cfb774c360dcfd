package ship

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// beginArchive makes sure that there is a FORMAT. Where there are logs already
// it must have been: it is not made anew, so that an archive that lost it is not
// taken for a new one.
func (a *Archiver) beginArchive(ctx context.Context) (archive.Format, error) {
	f, err := archive.ReadFormat(ctx, a.place)
	if !errors.Is(err, objects.ErrNotFound) {
		return f, err
	}
	orphan := ""
	for _, prefix := range []string{archive.LogsPrefix, archive.BlobPrefix} {
		err := a.place.each(ctx, prefix, func(k archive.Key, _ int64) { orphan = k.String() }, nil)
		if err != nil {
			return f, err
		}
		if orphan == "" {
			continue
		}
		// Another archiver may have begun meanwhile.
		if f, err = archive.ReadFormat(ctx, a.place); errors.Is(err, objects.ErrNotFound) {
			err = corrupt(archive.Key{Kind: archive.KindFormat}, "it is missing, though there is "+orphan+"; nothing was put: restore it from a copy, or archive to an empty place")
		}
		return f, err
	}
	return a.makeFormat(ctx)
}

func (a *Archiver) makeFormat(ctx context.Context) (archive.Format, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return archive.Format{}, err
	}
	f := archive.Format{Archive: id, Made: a.o.Now().UnixNano()}
	err = a.put(ctx, archive.Key{Kind: archive.KindFormat}, archive.EncodeFormat(f))
	if errors.Is(err, objects.ErrExists) {
		return archive.ReadFormat(ctx, a.place)
	}
	return f, err
}

// beginLog makes sure that the log of e's timeline has a start, if e is its first
// entry, and that another's start is of the same history.
func (a *Archiver) beginLog(ctx context.Context, e *wal.Entry) error {
	s := archive.Start{Timeline: e.Timeline, Epoch: e.Epoch, First: e.First, Before: e.Prev}
	if e.Begin != nil {
		s.Parent = wal.Position{Timeline: e.Begin.Parent, LSN: e.Begin.ParentLSN, Hash: e.Begin.ParentHash}
	} else if parent, ok := a.history.before(e.Timeline); ok && parent.LSN < e.First {
		s.Parent = parent
	}
	return a.putStart(ctx, s)
}

// putStart makes sure that a log has a start of this history.
func (a *Archiver) putStart(ctx context.Context, s archive.Start) error {
	key := startKey(s.Timeline)
	err := a.put(ctx, key, archive.EncodeStart(s))
	if errors.Is(err, objects.ErrExists) {
		err = a.joinLog(ctx, key, s)
	}
	if err == nil {
		a.log = s.Timeline
	}
	return err
}

// joinLog goes on in a log that somebody else began, at another LSN perhaps.
func (a *Archiver) joinLog(ctx context.Context, key archive.Key, ours archive.Start) error {
	theirs, err := archive.ReadStart(ctx, a.place, ours.Timeline)
	if err != nil {
		return err
	}
	switch {
	case theirs.Epoch != ours.Epoch,
		theirs.First == ours.First && theirs.Before != ours.Before,
		theirs.Parent != ours.Parent && theirs.Parent != wal.Position{} && ours.Parent != wal.Position{}:
		return &DivergedError{Key: key.String(), Store: before(ours), Archive: before(theirs)}
	case theirs.First == ours.First:
		return nil
	case theirs.First > ours.First: // they began later; what is before is not archived
		a.await = &awaited{pos: before(theirs)}
		return nil
	}
	h, err := a.place.head(ctx, theirs)
	if err != nil {
		return err
	}
	if h.LSN+1 < ours.First {
		a.log = ours.Timeline
		return &GapError{Timeline: ours.Timeline, First: h.LSN + 1, Last: ours.First - 1, Stream: true}
	}
	if h.LSN+1 > ours.First {
		a.await = &awaited{pos: h}
	} else if h.Hash != ours.Before {
		return &DivergedError{Key: archive.LogPrefix(ours.Timeline), Store: before(ours), Archive: h}
	}
	return nil
}

// before is the position at which a log begins: that of the entry before its
// first, whose timeline is the parent's where it is known to be.
func before(s archive.Start) wal.Position {
	pos := wal.Position{Timeline: s.Timeline, LSN: s.First - 1, Hash: s.Before}
	if s.Parent.LSN == pos.LSN && pos.LSN != 0 {
		pos.Timeline = s.Parent.Timeline
	}
	return pos
}

// before is the position at which a timeline was begun.
func (h History) before(timeline wal.TimelineID) (wal.Position, bool) {
	for i := 1; i < len(h); i++ {
		if h[i].Timeline == timeline {
			return h[i-1], true
		}
	}
	return wal.Position{}, false
}

// relists is how often a list is made anew of which an object was gone: packed,
// since it was made.
const relists = 20

// head finds the last entry of a log in the archive, by listing it.
func (p place) head(ctx context.Context, s archive.Start) (at wal.Position, err error) {
	for range relists {
		if at, err = p.tryHead(ctx, s); !errors.Is(err, objects.ErrNotFound) {
			break
		}
	}
	return at, err
}

func (p place) tryHead(ctx context.Context, s archive.Start) (wal.Position, error) {
	at := before(s)
	pack, err := p.highest(ctx, s.Timeline, archive.KindPack)
	if err != nil {
		return at, err
	}
	last, err := p.highest(ctx, s.Timeline, archive.KindAppend)
	if err != nil {
		return at, err
	}
	for _, k := range []archive.Key{last, pack} {
		if k.First == 0 || k.Kind == archive.KindPack && k.Last <= at.LSN {
			continue
		}
		h, err := archive.ReadHeader(ctx, p, k)
		if err != nil {
			return at, err
		}
		if h.Kind == archive.KindSkip && pack.Last >= h.First {
			continue // a writer that stalled left it
		}
		if h.Last > at.LSN {
			at = h.Position()
		}
	}
	return at, nil
}

// resume finds out behind which position of the store the archive goes on: the end of the
// youngest log of the store's history that there is.
func (a *Archiver) resume(ctx context.Context) error {
	for i := len(a.history) - 1; i >= 0; i-- {
		end := a.history[i]
		s, err := a.startOf(ctx, end.Timeline)
		if errors.Is(err, objects.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		h, err := a.place.head(ctx, s)
		if err != nil {
			return err
		}
		a.log = end.Timeline
		mark, err := a.place.highest(ctx, a.log, archive.KindMark)
		a.marked = mark.First
		if err != nil {
			return err
		}
		return a.goOn(ctx, h, end, i == len(a.history)-1)
	}
	return a.noStrangers(ctx)
}

// noStrangers refuses an archive of which no log is of the store's history.
func (a *Archiver) noStrangers(ctx context.Context) error {
	if len(a.history) == 0 {
		return nil
	}
	var other archive.Key
	err := a.place.each(ctx, archive.LogsPrefix, func(k archive.Key, _ int64) {
		if k.Kind == archive.KindStart && !a.history.has(k.Log) {
			other = k
		}
	}, nil)
	if err != nil || other.Kind == 0 {
		return err
	}
	s, err := archive.ReadStart(ctx, a.place, other.Log)
	if err != nil {
		return err
	}
	return &DivergedError{Key: other.String(), Store: a.history[len(a.history)-1], Archive: before(s)}
}

func (h History) has(timeline wal.TimelineID) bool {
	return slices.ContainsFunc(h, func(p wal.Position) bool { return p.Timeline == timeline })
}

// startOf reads where a log begins: objects.ErrNotFound when there is no such log,
// wal.ErrCorrupt when there is, and its start is gone.
func (a *Archiver) startOf(ctx context.Context, log wal.TimelineID) (archive.Start, error) {
	s, err := archive.ReadStart(ctx, a.place, log)
	if !errors.Is(err, objects.ErrNotFound) {
		return s, err
	}
	k, e := a.place.highest(ctx, log, archive.KindAppend)
	if e != nil || k.First == 0 {
		return s, errors.Join(err, e)
	}
	// Another archiver may have begun meanwhile.
	if s, err = archive.ReadStart(ctx, a.place, log); errors.Is(err, objects.ErrNotFound) {
		err = corrupt(startKey(log), "it is missing, though there is "+k.String()+"; nothing was put: restore it from a copy, or archive to an empty place")
	}
	return s, err
}

// goOn compares the archive's head with where the store's timeline ends.
func (a *Archiver) goOn(ctx context.Context, head, end wal.Position, newest bool) error {
	if newest && head.LSN > end.LSN {
		if err := a.rereadHistory(ctx); err != nil { // it goes on meanwhile
			return err
		}
		if end = a.history[len(a.history)-1]; end.Timeline == a.log && head.LSN > end.LSN {
			return a.ahead(ctx, head, end)
		}
		if end.Timeline != a.log {
			return a.resume(ctx)
		}
	}
	if head.LSN > end.LSN {
		// The old timeline was archived further than where the new one left it.
		if err := a.confirm(ctx, end); err != nil {
			return err
		}
		head = end
	}
	if head.LSN == end.LSN && head.Hash != end.Hash {
		return &DivergedError{Key: archive.LogPrefix(a.log), Store: end, Archive: head}
	}
	a.seen = head
	a.gauge.shipped(head)
	return nil
}

// ahead tells a store that was rolled back from one that wrote other entries since.
func (a *Archiver) ahead(ctx context.Context, head, end wal.Position) error {
	if err := a.confirm(ctx, end); err != nil {
		return err
	}
	return &AheadError{Store: end, Archive: head}
}

// confirm compares a position of the store's history with the archive's entry
// there, if that can be read: who reads the archive compares in any case.
func (a *Archiver) confirm(ctx context.Context, pos wal.Position) error {
	if pos.LSN == 0 {
		return nil
	}
	r := Reader{place: a.place, ids: a.o.Identities}
	l, err := r.Log(ctx, pos.Timeline)
	if err != nil {
		return err
	}
	if pos.LSN < l.Start.First {
		return nil
	}
	for item, err := range r.log(ctx, l, pos.LSN, pos.LSN, wal.Hash{}) {
		var gap *GapError
		skipped := errors.As(err, &gap) && gap.Next.LSN != 0
		switch {
		case skipped && gap.Next.LSN == pos.LSN && gap.Next.Hash != pos.Hash:
			return &DivergedError{Key: archive.LogPrefix(pos.Timeline), Store: pos, Archive: gap.Next}
		case skipped, errors.Is(err, archive.ErrLocked), errors.Is(err, ErrGap) && pos.LSN < l.Trim:
			return nil
		case err != nil:
			return err
		case item.Hash != pos.Hash:
			return &DivergedError{Key: archive.LogPrefix(pos.Timeline), Store: pos, Archive: item.Position()}
		}
	}
	return nil
}

func (a *Archiver) rereadHistory(ctx context.Context) (err error) {
	if a.o.History == nil {
		return nil
	}
	a.history, err = a.o.History(ctx)
	if err == nil && len(a.history) == 0 {
		err = fmt.Errorf("ship: the store has no entries: nothing was put")
	}
	if err == nil {
		newest := a.history[len(a.history)-1].LSN
		a.gauge.change(func(s *Status) { s.Store = max(s.Store, newest) })
	}
	return err
}
