package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// Config of a measurement.
type Config struct {
	Dir    string // for the floors' files; on the disk to be measured
	Store  string // directory of the store; made when there is none
	Volume string // name; made and filled, or overwritten

	Writers     int
	Pages       int           // of each transaction
	PageSize    int           // bytes
	VolumeBytes int64         // rounded up to whole pages
	Measure     time.Duration // the engine's slices together; the floors have half of it each
	WarmUp      time.Duration

	Options  txn.Options                           // of the store; FS and Create are set here
	Ack      func(txn.Commit) error                // called after each acknowledgement, concurrently; may be nil
	Progress func(step string, done, total uint64) // may be nil
	Observe  func(during func() error) (err error) // called around the engine's slices, for a profile; may be nil
}

func (c Config) volumePages() uint64 {
	return uint64((c.VolumeBytes + int64(c.PageSize) - 1) / int64(c.PageSize))
}

func (c Config) progress(step string, done, total uint64) {
	if c.Progress != nil {
		c.Progress(step, done, total)
	}
}

// ErrConfig is what an impossible Config gets.
var ErrConfig = errors.New("bench: impossible measurement")

func (c Config) validate() error {
	switch {
	case c.Writers < 1 || c.Writers > 4096:
		return fmt.Errorf("%w: %d writers, want 1 to 4096", ErrConfig, c.Writers)
	case !wal.ValidPageSize(uint32(c.PageSize)):
		return fmt.Errorf("%w: pages of %d bytes, want a power of two from %d to %d", ErrConfig, c.PageSize, wal.MinPageSize, wal.MaxPageSize)
	case c.Measure < 100*time.Millisecond || c.WarmUp < 0:
		return fmt.Errorf("%w: %v of measuring and %v of warm-up, want 100ms at least", ErrConfig, c.Measure, c.WarmUp)
	case c.VolumeBytes < 1 || c.VolumeBytes > 1<<40:
		return fmt.Errorf("%w: a volume of %d bytes, want 1 byte to 1 TiB", ErrConfig, c.VolumeBytes)
	case c.Pages < 1 || uint64(c.Pages) > c.volumePages()/2:
		return fmt.Errorf("%w: %d pages of each transaction, want 1 to half of the volume's %d", ErrConfig, c.Pages, c.volumePages())
	}
	return nil
}

// subject is one of the three that take turns.
type subject interface {
	begin() error
	commit(context.Context, *load) error
}

// run is a measurement under way.
type run struct {
	c           Config
	meter       *Meter
	eng         *engine
	floors      [2]*floor // grown, written
	loads       []*load
	sides       [3]tally // engine, grown, written
	rounds      []Round
	checkpoints uint64 // in the measured rounds
}

// tally is what one subject did in its slices.
type tally struct {
	took    time.Duration
	cpu     time.Duration
	txs     uint64
	syncs   uint64
	device  uint64
	latency Histogram
}

const (
	sliceTime = time.Second
	runIn     = 20 * time.Millisecond
)

// Run measures. It stops early with ctx's error. The store stays, closed
// cleanly.
func Run(ctx context.Context, c Config) (*Result, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	r := &run{c: c, meter: NewMeter(c.Dir)}
	for w := range c.Writers {
		r.loads = append(r.loads, newLoad(w, c.Pages, c.PageSize, c.volumePages()))
	}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	err := r.measure(ctx)
	stats := r.eng.m.Stats()
	if err := errors.Join(err, r.close()); err != nil {
		return nil, err
	}
	return r.result(stats), nil
}

var floorNames = [2]string{"floor.grown", "floor.written"}

func (r *run) open(ctx context.Context) (err error) {
	if r.eng, err = openEngine(ctx, r.c); err != nil {
		return err
	}
	for i, name := range floorNames {
		if r.floors[i], err = newFloor(ctx, vfs.OS(), r.c.Dir, name, i == 0); err != nil {
			return fmt.Errorf("bench: make %s: %w", name, err)
		}
	}
	return nil
}

func (r *run) close() (err error) {
	for i, fl := range r.floors {
		if fl != nil {
			err = errors.Join(err, fl.close(vfs.OS(), filepath.Join(r.c.Dir, floorNames[i])))
		}
	}
	if r.eng != nil {
		err = errors.Join(err, r.eng.m.Close())
	}
	return err
}

