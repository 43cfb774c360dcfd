package demo

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// fast is how many seconds the clock of a life has in one: so that whoever watches
// need not wait for what happens a second apart.
const fast = 20

// clock is a manager's, which runs faster than time.
type clock struct{ began time.Time }

func (c clock) now() time.Time { return c.began.Add(fast * time.Since(c.began)) }

// wait waits until it is so late.
func (c clock) wait(ctx context.Context, until time.Time) error {
	select {
	case <-time.After(until.Sub(c.now())/fast + time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// done is a commit of a life's writers.
type done struct {
	lsn wal.LSN
	at  time.Time
	id  commitID
}

// life is the store after its recovery: several write, and an archiver ships what
// they commit.
type life struct {
	m        *txn.Manager
	clock    clock
	store    objects.Store
	archiver *ship.Archiver
	head     wal.Position // where it began

	resting  atomic.Bool // the writers come to their end
	writers  sync.WaitGroup
	shipping sync.WaitGroup
	shipped  context.CancelFunc // the archiver comes to its end
	shipErr  error              // why it ended; read behind shipping.Wait

	mu      sync.Mutex
	commits []done // mu
	refused int    // mu: transactions that found no volume
	err     error  // mu: of writers
}

// keepLog is more log than a life writes: the state at any LSN of it can be looked at.
const keepLog = 1 << 30

// live opens the store, and begins to write and to ship.
func (d *demo) live(ctx context.Context) (err error) {
	l := &life{clock: clock{time.Now()}, shipped: func() {}}
	l.store, err = objects.OpenDir(filepath.Join(d.c.Dir, archiveDir), objects.DirOptions{Create: true})
	if err != nil {
		return err
	}
	l.m, _, err = txn.Open(filepath.Join(d.c.Dir, storeDir), txn.Options{
		Now: l.clock.now, TxTimeout: fast * 5 * time.Minute, HoldTTL: fast * time.Hour, // the usual ones
		CheckpointBytes: keepLog, CheckpointEvery: -1,
	})
	if err != nil {
		return err
	}
	d.life = l
	l.head = l.m.Stats().Head
	if l.archiver, err = ship.Open(ctx, l.store, ship.History{l.head}, ship.Options{Interval: 100 * time.Millisecond}); err != nil {
		return err
	}
	l.ship(ctx)
	for w := range d.c.Writers {
		l.writers.Go(func() { l.write(ctx, d.plan, d.c.Writers+w) })
	}
	return nil
}

// ship runs the archiver.
func (l *life) ship(ctx context.Context) {
	enough, cancel := context.WithCancel(ctx)
	l.shipped = cancel
	src, stop := ship.Pull(ctx, func(ctx context.Context) iter.Seq2[ship.Entry, error] { return l.entries(ctx, enough) })
	l.shipping.Go(func() {
		defer stop()
		l.shipErr = l.archiver.Run(ctx, src)
	})
}

// entries are the store's from where the life began, until it is enough.
func (l *life) entries(ctx, enough context.Context) iter.Seq2[ship.Entry, error] {
	return func(yield func(ship.Entry, error) bool) {
		watching, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(enough, cancel)()
		for e, err := range l.m.Watch(watching, txn.WatchOptions{After: l.head}) {
			var images io.ReaderAt
			if err == nil {
				images, err = e.Images()
			}
			if enough.Err() != nil {
				return
			}
			if err != nil {
				yield(ship.Entry{}, err)
				return
			}
			if !yield(ship.Entry{Entry: e.Entry, Images: images}, nil) {
				return
			}
		}
	}
}

// write commits as one writer until it may rest. What needs a volume that is not
// there is refused, and left out.
func (l *life) write(ctx context.Context, plan *Plan, writer int) {
	page := make([]byte, PageSize)
	for number := 1; !l.resting.Load(); number++ {
		id := commitID{writer, number}
		c, err := plan.commit(ctx, l.m, id, page)
		l.mu.Lock()
		switch {
		case err == nil:
			l.commits = append(l.commits, done{c.Position.LSN, c.Time, id})
		case errors.Is(err, txn.ErrNoVolume):
			l.refused++
		default:
			l.err = errors.Join(l.err, err)
			l.resting.Store(true)
		}
		l.mu.Unlock()
	}
}

// count is how many commits and refusals there are.
func (l *life) count() (commits, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.commits), l.refused
}

// rest ends the writers, then the archiver, when it has shipped all.
func (l *life) rest(ctx context.Context) error {
	l.resting.Store(true)
	l.writers.Wait()
	slices.SortFunc(l.commits, func(a, b done) int { return cmp.Compare(a.lsn, b.lsn) })
	head := l.m.Stats().Head.LSN
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.shipping.Wait()
	}()
	for l.err == nil && ctx.Err() == nil && l.archiver.Status().Read.LSN < head {
		select {
		case <-time.After(5 * time.Millisecond):
			continue
		case <-ended:
		}
		break
	}
	l.shipped()
	<-ended
	return errors.Join(l.err, l.shipErr)
}

// close ends all, whatever was going on.
func (l *life) close() error {
	l.resting.Store(true)
	l.writers.Wait()
	l.shipped()
	l.shipping.Wait()
	return l.m.Close()
}
