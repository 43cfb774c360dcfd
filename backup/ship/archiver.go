package ship

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// Archiver ships entries to an archive. One goroutine runs it; Status may be asked by
// any.
type Archiver struct {
	place place
	o     Options
	gauge gauge

	history History
	log     wal.TimelineID // whose start is there
	seen    wal.Position   // the last entry of the stream that was checked, or where it must go on
	await   *awaited       // what the archive has that the stream has not come to
	leap    *leap          // over entries that cannot be had, while the stream is not behind them
	batch   batch
	marked  wal.LSN   // of the log's highest mark known
	appends int       // since then
	flushed time.Time // when something was put last, or the place opened
}

// awaited is a position of the archive to which the stream is read without
// shipping anything.
type awaited struct {
	pos wal.Position
	key archive.Key // of the object that ends there; zero when it is a log's start
}

// Open begins an archive in a store of objects, or finds out where one that is there ends:
// Position. The store of objects should have passed objects.Probe. history is where the
// store that is archived stands, as Options.History would say.
//
// Errors: ErrAhead, ErrDiverged, wal.ErrCorrupt, wal.ErrVersion, those of the store of
// objects.
func Open(ctx context.Context, store objects.Store, history History, o Options) (*Archiver, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Archiver{o: o, history: history}
	a.gauge.now, a.flushed = o.Now, o.Now()
	a.gauge.s.URL = store.String()
	o.Retry.Failed = a.gauge.retried
	if a.place, err = newPlace(store, o.Retry); err != nil {
		return nil, err
	}
	if len(history) > 0 {
		a.gauge.s.Store = history[len(history)-1].LSN
	}
	f, err := a.beginArchive(ctx)
	if err != nil {
		return nil, err
	}
	a.gauge.change(func(s *Status) { s.Archive = f.Archive })
	if err := a.resume(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Position is that behind which the stream of entries has to begin: the zero
// position for a new archive, which may begin anywhere.
func (a *Archiver) Position() wal.Position {
	if a.seen.LSN == 0 {
		return wal.Position{} // its log has a start and no entries
	}
	return a.seen
}

// Status may be called at any time.
func (a *Archiver) Status() Status { return a.gauge.read() }

// Run ships what src yields, from behind Position on; entries before are compared as far
// as they can be, and passed over. It returns nil when src says io.EOF and all was
// shipped, or why it stopped: an error of this package, of src, or of the store of objects
// when Options.Retry gave up; the context's when that ended. What was read
// and not shipped comes again, in the next run of a newly opened Archiver.
func (a *Archiver) Run(ctx context.Context, src Source) error {
	err := a.run(ctx, src)
	if err != nil {
		a.gauge.failed(err)
	}
	return err
}

func (a *Archiver) run(ctx context.Context, src Source) error {
	for {
		e, err := a.next(ctx, src)
		switch {
		case err == nil:
			err = a.take(ctx, e)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded) && a.batch.len() > 0:
			err = a.flush(ctx)
		case err == io.EOF:
			return a.end(ctx)
		default:
			return errors.Join(err, a.flush(ctx))
		}
		if err != nil {
			return err
		}
	}
}

// next waits for an entry no longer than the batch may: what comes when nothing was put
// for a while goes at once.
func (a *Archiver) next(ctx context.Context, src Source) (Entry, error) {
	if a.batch.len() > 0 {
		left := a.o.Interval - a.o.Now().Sub(a.flushed)
		if left <= 0 {
			return Entry{}, context.DeadlineExceeded
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	return src.Next(ctx)
}

// end ships what is left, and marks the end.
func (a *Archiver) end(ctx context.Context) error {
	if err := a.flush(ctx); err != nil {
		return err
	}
	if a.await == nil {
		return a.mark(ctx)
	}
	// Another archiver of the same store may have read on since.
	if err := a.rereadHistory(ctx); err != nil {
		return err
	}
	end := a.seen
	if n := len(a.history); a.o.History != nil {
		end = a.history[n-1]
	}
	if end.Timeline == a.log && end.LSN < a.await.pos.LSN {
		return &AheadError{Store: end, Archive: a.await.pos}
	}
	return nil
}

// take checks where an entry of the stream belongs, and adds it to the batch.
func (a *Archiver) take(ctx context.Context, e Entry) error {
	pos := wal.Position{Timeline: e.Timeline, LSN: e.Last, Hash: e.Hash()}
	if known, err := a.belongs(ctx, e.Entry, pos); known || err != nil {
		return err
	}
	a.seen = pos
	a.gauge.change(func(s *Status) { s.Read = pos })
	if a.leap != nil {
		return a.land(ctx, pos)
	}
	if a.await != nil {
		return a.meet(pos)
	}
	return a.add(ctx, e, pos)
}

// belongs makes sure that an entry comes next, and that its log goes on with it; known
// if it came before.
func (a *Archiver) belongs(ctx context.Context, e *wal.Entry, pos wal.Position) (known bool, err error) {
	known, err = a.follows(e, pos)
	if !known && err == nil && a.leap == nil && e.Timeline != a.log {
		err = a.changeLog(ctx, e)
	}
	var gap *GapError
	if errors.As(err, &gap) && gap.Stream {
		err = a.skip(ctx, e, gap)
	}
	return known, err
}

// follows says whether an entry comes next; known if it came before.
func (a *Archiver) follows(e *wal.Entry, pos wal.Position) (known bool, err error) {
	at := a.seen
	switch {
	case at == wal.Position{}:
		return false, nil
	case e.Last < at.LSN:
		return true, nil
	case e.Last == at.LSN && pos.Hash == at.Hash:
		return true, nil
	case e.First > at.LSN+1:
		return false, &GapError{Timeline: e.Timeline, First: at.LSN + 1, Last: e.First - 1, Stream: true}
	case e.Last == at.LSN || e.Prev != at.Hash:
		return false, &DivergedError{Key: archive.LogPrefix(a.log), Store: pos, Archive: at}
	}
	return false, nil
}

// changeLog ends the log, and begins that of the timeline of e.
func (a *Archiver) changeLog(ctx context.Context, e *wal.Entry) error {
	if a.log != (wal.TimelineID{}) {
		if err := a.flush(ctx); err != nil {
			return err
		}
		if a.await != nil { // the old timeline was archived further than here
			if err := a.confirm(ctx, a.seen); err != nil {
				return err
			}
			a.await = nil
		} else if err := a.mark(ctx); err != nil {
			return err
		}
	}
	a.marked, a.appends = 0, 0
	return a.beginLog(ctx, e)
}

// meet compares the stream with what the archive had already.
func (a *Archiver) meet(pos wal.Position) error {
	switch {
	case pos.LSN < a.await.pos.LSN:
		return nil
	case pos.Hash != a.await.pos.Hash:
		return &DivergedError{Key: a.await.key.String(), Store: pos, Archive: a.await.pos}
	}
	a.await = nil
	a.gauge.shipped(pos)
	return nil
}

// add adds an entry to the batch, its blobs put, and puts the batch when it is
// full.
func (a *Archiver) add(ctx context.Context, e Entry, pos wal.Position) error {
	f, err := archive.NewFrame(e.Entry, e.Images)
	if err != nil {
		return err
	}
	if f.Payload() > a.o.InlineBytes {
		// What is before it need not wait, and what somebody else has put needs no
		// blobs.
		if err := a.flush(ctx); err != nil {
			return err
		}
		if a.await == nil {
			err = a.lookAhead(ctx, e.First)
		}
		if err != nil {
			return err
		}
		if a.await != nil {
			return a.meet(pos)
		}
		if err := a.putBlobs(ctx, f); err != nil {
			return err
		}
	}
	if err := a.batch.add(f, pos); err != nil {
		return err
	}
	a.noteLag()
	if int64(len(a.batch.plain)) >= a.o.MaxBytes {
		return a.flush(ctx)
	}
	return nil
}

// putBlobs puts an entry's payload.
func (a *Archiver) putBlobs(ctx context.Context, f *archive.Frame) error {
	e := f.Entry
	for part, err := range f.Parts(a.o.BlobBytes) {
		if err != nil {
			return err
		}
		id, err := uuid.NewRandom()
		if err != nil {
			return err
		}
		h := archive.Header{
			Kind: archive.KindBlob, Log: e.Timeline, Epoch: e.Epoch, First: e.First, Last: e.Last, Before: e.Prev, Hash: f.Hash,
			FirstTime: e.Time, LastTime: e.Time, ID: id, Items: 1,
		}
		b, _, err := archive.Seal(h, nil, part, a.o.Seal)
		if err != nil {
			return err
		}
		// Nobody else has its UUID: what exists is what a lost answer put.
		if err := a.put(ctx, archive.Key{Kind: archive.KindBlob, ID: id}, b); err != nil && !errors.Is(err, objects.ErrExists) {
			return err
		}
		f.Blobs = append(f.Blobs, archive.NewBlobRef(id, part))
	}
	return nil
}

// put puts an object and counts it.
func (a *Archiver) put(ctx context.Context, key archive.Key, b []byte) error {
	err := a.place.put(ctx, key, b)
	if err == nil {
		a.gauge.put(len(b))
	}
	return err
}

func (a *Archiver) noteLag() {
	n := int64(len(a.batch.plain))
	a.gauge.change(func(s *Status) { s.LagBytes = n })
}

// batch is what was read and not put.
type batch struct {
	plain []byte
	parts []part
}

// part is an entry of the batch.
type part struct {
	entry *wal.Entry // what of it a header needs: no sections
	pos   wal.Position
	end   int // in plain
	blobs []uuid.UUID
}

func (b *batch) len() int { return len(b.parts) }

func (b *batch) last() *part { return &b.parts[len(b.parts)-1] }

func (b *batch) add(f *archive.Frame, pos wal.Position) (err error) {
	if b.plain, err = f.Append(b.plain); err != nil {
		return err
	}
	e := *f.Entry
	e.Sections, e.Exts, e.Begin = nil, nil, nil // valid until the next entry only
	p := part{entry: &e, pos: pos, end: len(b.plain)}
	for _, r := range f.Blobs {
		p.blobs = append(p.blobs, r.ID)
	}
	b.parts = append(b.parts, p)
	return nil
}

// drop takes the first n entries out.
func (b *batch) drop(n int) {
	cut := 0
	if n > 0 {
		cut = b.parts[n-1].end
	}
	b.plain = b.plain[:copy(b.plain, b.plain[cut:])]
	b.parts = b.parts[:copy(b.parts, b.parts[n:])]
	for i := range b.parts {
		b.parts[i].end -= cut
	}
}

// header is what the object of the batch says.
func (b *batch) header() (h archive.Header, blobs []uuid.UUID) {
	first, last := b.parts[0].entry, b.last()
	for _, p := range b.parts {
		blobs = append(blobs, p.blobs...)
	}
	return archive.Header{
		Kind: archive.KindAppend, Log: first.Timeline, Epoch: first.Epoch, First: first.First, Last: last.pos.LSN,
		Before: first.Prev, Hash: last.pos.Hash, FirstTime: first.Time, LastTime: last.entry.Time, Items: uint64(b.len()),
	}, blobs
}
