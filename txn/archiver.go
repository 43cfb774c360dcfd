package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// archiver is the goroutine behind Options.Archive (archive.go). Its fields are that
// goroutine's own, and Open's before it begins, but for those under mu.
type archiver struct {
	m *Manager
	o ArchiveOptions

	live   context.Context // until Close begins
	finish context.CancelFunc
	ctx    context.Context // until Close waits no longer
	stop   context.CancelFunc
	done   chan struct{}

	probed   bool
	ship     *ship.Archiver // nil until the place was reached
	lacks    bool           // the archive can go on only behind a snapshot
	past     ship.History   // where timelines were left, up to
	timeline wal.TimelineID // this one

	mu    sync.Mutex
	stats ArchiveStats
	now   *ship.Archiver // ship, for Stats
	level time.Time      // when the first entry came that is not shipped
}

// beginArchive compares the store with its archive, if it is to have one, and
// leaves the rest to a goroutine.
func (m *Manager) beginArchive() {
	if m.opts.Archive.Store == nil {
		return
	}
	a := &archiver{m: m, o: m.opts.Archive, done: make(chan struct{})}
	a.o.Ship.History, a.o.Ship.Retry.Sleep = a.history, a.sleep
	a.live, a.finish = context.WithCancel(context.Background())
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.level = m.opts.Now()
	a.stats.URL, a.stats.State = a.o.Store.String(), ArchiveUnchecked
	m.archive = a
	var err error
	if m.Role() != RoleWriter {
		a.enter(ArchiveFollower)
	} else if a.o.OpenTimeout > 0 {
		err = a.firstLook()
	}
	if err != nil {
		a.halt(err)
		close(a.done)
		return
	}
	go a.run()
}

// firstLook gives the place some time to be reached. The error is one that stays.
func (a *archiver) firstLook() error {
	ctx, cancel := context.WithTimeout(a.live, a.o.OpenTimeout)
	defer cancel()
	for try := 0; ; try++ {
		err := a.connect(ctx)
		if err == nil || isFinal(err) {
			return err
		}
		a.failed(err)
		if ctx.Err() != nil || a.pause(ctx, try) != nil {
			a.m.log.Error().Err(err).Str("archive", a.stats.URL).Dur("waited", a.o.OpenTimeout).
				Msg("the archive could not be reached: whether it has another history is not known; commits go on, the log is kept for it, and it is tried again")
			return nil
		}
	}
}

// run archives until Close, or until it cannot.
func (a *archiver) run() {
	defer close(a.done)
	for try := 0; ; try++ {
		before := a.shipped()
		err := a.round()
		if a.shipped() != before {
			try = 0
		}
		switch {
		case err == nil, a.ctx.Err() != nil, a.ship == nil && a.live.Err() != nil:
			a.enter(ArchiveClosed)
			return
		case isFinal(err):
			a.halt(err)
			return
		}
		a.meet(err)
		if a.pause(a.live, try) != nil {
			a.enter(ArchiveClosed)
			return
		}
	}
}

