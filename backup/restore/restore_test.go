package restore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/quire-db/quire/backup/backuptest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var ctx = context.Background()

var must = backuptest.Must

// world is a store that lives, an archive of it, and what it held.
type world struct {
	*backuptest.Store
	states map[wal.LSN]backuptest.State
}

func newWorld(t testing.TB, seed uint64) *world {
	archive, err := objects.OpenDir(t.TempDir(), objects.DirOptions{})
	must(t, err)
	changes := backuptest.Changes{PageSizes: []uint32{512, 4096}, Most: 4, Pages: 300}
	w := &world{backuptest.New(t, seed, archive, changes, txn.Options{CheckpointEvery: -1}), map[wal.LSN]backuptest.State{}}
	w.note()
	return w
}

// note remembers what the store holds now.
func (w *world) note() {
	w.T.Helper()
	held := w.Held()
	w.states[held.Head.LSN] = held
}

// live changes the store at random, and remembers all that it held.
func (w *world) live(n int) {
	w.T.Helper()
	for range n {
		w.Live(1)
		w.note()
	}
}

func (w *world) history() {
	for i := range 4 {
		w.live(12)
		w.Ship()
		w.Snapshot(i == 0)
	}
	w.live(10)
	w.Ship()
}

// keys are those of the archive's logs that have a text in them.
func (w *world) keys(text string) []string {
	keys := objectstest.Keys(w.T, w.Archive, "logs/")
	return slices.DeleteFunc(keys, func(key string) bool { return !strings.Contains(key, text) })
}

func (w *world) restore(t restore.Target, o restore.Options) (string, *restore.Restored, error) {
	dir := filepath.Join(w.T.TempDir(), "restored")
	got, err := txn.Restore(ctx, w.Archive, dir, t, o, txn.Options{})
	return dir, got, err
}

// holds fails unless a restored store holds what the world did then.
func (w *world) holds(dir string, got *restore.Restored) {
	w.T.Helper()
	want := w.states[got.Position.LSN]
	if got.Digest != want.Digest || got.Volumes != want.Volumes || !got.Time.Equal(want.Time()) {
		w.T.Fatalf("%+v is not %+v", got, want)
	}
	verifytest.Clean(w.T, dir)
}

func TestRestoreToEveryLSN(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.history()
	for lsn := range w.states {
		dir, got, err := w.restore(restore.Target{LSN: lsn}, restore.Options{Follower: lsn%2 == 0})
		must(t, err)
		w.holds(dir, got)
		m, _, err := txn.Open(dir, txn.Options{})
		must(t, err)
		if m.Role() != map[bool]txn.Role{true: txn.RoleFollower, false: txn.RoleWriter}[lsn%2 == 0] {
			t.Errorf("LSN %d: it is a %v", lsn, m.Role())
		}
		must(t, m.Close())
	}
	_, got, err := w.restore(restore.Target{}, restore.Options{})
	must(t, err)
	if want := slices.Max(slices.Collect(maps.Keys(w.states))); got.Position.LSN != want {
		t.Errorf("the newest is LSN %d, want %d", got.Position.LSN, want)
	}
}

func TestRestoreToTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.history()
	for lsn, s := range w.states {
		for _, at := range []time.Time{s.Time(), s.Time().Add(time.Nanosecond)} {
			_, got, err := w.restore(restore.Target{Time: at}, restore.Options{Follower: true})
			must(t, err)
			if got.Position.LSN != lsn || got.Digest != w.states[lsn].Digest {
				t.Errorf("at %v: LSN %d, want %d", at, got.Position.LSN, lsn)
			}
		}
	}
	if _, _, err := w.restore(restore.Target{Timeline: wal.TimelineID{9}}, restore.Options{}); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("to a timeline that is not there: %v", err)
	}
	if _, _, err := w.restore(restore.Target{Time: time.Unix(1, 0)}, restore.Options{}); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("before there was anything: %v", err)
	}
}

// Each object of the archive gone, one at a time: whatever is restored is right, and
// what needs it is refused.
func TestRestoreWithout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.history()
	keys := objectstest.Keys(t, w.Archive, "")
	last := slices.Max(slices.Collect(maps.Keys(w.states)))
	refused := 0
	for _, key := range keys {
		b := objectstest.Bytes(t, w.Archive, key)
		must(t, w.Archive.Delete(ctx, key))
		for _, lsn := range []wal.LSN{1, 10, 20, 35, last} {
			dir, got, err := w.restore(restore.Target{LSN: lsn}, restore.Options{Follower: true})
			switch {
			case err == nil:
				w.holds(dir, got)
			case errors.Is(err, restore.ErrRefused), errors.Is(err, wal.ErrCorrupt), errors.Is(err, objects.ErrNotFound):
				refused++
			default:
				t.Errorf("without %s to LSN %d: %v", key, lsn, err)
			}
		}
		must(t, w.Archive.Put(ctx, key, objects.Bytes(b)))
	}
	if refused < len(keys)/2 { // snapshots can do without each other, the log without them
		t.Errorf("only %d refusals of %d objects", refused, len(keys))
	}
}

