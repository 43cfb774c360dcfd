package retain_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/retain"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/txn"
)

func TestMain(m *testing.M) {
	child()
	goleak.VerifyTestMain(m)
}

// cutPolicy is what the archive of cutWorld is pruned by: of everything something goes.
var cutPolicy = retain.Policy{Last: 1, Within: 30 * time.Hour, Weekly: 2}

// cutWorld is a world to be pruned, with what a run that is not cut off promises, the keys that
// it leaves, and its calls.
func cutWorld(t *testing.T) (w *world, promised *retain.Planned, left, calls []string) {
	w = newWorld(t, 50)
	w.days(6)
	w.leaveParts(w.M.Stats().Head)
	counted := objectstest.Count(w.copy())
	promised, err := retain.Run(ctx, counted, cutPolicy, w.options())
	must(t, err)
	return w, promised, keysOf(t, counted.Store), counted.Log()
}

// at is the world with another place for its archive.
func (w *world) at(s objects.Store) *world {
	other, store := *w, *w.Store
	store.Archive = s
	other.Store = &store
	return &other
}

// in is the world with another place for its archive, an hour later: pins have ended.
func (w *world) in(s objects.Store) *world {
	later := w.at(s)
	later.now = w.now.Add(time.Hour)
	return later
}

// TestPruneCutOff cuts every call off, before and behind it. One lost answer changes nothing; a
// run that is cut off for good leaves nothing half-visible and all that is promised, and
// the next one ends where one that was not cut off does.
func TestPruneCutOff(t *testing.T) {
	t.Parallel()
	w, promised, want, calls := cutWorld(t)
	if promised.Blobs.Objects == 0 || promised.Leftover.Objects == 0 || promised.Logs[0].Gone.Objects == 0 || len(calls) < 50 {
		t.Fatalf("%d calls did %+v", len(calls), promised)
	}
	for n := range calls {
		lost := []objectstest.How{objectstest.Fail, objectstest.LoseAnswer, objectstest.LoseCall}[n%3]
		for _, how := range []objectstest.How{lost, objectstest.Stop} {
			s := w.copy()
			cut := objectstest.Count(s)
			cut.At(n, how)
			_, err := retain.Run(ctx, cut, cutPolicy, w.options())
			if last := n == len(calls)-1; (how == objectstest.Stop && !last) != (err != nil) {
				t.Fatalf("call %d (%s), %d: %v", n, calls[n], how, err)
			}
			now := w.in(s)
			if how == objectstest.Stop {
				now.sound(ship.Leftover)
				if n%20 == 0 {
					now.keeps(promised, ship.Leftover)
				}
				_, err := retain.Run(ctx, s, cutPolicy, now.options())
				must(t, err)
			}
			now.whole()
			if got := keysOf(t, s); !slices.Equal(got, want) {
				t.Fatalf("call %d (%s), %d: it has\n%v, not\n%v", n, calls[n], how, got, want)
			}
		}
	}
}

// Environment of a child process: where it prunes, when, and which call kills it.
const (
	childStore = "QUIRE_RETAIN_STORE"
	childAt    = "QUIRE_RETAIN_AT"
)

// child prunes, if this process is a child.
func child() {
	location := os.Getenv(childStore)
	if location == "" {
		return
	}
	var at, how int
	var now int64
	if _, err := fmt.Sscan(os.Getenv(childAt), &at, &how, &now); err != nil {
		os.Exit(3)
	}
	d, err := objects.OpenDir(location, objects.DirOptions{})
	if err != nil {
		os.Exit(4)
	}
	c := objectstest.Count(d)
	c.At(at, objectstest.How(how))
	clock := func() time.Time { return time.Unix(0, now) }
	if _, err := retain.Run(context.Background(), c, cutPolicy, retain.Options{Now: clock, Pin: pins.Options{Now: clock}}); err != nil {
		fmt.Println(err)
		os.Exit(5)
	}
	os.Exit(0)
}

