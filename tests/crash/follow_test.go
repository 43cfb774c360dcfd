package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// sent is an entry of a writer, with its body.
type sent struct {
	entry *wal.Entry
	body  []byte
	pos   wal.Position
}

// followed is the life of a follower: it applies what a writer did, and is
// promoted before it has all of it.
type followed struct {
	*history
	stream    []sent // of the writer, from LSN 1 on
	parent    wal.LSN
	made      int // the operation by which there is a follower
	promoting int // operations when its promotion began,
	promoted  int // and when it was told that it is a writer
}

// recordStream is the log of a writer with all its images, and what it did.
func recordStream(t *testing.T, seed uint64) (stream []sent, states []state, asked requests) {
	l := newLife(bay{"/record"}, crashfs.New(), seed)
	must(t, l.all([]func() error{l.open, l.bursts, l.fill, l.bursts, l.bursts}))
	states, err := l.rec.states([]state{{}, {}})
	must(t, err)
	head := l.o.Stats().Head
	states = states[:head.LSN+1] // there may have been fewer entries than were possible
	_, err = l.o.Wait(l.o.ctx(), head, txn.Ack{Applied: true})
	must(t, err)
	for e, err := range l.o.Watch(l.o.ctx(), txn.WatchOptions{}) {
		must(t, err)
		s, err := keepEntry(e)
		must(t, err)
		if stream = append(stream, s); e.Position.LSN == head.LSN {
			break
		}
	}
	must(t, l.close())
	return stream, states, l.rec.requests
}

