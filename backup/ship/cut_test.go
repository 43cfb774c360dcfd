package ship_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

func TestMain(m *testing.M) {
	child()
	goleak.VerifyTestMain(m)
}

// memory is a store on a disk in memory.
func memory(t testing.TB) objects.Store {
	t.Helper()
	d, err := objects.OpenDir("/store", objects.DirOptions{Disk: crashfs.New(), Create: true})
	ok(t, err)
	return d
}

// calls is how many calls archiving these entries takes.
func calls(t *testing.T, made []archivetest.Made) []string {
	t.Helper()
	c := objectstest.Count(memory(t))
	shipped(t, c, made, small)
	return c.Log()
}

// TestCutOff cuts every call off, before and behind it. One lost answer changes nothing;
// of an archiver that is cut off for good, the next one finishes the work, with
// nothing lost.
func TestCutOff(t *testing.T) {
	made := lived(7)
	for n, call := range calls(t, made) {
		for _, how := range []objectstest.How{objectstest.Fail, objectstest.LoseAnswer, objectstest.LoseCall, objectstest.Stop} {
			s := memory(t)
			cut := objectstest.Count(s)
			cut.At(n, how)
			_, err := run(background, cut, made, small)
			if (how == objectstest.Stop) != (err != nil) {
				t.Fatalf("call %d (%s), %d: %v", n, call, how, err)
			}
			if how == objectstest.Stop {
				is(t, err, objectstest.ErrCut)
				shipped(t, s, made, small)
			}
			whole(t, s, made, ship.Leftover)
		}
	}
}

// TestContextEnds: an archiver ends with its context at any call, also while it waits
// to try again.
func TestContextEnds(t *testing.T) {
	made := lived(7)
	for n := range calls(t, made) {
		s := memory(t)
		cut := objectstest.Count(s)
		cut.At(n, objectstest.Stop)
		ctx, cancel := context.WithCancel(background)
		o := small
		o.Retry = objects.RetryOptions{First: 1 << 40} // for a quarter of an hour at least
		o.Retry.Most = o.Retry.First
		done := make(chan error)
		go func() {
			_, err := run(ctx, cut, made, o)
			done <- err
		}()
		for len(cut.Log()) <= n {
			select {
			case err := <-done:
				t.Fatalf("call %d: %v", n, err)
			case <-time.After(50 * time.Microsecond):
			}
		}
		cancel()
		is(t, <-done, context.Canceled)
		shipped(t, s, made, small)
		whole(t, s, made, ship.Leftover)
	}
}

// Environment of a child process: where it archives, how, and which call kills it.
const (
	childStore = "QUIRE_SHIP_STORE"
	childAt    = "QUIRE_SHIP_AT"
)

// child archives, if this process is a child.
func child() {
	location := os.Getenv(childStore)
	if location == "" {
		return
	}
	var at, how, size, n, from int
	if _, err := fmt.Sscan(os.Getenv(childAt), &at, &how, &size, &n, &from); err != nil {
		os.Exit(3)
	}
	d, err := objects.OpenDir(location, objects.DirOptions{})
	if err != nil {
		os.Exit(4)
	}
	c := objectstest.Count(d)
	c.At(at, objectstest.How(how))
	o := small
	o.MaxBytes = int64(size)
	a, err := runFrom(background, c, lived(n), from, o)
	if err != nil {
		fmt.Println(err)
		os.Exit(5)
	}
	fmt.Println(a.Status().Shipped)
	os.Exit(0)
}

// command archives lived(n) in another process.
func command(location string, at int, how objectstest.How, size int64, n int) *exec.Cmd {
	return commandFrom(location, at, how, size, n, 0)
}

// commandFrom does so from the log of a store that has only entries from one on.
func commandFrom(location string, at int, how objectstest.How, size int64, n, from int) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childStore+"="+location, fmt.Sprint(childAt, "=", at, " ", int(how), " ", size, " ", n, " ", from))
	return c
}

// TestKilled kills the archiver by SIGKILL at every call, before and behind it;
// the next one finishes the work.
func TestKilled(t *testing.T) {
	const entries = 4
	made := lived(entries)
	for n := range calls(t, made) {
		for _, how := range []objectstest.How{objectstest.KillBefore, objectstest.KillAfter} {
			location := t.TempDir()
			err := command(location, n, how, small.MaxBytes, entries).Run()
			if !objectstest.Killed(err) {
				t.Fatalf("call %d: the process ended by %v", n, err)
			}
			s := dir(t, location)
			shipped(t, s, made, small)
			whole(t, s, made, ship.Leftover)
		}
	}
}

