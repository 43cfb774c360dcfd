package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/wal"
)

var (
	// ErrDiverged: the archive has a snapshot of another history at that LSN.
	ErrDiverged = errors.New("the archive holds another history")
	// ErrTaken: the archive has a snapshot at that position. Nothing was put.
	ErrTaken = errors.New("the archive has it already")
	// ErrBase: an increment cannot follow from that snapshot.
	ErrBase = errors.New("not a base for this snapshot")
	// ErrNoArchive: the place is no archive yet. Nothing was put.
	ErrNoArchive = errors.New("no archive was begun there yet; nothing was put: package ship begins one, as does a manager with Options.Archive")
)

// Options of Take.
type Options struct {
	// Base of an increment, the position of an earlier snapshot in this history;
	// zero for a whole snapshot.
	Base wal.Position
	// Increment has ChooseBase choose the base, instead, in the chain of the newest snapshot of
	// the timeline that can be read; zero when there is none, or a manifest is damaged.
	// ErrDiverged: the archive's log, as far as it has that and it is not locked, is of another
	// history than a snapshot; wal.ErrCorrupt, wal.ErrVersion: that part of it cannot be read.
	// Without Identities for what is encrypted, neither is known: the oldest snapshot is taken
	// for whole, and all for one chain. Passed, when there is one, hears why one that was
	// looked at is no base.
	Increment  bool
	Identities []age.Identity
	Passed     func(error)
	// PageSize of volumes that name none, a fact of the store.
	PageSize uint32
	// PartBytes is how many plain bytes a part has; 0 is DefaultPartBytes.
	PartBytes int
	Seal      archive.SealOptions
	// Retry says how calls of the archive's store are repeated; Tries are 8 when zero.
	Retry objects.RetryOptions
	// Pin says how the archive is pinned meanwhile.
	Pin pins.Options
	// GiveWay, when there is one, hears behind each piece of the work, well below a
	// millisecond of one processor, how long that took, and may wait, so that others
	// have the processor meanwhile. It is called by several goroutines at once.
	GiveWay func(worked time.Duration)
	// Progress, when there is one, hears of bytes of images as they are put.
	Progress func(bytes uint64)
}

// DefaultPartBytes is how large parts are unless Options say otherwise.
const DefaultPartBytes = 8 << 20

// DefaultTries of a call, with waits of 10 s all together.
const DefaultTries = 8

// takers is how many parts are sealed and put at once.
const takers = 2

// Take puts a snapshot into the archive, which has a FORMAT, else it is ErrNoArchive: a place
// with snapshots and no FORMAT would be taken for an archive that lost it.
// held is held until Take returns. The archive is pinned meanwhile, so that neither the base
// nor the parts are taken for what nothing needs; a prune that is at work is waited for. The
// caller vouches that the base, or the archive's log, is of held's history; that the archive
// has the base is looked up. After an error nothing of it is there, but for parts that nothing
// names; with objects.ErrUnknown it may be there, whole, which the next Take says.
// pins.ErrLapsed: the archive could not be reached for so long that the pin has ended.
// ErrTaken: there is one at that position, of this history.
func Take(ctx context.Context, store objects.Store, held *pagestore.Snapshot, o Options) (*Manifest, error) {
	m := &Manifest{
		Position: held.Head.Position, Epoch: held.Head.Epoch, Time: held.Head.Time,
		Base: o.Base, PageSize: o.PageSize, Attempt: uuid.New(),
	}
	if !m.Whole() && o.Base.LSN >= m.Position.LSN {
		return nil, fmt.Errorf("snapshot: take one at %v: %w: %v", m.Position, ErrBase, o.Base)
	}
	o.Retry.Tries = cmp.Or(o.Retry.Tries, DefaultTries)
	once := store
	store, err := objects.Retrying(store, o.Retry)
	if err == nil {
		err = begun(ctx, store)
	}
	if err == nil {
		err = m.absent(ctx, store)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot: take one at %v: %w", m.Position, err)
	}
	o.Pin.Holder = "snapshot"
	pin, err := pins.HoldAndAwait(ctx, store, o.Pin)
	defer func() { _ = pin.Release(ctx) }() // else it ends by itself
	if err == nil && o.Increment {
		m.Base, err = (&bases{store, &o, m.Position}).choose(ctx)
	}
	if err == nil {
		err = m.based(ctx, store)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot: take one at %v: %w", m.Position, err)
	}
	w := newWriter(ctx, store, m, o)
	err = m.export(held, w)
	named := false
	if err = errors.Join(err, w.close(), pin.Err()); err == nil {
		if err = m.put(ctx, store, o); err == nil {
			return m, nil
		}
		named = errors.Is(err, objects.ErrUnknown)
	}
	if !named { // what a manifest may name stays
		w.withdraw(context.WithoutCancel(ctx), once)
	}
	return nil, fmt.Errorf("snapshot: take one at %v: %w", held.Head.Position, err)
}

func (m *Manifest) export(held *pagestore.Snapshot, w *writer) (err error) {
	if m.Volumes, m.Digest, err = held.Digest(); err != nil {
		return err
	}
	done, err := held.Export(w, m.Base.LSN)
	m.Items, m.Images, m.Bytes = done.Items, done.Images, done.Bytes
	return err
}

// begun is nil when somebody has begun the archive, in a version that this package writes.
func begun(ctx context.Context, store objects.Store) error {
	_, err := archive.ReadFormat(ctx, store)
	if errors.Is(err, objects.ErrNotFound) {
		return ErrNoArchive
	}
	return err
}

