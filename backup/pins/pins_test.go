package pins

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

var update = flag.Bool("update", false, "write the golden files; only for a new version of the format")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var background = context.Background()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// memory is a store on a disk in memory.
func memory(t testing.TB) objects.Store {
	t.Helper()
	d, err := objects.OpenDir("/store", objects.DirOptions{Disk: crashfs.New(), Create: true})
	must(t, err)
	return d
}

// clock is a time that moves when it is told to, and wakes who sleeps.
type clock struct {
	mu      sync.Mutex
	now     time.Time
	sleeper chan chan struct{} // sleepers, waiting to be woken
}

func newClock() *clock {
	return &clock{now: time.UnixMilli(1_700_000_000_000), sleeper: make(chan chan struct{})}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Sleep sleeps until wake.
func (c *clock) Sleep(ctx context.Context, _ time.Duration) error {
	woken := make(chan struct{})
	select {
	case c.sleeper <- woken:
		<-woken
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wake wakes who sleeps next, once it does.
func (c *clock) wake() { close(<-c.sleeper) }

func (c *clock) options(k Kind) Options {
	return Options{Kind: k, Holder: "test", Now: c.Now, Sleep: c.Sleep}
}

func keys(t testing.TB, s objects.Store) (all []string) {
	t.Helper()
	for item, err := range s.List(background, "") {
		must(t, err)
		all = append(all, item.Key)
	}
	return all
}

// TestPinLives: a pin is renewed, believed past its end, and gone when it is released.
func TestPinLives(t *testing.T) {
	s, c := memory(t), newClock()
	p, err := Hold(background, s, c.options(Use))
	must(t, err)
	first := keys(t, s)
	for range 3 {
		c.pass(100 * time.Second)
		c.wake()
	}
	c.wake() // three renewals are over
	second := keys(t, s)
	if len(first) != 1 || len(second) > 3 || slices.Contains(second, first[0]) || len(second) < 2 {
		t.Fatalf("%v became %v", first, second)
	}
	must(t, p.Err())
	live, _, err := List(background, s, c.Now())
	must(t, err)
	if len(live) != 1 || live[0].Kind != Use || !strings.HasPrefix(live[0].Holder, "test on ") {
		t.Fatalf("%v", live)
	}
	others, err := p.Others(background)
	must(t, err)
	if len(others) != 0 {
		t.Errorf("it sees itself: %v", others)
	}
	must(t, p.Release(background))
	if left := keys(t, s); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

// TestPinLapses: who cannot renew is told; others believe it a while longer.
func TestPinLapses(t *testing.T) {
	s, c := memory(t), newClock()
	cut := objectstest.Count(s)
	p, err := Hold(background, cut, c.options(Use))
	must(t, err)
	cut.At(len(cut.Log()), objectstest.Stop)
	c.pass(5*time.Minute + time.Millisecond)
	if err := p.Err(); !errors.Is(err, ErrLapsed) {
		t.Errorf("%v", err)
	}
	for _, after := range []struct {
		pass       time.Duration
		live, dead int
	}{{0, 1, 0}, {Slack, 0, 1}} {
		c.pass(after.pass)
		live, expired, err := List(background, s, c.Now())
		must(t, err)
		if len(live) != after.live || len(expired) != after.dead {
			t.Errorf("after %v: %v live, %v expired", after.pass, live, expired)
		}
	}
	cut.At(0, 0)
	c.wake()
	c.wake() // it was renewed
	if err := p.Err(); !errors.Is(err, ErrLapsed) {
		t.Errorf("renewed too late: %v", err)
	}
	must(t, p.Release(background))
}

// TestCannotPin: a place that cannot be written to is an error, and a nil pin does no harm.
func TestCannotPin(t *testing.T) {
	for _, how := range []objectstest.How{objectstest.Fail, objectstest.Stop} {
		cut := objectstest.Count(memory(t))
		cut.At(0, how)
		p, err := Hold(background, cut, Options{Sleep: func(ctx context.Context, d time.Duration) error { return objects.Sleep(ctx, min(d, time.Microsecond)) }})
		if (how == objectstest.Stop) != errors.Is(err, objectstest.ErrCut) || (err == nil) != (p != nil) {
			t.Errorf("%v, %v", p, err)
		}
		must(t, errors.Join(p.Err(), p.Await(background), p.Release(background)))
	}
}

// TestPutIsUnknown: a lost answer is asked for again.
func TestPutIsUnknown(t *testing.T) {
	for _, how := range []objectstest.How{objectstest.Fail, objectstest.LoseAnswer, objectstest.LoseCall} {
		s := memory(t)
		cut, c := objectstest.Count(s), newClock()
		cut.At(0, how)
		go c.wake()
		p, err := Hold(background, cut, c.options(Prune))
		must(t, err)
		must(t, p.Release(background))
		if left := keys(t, s); len(left) != 0 {
			t.Errorf("%v are left", left)
		}
	}
}

// TestUsersAndPrunesNeverMeet: whatever many use and prune at once, none of who waits or
// looks first is at work beside one of the other kind, nor two prunes.
func TestUsersAndPrunesNeverMeet(t *testing.T) {
	s := memory(t)
	var using, pruning, pruned atomic.Int32
	o := Options{Sleep: func(ctx context.Context, d time.Duration) error { return objects.Sleep(ctx, min(d, time.Millisecond)) }}
	use := func() error {
		p, err := Hold(background, s, o)
		if err == nil {
			err = p.Await(background)
		}
		using.Add(1)
		if err == nil && pruning.Load() != 0 {
			err = errors.New("a prune is at work beside a user")
		}
		using.Add(-1)
		return errors.Join(err, p.Release(background))
	}
	prune := func() error {
		o := o
		o.Kind = Prune
		p, err := Hold(background, s, o)
		if err != nil {
			return err
		}
		others, err := p.Others(background)
		if err == nil && len(others) == 0 {
			if pruning.Add(1) != 1 || using.Load() != 0 {
				err = errors.New("a prune is beside another, or a user")
			}
			pruned.Add(1)
			pruning.Add(-1)
		}
		return errors.Join(err, p.Release(background))
	}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for range 30 {
				if err := []func() error{use, prune}[i%2](); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	must(t, prune())
	if pruned.Load() == 0 {
		t.Error("no prune ever was alone")
	}
	if left := keys(t, s); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

// TestAwaitEnds: a prune that died is waited for until its pin has ended.
func TestAwaitEnds(t *testing.T) {
	s, c := memory(t), newClock()
	prune, err := Hold(background, s, c.options(Prune))
	must(t, err)
	prune.stop() // it dies
	<-prune.done
	p, err := Hold(background, s, c.options(Use))
	must(t, err)
	done := make(chan error)
	go func() { done <- p.Await(background) }()
	c.wake() // the renewal, or one look in vain
	c.wake()
	c.pass(11 * time.Minute)
	for {
		select {
		case err := <-done:
			must(t, err)
			must(t, p.Release(background))
			return
		case woken := <-c.sleeper:
			close(woken)
		}
	}
}

// TestAwaitIsBounded: a pin of a clock that was years ahead, which nobody renews, is named and
// not waited for until it ends.
func TestAwaitIsBounded(t *testing.T) {
	s, c := memory(t), newClock()
	k := archive.Key{Kind: archive.KindPin, Expires: 9e12, ID: [16]byte{1}}
	must(t, s.Put(background, k.String(), objects.Bytes([]byte("rubbish"))))
	o := c.options(Use)
	o.Sleep = func(ctx context.Context, d time.Duration) error {
		if d != lookEvery { // it is not renewed
			<-ctx.Done()
		}
		c.pass(d)
		return ctx.Err()
	}
	p, err := Hold(background, s, o)
	must(t, err)
	began := c.Now()
	err = p.Await(background)
	var pinned *PinnedError
	if !errors.As(err, &pinned) || len(pinned.By) != 1 || pinned.By[0].Key != k {
		t.Errorf("%v", err)
	}
	if d := c.Now().Sub(began); d < 10*time.Minute || d > 11*time.Minute {
		t.Errorf("it took %v", d)
	}
	must(t, p.Release(background))
}

func TestFormat(t *testing.T) {
	name := filepath.Join("testdata", "pin.v1.golden")
	made := encode(Prune, "prune on gänse, process 7")
	if *update {
		must(t, os.WriteFile(name, made, 0o644))
	}
	want, err := os.ReadFile(name)
	must(t, err)
	if !bytes.Equal(made, want) {
		t.Fatalf("encoded as %q, want %q", made, want)
	}
	k, holder, err := decode("pins/x", want)
	if err != nil || k != Prune || holder != "prune on gänse, process 7" {
		t.Errorf("%v %q %v", k, holder, err)
	}
	for i := range want {
		b := bytes.Clone(want)
		b[i] ^= 0x10
		if _, _, err := decode("pins/x", b); !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, _, err := decode("pins/x", want[:i]); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, holder, err := decode("", encode(Use, "a\n\xff"+strings.Repeat("ä", 200))); err != nil || len(holder) > maxHolder || !strings.HasPrefix(holder, "a??ä") {
		t.Errorf("%q %v", holder, err)
	}
}

// TestUnreadablePins: one that cannot be read may be anything, until it ends.
func TestUnreadablePins(t *testing.T) {
	s, c := memory(t), newClock()
	for i, b := range []string{"", "rubbish", strings.Repeat("x", 5000)} {
		k := archive.Key{Kind: archive.KindPin, Expires: c.Now().UnixMilli() + int64(i), ID: [16]byte{byte(i + 1)}}
		must(t, s.Put(background, k.String(), objects.Bytes([]byte(b))))
	}
	must(t, s.Put(background, "pins/foreign", objects.Bytes(nil)))
	live, expired, err := List(background, s, c.Now())
	must(t, err)
	if len(live) != 3 || !live[0].is(Use) || !live[0].is(Prune) || len(expired) != 0 {
		t.Errorf("%v %v", live, expired)
	}
	text := (&PinnedError{live[:1]}).Error()
	if want := fmt.Sprintf("pins: %v: somebody (%s, counts until 2023-11-14T22:18:21Z unless it is renewed); nothing was deleted: come again when they are done, or if they have died, at 2023-11-14T22:18:21Z", ErrPinned, live[0].Key); text != want {
		t.Errorf("%q, want %q", text, want)
	}
	if end := live[0].counts(); live[0].Live(end) {
		t.Errorf("at %v, when its end is said to be, it still counts", end)
	}
}

func FuzzDecodePin(f *testing.F) {
	f.Add(encode(Use, "restore on host, process 1"))
	f.Add(encode(Prune, ""))
	f.Add([]byte("QAPN\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, holder, err := decode("pins/x", b)
		switch {
		case err == nil && !bytes.Equal(encode(k, holder), b):
			t.Fatalf("%q is encoded differently", b)
		case err != nil && !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion):
			t.Fatal(err)
		}
	})
}
