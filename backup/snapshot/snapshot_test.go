package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/backuptest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var ctx = context.Background()

var must = backuptest.Must

// world is a store that lives, and an archive of it.
type world struct {
	*backuptest.Store
	taken []*snapshot.Manifest
}

func newWorld(t testing.TB, seed uint64) *world {
	place, err := objects.OpenDir(t.TempDir(), objects.DirOptions{})
	must(t, err)
	must(t, place.Put(ctx, archive.FormatKey, objects.Bytes(archive.EncodeFormat(archive.Format{Archive: uuid.New(), Made: 1}))))
	changes := backuptest.Changes{PageSizes: []uint32{512, 4096, 16384}, Most: 20, Pages: 3000}
	return &world{Store: backuptest.New(t, seed, place, changes, txn.Options{})}
}

// checkpoint is what one has just made durable.
func (w *world) checkpoint() *pagestore.Snapshot {
	w.T.Helper()
	must(w.T, w.M.Checkpoint(ctx))
	return w.view()
}

// view is what the store holds on its disk; it ends with the test.
func (w *world) view() *pagestore.Snapshot {
	w.T.Helper()
	v, err := recovery.View(vfs.OS(), w.Dir, 0)
	must(w.T, err)
	w.T.Cleanup(func() { must(w.T, v.Close()) })
	return v.Snapshot()
}

// take takes a snapshot of what a checkpoint has just made durable.
func (w *world) take(base wal.Position, seal archive.SealOptions) *snapshot.Manifest {
	w.T.Helper()
	m, err := snapshot.Take(ctx, w.Archive, w.checkpoint(), snapshot.Options{Base: base, PageSize: wal.DefaultPageSize, PartBytes: 64 << 10, Seal: seal})
	must(w.T, err)
	w.taken = append(w.taken, m)
	return m
}

// load makes a store of a snapshot.
func load(t testing.TB, store objects.Store, at wal.Position, ids ...age.Identity) (string, error) {
	t.Helper()
	chain, err := snapshot.Chain(ctx, store, at, ids)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(t.TempDir(), "loaded")
	last := chain[len(chain)-1]
	must(t, vfs.OS().Mkdir(dir))
	l, err := snapshot.NewLoader(pagestore.Options{FS: vfs.OS(), Dir: dir, CacheBytes: 256 << 10}, chain[0].Head(),
		manifest.Options{Created: 1, PageSize: last.PageSize, HeapFileBytes: 1 << 30})
	must(t, err)
	for _, m := range chain {
		if err := m.Load(ctx, store, l, ids, nil); err != nil {
			return "", errors.Join(err, l.Close())
		}
	}
	return dir, l.Finish()
}

// same compares a loaded store with what a manifest says, page by page with the
// store that it was taken from.
func (w *world) same(dir string, m *snapshot.Manifest) {
	w.T.Helper()
	want := backuptest.State{Head: m.Head(), Digest: m.Digest, Volumes: m.Volumes}
	if got := backuptest.Held(w.T, vfs.OS(), dir); got != want {
		w.T.Fatalf("%+v, want %+v", got, want)
	}
	verifytest.Clean(w.T, dir)
}

func TestTakeAndLoad(t *testing.T) {
	t.Parallel()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	for seed, seal := range []archive.SealOptions{{}, {Uncompressed: true}, {Recipients: []age.Recipient{id.Recipient()}}} {
		w := newWorld(t, uint64(seed))
		w.Live(100)
		base := w.take(wal.Position{}, seal)
		for range 3 {
			w.Live(30)
			base = w.take(base.Position, seal)
		}
		w.Live(20)
		w.take(wal.Position{}, seal)
		for _, m := range w.taken {
			dir, err := load(t, w.Archive, m.Position, id)
			must(t, err)
			w.same(dir, m)
		}
		list, err := snapshot.List(ctx, w.Archive, base.Position.Timeline)
		must(t, err)
		if len(list) != 5 || list[0].Last != w.taken[4].Position.LSN || list[4].Last != w.taken[0].Position.LSN {
			t.Errorf("%d snapshots are listed", len(list))
		}
		if _, err := load(t, w.Archive, base.Position); len(seal.Recipients) > 0 && !errors.Is(err, archive.ErrLocked) {
			t.Errorf("without the key: %v", err)
		}
	}
}