// keepEntry copies an entry and its body.
func keepEntry(e *txn.Event) (sent, error) {
	s := sent{entry: e.Entry, pos: e.Position}
	images, err := e.Images()
	if err != nil {
		return s, err
	}
	keep := func(off, n int64) error {
		if grow := off + n - int64(len(s.body)); grow > 0 {
			s.body = append(s.body, make([]byte, grow)...)
		}
		_, err := io.ReadFull(io.NewSectionReader(images, off, n), s.body[off:off+n])
		return err
	}
	for i := range e.Entry.Sections {
		for row, err := range e.Rows(&e.Entry.Sections[i]) {
			if err == nil {
				err = keep(int64(row.Locator.Offset()), int64(row.Locator.Length()))
			}
			if err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

func (o *opened) apply(s sent) error {
	_, err := o.Apply(o.ctx(), s.entry, bytes.NewReader(s.body))
	return err
}

// recordFollower lives the life of a follower: made, fed beside checkpoints, closed and
// opened, promoted, and written.
func recordFollower(t *testing.T, seed uint64) *followed {
	stream, states, asked := recordStream(t, seed)
	f := &followed{stream: stream, parent: wal.LSN(len(stream) - 6)}
	l := newLife(bay{"/record"}, crashfs.New(), seed+100)
	must(t, l.follow(true))
	f.made = l.disk.Ops()
	third := int(f.parent) / 3
	must(t, l.feed(stream[:third], 7))
	must(t, l.fedBeside(stream[third:2*third]))
	must(t, l.close())
	must(t, l.follow(false))
	must(t, l.feed(stream[2*third:f.parent], 3))
	must(t, l.checkpoint())
	f.promoting = l.disk.Ops()
	pos, err := l.o.Promote(l.o.ctx())
	must(t, err)
	f.promoted = l.disk.Ops()
	l.rec.committed(pos.LSN, f.promoted, []effect{})
	must(t, l.all([]func() error{l.bursts, l.checkpoint, l.bursts, l.close}))
	states, err = l.rec.states(states[:f.parent+1])
	must(t, err)
	asked = asked.upTo(f.parent)
	maps.Copy(asked, l.rec.requests)
	f.history = &history{name: fmt.Sprintf("follower %d", seed), disk: l.disk, acks: l.rec.acks, states: states, asked: asked}
	return f
}

// follow opens the follower; it is told to be one only when it is made.
func (l *life) follow(make bool) (err error) {
	l.o, err = l.bay.open(l.disk, func(o *txn.Options) { o.Create, o.Follower = make, make })
	return err
}

// feed applies entries, and now and then waits until they are durable.
func (l *life) feed(stream []sent, each int) error {
	for i, s := range stream {
		if err := l.o.apply(s); err != nil {
			return err
		}
		if i%each == 0 || i == len(stream)-1 {
			if _, err := l.o.Wait(l.o.ctx(), s.pos, txn.Ack{Applied: true}); err != nil {
				return err
			}
			l.rec.committed(s.pos.LSN, l.disk.Ops(), nil)
		}
	}
	return nil
}

// fedBeside feeds while checkpoints are written.
func (l *life) fedBeside(stream []sent) error {
	done := make(chan error, 1)
	go func() { done <- errors.Join(l.checkpoint(), l.checkpoint()) }()
	return errors.Join(l.feed(stream, 5), <-done)
}

// check opens what a cut left and checks that it is a follower with what it had
// acknowledged, or, where its promotion may have been decided, a writer.
func (f *followed) check(e *enumeration, b bay, p point) {
	defer e.guard(p)
	e.counts.points.Add(1)
	image := f.disk.Cut(p.k, p.model)
	o, err := f.open(b, image, p.k)
	if err != nil {
		e.fail(p, &e.counts.refused, "it does not open, %d acknowledged: %v", f.acked(p.k), err)
		return
	}
	unclean := func(err error) bool {
		if err != nil {
			e.fail(p, &e.counts.unclean, "%v; %+v", err, o.rep)
		}
		return err != nil
	}
	at := o.rep.Last
	if o.rep.Began == recovery.ReasonPromotion {
		if at <= f.parent || at > f.parent+2 {
			e.fail(p, &e.counts.partial, "opening promoted it at LSN %d, the parent is %d", at, f.parent)
		}
		at = f.parent // what was decided and not told, or its entry alone
	}
	if f.matches(e, p, o, at) && !unclean(f.role(o, p.k)) && rand.New(rand.NewPCG(uint64(p.k), 3)).IntN(4) == 0 {
		e.counts.goneOn.Add(1)
		unclean(f.goOn(o))
	}
	empty := o.Stats().Head.LSN == 0 // that has no clean mark
	if unclean(o.close()) {
		return
	}
	if p.k%verifyOneIn == 0 {
		e.verify(b, p, image, !empty)
	}
}

// open opens it as what it is; where nothing had been made yet, as a new one.
func (f *followed) open(b bay, image *crashfs.FS, k int) (*opened, error) {
	o, err := b.open(image, func(o *txn.Options) { o.Create = false })
	if errors.Is(err, fs.ErrNotExist) && k < f.made {
		return b.open(image, func(o *txn.Options) { o.Follower = true })
	}
	return o, err
}

// matches compares the store with the state at an LSN.
func (f *followed) matches(e *enumeration, p point, o *opened, at wal.LSN) bool {
	acked := f.acked(p.k)
	if o.rep.Last < acked || int(at) >= len(f.states) {
		e.fail(p, &e.counts.lost, "it ends at LSN %d, %d was acknowledged: %+v", o.rep.Last, acked, o.rep)
		return false
	}
	err := compare(o.Manager, f.states[at])
	if err == nil {
		err = outcomes(o.Manager, f.asked, at)
	}
	if err != nil {
		e.fail(p, &e.counts.partial, "at LSN %d, %d acknowledged: %v; %+v", at, acked, err, o.rep)
	}
	return err == nil
}

// role checks who it is.
func (f *followed) role(o *opened, k int) error {
	switch r := o.Role(); {
	case r == txn.RoleFollower && k < f.promoted:
		if head := o.Stats().Head; head.LSN > 0 && head != f.stream[head.LSN-1].pos {
			return wrongf("it stands at %v, the writer was at %v", head, f.stream[head.LSN-1].pos)
		}
		return nil
	case r == txn.RoleWriter && k > f.promoting:
		return nil
	default:
		return wrongf("it is a %v", r)
	}
}

// goOn feeds a follower what it has not got, and promotes it; refuses, as a writer,
// what the old one did; and commits.
func (f *followed) goOn(o *opened) error {
	ctx := context.Background()
	if o.Role() == txn.RoleFollower {
		for _, s := range f.stream[o.rep.Last:f.parent] {
			if err := o.apply(s); err != nil {
				return fmt.Errorf("resume with entry %d: %w", s.pos.LSN, err)
			}
		}
		if _, err := o.Promote(ctx); err != nil {
			return err
		}
		if err := compare(o.Manager, f.states[f.parent]); err != nil {
			return fmt.Errorf("all was applied: %w", err)
		}
	}
	if err := o.apply(f.stream[f.parent]); !errors.Is(err, txn.ErrStaleEpoch) {
		return fmt.Errorf("an entry of the old writer: %w", err)
	}
	_, err := o.Update(ctx, func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("after", txn.VolumeOptions{})
		return err
	})
	return err
}

// TestHookedFollower cuts the power at every operation of a follower's life,
// its promotion included.
func TestHookedFollower(t *testing.T) {
	hooked(t)
	e := &enumeration{t: t, budget: max(pointsWanted(t)/4, 500)}
	began := time.Now()
	for seed := uint64(1); !e.spent(); seed++ {
		f := recordFollower(t, seed)
		t.Logf("%s: %d operations, %d entries followed, promoted by operations %d to %d", f.name, f.disk.Ops(), f.parent, f.promoting, f.promoted)
		points := make(chan point)
		var wg sync.WaitGroup
		for w := range runtime.GOMAXPROCS(0) {
			wg.Go(func() {
				for p := range points {
					f.check(e, bay{fmt.Sprintf("/bay%d", w)}, p)
				}
			})
		}
		for k := f.promoting; k <= f.promoted+1; k++ { // all of these
			for _, m := range models(k, 3) {
				points <- point{f.history, k, m}
			}
		}
		feed(e, points, []*history{f.history})
		close(points)
		wg.Wait()
	}
	t.Logf("%v (%s)", &e.counts, rate(e.counts.points.Load(), began))
}