// TestPruneKilled kills a run by SIGKILL at each call, before and behind it: all that is
// promised is there, nothing half-visible, and the next run finishes.
func TestPruneKilled(t *testing.T) {
	t.Parallel()
	w, promised, want, calls := cutWorld(t)
	kills := 0
	for n := 0; n < len(calls)-1; n += 3 + n%5 { // calls that are made at once come in any order
		how := []objectstest.How{objectstest.KillBefore, objectstest.KillAfter}[n%2]
		location := t.TempDir()
		d, err := objects.OpenDir(location, objects.DirOptions{})
		must(t, err)
		copyOf(t, w.Archive, d)
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), childStore+"="+location, fmt.Sprint(childAt, "=", n, " ", int(how), " ", w.now.UnixNano()))
		err = c.Run()
		if !objectstest.Killed(err) {
			t.Fatalf("call %d: the process ended by %v", n, err)
		}
		kills++
		now := w.in(d)
		now.sound(ship.Leftover)
		if n%30 == 0 {
			now.keeps(promised, ship.Leftover)
		}
		_, err = retain.Run(ctx, d, cutPolicy, now.options())
		must(t, err)
		now.whole()
		if got := keysOf(t, d); !slices.Equal(got, want) {
			t.Fatalf("call %d: it has\n%v, not\n%v", n, got, want)
		}
	}
	if kills < 8 {
		t.Errorf("only %d kills", kills)
	}
}

// TestBeside: an archiver, who packs, who takes snapshots, who restores and two who prune at
// once, on a store that is written to: nobody ever meets what another has deleted, and in
// the end all that is promised is there.
func TestBeside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 60)
	w.days(3)
	timeline := w.M.Stats().Head.Timeline
	policy := retain.Policy{Last: 2}
	stop, failed := make(chan struct{}), make(chan error, 9)
	var all sync.WaitGroup
	work := func(what string, do func() error) {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				if err := do(); err != nil {
					failed <- fmt.Errorf("%s: %w", what, err)
					return
				}
				time.Sleep(rand.N(4*time.Since(began) + 1)) // so that the archive is not always pinned
			}
		})
	}
	soon := func(ctx context.Context, d time.Duration) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(d, time.Minute) / 1000):
			return nil
		}
	}
	pin := pins.Options{Sleep: func(ctx context.Context, d time.Duration) error {
		if d > time.Second {
			return objectstest.NoRenewal(ctx, d)
		}
		return soon(ctx, d)
	}}
	work("archive", func() error { return w.ShipFrom(0) })
	work("pack", func() error {
		_, err := ship.Pack(ctx, w.Archive, timeline, ship.PackOptions{MaxBytes: 20_000, MinAppends: 3, MinPacks: 3, Retry: impatient, Pin: pin})
		return err
	})
	work("snapshot", func() error {
		_, err := w.take(false, pin)
		if errors.Is(err, snapshot.ErrBase) || errors.Is(err, objects.ErrNotFound) {
			return nil // the base that was chosen is gone: another one, next time
		}
		return err
	})
	work("restore", func() error {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err == nil {
			_, err = txn.Restore(ctx, w.Archive, dir, restore.Target{}, restore.Options{DryRun: true, Retry: impatient}, txn.Options{})
		}
		return err
	})
	pruned := make(chan struct{}, 1000)
	for range 2 {
		work("prune", func() error {
			o := w.options()
			o.Now, o.Pin = time.Now, pin
			p, err := retain.Run(ctx, w.Archive, policy, o)
			if errors.Is(err, pins.ErrPinned) {
				return soon(ctx, time.Second)
			}
			if err == nil && p.Gone.Objects > 0 {
				pruned <- struct{}{}
			}
			return err
		})
	}
	for n, runs := 0, 0; (n < 40 || runs < 3) && len(failed) == 0; n++ {
		w.live(1, time.Minute)
		select {
		case <-pruned:
			runs++
		case <-time.After(10 * time.Millisecond):
		}
	}
	close(stop)
	all.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	w.Ship()
	w.keeps(w.prune(policy), ship.Unmarked, ship.Leftover)
}
