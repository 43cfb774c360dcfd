package ship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// Entries yields the entries of the history that leads to a timeline, from one LSN to another
// inclusive, in order, through its parents' logs where they belong. With to zero it
// ends where the log does. Each was verified, as archive.Entries says, and follows the one
// before; an item is valid until the next one.
//
// An error is the last thing it yields: ErrGap names what is missing, also when
// nothing is known to follow but a mark says that there was more; wal.ErrCorrupt,
// archive.ErrLocked. Never does it end early without one.
//
// Memory: that of archive.Entries and of Log.
func (r *Reader) Entries(ctx context.Context, timeline wal.TimelineID, from, to wal.LSN) iter.Seq2[*archive.Item, error] {
	return func(yield func(*archive.Item, error) bool) {
		path, err := r.path(ctx, timeline, from)
		if err == nil && (from == 0 || to != 0 && to < from) {
			err = fmt.Errorf("ship: there are no entries from %d to %d", from, to)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		w := walk{r: r, ctx: ctx, next: from, yield: yield}
		if err := w.path(path, to); err != nil && err != errEnough {
			yield(nil, err)
		}
	}
}

// log yields the entries of one log, the first of which follows hash before unless
// that is zero.
func (r *Reader) log(ctx context.Context, l *Log, from, to wal.LSN, before wal.Hash) iter.Seq2[*archive.Item, error] {
	return func(yield func(*archive.Item, error) bool) {
		w := walk{r: r, ctx: ctx, next: from, before: before, yield: yield}
		if err := w.segment(segment{log: l}, to); err != nil && err != errEnough {
			yield(nil, err)
		}
	}
}

// walk goes through entries.
type walk struct {
	r      *Reader
	ctx    context.Context
	next   wal.LSN
	before wal.Hash // of entry next-1; zero when it is not known
	yield  func(*archive.Item, error) bool
	gone   int // objects that were deleted since they were listed, before entry next
}

// errEnough: who asked for entries wants no more.
var errEnough = errors.New("enough")

func (w *walk) path(path []segment, to wal.LSN) error {
	for _, s := range path {
		if s.last != 0 && w.next > s.last {
			continue
		}
		first := s.log.Start.First
		if w.next < first {
			return &GapError{Timeline: s.log.Start.Timeline, First: w.next, Last: first - 1}
		}
		if w.next == first {
			if err := w.join(s.log.Start); err != nil {
				return err
			}
		}
		end := to
		if s.last != 0 && (to == 0 || to > s.last) {
			end = s.last
		}
		if err := w.segment(s, end); err != nil {
			return err
		}
		if s.last != 0 && w.next == s.last+1 && w.before != s.hash {
			return corrupt(archive.Key{Kind: archive.KindAppend, Log: s.log.Start.Timeline, First: s.last},
				fmt.Sprintf("entry %d has hash %s, the timeline that left it there says %s", s.last, w.before, s.hash))
		}
		if to != 0 && w.next > to {
			return nil
		}
	}
	return nil
}

// join compares what a log continues with what was read before it.
func (w *walk) join(s archive.Start) error {
	if w.before != (wal.Hash{}) && w.before != s.Before {
		return corrupt(archive.Key{Kind: archive.KindStart, Log: s.Timeline},
			fmt.Sprintf("it continues hash %s, entry %d has %s", s.Before, s.First-1, w.before))
	}
	w.before = s.Before
	return nil
}

// segment goes through a log up to an entry; to its end when that is zero.
func (w *walk) segment(s segment, to wal.LSN) error {
	for to == 0 || w.next <= to {
		at := w.next
		gone := w.gone
		more, err := w.step(s.log, to)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if w.gone > gone && w.gone <= relists { // packed meanwhile
			if s.log, err = w.r.Log(w.ctx, s.log.Start.Timeline); err != nil {
				return err
			}
			continue
		}
		missing := &GapError{Timeline: s.log.Start.Timeline, First: at, Last: max(to, s.log.Mark)}
		if next := s.log.behind(at); next != 0 {
			missing.Last = next - 1
		}
		if to == 0 && missing.Last < at {
			return nil // the log ends here
		}
		return missing
	}
	return nil
}

// step reads from the first object that has entry next. It reports whether
// there was one.
func (w *walk) step(l *Log, to wal.LSN) (more bool, err error) {
	var failed error
	for _, key := range l.with(w.next) {
		at := w.next
		err := w.object(l, key, to)
		switch {
		case err == nil && w.next > at:
			w.gone = 0
			return true, nil
		case err == nil: // it ends before
		case errors.Is(err, objects.ErrNotFound) && !errors.Is(err, wal.ErrCorrupt):
			w.gone++
		case err == errEnough || w.ctx.Err() != nil:
			return false, err
		case errors.Is(err, ErrGap): // it was skipped
			failed = cmp.Or(failed, err)
		case w.next > at: // it goes on in the same object, or another that has the same entries
			return true, nil
		case failed == nil:
			failed = err // another object may have the same entries
		}
	}
	return false, failed
}

// object yields the entries of an object from next on, up to an entry.
func (w *walk) object(l *Log, key archive.Key, to wal.LSN) error {
	return w.r.open(w.ctx, key, func(o *archive.Opened) error {
		if o.Last < w.next {
			return nil
		}
		if o.Kind == archive.KindSkip {
			return w.skipped(l, &o.Header)
		}
		entries, err := archive.NewEntries(o, w.r.fetch(w.ctx))
		for err == nil && (to == 0 || w.next <= to) {
			var item *archive.Item
			if item, err = entries.Next(); err == nil {
				err = w.item(key, item)
			}
		}
		if err == io.EOF {
			return nil
		}
		return err
	})
}

// item yields an entry unless it comes before next.
func (w *walk) item(key archive.Key, item *archive.Item) error {
	if item.Entry.Last < w.next {
		return nil
	}
	if w.before != (wal.Hash{}) && item.Entry.Prev != w.before {
		return corrupt(key, fmt.Sprintf("entry %d follows hash %s, entry %d has %s", item.Entry.First, item.Entry.Prev, w.next-1, w.before))
	}
	w.next, w.before = item.Entry.Last+1, item.Hash
	if !w.yield(item, nil) {
		return errEnough
	}
	return nil
}

// open opens a sealed object and closes it after use.
func (r *Reader) open(ctx context.Context, key archive.Key, use func(o *archive.Opened) error) (err error) {
	body, size, err := r.place.Get(ctx, key.String(), 0, -1)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // its bytes were verified, or it failed already
	o, err := archive.Open(key, body, size, r.ids)
	if err != nil {
		return err
	}
	defer o.Close()
	return use(o)
}

// fetch reads blobs.
func (r *Reader) fetch(ctx context.Context) archive.Fetch {
	return func(ref archive.BlobRef) (plain []byte, err error) {
		key := archive.Key{Kind: archive.KindBlob, ID: ref.ID}
		body, size, err := r.place.Get(ctx, key.String(), 0, -1)
		if errors.Is(err, objects.ErrNotFound) {
			return nil, errors.Join(corrupt(key, "it is missing, though an entry lies in it"), err)
		}
		if err != nil {
			return nil, err
		}
		plain, err = archive.OpenBlob(ref, body, size, r.ids)
		return plain, errors.Join(err, body.Close())
	}
}
