package crash

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
	"github.com/quire-db/quire/txn"
)

// pointsVariable is the environment variable that says how many crash points
// are enumerated at least.
const pointsVariable = "CRASH_POINTS"

// fewPoints are those of an ordinary run of all tests.
const fewPoints = 2000

// TestCrash runs the tests of this package with the library on a crashing disk.
func TestCrash(t *testing.T) {
	if tidwallfs.Hooked {
		t.Skip("this is the hooked build")
	}
	module, err := filepath.Abs("../..")
	must(t, err)
	cmd, err := tidwallfs.Command(module, t.TempDir(), "-count=1", "-timeout=38m", "-v", "-run", "Hooked", "./tests/crash")
	must(t, err)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	must(t, err)
}

func hooked(t *testing.T) {
	if !tidwallfs.Hooked {
		t.Skip("run by TestCrash")
	}
}

func pointsWanted(t *testing.T) int64 {
	text := os.Getenv(pointsVariable)
	if text == "" {
		return fewPoints
	}
	n, err := strconv.ParseInt(text, 10, 64)
	must(t, err)
	return n
}

func (o *opened) ctx() context.Context { return context.Background() }

// record is the life of a store: its making, commits beside checkpoints, clean
// closings, kills and power cuts.
func record(t *testing.T, b bay, seed uint64) []*history {
	l := newLife(b, crashfs.New(), seed)
	must(t, l.first())
	states, err := l.rec.states([]state{{}, {}})
	must(t, err)
	h := &history{name: fmt.Sprintf("life %d", seed), disk: l.disk, acks: l.rec.acks, feeds: l.rec.feeds, states: states, asked: l.rec.requests}
	list := []*history{h}
	for i, m := range []crashfs.Model{crashfs.KillOnly, crashfs.Random(seed), crashfs.MetadataOrdered(seed), crashfs.Posix} {
		k := h.disk.Ops() - 12 - 7*i
		list = append(list, again(t, b, h, k, m, seed+uint64(i)+1))
	}
	return list
}

// again is the life of what a crash left.
func again(t *testing.T, b bay, h *history, k int, m crashfs.Model, seed uint64) *history {
	l := newLife(b, h.disk.Cut(k, m), seed)
	begin := l.disk.Ops()
	l.rec.committed(h.acked(k), begin, nil)
	l.rec.feeds = fed(h, k, begin)
	must(t, l.second())
	found := l.rec.acks[1].lsn
	states, err := l.rec.states(h.states[:found+1])
	must(t, err)
	asked := h.asked.upTo(found)
	maps.Copy(asked, l.rec.requests)
	return &history{
		name: fmt.Sprintf("%s, %v at %d, then life %d", h.name, m, k, seed),
		disk: l.disk, begin: begin, acks: l.rec.acks, feeds: l.rec.feeds, states: states, asked: asked,
	}
}

// first ends without closing: whoever cuts it last kills it.
func (l *life) first() error {
	steps := []func() error{
		l.open, l.bursts, l.subscribe, l.bursts, l.checkpoint, l.bursts, l.beside, l.acknowledge, l.close,
		l.open, l.close,
		l.open, l.fill, l.checkpoint, l.acknowledge, l.checkpoint, l.bursts, l.close,
		l.open, l.bursts, l.checkpoint, l.bursts, l.acknowledge, l.checkpoint, l.bursts, l.close,
	}
	return l.all(steps)
}

func (l *life) second() error {
	return l.all([]func() error{l.open, l.bursts, l.subscribe, l.fill, l.beside, l.acknowledge, l.bursts, l.close})
}

func (l *life) all(steps []func() error) error {
	for i, s := range steps {
		if err := s(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (l *life) bursts() error { return l.burst(3, 4) }

func (l *life) checkpoint() error { return l.o.Checkpoint(context.Background()) }

// fill fills more than one generation of the log.
func (l *life) fill() error {
	before := l.o.Stats().LogBytes
	r := rand.New(rand.NewPCG(l.seed, before))
	for l.o.Stats().LogBytes-before < 1<<20 {
		o := txn.TxOptions{Metadata: randomBytes(r, 60<<10), Durability: txn.Durability(r.IntN(2))}
		if err := l.run(o, small, "a", r); err != nil {
			return err
		}
	}
	return nil
}

// beside checkpoints while commits go on.
func (l *life) beside() error {
	done := make(chan error, 1)
	go func() { done <- l.checkpoint() }()
	err := l.bursts()
	if e := <-done; e != nil {
		return e
	}
	return err
}

func TestHookedCrashEverywhere(t *testing.T) {
	hooked(t)
	e := &enumeration{t: t, budget: pointsWanted(t)}
	began := time.Now()
	for seed := uint64(1); !e.spent(); seed++ {
		list := record(t, bay{"/record"}, seed)
		for _, h := range list {
			t.Logf("%s: %d operations, %d LSNs", h.name, h.disk.Ops()-h.begin, len(h.states)-1)
		}
		e.all(runtime.GOMAXPROCS(0), list)
	}
	t.Logf("%v (%s)", &e.counts, rate(e.counts.points.Load(), began))
	if e.counts.failures() > 0 {
		t.Errorf("%d of %d crash points failed", e.counts.failures(), e.counts.points.Load())
	}
}