// The archive's store is out of reach from each call on: the restore fails as a
// whole, and the next one succeeds.
func TestRestoreCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.history()
	counted := objectstest.Count(w.Archive)
	o := restore.Options{Retry: objectstest.Impatient(2), Pin: pins.Options{Sleep: objectstest.NoRenewal}}
	run := func(dir string) (*restore.Restored, error) {
		return txn.Restore(ctx, counted, dir, restore.Target{}, o, txn.Options{})
	}
	parent := t.TempDir()
	_, err := run(filepath.Join(parent, "first"))
	must(t, err)
	calls := len(counted.Log())
	if calls < 20 {
		t.Fatalf("only %d calls", calls)
	}
	dry := func() (*restore.Restored, error) {
		o := o
		o.DryRun = true
		return txn.Restore(ctx, counted, filepath.Join(parent, "dry"), restore.Target{}, o, txn.Options{})
	}
	counted = objectstest.Count(w.Archive)
	_, err = dry()
	must(t, err)
	for n, reads := 0, len(counted.Log()); n < reads; n++ { // one that fails alone is repeated, whatever it is
		counted = objectstest.Count(w.Archive)
		counted.At(n, objectstest.Fail)
		got, err := dry()
		must(t, err)
		if len(got.Passed) > 0 || len(counted.Log()) < reads {
			t.Fatalf("call %d: %+v", n, got)
		}
	}
	failed := 0
	for n := range calls {
		counted = objectstest.Count(w.Archive)
		counted.At(n, objectstest.Stop)
		dir := filepath.Join(parent, fmt.Sprint(n))
		got, err := run(dir)
		if err != nil {
			failed++
			if left := names(t, parent, fmt.Sprint(n)); len(left) > 0 {
				t.Fatalf("call %d: %v is left behind %v", n, left, err)
			}
			counted = objectstest.Count(w.Archive)
			got, err = run(dir)
		}
		must(t, err)
		w.holds(dir, got)
		if left := names(t, parent, fmt.Sprint(n, ".")); len(left) > 0 {
			t.Fatalf("call %d: %v is left", n, left)
		}
	}
	t.Logf("%d calls, %d of them ended a restore", calls, failed)
}

// names are those in a directory that begin with prefix.
func names(t testing.TB, dir, prefix string) (list []string) {
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && (e.Name() == prefix || !strings.ContainsAny(e.Name()[len(prefix):], "0123456789")) {
			list = append(list, e.Name())
		}
	}
	return list
}

// What a killed restore left is thrown away, and what lives is left alone.
func TestRestoreIntoWhatIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	w.history()
	parent := t.TempDir()
	dir := filepath.Join(parent, "store")
	must(t, os.MkdirAll(filepath.Join(dir+".restoring", "heap"), 0o777))
	must(t, os.WriteFile(filepath.Join(dir+".restoring", "heap", "00000001"), []byte("part of a heap"), 0o666))
	must(t, os.Mkdir(dir, 0o777)) // an empty one may be there
	run := func() (*restore.Restored, error) {
		return txn.Restore(ctx, w.Archive, dir, restore.Target{}, restore.Options{}, txn.Options{})
	}
	got, err := run()
	must(t, err)
	w.holds(dir, got)
	if _, err := run(); !errors.Is(err, restore.ErrNotEmpty) {
		t.Errorf("over a store: %v", err)
	}
	w.holds(dir, got)
	if left := names(t, parent, "store."); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	held := make(chan error)
	_, err = txn.Restore(ctx, w.Archive, filepath.Join(parent, "other"), restore.Target{}, restore.Options{Progress: func(p restore.Progress) {
		if p.Step == "follow" && held != nil {
			_, err := txn.Restore(ctx, w.Archive, filepath.Join(parent, "other"), restore.Target{}, restore.Options{}, txn.Options{})
			if !errors.Is(err, restore.ErrBusy) {
				t.Errorf("beside another one: %v", err)
			}
			held = nil
		}
	}}, txn.Options{})
	must(t, err)
}

// Reading all that a restore needs makes nothing, and finds out what is missing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6)
	w.history()
	parent := t.TempDir()
	dry := func() (*restore.Restored, error) {
		return txn.Restore(ctx, w.Archive, filepath.Join(parent, "store"), restore.Target{}, restore.Options{DryRun: true}, txn.Options{})
	}
	got, err := dry()
	must(t, err)
	if got.Position.LSN != slices.Max(slices.Collect(maps.Keys(w.states))) || got.Bytes == 0 || len(names(t, parent, "store")) > 0 {
		t.Errorf("%+v", got)
	}
	appends := w.keys("/append/")
	must(t, w.Archive.Delete(ctx, appends[len(appends)-1]))
	if _, err := dry(); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("without the newest entries: %v", err)
	}
}