// together archives entries by many at once, whose logs begin with different ones: each says
// that all was shipped.
func together(t *testing.T, s objects.Store, made []archivetest.Made, from func(i int) int) {
	t.Helper()
	var all sync.WaitGroup
	errs := make(chan error, 6)
	for i := range cap(errs) {
		all.Go(func() {
			o := small
			o.MaxBytes = int64(1000 + 3000*i)
			a, err := runFrom(background, s, made, from(i), o)
			if err == nil && a.Status().Shipped != made[len(made)-1].Position() {
				err = fmt.Errorf("shipped up to %v", a.Status().Shipped)
			}
			errs <- err
		})
	}
	all.Wait()
	for range cap(errs) {
		ok(t, <-errs)
	}
}

// TestArchiversAtOnce: whatever many archivers of one store do at once, the archive has
// one history and each says that all was shipped.
func TestArchiversAtOnce(t *testing.T) {
	made := lived(12)
	for range 5 {
		s := memory(t)
		together(t, s, made, func(int) int { return 0 })
		whole(t, s, made, ship.Leftover)
		checkNoFork(t, s)
	}
}

// checkNoFork: every append but the first begins where another one ends.
func checkNoFork(t *testing.T, s objects.Store) {
	t.Helper()
	starts, ends := map[archive.Key]bool{}, map[archive.Key]bool{}
	for _, k := range keysOf(t, s, archive.KindAppend) {
		b := bytesOf(t, s, k)
		h, err := archive.DecodeHeader(k, int64(len(b)), b)
		ok(t, err)
		starts[k] = true
		k.First = h.Last + 1
		if ends[k] {
			t.Errorf("two appends end before %s", k)
		}
		ends[k] = true
	}
	open := 0
	for k := range ends {
		if !starts[k] {
			open++
		}
	}
	if open != 2 { // the ends of two timelines
		t.Errorf("%d appends are not followed by another one", open)
	}
}

// TestProcesses: the same by processes.
func TestProcesses(t *testing.T) {
	const entries = 7
	location := t.TempDir()
	made := lived(entries)
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() {
			out, err := command(location, -1, 0, int64(1000+3000*i), entries).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != made[len(made)-1].Position().String() {
				t.Errorf("process %d: %v\n%s", i, err, out)
			}
		})
	}
	all.Wait()
	s := dir(t, location)
	whole(t, s, made, ship.Leftover)
	checkNoFork(t, s)
}

// stuck is a store whose answers, and the bytes of whose objects, do not come.
type stuck struct {
	objects.Store
	get, read bool
}

func (s stuck) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if s.get {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	r, size, err := s.Store.Get(ctx, key, off, n)
	if err == nil && s.read {
		r = stuckReader{r, ctx}
	}
	return r, size, err
}

type stuckReader struct {
	io.ReadCloser
	ctx context.Context
}

func (r stuckReader) Read([]byte) (int, error) {
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}

// TestStuckStore: a store that does not answer ends neither an archiver nor a
// reader, nor does it hold them for ever.
func TestStuckStore(t *testing.T) {
	made, s := lived(3), memory(t)
	shipped(t, s, made, small)
	o := small
	o.Retry.Call = time.Millisecond
	for _, s := range []objects.Store{stuck{s, true, false}, stuck{s, false, true}} {
		_, err := run(background, s, made, o)
		is(t, err, context.DeadlineExceeded)
	}
	o.Retry.Call, o.Retry.Tries = 300*time.Millisecond, 2 // enough for a store that answers
	late := &switched{Store: s}
	r, err := ship.OpenReader(background, late, ship.ReadOptions{Retry: o.Retry})
	ok(t, err)
	for _, store := range []objects.Store{stuck{s, true, false}, stuck{s, false, true}} {
		late.Store = s
		got := 0
		for _, err := range r.Entries(background, made[5].Entry.Timeline, 1, 0) {
			late.Store = store
			if err != nil {
				if got == 0 {
					t.Error(err)
				}
				got = -1
				break
			}
			got++
		}
		if got != -1 {
			t.Errorf("%d entries were read", got)
		}
	}
}

// switched is a store that becomes another one.
type switched struct{ objects.Store }
