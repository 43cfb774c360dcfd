package ship

import (
	"context"
	"errors"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// flush puts the batch. This is where entries become archived:
//
//	put append/<first>  nil      the batch is in the archive, unless a floor is above it
//	                    exists   adopt: the same history is skipped, another one stops
func (a *Archiver) flush(ctx context.Context) error {
	if a.batch.len() > 0 {
		defer func() { a.flushed = a.o.Now() }()
	}
	for a.batch.len() > 0 {
		h, blobs := a.batch.header()
		object, h, err := archive.Seal(h, blobs, a.batch.plain, a.o.Seal)
		if err != nil {
			return err
		}
		key := archive.Key{Kind: archive.KindAppend, Log: h.Log, First: h.First}
		err = a.put(ctx, key, object)
		switch {
		case errors.Is(err, objects.ErrExists):
			err = a.adopt(ctx, key)
		case err == nil:
			err = a.appended(ctx, key, h.Position())
		}
		if err != nil {
			return err
		}
		a.noteLag()
	}
	return nil
}

// appended follows each append: the floor is looked for, and sometimes a mark put.
func (a *Archiver) appended(ctx context.Context, key archive.Key, last wal.Position) error {
	floor, err := a.place.highest(ctx, key.Log, archive.KindFloor)
	if err != nil {
		return err
	}
	if key.First < floor.First {
		if err := a.takeBack(ctx, key, floor.First, last); err != nil {
			return err
		}
	}
	a.batch.drop(a.batch.len())
	a.gauge.shipped(last)
	if a.appends++; a.appends >= a.o.MarkEvery {
		return a.mark(ctx)
	}
	return nil
}

// takeBack deletes an append that was put below a floor. That is an error unless
// a pack has its entries: the append was packed in the moment since it was put, or
// this archiver was slow and another one has shipped them. Then it goes on where the
// archive ends.
func (a *Archiver) takeBack(ctx context.Context, key archive.Key, floor wal.LSN, last wal.Position) error {
	stalled := &StalledError{Timeline: key.Log, First: key.First, Floor: floor, Left: a.place.delete(ctx, key)}
	if stalled.Left != nil {
		return stalled
	}
	if is, err := a.isPacked(ctx, last); !is || err != nil {
		return errors.Join(stalled, err)
	}
	s, err := archive.ReadStart(ctx, a.place, key.Log)
	if err != nil {
		return err
	}
	head, err := a.place.head(ctx, s)
	if err == nil && head.LSN > last.LSN {
		a.await = &awaited{pos: head, key: key}
	}
	return err
}

// isPacked reports whether the packs of a log have an entry: another one in its
// place is an error.
func (a *Archiver) isPacked(ctx context.Context, pos wal.Position) (bool, error) {
	r := Reader{place: a.place, ids: a.o.Identities}
	l, err := r.Log(ctx, pos.Timeline)
	if err != nil {
		return false, err
	}
	l.appends = nil
	for _, key := range l.with(pos.LSN) { // its header may say, without a key
		h, err := archive.ReadHeader(ctx, a.place, key)
		if err == nil && h.Position() == pos {
			return true, nil
		}
	}
	for item, err := range r.log(ctx, l, pos.LSN, pos.LSN, wal.Hash{}) {
		switch {
		case errors.Is(err, ErrGap), errors.Is(err, archive.ErrLocked):
			return false, nil
		case err != nil:
			return false, err
		case item.Hash != pos.Hash:
			return false, &DivergedError{Key: archive.LogPrefix(pos.Timeline), Store: pos, Archive: item.Position()}
		}
	}
	return true, nil
}

// mark says that the log goes up to where it does: nothing, when nothing was
// appended since the last one.
func (a *Archiver) mark(ctx context.Context) error {
	at := a.gauge.read().Shipped
	if at.Timeline != a.log || at.LSN <= a.marked {
		return nil
	}
	key := archive.Key{Kind: archive.KindMark, Log: a.log, First: at.LSN}
	if err := a.put(ctx, key, archive.EncodeNote(key)); err != nil && !errors.Is(err, objects.ErrExists) {
		return err
	}
	if a.marked != 0 {
		if err := a.place.delete(ctx, archive.Key{Kind: archive.KindMark, Log: a.log, First: a.marked}); err != nil {
			return err
		}
	}
	a.marked, a.appends = at.LSN, 0
	return nil
}

// lookAhead finds out whether somebody else has put the entries from first on.
func (a *Archiver) lookAhead(ctx context.Context, first wal.LSN) error {
	key := archive.Key{Kind: archive.KindAppend, Log: a.log, First: first}
	h, err := archive.ReadHeader(ctx, a.place, key)
	if err == nil {
		a.await = &awaited{pos: h.Position(), key: key}
	}
	if errors.Is(err, objects.ErrNotFound) {
		return nil
	}
	return err
}

// adopt compares the batch with the object that is in its place.
func (a *Archiver) adopt(ctx context.Context, key archive.Key) error {
	theirs, err := archive.ReadHeader(ctx, a.place, key)
	if errors.Is(err, objects.ErrNotFound) {
		return nil // it was deleted since: put again, below a floor then
	}
	if err != nil {
		return err
	}
	ours := a.batch.parts[0].entry
	if theirs.Before != ours.Prev || theirs.Epoch != ours.Epoch {
		at := wal.Position{Timeline: key.Log, LSN: key.First - 1}
		store, there := at, at
		store.Hash, there.Hash = ours.Prev, theirs.Before
		return &DivergedError{Key: key.String(), Store: store, Archive: there}
	}
	a.gauge.change(func(s *Status) { s.Adopted++ })
	if theirs.Last > a.batch.last().pos.LSN {
		return a.fallBehind(ctx, key, theirs.Position())
	}
	n := int(theirs.Last - key.First)
	if own := a.batch.parts[n].pos; own.Hash != theirs.Hash {
		return &DivergedError{Key: key.String(), Store: own, Archive: theirs.Position()}
	}
	a.batch.drop(n + 1)
	a.gauge.shipped(theirs.Position())
	return nil
}

// fallBehind reads the stream up to where the archive is already. A store that
// has no entries up to there was rolled back.
func (a *Archiver) fallBehind(ctx context.Context, key archive.Key, theirs wal.Position) error {
	if err := a.rereadHistory(ctx); err != nil {
		return err
	}
	if n := len(a.history); a.o.History != nil {
		if end := a.history[n-1]; end.Timeline == theirs.Timeline && end.LSN < theirs.LSN {
			return &AheadError{Store: end, Archive: theirs}
		}
	}
	a.await = &awaited{pos: theirs, key: key}
	a.batch.drop(a.batch.len())
	return nil
}