// What became of a request is known to the store that was restored, and it is not
// carried out again.
func TestRestoredRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7)
	w.live(5)
	o := txn.TxOptions{Actor: w.M.NewActor(), Seq: 3}
	before, err := w.M.UpdateWith(ctx, o, w.Change)
	must(t, err)
	w.note()
	w.live(5)
	w.Ship()
	w.Snapshot(true)
	o2 := txn.TxOptions{Actor: o.Actor, Seq: 4}
	behind, err := w.M.UpdateWith(ctx, o2, w.Change)
	must(t, err)
	w.note()
	w.Ship()
	dir, _, err := w.restore(restore.Target{}, restore.Options{})
	must(t, err)
	m, _, err := txn.Open(dir, txn.Options{})
	must(t, err)
	defer m.Close()
	for seq, want := range map[uint64]txn.Commit{3: before, 4: behind} {
		got, err := m.UpdateWith(ctx, txn.TxOptions{Actor: o.Actor, Seq: seq}, func(*txn.Tx) error {
			t.Errorf("request %d is carried out again", seq)
			return nil
		})
		if err != nil || !got.Repeated || got.Position != want.Position {
			t.Errorf("request %d: %+v, %v, want %+v", seq, got, err, want)
		}
	}
}

// Each object of the archive damaged, one at a time: the log alone leads to every
// target, and snapshots do where it is damaged. A snapshot that is not needed does no
// harm.
func TestRestoreDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 8)
	w.history()
	parts := 0
	for _, key := range w.keys("/snap/") {
		parts++
		b := objectstest.Bytes(t, w.Archive, key)
		for _, at := range []int{10, len(b) - 1} {
			bad := slices.Clone(b)
			bad[at] ^= 1
			objectstest.Replace(t, w.Archive, key, bad)
			for _, target := range []restore.Target{{LSN: 5}, {}} {
				dir, got, err := w.restore(target, restore.Options{Follower: true})
				if err != nil {
					t.Fatalf("%s damaged at %d: %v", key, at, err)
				}
				w.holds(dir, got)
				_, dry, err := w.restore(target, restore.Options{Follower: true, DryRun: true})
				must(t, err)
				if dry.Position != got.Position || len(dry.Passed) != len(got.Passed) {
					t.Errorf("the rehearsal is %+v, and then %+v", dry, got)
				}
			}
		}
		objectstest.Replace(t, w.Archive, key, b)
	}
	if parts < 8 {
		t.Errorf("only %d objects of snapshots", parts)
	}
}

// A target that lies in nothing but a gap: what is behind it can be restored, and is
// named.
func TestRefusalNamesWhatIsBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 9)
	w.live(10)
	w.Ship()
	w.live(10)
	w.Snapshot(true)
	w.Ship()
	must(t, w.Archive.Delete(ctx, w.keys("/append/")[0]))
	for _, target := range []restore.Target{{LSN: 3}, {Time: w.states[3].Time()}} {
		var refused *restore.RefusedError
		if _, _, err := w.restore(target, restore.Options{}); !errors.As(err, &refused) || len(refused.After) != 1 || refused.After[0] != w.Snaps[0] {
			t.Errorf("to %v: %v", target, err)
		}
	}
	at := w.Snaps[0].LSN
	for _, key := range w.keys("/append/") {
		must(t, w.Archive.Delete(ctx, key))
	}
	for _, target := range []restore.Target{{LSN: at}, {Time: w.states[at].Time()}} {
		dir, got, err := w.restore(target, restore.Options{})
		must(t, err)
		w.holds(dir, got)
	}
}

// A copy of the store takes a snapshot of what only it has.
func TestSnapshotOfACopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10)
	w.live(10)
	must(t, w.M.Checkpoint(ctx))
	w.Ship()
	w.Snapshot(true)
	w.live(5)
	w.Ship()
	other := newWorld(t, 11)
	other.live(int(w.M.Stats().Head.LSN) - 1)
	v, err := recovery.View(vfs.OS(), other.Dir, 0)
	must(t, err)
	held := v.Snapshot()
	held.Head.Timeline = w.M.Stats().Head.Timeline
	_, err = snapshot.Take(ctx, w.Archive, held, snapshot.Options{PageSize: wal.DefaultPageSize})
	must(t, errors.Join(err, v.Close()))
	dir, got, err := w.restore(restore.Target{LSN: held.LSN()}, restore.Options{})
	must(t, err)
	w.holds(dir, got)
	if len(got.Passed) != 1 || !errors.Is(got.Passed[0], snapshot.ErrDiverged) {
		t.Errorf("passed over: %v", got.Passed)
	}
}