// What is there already is not put again, and not by another history.
func TestTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 9)
	w.Live(20)
	m := w.take(wal.Position{}, archive.SealOptions{})
	held := w.view()
	count := len(w.objects())
	_, err := snapshot.Take(ctx, w.Archive, held, snapshot.Options{PageSize: 4096})
	if !errors.Is(err, snapshot.ErrTaken) || len(w.objects()) != count {
		t.Errorf("%v; %d objects, there were %d", err, len(w.objects()), count)
	}
	other := *held
	other.Head.Hash[0] ^= 1
	if _, err := snapshot.Take(ctx, w.Archive, &other, snapshot.Options{PageSize: 4096}); !errors.Is(err, snapshot.ErrDiverged) {
		t.Errorf("another history: %v", err)
	}
	if _, err := snapshot.Take(ctx, w.Archive, held, snapshot.Options{PageSize: 4096, Base: m.Position}); !errors.Is(err, snapshot.ErrBase) {
		t.Errorf("its own base: %v", err)
	}
	for what, base := range map[string]wal.Position{
		"that the archive has not got":               {Timeline: m.Position.Timeline, LSN: m.Position.LSN - 1, Hash: m.Position.Hash},
		"of which the archive has another history's": {Timeline: m.Position.Timeline, LSN: m.Position.LSN, Hash: wal.Hash{1}},
	} {
		w.Live(5)
		if _, err := snapshot.Take(ctx, w.Archive, w.view(), snapshot.Options{PageSize: 4096, Base: base}); !errors.Is(err, snapshot.ErrBase) {
			t.Errorf("a base %s: %v", what, err)
		}
	}
}

// objects are those of the archive, but for FORMAT.
func (w *world) objects() map[string]int64 {
	all := map[string]int64{}
	for item, err := range w.Archive.List(ctx, "") {
		must(w.T, err)
		all[item.Key] = item.Size
	}
	delete(all, archive.FormatKey)
	return all
}

// Each object of a snapshot flipped, cut, gone, or another's: it is never loaded.
func TestDamage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.Live(60)
	w.Live(20)
	base := w.take(wal.Position{}, archive.SealOptions{})
	w.Live(20)
	last := w.take(base.Position, archive.SealOptions{})
	keys := slices.Sorted(maps.Keys(w.objects()))
	if len(keys) < 5 {
		t.Fatalf("only %d objects", len(keys))
	}
	for _, key := range keys {
		b := objectstest.Bytes(t, w.Archive, key)
		for what, damaged := range map[string][]byte{
			"gone": nil, "flipped": flipped(b, w.R.IntN(len(b))), "cut": b[:w.R.IntN(len(b))], "longer": append(bytes.Clone(b), 0), "another's": objectstest.Bytes(t, w.Archive, keys[(slices.Index(keys, key)+1)%len(keys)]),
		} {
			objectstest.Replace(t, w.Archive, key, damaged)
			if _, err := load(t, w.Archive, last.Position); !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) && !errors.Is(err, objects.ErrNotFound) {
				t.Errorf("%s %s: %v", key, what, err)
			}
			objectstest.Replace(t, w.Archive, key, b)
		}
	}
	_, err := load(t, w.Archive, last.Position)
	must(t, err)
}

func flipped(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1
	return c
}