// based is nil when the archive has the base.
func (m *Manifest) based(ctx context.Context, store objects.Store) error {
	if m.Whole() {
		return nil
	}
	h, err := Header(ctx, store, m.Base)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		return fmt.Errorf("%w: the archive has none at %v: take a whole one", ErrBase, m.Base)
	case err == nil && h.Position() != m.Base:
		return fmt.Errorf("%w: the archive has one at %v, not at %v: take a whole one", ErrBase, h.Position(), m.Base)
	}
	return err
}

// put makes the snapshot be there. objects.ErrUnknown: it may be.
func (m *Manifest) put(ctx context.Context, store objects.Store, o Options) error {
	err := m.putSealed(ctx, store, o.Seal)
	if !errors.Is(err, objects.ErrExists) {
		return err
	}
	if err = m.absent(ctx, store); err != nil && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrDiverged) {
		err = fmt.Errorf("%w whose manifest is there: %w", objects.ErrUnknown, err)
	}
	return err
}

func (m *Manifest) putSealed(ctx context.Context, store objects.Store, o archive.SealOptions) error {
	sealed, _, err := archive.Seal(m.header(m.Key(), uint64(len(m.Parts))), nil, m.encode(), o)
	if err != nil {
		return err
	}
	return store.Put(ctx, m.Key().String(), objects.Bytes(sealed))
}

// absent is nil when there is no snapshot at that position, or this very one is:
// the answer to its put was lost.
func (m *Manifest) absent(ctx context.Context, store objects.Store) error {
	h, err := Header(ctx, store, m.Position)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		return nil
	case err != nil:
		return err
	case h.Hash != m.Position.Hash:
		return fmt.Errorf("%w: %s is of entry %s, this is of %s; nothing was changed", ErrDiverged, m.Key(), h.Hash, m.Position.Hash)
	case h.ID != m.Attempt:
		return ErrTaken
	}
	return nil
}

// writer cuts the portable form into parts, and puts them.
type writer struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	store  objects.Store
	m      *Manifest
	o      Options
	buf    []byte
	work   chan job
	free   chan []byte // buffers that were used
	wg     sync.WaitGroup
	mu     sync.Mutex // the parts of m

	began time.Time // when the piece of work that is done now was begun
	piece int       // bytes of it
}

type job struct {
	number int
	plain  []byte
}

func newWriter(ctx context.Context, store objects.Store, m *Manifest, o Options) *writer {
	if o.PartBytes <= 0 {
		o.PartBytes = DefaultPartBytes
	}
	o.PartBytes = min(o.PartBytes, MaxPartBytes)
	if o.GiveWay == nil {
		o.GiveWay = func(time.Duration) {}
	}
	o.Seal.GiveWay = o.GiveWay
	w := &writer{store: store, m: m, o: o, work: make(chan job), free: make(chan []byte, takers+1), began: time.Now()}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	for range takers {
		w.wg.Go(func() {
			for j := range w.work {
				if err := w.part(j); err != nil {
					w.cancel(err)
				}
			}
		})
	}
	return w
}

func (w *writer) Write(p []byte) (n int, err error) {
	w.giveWay(len(p))
	for len(p) > 0 {
		if w.buf == nil {
			w.buf = w.buffer()
		}
		k := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p, n = p[k:], n+k
		if len(w.buf) == cap(w.buf) {
			if err := w.cut(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// pieceBytes of the portable form are read, verified and gathered as one piece of work.
const pieceBytes = 64 << 10

// giveWay pauses where it is due: what is written was read just before.
func (w *writer) giveWay(n int) {
	if w.piece += n; w.piece < pieceBytes {
		return
	}
	w.o.GiveWay(time.Since(w.began))
	w.piece, w.began = 0, time.Now()
}

// buffer is an empty one, for a part.
func (w *writer) buffer() []byte {
	select {
	case b := <-w.free:
		return b[:0]
	default:
		return make([]byte, 0, w.o.PartBytes)
	}
}

// cut hands a part over. Waiting for somebody to take it is no work.
func (w *writer) cut() error {
	w.mu.Lock()
	number := len(w.m.Parts)
	w.m.Parts = append(w.m.Parts, Part{})
	w.mu.Unlock()
	if number >= maxParts {
		return fmt.Errorf("it has more than %d parts of %d bytes: take it with larger ones: %w", number, w.o.PartBytes, wal.ErrTooLarge)
	}
	select {
	case w.work <- job{number, w.buf}:
		w.buf, w.began = nil, time.Now()
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

func (w *writer) part(j job) error {
	if w.ctx.Err() != nil {
		return nil // whatever it was is told already
	}
	key, plain := w.m.PartKey(j.number), len(j.plain)
	sealed, h, err := archive.Seal(w.m.header(key, 1), nil, j.plain, w.o.Seal)
	if err != nil {
		return err
	}
	w.free <- j.plain                                                                                                     // there are no more than it has room for
	if err := w.store.Put(w.ctx, key.String(), objects.Bytes(sealed)); err != nil && !errors.Is(err, objects.ErrExists) { // it is our own: the key is
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.Parts[j.number] = Part{Plain: int64(plain), Size: int64(len(sealed)), Sum: h.Sum}
	if w.o.Progress != nil {
		w.o.Progress(uint64(plain))
	}
	return nil
}

// close puts the rest, and waits until all is put.
func (w *writer) close() error {
	var err error
	if len(w.buf) > 0 {
		err = w.cut()
	}
	close(w.work)
	w.wg.Wait()
	if err == nil && w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	w.cancel(nil)
	return err
}

// withdraw deletes the parts again, as far as that goes: what stays is rubbish.
func (w *writer) withdraw(ctx context.Context, store objects.Store) {
	for i := range w.m.Parts {
		if store.Delete(ctx, w.m.PartKey(i).String()) != nil {
			return // a place that is gone would be asked for each
		}
	}
}
