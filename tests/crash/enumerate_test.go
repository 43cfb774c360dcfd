package crash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// point is one crash.
type point struct {
	h     *history
	k     int
	model crashfs.Model
}

func (p point) String() string {
	return fmt.Sprintf("%s, cut behind operation %d of %d, %v", p.h.name, p.k, p.h.disk.Ops(), p.model)
}

// trace is the operations before the crash.
func (p point) trace(n int) string {
	var b strings.Builder
	log := p.h.disk.Log()
	for i := max(0, p.k-n); i < p.k; i++ {
		fmt.Fprintf(&b, "\t%v\n", log[i])
	}
	return b.String()
}

// totals are what an enumeration is about.
type totals struct {
	points, inRecovery, goneOn, verified, torn, rewritten atomic.Int64
	lost, partial, refused, panics, unclean               atomic.Int64
}

func (c *totals) failures() int64 {
	return c.lost.Load() + c.partial.Load() + c.refused.Load() + c.panics.Load() + c.unclean.Load()
}

func (c *totals) String() string {
	return fmt.Sprintf("%d crash points (%d inside recovery; %d with a torn tail, %d with entries written anew; %d gone on with, %d verified): "+
		"%d lost, %d partial, %d refused to open, %d panics, %d not clean",
		c.points.Load(), c.inRecovery.Load(), c.torn.Load(), c.rewritten.Load(), c.goneOn.Load(), c.verified.Load(),
		c.lost.Load(), c.partial.Load(), c.refused.Load(), c.panics.Load(), c.unclean.Load())
}

// enumeration checks points.
type enumeration struct {
	t      *testing.T
	counts totals
	budget int64
	shown  atomic.Int64
}

const mostShown = 6

// fail reports a point. The totals count it.
func (e *enumeration) fail(p point, count *atomic.Int64, format string, args ...any) {
	count.Add(1)
	if e.shown.Add(1) <= mostShown {
		e.t.Errorf("%v: %s\n%s", p, fmt.Sprintf(format, args...), p.trace(12))
	}
}

// spent reports whether enough points were checked.
func (e *enumeration) spent() bool {
	return e.counts.points.Load() >= e.budget || e.shown.Load() >= mostShown
}

// models of cut number n.
func models(n int, each uint64) []crashfs.Model {
	list := []crashfs.Model{crashfs.Ordered, crashfs.KillOnly, crashfs.Posix}
	for i := range each {
		seed := uint64(n)*1000 + i
		list = append(list, crashfs.MetadataOrdered(seed), crashfs.Random(seed))
	}
	return list
}

// all cuts the histories at every operation under every model, each several
// times more by chance, and, for some, the recovery that follows.
func (e *enumeration) all(workers int, histories []*history) {
	points := make(chan point)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			b := bay{fmt.Sprintf("/bay%d", w)}
			for p := range points {
				e.point(b, p)
			}
		})
	}
	feed(e, points, histories)
	close(points)
	wg.Wait()
}