// isFinal reports whether an error stays, however often it is tried.
func isFinal(err error) bool {
	if isLack(err) {
		return false
	}
	for _, final := range []error{
		ship.ErrDiverged, ErrDiverged, ErrFuture, snapshot.ErrDiverged, wal.ErrCorrupt, wal.ErrVersion, wal.ErrTooLarge, archive.ErrLocked,
		objects.ErrUnfit, objects.ErrForeign, objects.ErrFailed, objects.ErrKey, ErrPoisoned, ErrClosed,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// isLack reports whether an error says that the store has not got any more what the archive
// lacks, or that nobody keeps it.
func isLack(err error) bool {
	return errors.Is(err, ship.ErrGap) || errors.Is(err, ErrCompacted) || errors.Is(err, archive.ErrImage) ||
		errors.Is(err, ErrConsumerDropped) || errors.Is(err, ErrNoConsumer)
}

// meet takes down what ended a round. Whether a consumer was dropped, the next one sees.
func (a *archiver) meet(err error) {
	a.failed(err)
	if a.ship != nil && isLack(err) && !errors.Is(err, ErrConsumerDropped) && !errors.Is(err, ErrNoConsumer) {
		a.lacks = true
		a.m.log.Error().Err(err).Str("archive", a.stats.URL).Uint64("shipped", uint64(a.shipped().LSN)).
			Msg("entries are gone that the archive lacks: a snapshot is taken, and it goes on behind that")
		a.enter(ArchiveGap)
	} else {
		a.m.log.Warn().Err(err).Str("archive", a.stats.URL).Msg("archiving is interrupted, and tried again; commits go on")
	}
	a.set(nil)
}

// halt ends archiving with an error that stays. It is in the log before it is in the
// state, so that whoever sees that finds it.
func (a *archiver) halt(err error) {
	a.failed(err)
	a.m.log.Error().Err(err).Str("archive", a.stats.URL).
		Msg("archiving has stopped; commits go on; open the store anew when what is wrong was mended, or with another archive")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.State, a.stats.Err = ArchiveStopped, err
}

// round archives from where it stands until something ends it: nil at Close, when all is
// archived.
func (a *archiver) round() error {
	writes := func() bool { return a.m.Role() == RoleWriter }
	if !writes() {
		if err := a.m.waitUntil(a.live, writes); err != nil {
			return err
		}
		a.enter(ArchiveUnchecked)
	}
	if a.ship == nil {
		if err := a.connect(a.live); err != nil {
			return err
		}
	}
	c, err := a.consumer()
	if err != nil {
		return err
	}
	at := a.ship.Position()
	if a.lacks || at.LSN == 0 && c.LSN > 0 {
		if err := a.cover(c); err != nil {
			return err
		}
		at = c
	}
	if at.LSN == 0 || at.LSN > c.LSN { // what is before it is passed over
		at = c
	}
	a.enter(ArchiveRunning)
	src := &archiveSource{a: a, w: &watcher{m: a.m, opts: WatchOptions{After: at}, at: at, tail: tail{m: a.m, next: at.LSN}}, acked: c, ackedAt: a.m.opts.Now()}
	defer src.w.tail.close()
	defer a.keepPacked()()
	if err := a.ship.Run(a.ctx, src); err != nil {
		return err
	}
	return src.ack()
}

// keepPacked has what is shipped packed, until the function is called that it returns.
func (a *archiver) keepPacked() (end func()) {
	if a.o.PackEvery < 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(a.live)
	var packer sync.WaitGroup
	archiver, log := a.ship, a.m.log
	packer.Go(func() {
		archiver.KeepPacked(ctx, a.o.PackEvery, ship.PackOptions{}, func(err error) {
			log.Warn().Err(err).Msg("what was archived could not be packed; nothing is lost, and it is tried again")
		})
	})
	return func() {
		cancel()
		packer.Wait()
	}
}

// connect reaches the place, and compares the store with what is there.
func (a *archiver) connect(ctx context.Context) error {
	if _, err := a.consumer(); err != nil && !errors.Is(err, ErrConsumerDropped) {
		return err
	}
	if !a.probed {
		if err := objects.Probe(ctx, a.o.Store, a.m.opts.Now()); err != nil {
			return err
		}
		a.probed = true
	}
	s, err := a.open(ctx)
	var ahead *ship.AheadError
	if errors.As(err, &ahead) {
		if err = a.rolledBack(ctx, ahead); err == nil {
			s, err = a.open(ctx)
		}
	}
	if err == nil {
		err = a.revive()
	}
	if err != nil {
		return err
	}
	a.set(s)
	a.enter(ArchiveRunning)
	return nil
}

func (a *archiver) open(ctx context.Context) (*ship.Archiver, error) {
	h, err := a.history(ctx)
	if err != nil {
		return nil, err
	}
	return ship.Open(ctx, a.o.Store, h, a.o.Ship)
}

// rolledBack begins a timeline, unless entries were written since the store was
// opened: those are another history of the one that the archive has.
func (a *archiver) rolledBack(ctx context.Context, ahead *ship.AheadError) error {
	a.mu.Lock()
	a.stats.RolledBack = ahead
	a.mu.Unlock()
	m := a.m
	var pos wal.Position
	err := errMoved
	if ahead.Store.LSN == m.opened {
		pos, err = a.beginTimeline(ctx, ahead.Store)
	}
	if errors.Is(err, errMoved) {
		return errors.Join(&ship.DivergedError{Key: archive.LogPrefix(ahead.Archive.Timeline), Store: ahead.Store, Archive: ahead.Archive},
			errors.New("txn: the store was rolled back, and entries were written before its archive could be reached: keep that archive as it is, and open the store with an empty one; nothing was changed"))
	}
	if err != nil {
		return err
	}
	m.log.Error().Stringer("store", ahead.Store).Stringer("archive", ahead.Archive).Stringer("began", pos).
		Msg("the store was rolled back: its archive is ahead of it; it goes on on a new timeline, and the archive keeps both")
	return nil
}

// beginTimeline begins one behind a position, above all that the archive has.
func (a *archiver) beginTimeline(ctx context.Context, at wal.Position) (wal.Position, error) {
	r, err := ship.OpenReader(ctx, a.o.Store, ship.ReadOptions{Retry: a.o.Ship.Retry})
	if err != nil {
		return wal.Position{}, err
	}
	above, err := r.HighestEpoch(ctx)
	if err != nil {
		return wal.Position{}, err
	}
	return a.m.beginTimeline(ctx, recovery.ReasonRolledBack, at, above)
}

// consumer is how far the archive's has acknowledged. If there is none it is made, where the
// last checkpoint is: from there on all is still there.
func (a *archiver) consumer() (wal.Position, error) {
	m := a.m
	c := &Consumer{m, ArchiveConsumer}
	at, err := c.Acked()
	if !errors.Is(err, ErrNoConsumer) {
		return at, err
	}
	err = m.editConsumers(func(f *manifest.Facts) ([]manifest.Consumer, error) {
		if _, ok := f.Consumer(ArchiveConsumer); ok {
			return nil, nil
		}
		if len(f.Consumers) >= MaxConsumers {
			return nil, fmt.Errorf("txn: archive: there are %d consumers already, drop one first: %w", MaxConsumers, wal.ErrTooLarge)
		}
		begin := wal.Position{Timeline: f.Timeline, LSN: f.Checkpoint.LSN, Hash: f.Checkpoint.Hash}
		return manifest.WithConsumer(f.Consumers, manifest.Consumer{Name: ArchiveConsumer, Acked: begin}), nil
	})
	if err != nil {
		return wal.Position{}, err
	}
	return c.Acked()
}

// revive makes the consumer anew when it was dropped.
func (a *archiver) revive() error {
	_, err := a.consumer()
	if !errors.Is(err, ErrConsumerDropped) {
		return err
	}
	a.mu.Lock()
	a.stats.Dropped = err
	a.mu.Unlock()
	if err := a.m.DropConsumer(ArchiveConsumer); err != nil {
		return err
	}
	_, err = a.consumer()
	return err
}

// cover has a snapshot be in the archive behind which that can go on with what follows a
// position.
func (a *archiver) cover(c wal.Position) error {
	a.enter(ArchiveGap)
	err := a.ship.Behind(a.live, c)
	if errors.Is(err, ship.ErrGap) || err == nil && a.ship.Position().LSN == 0 {
		if err = a.snapshot(); err == nil {
			err = a.ship.Behind(a.live, c)
		}
	}
	if err == nil {
		a.lacks = false
	}
	return err
}

// snapshot takes one of the newest state.
func (a *archiver) snapshot() error {
	m, err := a.m.Backup(a.live, a.o.Store, snapshot.Options{Seal: a.o.Ship.Seal})
	if err != nil && !errors.Is(err, snapshot.ErrTaken) {
		return fmt.Errorf("txn: archive: %w", err)
	}
	if m != nil {
		a.m.log.Warn().Stringer("position", m.Position).Str("archive", a.stats.URL).Msg("a snapshot was taken, behind which the archive goes on")
	}
	return nil
}

// errSilent is what Stats say while an archive is opened that does not answer.
var errSilent = errors.New("txn: the archive does not answer, or with errors; it is tried again")

// sleep is what package ship waits with between tries.
func (a *archiver) sleep(ctx context.Context, d time.Duration) error {
	if a.ship == nil { // whose errors nobody sees yet
		a.failed(errSilent)
	}
	return a.wait(ctx, d)
}

// pause waits before the next try, longer each time.
func (a *archiver) pause(ctx context.Context, try int) error {
	r := a.o.Ship.Retry
	first, most := r.First, r.Most
	if first == 0 {
		first = 100 * time.Millisecond
	}
	if most == 0 {
		most = 30 * time.Second
	}
	d := most
	if try < 30 && first<<try > 0 {
		d = min(first<<try, most)
	}
	return a.wait(ctx, d)
}

func (a *archiver) wait(ctx context.Context, d time.Duration) error {
	if sleep := a.m.opts.Archive.Ship.Retry.Sleep; sleep != nil {
		return sleep(ctx, d)
	}
	return objects.Sleep(ctx, d)
}

// endArchive ships what is durable, within bounds, and waits for the goroutine.
func (m *Manager) endArchive() {
	a := m.archive
	if a == nil {
		return
	}
	a.finish()
	if a.o.CloseTimeout > 0 {
		defer time.AfterFunc(a.o.CloseTimeout, a.stop).Stop()
	} else {
		a.stop()
	}
	<-a.done
	a.stop()
}