// What stands where the store is to be staged is said each time, and nothing is left
// locked.
func TestStagingInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12)
	w.live(3)
	w.Ship()
	parent := t.TempDir()
	dir := filepath.Join(parent, "store")
	must(t, os.WriteFile(dir+".restoring", []byte("a file"), 0o666))
	for range 2 {
		_, err := txn.Restore(ctx, w.Archive, dir, restore.Target{}, restore.Options{}, txn.Options{})
		if err == nil || errors.Is(err, restore.ErrBusy) {
			t.Errorf("where a file is: %v", err)
		}
	}
	if left := names(t, parent, "store"); !slices.Equal(left, []string{"store.restoring"}) {
		t.Errorf("%v is left", left)
	}
	for _, dir := range []string{".", "/", parent + "/..", ""} {
		if _, err := txn.Restore(ctx, w.Archive, dir, restore.Target{}, restore.Options{}, txn.Options{}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("into %q: %v", dir, err)
		}
	}
}

// A link where the store is to be staged leads to what is somebody else's: nothing there is
// removed.
func TestStagingIsALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 13)
	w.live(3)
	w.Ship()
	for _, staging := range []string{".restoring", ".restoring.whole"} {
		dir, others := filepath.Join(t.TempDir(), "store"), t.TempDir()
		file := filepath.Join(others, "file")
		must(t, os.WriteFile(file, []byte("somebody's"), 0o666))
		must(t, os.Symlink(others, dir+staging))
		_, err := txn.Restore(ctx, w.Archive, dir, restore.Target{}, restore.Options{}, txn.Options{})
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", staging, err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v", staging, err)
		}
		if _, err := os.Lstat(dir + staging); err != nil {
			t.Errorf("%s: %v", staging, err)
		}
	}
}

// Many restores to one place, each again and again while it is told that another is at
// work: one makes the store, the others find it.
func TestRestoresTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 13)
	w.live(5)
	w.Ship()
	parent := t.TempDir()
	dir := filepath.Join(parent, "store")
	var made atomic.Int32
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			err := restore.ErrBusy
			for errors.Is(err, restore.ErrBusy) {
				_, err = txn.Restore(ctx, w.Archive, dir, restore.Target{}, restore.Options{}, txn.Options{})
			}
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, restore.ErrNotEmpty):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if left := names(t, parent, "store"); made.Load() != 1 || !slices.Equal(left, []string{"store"}) {
		t.Errorf("%d made it, there are %v", made.Load(), left)
	}
}

// torn is a store of which each body of a snapshot's object fails once, after some bytes.
type torn struct {
	objects.Store
	mu   sync.Mutex
	seen map[string]bool
}

func (s *torn) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	r, size, err := s.Store.Get(ctx, key, off, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.seen[key] || !strings.Contains(key, "/snap/") || n >= 0 {
		return r, size, err
	}
	s.seen[key] = true
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, size/2), iotest.ErrReader(errors.New("connection reset"))), r}, size, nil
}

func TestRestoreGoesOnWhereABodyFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 15)
	w.live(20)
	w.Ship()
	w.Snapshot(true)
	store := &torn{Store: w.Archive, seen: map[string]bool{}}
	dir := filepath.Join(t.TempDir(), "store")
	got, err := txn.Restore(ctx, store, dir, restore.Target{}, restore.Options{Retry: objectstest.Impatient(2)}, txn.Options{})
	must(t, err)
	w.holds(dir, got)
	if len(got.Snapshots) != 1 || len(got.Passed) > 0 || len(store.seen) < 2 {
		t.Errorf("%+v, %v", got, store.seen)
	}
}

// closed is a store that cannot be written to.
type closed struct{ objects.Store }

func (closed) Put(context.Context, string, objects.Body) error { return fs.ErrPermission }

// TestRestorePins: an archive is pinned before anything is listed, until the end; where that
// cannot be done, it is restored all the same, and said.
func TestRestorePins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 14)
	w.live(5)
	w.Ship()
	counted := objectstest.Count(w.Archive)
	_, err := txn.Restore(ctx, counted, filepath.Join(t.TempDir(), "a"), restore.Target{}, restore.Options{}, txn.Options{})
	must(t, err)
	log := counted.Log()
	if first, last := log[0], log[len(log)-1]; !strings.HasPrefix(first, "put pins/") || last != "delete"+strings.TrimPrefix(first, "put") {
		t.Errorf("it begins with %s and ends with %s", first, last)
	}
	got, err := txn.Restore(ctx, closed{w.Archive}, filepath.Join(t.TempDir(), "b"), restore.Target{}, restore.Options{}, txn.Options{})
	must(t, err)
	if !errors.Is(got.Unpinned, fs.ErrPermission) {
		t.Errorf("without a pin: %v", got.Unpinned)
	}
}
