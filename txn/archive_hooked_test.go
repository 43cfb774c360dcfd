package txn_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
	"github.com/quire-db/quire/txn"
)

// inMemory skips a test that opens very many stores, unless they are in memory.
func inMemory(t *testing.T) {
	if !tidwallfs.Hooked {
		t.Skip("run by TestAppendFails")
	}
}

// onDisk is a store on a disk in memory.
func onDisk(t testing.TB, disk *crashfs.FS, base string, p *place) *archived {
	t.Helper()
	if err := disk.Mkdir(base); err == nil {
		if err := disk.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
	}
	s := unopenedIn(t, base, p)
	s.opts.FS = disk
	return s
}

// replays applies what the archive has to a follower, and compares each state of it.
func (s *archived) replays() {
	s.t.Helper()
	ctx := context.Background()
	s.news++
	o := txn.Options{FS: s.opts.FS, Create: true, Follower: true}
	f, _, err := txn.Open(filepath.Join(s.base, fmt.Sprint("follower", s.news)), o)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	r, err := ship.OpenReader(ctx, s.place.Store, ship.ReadOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	head := s.Stats().Head
	for item, err := range r.Entries(ctx, head.Timeline, 1, 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		c, err := f.Apply(ctx, item.Entry, item.Images)
		if err == nil {
			_, err = f.Wait(ctx, c.Position, txn.Ack{Applied: true})
		}
		if err != nil {
			s.t.Fatal(err)
		}
		want, known := s.value[c.Position.LSN]
		err = f.View(ctx, func(tx *txn.Tx) error {
			value, err := get(tx, "v", 0)
			if err == nil && value != want {
				err = fmt.Errorf("it holds %d, want %d", value, want)
			}
			return err
		})
		if known && err != nil {
			s.t.Fatalf("LSN %d: %v", c.Position.LSN, err)
		}
	}
	if got := f.Stats().Head; got != head {
		s.t.Fatalf("the archive ends at %v, the store at %v", got, head)
	}
}

// TestHookedArchiveFollowsABusyManager: every LSN of a store that many write, with checkpoints
// between, can be restored from what was archived beside it.
func TestHookedArchiveFollowsABusyManager(t *testing.T) {
	inMemory(t)
	disk := crashfs.New()
	s := onDisk(t, disk, "/archived", newPlace(t, crashfs.New()))
	defer tidwallfs.Mount(s.base, disk)()
	s.open()
	var mu sync.Mutex
	var all sync.WaitGroup
	s.write(1)
	for w := range uint64(4) {
		all.Go(func() {
			for i := range uint64(8) {
				c, err := s.Update(context.Background(), func(tx *txn.Tx) error { return put(tx, "v", 0, w<<32+i+1) })
				if err == nil && i%3 == 0 {
					err = s.Checkpoint(context.Background())
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				s.value[c.Position.LSN] = w<<32 + i + 1
				mu.Unlock()
			}
		})
	}
	all.Wait()
	s.await()
	if st := s.stats(); st.LagEntries != 0 || st.Lag != 0 || st.Failing || st.URL == "" || st.LastSuccess.IsZero() || st.Err != nil {
		t.Errorf("%+v", st)
	}
	head := s.Stats().Head.LSN
	s.replays()
	s.close()
	if r := s.verified(); len(r.Problems) > 0 || len(r.Ranges) != 1 || r.Ranges[0].First != 1 || r.Ranges[0].Last != head {
		t.Errorf("%+v", r) // the end is marked, too
	}
	if st := s.stats(); st.State != txn.ArchiveClosed || st.Shipped.LSN != head {
		t.Errorf("%+v", st)
	}
	s.open() // and goes on
	s.write(3)
	s.close()
	s.replays()
	if r := s.verified(); len(r.Skipped) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestHookedArchiveOutOfReach: the place is out of reach from each call on, when the store is
// opened or later, and comes back: commits go on, and nothing is missing.
func TestHookedArchiveOutOfReach(t *testing.T) {
	inMemory(t)
	for from := 0; !outOfReach(t, from); from++ {
	}
}

// outOfReach reports whether the place was not called that often.
func outOfReach(t *testing.T, from int) bool {
	disk, p := crashfs.New(), newPlace(t, crashfs.New())
	p.away(from)
	s := onDisk(t, disk, "/archived", p)
	defer tidwallfs.Mount(s.base, disk)()
	s.opts.Archive.OpenTimeout = time.Millisecond
	s.open()
	s.write(6)
	if err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.write(2)
	reached := p.called() <= from
	p.away(-1)
	s.write(2)
	s.await()
	s.close()
	s.replays()
	if r := s.verified(); len(r.Skipped) > 0 || r.Ranges[0].First != 1 {
		t.Errorf("%+v", r)
	}
	return reached
}

// TestHookedArchiveSurvivesAPowerCut: store and archive lie on one disk, which is cut off at
// many points, and killed: the archive is never ahead of the store, and the next opening goes
// on without a gap.
func TestHookedArchiveSurvivesAPowerCut(t *testing.T) {
	inMemory(t)
	disk := crashfs.New()
	s := onDisk(t, disk, "/archived", newPlace(t, disk))
	unmount := tidwallfs.Mount(s.base, disk)
	s.open()
	began := disk.Ops()
	for range 3 {
		s.write(4)
		s.await()
		if err := s.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.write(1)
	}
	s.close()
	unmount()
	end := disk.Ops()
	step := max(1, (end-began)/25)
	for k, n := began, uint64(0); k < end; k, n = k+step, n+1 {
		for _, model := range []crashfs.Model{crashfs.KillOnly, crashfs.Random(n), crashfs.Posix} {
			afterCut(t, disk.Cut(k, model), k, model)
		}
	}
}

// afterCut opens what is left, and goes on.
func afterCut(t *testing.T, disk *crashfs.FS, k int, model crashfs.Model) {
	t.Helper()
	defer tidwallfs.Mount("/archived", disk)()
	s := onDisk(t, disk, "/archived", newPlace(t, disk))
	s.open()
	if st := s.stats(); st.RolledBack != nil || st.State != txn.ArchiveRunning {
		t.Fatalf("cut at %d, %v: %+v", k, model, st)
	}
	s.write(2)
	s.await()
	s.close()
	last := s.Stats().Head.LSN
	s.replays()
	if r := s.verified(); len(r.Skipped) > 0 || len(r.Ranges) != 1 || r.Ranges[0].Last != last {
		t.Fatalf("cut at %d, %v: %+v", k, model, r)
	}
}
