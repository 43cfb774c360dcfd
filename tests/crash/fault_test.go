package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/txn"
)

// trouble is a way in which the disk fails at its operation n.
type trouble struct {
	name  string
	fault func(n int) crashfs.Fault
}

var troubles = []trouble{
	{"EIO once", func(n int) crashfs.Fault { return crashfs.FailAt(n, syscall.EIO) }},
	{"EIO for ever", func(n int) crashfs.Fault { return crashfs.FailFrom(n, syscall.EIO) }},
	{"ENOSPC once", func(n int) crashfs.Fault { return crashfs.FailAt(n, syscall.ENOSPC) }},
	{"ENOSPC for ever", func(n int) crashfs.Fault { return crashfs.FailFrom(n, syscall.ENOSPC) }},
	{"short write", func(n int) crashfs.Fault {
		return crashfs.FailAt(n, &crashfs.ShortWrite{N: n * 37 % 700, Err: syscall.ENOSPC})
	}},
}

// faultCounts are what an enumeration of faults is about.
type faultCounts struct {
	faults, poisoned, ordinary, failedOpen atomic.Int64
	lost, wrong, panics                    atomic.Int64
}

func (c *faultCounts) String() string {
	return fmt.Sprintf("%d faults (%d poisoned the store, %d met opening, %d transactions got an ordinary error): %d lost, %d wrong, %d panics",
		c.faults.Load(), c.poisoned.Load(), c.failedOpen.Load(), c.ordinary.Load(), c.lost.Load(), c.wrong.Load(), c.panics.Load())
}

// faulty is one enumeration.
type faulty struct {
	e      *enumeration
	counts faultCounts
}

// TestHookedFaultEverywhere makes every operation of a store's life fail in
// several ways. What was acknowledged survives, and nobody reads anything else.
func TestHookedFaultEverywhere(t *testing.T) {
	hooked(t)
	f := &faulty{e: &enumeration{t: t}}
	wanted := min(2000, max(100, pointsWanted(t)/10))
	began := time.Now()
	ops := f.one(bay{"/bay0"}, trouble{"none", func(int) crashfs.Fault { return nil }}, 0)
	var wg sync.WaitGroup
	jobs := make(chan func(bay))
	for w := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for j := range jobs {
				j(bay{fmt.Sprintf("/bay%d", w)})
			}
		})
	}
	step := max(1, ops*len(troubles)/int(wanted))
	for i := 0; i < ops*len(troubles) || f.counts.faults.Load() < wanted; i += step {
		n, tr := 1+i/len(troubles)%ops, troubles[i%len(troubles)]
		if f.e.shown.Load() < mostShown {
			jobs <- func(b bay) { f.one(b, tr, n) }
		} else {
			break
		}
	}
	close(jobs)
	wg.Wait()
	t.Logf("%v (%d operations, %s)", &f.counts, ops, rate(f.counts.faults.Load(), began))
}

// one runs a life in which operation n fails, and opens what it leaves.
func (f *faulty) one(b bay, tr trouble, n int) (ops int) {
	f.counts.faults.Add(1)
	disk := crashfs.New()
	l := newLife(b, disk, uint64(n))
	l.patience = 100 * time.Millisecond
	p := point{&history{name: fmt.Sprintf("%s at operation %d", tr.name, n), disk: disk}, n, crashfs.KillOnly}
	defer func() {
		if v := recover(); v != nil {
			f.e.fail(p, &f.counts.panics, "panic: %v\n%s", v, debug.Stack())
		}
	}()
	disk.Inject(tr.fault(n))
	f.live(l, p)
	ops = disk.Ops()
	disk.Inject(nil)
	f.survives(l, p)
	return ops
}

// live is the life: opened twice, if that is possible.
func (f *faulty) live(l *life, p point) {
	for range 2 {
		if err := l.open(); err != nil {
			f.counts.failedOpen.Add(1)
			continue
		}
		f.work(l, p)
		if err := l.o.Checkpoint(l.o.ctx()); err == nil {
			f.work(l, p)
		}
		if l.o.Stats().Poisoned != "" {
			f.counts.poisoned.Add(1)
		}
		_ = l.o.close()
	}
}

// work is some transactions, and a look at what they left.
func (f *faulty) work(l *life, p point) {
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(l.seed, uint64(l.disk.Ops())<<8|uint64(w)))
			for range 4 {
				if err := l.commit(w, r); err != nil && !errors.Is(err, txn.ErrPoisoned) && !errors.Is(err, txn.ErrUnknownOutcome) {
					f.counts.ordinary.Add(1)
				}
			}
		})
	}
	wg.Wait()
	states, err := l.rec.peek()
	if err != nil {
		f.e.fail(p, &f.counts.wrong, "%v", err)
		return
	}
	if err := compareNow(l.o.Manager, states); err != nil {
		f.e.fail(p, &f.counts.wrong, "while it runs: %v", err)
	}
}