// measure warms up and lets the three take turns.
func (r *run) measure(ctx context.Context) error {
	r.c.progress("warm up", 0, 1)
	if err := r.round(ctx, r.c.WarmUp); err != nil {
		return err
	}
	r.sides, r.rounds = [3]tally{}, nil
	before := r.eng.m.Stats().Checkpoints
	slice := min(sliceTime, r.c.Measure/3)
	for r.sides[0].took < r.c.Measure {
		left := r.c.Measure - r.sides[0].took
		r.c.progress("measure", uint64(r.sides[0].took), uint64(r.c.Measure))
		if err := r.round(ctx, min(slice, max(left, slice/2))); err != nil {
			return err
		}
	}
	r.checkpoints = r.eng.m.Stats().Checkpoints - before
	r.c.progress("measure", uint64(r.c.Measure), uint64(r.c.Measure))
	return nil
}

// round is one turn of each. The floors swap their order every time.
func (r *run) round(ctx context.Context, slice time.Duration) error {
	was := r.sides
	if err := r.engineSlice(ctx, slice); err != nil {
		return err
	}
	for i := range r.floors {
		which := (i + len(r.rounds)) % 2
		if err := r.floorSlice(ctx, which, slice/2); err != nil {
			return err
		}
	}
	var now Round
	rate := func(i int) float64 {
		return float64(r.sides[i].txs-was[i].txs) / (r.sides[i].took - was[i].took).Seconds()
	}
	now.Engine, now.Grown, now.Written = rate(0), rate(1), rate(2)
	r.rounds = append(r.rounds, now)
	return nil
}

// engineSlice lets the engine commit for a while, and for longer while a
// checkpoint runs: what commits cause is their cost.
func (r *run) engineSlice(ctx context.Context, slice time.Duration) error {
	work := func() error {
		return r.slice(ctx, r.eng, &r.sides[0], r.eng.disk.Syncs, func(stop <-chan struct{}) {
			sleep(stop, slice)
			for end := time.Now().Add(2 * slice); r.eng.busy() && time.Now().Before(end); {
				sleep(stop, time.Millisecond)
			}
		}, r.eng.settle)
	}
	if r.c.Observe == nil {
		return work()
	}
	return r.c.Observe(work)
}

func (r *run) floorSlice(ctx context.Context, which int, slice time.Duration) error {
	fl := r.floors[which]
	if err := fl.begin(); err != nil {
		return err
	}
	var ignored tally
	err := r.slice(ctx, fl, &ignored, fl.syncs.Load, func(stop <-chan struct{}) { sleep(stop, runIn) }, nil)
	if err != nil {
		return err
	}
	return r.slice(ctx, fl, &r.sides[1+which], fl.syncs.Load, func(stop <-chan struct{}) { sleep(stop, slice) }, nil)
}

func sleep(stop <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}

// slice lets all writers commit until wait returns; after, if any, is part of
// the time.
func (r *run) slice(ctx context.Context, s subject, t *tally, syncs func() uint64, wait func(<-chan struct{}), after func()) error {
	if err := s.begin(); err != nil {
		return err
	}
	device, err := r.meter.Bytes()
	if err != nil {
		return err
	}
	synced, cpu, began := syncs(), processorTime(), time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var stop atomic.Bool
	var wg sync.WaitGroup
	hists := make([]Histogram, len(r.loads))
	for w, l := range r.loads {
		wg.Go(func() {
			if err := commits(ctx, s, l, &stop, &hists[w]); err != nil {
				cancel(err)
			}
		})
	}
	wait(ctx.Done())
	stop.Store(true)
	wg.Wait()
	if after != nil {
		after()
	}
	t.took += time.Since(began)
	t.cpu += processorTime() - cpu
	t.syncs += syncs() - synced
	for i := range hists {
		t.txs += hists[i].Count()
		t.latency.Merge(&hists[i])
	}
	end, err := r.meter.Bytes()
	t.device += end - device
	return errors.Join(err, context.Cause(ctx))
}

func commits(ctx context.Context, s subject, l *load, stop *atomic.Bool, h *Histogram) error {
	for !stop.Load() && ctx.Err() == nil {
		l.next()
		began := time.Now()
		if err := s.commit(ctx, l); err != nil {
			return err
		}
		h.Add(time.Since(began))
	}
	return nil
}