// A store that was loaded follows the one that it was taken from, entry by entry,
// to the same states; and is a writer when it is promoted.
func TestFollowFromSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.Live(80)
	base := w.take(wal.Position{}, archive.SealOptions{})
	w.Live(10)
	second := w.take(base.Position, archive.SealOptions{})
	_, err := w.M.Consumer(ctx, "copy")
	must(t, err)
	w.Live(60)
	dir, err := load(t, w.Archive, second.Position)
	must(t, err)
	f, _, err := txn.Open(dir, txn.Options{Follower: true})
	must(t, err)
	head := w.M.Stats().Head
	for e, err := range w.M.Watch(ctx, txn.WatchOptions{After: second.Position}) {
		must(t, err)
		images, err := e.Images()
		must(t, err)
		_, err = f.Apply(ctx, e.Entry, images)
		must(t, err)
		if e.Position == head {
			break
		}
	}
	_, err = f.Wait(ctx, head, txn.Ack{Applied: true})
	must(t, err)
	sameContent(t, f, w.M, dir, w.Dir)
	_, err = f.Promote(ctx)
	must(t, err)
	_, err = f.Update(ctx, w.Change)
	if !errors.Is(err, txn.ErrVolumeExists) && !errors.Is(err, txn.ErrStaged) {
		must(t, err)
	}
	must(t, errors.Join(f.Checkpoint(ctx), f.Close()))
	verifytest.Clean(t, dir)
}

// sameContent compares what two stores hold.
func sameContent(t *testing.T, a, b *txn.Manager, dirA, dirB string) {
	t.Helper()
	must(t, errors.Join(a.Checkpoint(ctx), b.Checkpoint(ctx)))
	x, y := backuptest.Held(t, vfs.OS(), dirA), backuptest.Held(t, vfs.OS(), dirB)
	if x.Volumes == 0 || x.Volumes != y.Volumes || x.Digest != y.Digest {
		t.Errorf("%+v, and %+v", x, y)
	}
}

var impatient = objectstest.Impatient(2)

// The archive's store is out of reach from each call on, or loses one call or its
// answer: there is a whole snapshot or none, and the next attempt makes it.
func TestTakeCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6)
	w.Live(60)
	held := w.checkpoint()
	take := func(s objects.Store) (*snapshot.Manifest, error) {
		return snapshot.Take(ctx, s, held, snapshot.Options{PageSize: wal.DefaultPageSize, PartBytes: 256 << 10, Retry: impatient, Pin: pins.Options{Sleep: objectstest.NoRenewal}})
	}
	counted := objectstest.Count(w.Archive)
	whole, err := take(counted)
	must(t, err)
	calls := len(counted.Log())
	if calls < 5 {
		t.Fatalf("only %d calls", calls)
	}
	position, all := whole.Position, counted.Log()
	for n := range calls {
		for _, how := range []objectstest.How{objectstest.Fail, objectstest.Stop, objectstest.LoseAnswer, objectstest.LoseCall} {
			if strings.Contains(all[n], " "+archive.PinPrefix) && how != objectstest.Stop { // package pins tries these
				continue
			}
			for key := range w.objects() {
				must(t, w.Archive.Delete(ctx, key))
			}
			counted := objectstest.Count(w.Archive)
			counted.At(n, how)
			m, err := take(counted)
			there, errRead := snapshot.Read(ctx, w.Archive, position, nil)
			switch {
			case err == nil && errRead == nil && there.Attempt == m.Attempt:
			case err != nil && errors.Is(errRead, objects.ErrNotFound):
				_, err = take(w.Archive)
				must(t, err)
			default:
				t.Fatalf("call %d, %d: %v, and then %v", n, how, err, errRead)
			}
			if _, err := take(w.Archive); !errors.Is(err, snapshot.ErrTaken) {
				t.Fatalf("call %d, %d: again: %v", n, how, err)
			}
			if n%3 == 0 {
				dir, err := load(t, w.Archive, position)
				must(t, err)
				w.same(dir, whole)
			}
		}
	}
}

// answers loses the answer to the put of a manifest, and fails all that come behind.
type answers struct {
	objects.Store
	puts int
	then error
}

func (a *answers) Put(ctx context.Context, key string, body objects.Body) error {
	if !strings.HasSuffix(key, "/manifest") {
		return a.Store.Put(ctx, key, body)
	}
	if a.puts++; a.puts > 1 {
		return a.then
	}
	return errors.Join(objects.ErrUnknown, a.Store.Put(ctx, key, body))
}