// survives opens what is left, on a disk that is well again, as a kill and as a
// power cut leave it.
func (f *faulty) survives(l *life, p point) {
	states, err := l.rec.peek()
	if err != nil {
		f.e.fail(p, &f.counts.wrong, "%v", err)
		return
	}
	p.h.states, p.h.acks, p.h.asked, p.k = states, l.rec.acks, l.rec.requests, l.disk.Ops()
	for _, p.model = range []crashfs.Model{crashfs.Posix, crashfs.Random(uint64(p.k)), crashfs.KillOnly} {
		before := f.e.counts.failures()
		image := l.disk.Cut(p.k, p.model)
		if _, _, ok := f.e.recovered(l.bay, p, image); ok {
			f.e.verify(l.bay, p, image, true)
		}
		f.counts.lost.Add(f.e.counts.failures() - before)
	}
}

// full is a disk that has no room: files cannot grow, and no names be made.
type full struct {
	mu     sync.Mutex
	on     bool
	sizes  map[string]int64
	staged bool // the name of the manifest's next file is that of one
	met    int
}

func (f *full) set(on bool) (met int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = on
	return f.met
}

func (f *full) fault(o crashfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := f.name(o)
	grows := o.Kind == crashfs.Create || o.Kind == crashfs.Mkdir || o.Kind == crashfs.Write && o.Offset+int64(o.Length) > f.sizes[name]
	if f.on && grows {
		f.met++
		return syscall.ENOSPC
	}
	switch o.Kind {
	case crashfs.Write:
		f.sizes[name] = max(f.sizes[name], o.Offset+int64(o.Length))
	case crashfs.Truncate:
		f.sizes[name] = o.Offset
	case crashfs.Create:
		f.sizes[o.Name], f.staged = 0, f.staged || next(o)
	case crashfs.Remove:
		delete(f.sizes, o.Name)
		f.staged = f.staged && !next(o)
	case crashfs.Rename: // the only one is that of the manifest
		f.sizes["MANIFEST"], f.staged = f.sizes[o.Name], false
	}
	return nil
}

// name is what the file is called by now: an operation has the name by which it
// was opened, and the manifest is opened before it gets its own.
func (f *full) name(o crashfs.Op) string {
	if next(o) && !f.staged {
		return "MANIFEST"
	}
	return o.Name
}

func next(o crashfs.Op) bool { return filepath.Base(o.Name) == "MANIFEST.tmp" }

// TestHookedDiskFull: a full disk is an ordinary error, and when room is made
// the same manager goes on (FAULTS: disk full).
func TestHookedDiskFull(t *testing.T) {
	hooked(t)
	met := 0
	for seed := range uint64(8) {
		met += diskFull(t, seed)
	}
	t.Logf("the disk was full %d times", met)
	if met == 0 {
		t.Error("the disk was never full")
	}
}

func diskFull(t *testing.T, seed uint64) (met int) {
	disk, room := crashfs.New(), &full{sizes: map[string]int64{}}
	l := newLife(bay{"/full"}, disk, seed)
	disk.Inject(room.fault)
	must(t, l.open())
	must(t, l.bursts())
	room.set(true)
	patience := l.patience
	l.patience = 200 * time.Millisecond
	r := rand.New(rand.NewPCG(seed, 1))
	refused := 0
	for i := range 40 {
		err := l.run(txn.TxOptions{Metadata: randomBytes(r, 50<<10)}, kinds[r.IntN(len(kinds))], "a", r)
		if err != nil {
			refused++
		}
		// A commit that was given up by its context, on a slow machine, is unknown too.
		if errors.Is(err, txn.ErrPoisoned) || errors.Is(err, txn.ErrUnknownOutcome) && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("seed %d, commit %d: a full disk poisoned the store: %v", seed, i, err)
		}
		if i%10 == 5 {
			if err := l.checkpoint(); err != nil {
				refused++
			}
			if p := l.o.Stats().Poisoned; p != "" {
				t.Fatalf("seed %d, checkpoint behind commit %d: a full disk poisoned the store: %v", seed, i, p)
			}
		}
		if refused > 6 {
			break
		}
	}
	met = room.set(false)
	l.patience = patience
	for began := time.Now(); ; time.Sleep(time.Millisecond) { // what could not be prepared is tried again now and then
		err := l.run(txn.TxOptions{}, small, "a", r)
		if err == nil {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("seed %d: room was made, and still: %v", seed, err)
		}
	}
	must(t, l.bursts())
	must(t, l.checkpoint())
	must(t, l.fill())
	states, err := l.rec.peek()
	must(t, err)
	must(t, compareNow(l.o.Manager, states))
	must(t, l.close())
	must(t, l.open())
	must(t, compare(l.o.Manager, states[len(states)-1]))
	must(t, l.close())
	return met
}
