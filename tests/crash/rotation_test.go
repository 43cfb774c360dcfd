package crash

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/txn"
)

// TestHookedBufferedAcrossGenerations: commits that wait for no sync fill
// several generations of the log, their images beside it in slots. The log
// syncs each generation that it leaves; the slots it does not. A power cut takes
// them, and recovery has to cut the log there, not to call it corrupt.
func TestHookedBufferedAcrossGenerations(t *testing.T) {
	hooked(t)
	h := bufferedAcrossGenerations(t)
	e := &enumeration{t: t}
	points := make(chan point)
	var wg sync.WaitGroup
	for w := range runtime.GOMAXPROCS(0) {
		b := bay{fmt.Sprintf("/bay%d", w)}
		wg.Go(func() {
			for p := range points {
				e.counts.points.Add(1)
				e.recovered(b, p, h.disk.Cut(p.k, p.model))
			}
		})
	}
	for k := h.begin; k <= h.disk.Ops(); k++ {
		m := crashfs.Posix
		if k%4 == 0 {
			m = crashfs.Random(uint64(k))
		}
		if e.shown.Load() < mostShown {
			points <- point{h, k, m}
		}
	}
	close(points)
	wg.Wait()
	t.Logf("%v (%d LSNs)", &e.counts, len(h.states)-1)
	if e.counts.torn.Load() == 0 {
		t.Error("no cut left a torn tail")
	}
}

// bufferedAcrossGenerations is one synced commit, buffered ones over more than
// three generations, and a synced one.
func bufferedAcrossGenerations(t *testing.T) *history {
	l := newLife(bay{"/record"}, crashfs.New(), 1)
	var err error
	l.o, err = l.bay.open(l.disk, func(o *txn.Options) { o.SyncEvery = time.Hour })
	must(t, err)
	l.rec.committed(l.o.rep.Last, l.disk.Ops(), nil)
	r := rand.New(rand.NewPCG(1, 1))
	pages := func(s *step, own string) error { return s.pages(own, 4096, 4, 24) } // 16 KiB: not in the log
	must(t, l.run(txn.TxOptions{}, pages, "a", r))
	begin := l.disk.Ops()
	for l.o.Stats().LogBytes < 9<<19 {
		o := txn.TxOptions{Durability: txn.Buffered, Metadata: randomBytes(r, 60<<10)}
		must(t, l.run(o, pages, "a", r))
	}
	must(t, l.run(txn.TxOptions{}, pages, "a", r))
	must(t, l.close())
	states, err := l.rec.states([]state{{}, {}})
	must(t, err)
	return &history{name: "buffered across generations", disk: l.disk, begin: begin, acks: l.rec.acks, states: states}
}