// What a manifest names that may be there is not deleted.
func TestTakeWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12)
	w.Live(30)
	held := w.checkpoint()
	for _, then := range []error{errors.New("no credentials"), context.Canceled} {
		for key := range w.objects() {
			must(t, w.Archive.Delete(ctx, key))
		}
		_, err := snapshot.Take(ctx, &answers{Store: w.Archive, then: then}, held, snapshot.Options{PageSize: wal.DefaultPageSize, Retry: impatient})
		if !errors.Is(err, objects.ErrUnknown) || !errors.Is(err, then) {
			t.Errorf("without an answer: %v", err)
		}
		if _, err := snapshot.Take(ctx, w.Archive, held, snapshot.Options{PageSize: wal.DefaultPageSize}); !errors.Is(err, snapshot.ErrTaken) {
			t.Errorf("again: %v", err)
		}
		_, err = load(t, w.Archive, held.Head.Position)
		must(t, err)
	}
}

// TestTakePins: none is taken while a prune is at work, and none is there when the pin has
// lapsed: what it refers to may have been deleted.
func TestTakePins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 15)
	w.Live(10)
	held := w.checkpoint()
	prune, err := pins.Hold(ctx, w.Archive, pins.Options{Kind: pins.Prune})
	must(t, err)
	ended, cancel := context.WithCancel(ctx)
	o := snapshot.Options{PageSize: wal.DefaultPageSize, Pin: pins.Options{
		Sleep: func(ctx context.Context, _ time.Duration) error { cancel(); <-ctx.Done(); return ctx.Err() },
	}}
	if _, err := snapshot.Take(ended, w.Archive, held, o); !errors.Is(err, context.Canceled) {
		t.Errorf("beside a prune: %v", err)
	}
	must(t, prune.Release(ctx))
	now := time.Now()
	o.Pin.Now = func() time.Time { now = now.Add(10 * time.Minute); return now }
	if _, err := snapshot.Take(ctx, w.Archive, held, o); !errors.Is(err, pins.ErrLapsed) {
		t.Errorf("with a pin that lapsed: %v", err)
	}
	if n := len(w.objects()); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	o.Pin = pins.Options{}
	_, err = snapshot.Take(ctx, w.Archive, held, o)
	must(t, err)
}

// A page that is damaged in the middle of those that are read at once is found, and
// named; there is no snapshot.
func TestTakeOfADamagedPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 13)
	_, err := w.M.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{})
		for no := uint64(0); no < 100 && err == nil; no++ {
			err = v.WritePage(no, []byte(fmt.Sprintf("page-%04d-%s", no, strings.Repeat("x", wal.DefaultPageSize-10))))
		}
		return err
	})
	must(t, err)
	must(t, w.M.Checkpoint(ctx))
	files, err := filepath.Glob(filepath.Join(w.Dir, "heap", "*"))
	must(t, err)
	found := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		must(t, err)
		if at := bytes.Index(b, []byte("page-0037-")); at >= 0 {
			found++
			b[at+2000] ^= 1
			must(t, os.WriteFile(name, b, 0o600))
		}
	}
	if found != 1 {
		t.Fatalf("page 37 is in %d files", found)
	}
	_, err = snapshot.Take(ctx, w.Archive, w.view(), snapshot.Options{PageSize: wal.DefaultPageSize})
	if !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), "page 37") {
		t.Errorf("take: %v", err)
	}
	if left := w.objects(); len(left) != 0 {
		t.Errorf("there are objects: %v", left)
	}
}

// A place that nobody has begun is refused, and stays empty, so that an archive can begin there.
func TestTakeWithoutAnArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 23)
	w.Live(3)
	held := w.checkpoint()
	empty, err := objects.OpenDir(t.TempDir(), objects.DirOptions{})
	must(t, err)
	o := snapshot.Options{PageSize: wal.DefaultPageSize}
	if _, err := snapshot.Take(ctx, empty, held, o); !errors.Is(err, snapshot.ErrNoArchive) {
		t.Errorf("without a FORMAT: %v", err)
	}
	for item, err := range empty.List(ctx, "") {
		t.Errorf("%s was put: %v", item.Key, err)
	}
	must(t, empty.Put(ctx, archive.FormatKey, objects.Bytes([]byte("of something else"))))
	if _, err := snapshot.Take(ctx, empty, held, o); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("with a damaged FORMAT: %v", err)
	}
}