// feed sends the points of histories, in an order that spreads over all of
// them, until the budget is spent.
func feed(e *enumeration, points chan<- point, histories []*history) {
	var list []point
	for _, h := range histories {
		for k := h.begin; k <= h.disk.Ops(); k++ {
			for _, m := range models(k, 3) {
				list = append(list, point{h, k, m})
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, p := range list {
		if e.spent() {
			return
		}
		points <- p
	}
}

// point crashes, recovers and checks, and for some points goes on: it crashes
// the recovery at every operation, or commits and closes and opens again.
func (e *enumeration) point(b bay, p point) {
	defer e.guard(p)
	e.counts.points.Add(1)
	image := p.h.disk.Cut(p.k, p.model)
	begin := image.Ops()
	chance := rand.New(rand.NewPCG(uint64(p.k), uint64(p.h.begin)+uint64(len(p.model.String()))))
	if chance.IntN(verifyOneIn) == 0 {
		e.verify(b, p, image, false)
	}
	last, done, ok := e.recovered(b, p, image)
	switch {
	case !ok:
		return
	case chance.IntN(goOnOneIn) == 0:
		e.goOn(b, p, image, last)
	case chance.IntN(nestOneIn) == 0 && p.h.depth < 2:
		e.nested(b, p, image, begin, done, last)
	}
	if chance.IntN(verifyOneIn) == 0 {
		e.verify(b, p, image, true)
	}
}

// verify looks at a store that is not open: as the crash left it, or closed.
func (e *enumeration) verify(b bay, p point, image *crashfs.FS, closed bool) {
	e.counts.verified.Add(1)
	fsys, dir, unmount := b.mount(image)
	defer unmount()
	before := image.Ops()
	rep, err := recovery.Verify(context.Background(), fsys, dir, recovery.VerifyOptions{})
	switch {
	case !closed && p.h.acked(p.k) == 0 && errors.Is(err, fs.ErrNotExist): // not made yet
	case err != nil:
		e.fail(p, &e.counts.unclean, "verify: %v", err)
	case !rep.Clean || image.Ops() != before:
		e.fail(p, &e.counts.unclean, "verify found %d problems and changed %d things, closed %v: %v", len(rep.Problems), image.Ops()-before, closed, rep.Problems)
	case closed && !rep.ClosedCleanly:
		e.fail(p, &e.counts.unclean, "verify says that the store was not closed: %+v", rep)
	case !closed && rep.Last < p.h.acked(p.k):
		e.fail(p, &e.counts.lost, "verify sees LSN %d, %d was acknowledged", rep.Last, p.h.acked(p.k))
	}
}

// One in so many of the points is gone on with, or has the recovery behind it
// cut at every operation.
const (
	goOnOneIn   = 16
	nestOneIn   = 100
	verifyOneIn = 4
)

// guard turns a panic into a failure.
func (e *enumeration) guard(p point) {
	if v := recover(); v != nil {
		e.fail(p, &e.counts.panics, "panic: %v\n%s", v, debug.Stack())
	}
}

// recovered opens an image and checks it. It returns the last LSN and the
// number of operations when Open returned.
func (e *enumeration) recovered(b bay, p point, image *crashfs.FS) (last wal.LSN, done int, ok bool) {
	o, err := b.open(image)
	if err != nil {
		e.fail(p, &e.counts.refused, "the store does not open, %d acknowledged: %v", p.h.acked(p.k), err)
		return 0, 0, false
	}
	done = image.Ops()
	last, ok = o.rep.Last, e.check(p, o)
	if o.rep.Cut != nil {
		e.counts.torn.Add(1)
	}
	if o.rep.Rewritten > 0 {
		e.counts.rewritten.Add(1)
	}
	if err := o.close(); err != nil {
		e.fail(p, &e.counts.unclean, "close: %v", err)
		return last, done, false
	}
	return last, done, ok
}

// check compares an open store with what it must hold.
func (e *enumeration) check(p point, o *opened) bool {
	last, acked := o.rep.Last, p.h.acked(p.k)
	if last < acked {
		e.fail(p, &e.counts.lost, "LSN %d was acknowledged, the store ends at %d: %+v", acked, last, o.rep)
		return false
	}
	if last < 1 || int(last) >= len(p.h.states) {
		e.fail(p, &e.counts.partial, "the store ends at LSN %d, only %d were ever given: %+v", last, len(p.h.states)-1, o.rep)
		return false
	}
	if err := compare(o.Manager, p.h.states[last]); err != nil {
		e.fail(p, &e.counts.partial, "at LSN %d, %d acknowledged: %v; %+v", last, acked, err, o.rep)
		return false
	}
	if err := outcomes(o.Manager, p.h.asked, last); err != nil {
		e.fail(p, &e.counts.partial, "at LSN %d, %d acknowledged: %v", last, acked, err)
		return false
	}
	if err := p.h.checkFeed(o, p.k); err != nil {
		e.fail(p, &e.counts.lost, "at LSN %d: the consumer: %v; %+v", last, err, o.rep)
		return false
	}
	return true
}

// goOn commits on a recovered store, which was closed, and opens it again.
func (e *enumeration) goOn(b bay, p point, image *crashfs.FS, last wal.LSN) {
	e.counts.goneOn.Add(1)
	l := newLife(b, image, uint64(p.k))
	err := l.retryTwice(p.h.asked, last)
	if err == nil {
		err = l.goOn()
	}
	if err != nil {
		e.fail(p, &e.counts.unclean, "going on: %v", err)
		return
	}
	states, err := l.rec.states(p.h.states[:last+1])
	if err != nil {
		e.fail(p, &e.counts.unclean, "going on: %v", err)
		return
	}
	after := &history{name: p.String() + ", gone on with", disk: image, begin: image.Ops(), acks: l.rec.acks, feeds: fed(p.h, p.k, 0), states: states, asked: p.h.asked.upTo(last)}
	maps.Copy(after.asked, l.rec.requests)
	o, err := b.open(image)
	if err != nil {
		e.fail(p, &e.counts.refused, "after going on: %v", err)
		return
	}
	e.check(point{after, image.Ops(), crashfs.KillOnly}, o)
	if err := o.close(); err != nil {
		e.fail(p, &e.counts.unclean, "close after going on: %v", err)
	}
}

func (l *life) goOn() error {
	for range 2 {
		if err := l.open(); err != nil {
			return err
		}
		if err := l.burst(1, 2); err != nil {
			return err
		}
		if err := l.o.Checkpoint(l.o.ctx()); err != nil {
			return err
		}
		if err := l.burst(1, 2); err != nil {
			return err
		}
		if err := l.close(); err != nil {
			return err
		}
	}
	return nil
}

// nested crashes a recovery at each of its operations.
func (e *enumeration) nested(b bay, p point, image *crashfs.FS, begin, done int, last wal.LSN) {
	h := &history{
		name: p.String() + ", recovery", disk: image, begin: begin,
		acks:   []ack{{begin, p.h.acked(p.k)}, {done, last}},
		states: p.h.states[:last+1], feeds: fed(p.h, p.k, begin), asked: p.h.asked.upTo(last), depth: p.h.depth + 1,
	}
	for k := begin; k <= image.Ops() && !e.spent(); k++ {
		list := models(k, 1)
		e.counts.inRecovery.Add(1)
		e.point(b, point{h, k, list[k%len(list)]})
	}
}

// rate says how fast it goes.
func rate(n int64, since time.Time) string {
	took := time.Since(since)
	return fmt.Sprintf("%.0f points/s, %v", float64(n)/took.Seconds(), took.Round(time.Millisecond))
}
