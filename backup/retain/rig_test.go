package retain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/retain"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var ctx = context.Background()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// state is what a store held at a position.
type state struct {
	digest  wal.PageHash
	volumes uint64
	time    time.Time
}

// world is a store that lives, in a time of its own, an archive of it, and what it held.
type world struct {
	t      testing.TB
	dir    string
	m      *txn.Manager
	store  objects.Store
	r      *rand.Rand
	now    time.Time
	clock  *atomic.Int64 // now, for the goroutines of stores
	states map[wal.Position]state
	seal   archive.SealOptions
	ids    []age.Identity
	begun  wal.Position // where the store was restored
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, dir: filepath.Join(t.TempDir(), "store"), store: memory(t), r: rand.New(rand.NewPCG(seed, 7)), states: map[wal.Position]state{},
		clock: new(atomic.Int64),
	}
	w.set(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	w.open(txn.Options{Create: true})
	t.Cleanup(func() { must(t, w.m.Close()) })
	w.note()
	return w
}

// set sets the time.
func (w *world) set(now time.Time) {
	w.now = now
	w.clock.Store(now.UnixNano())
}

// time is the time for stores.
func (w *world) time() time.Time { return time.Unix(0, w.clock.Load()) }

// open opens the store.
func (w *world) open(o txn.Options) {
	w.t.Helper()
	o.CheckpointEvery, o.Now = -1, w.time
	var err error
	w.m, _, err = txn.Open(w.dir, o)
	must(w.t, err)
}

// note remembers what the store holds now.
func (w *world) note() {
	w.t.Helper()
	v, err := recovery.View(vfs.OS(), w.dir, 0)
	must(w.t, err)
	n, d, err := v.Snapshot().Digest()
	must(w.t, errors.Join(err, v.Close()))
	head := v.Snapshot().Head
	w.states[head.Position] = state{d, n, time.Unix(0, head.Time)}
}

// live commits n times, with a pause before each.
func (w *world) live(n int, pause time.Duration) {
	w.t.Helper()
	for range n {
		w.set(w.now.Add(pause))
		_, err := w.m.Update(ctx, w.change)
		must(w.t, err)
		w.note()
	}
}

func (w *world) change(tx *txn.Tx) error {
	name := fmt.Sprint("v", w.r.IntN(3))
	v, err := tx.Volume(name)
	if errors.Is(err, txn.ErrNoVolume) {
		v, err = tx.CreateVolume(name, txn.VolumeOptions{PageSize: 512})
	}
	if err != nil {
		return err
	}
	if w.r.IntN(10) == 0 {
		return tx.DeleteVolume(name)
	}
	page := make([]byte, v.PageSize())
	for range []int{1, 2, 12}[w.r.IntN(3)] { // the most go to blobs
		for i := range page {
			page[i] = byte(w.r.Uint32())
		}
		if err := v.WritePage(w.r.Uint64N(60), page); err != nil {
			return err
		}
	}
	return nil
}

var impatient = objectstest.Impatient(3)

// ship brings the archive up to now.
func (w *world) ship() {
	w.t.Helper()
	must(w.t, shipTo(w.dir, w.m, w.begun, w.store, w.seal, w.ids))
}

func shipTo(dir string, m *txn.Manager, begun wal.Position, store objects.Store, seal archive.SealOptions, ids []age.Identity) error {
	head := m.Stats().Head
	if _, err := m.Wait(ctx, head, txn.Ack{Applied: true}); err != nil {
		return err
	}
	history := ship.History{head}
	o := ship.Options{MaxBytes: 4 << 10, InlineBytes: 4 << 10, BlobBytes: 3 << 10, MarkEvery: 4, Seal: seal, Identities: ids}
	if begun.LSN != 0 {
		history = ship.History{begun, head}
	}
	a, err := ship.Open(ctx, store, history, o)
	if err != nil {
		return err
	}
	last := a.Position().LSN
	tail, err := recovery.OpenTail(vfs.OS(), dir, last+1)
	if err != nil {
		return err
	}
	defer tail.Close()
	return a.Run(ctx, ship.Func(func(context.Context) (ship.Entry, error) {
		if last >= head.LSN {
			return ship.Entry{}, io.EOF
		}
		for {
			rec, images, err := tail.Next()
			if err == nil {
				last = rec.LSN
				return ship.Entry{Entry: rec.Entry, Images: images}, nil
			}
			if err != io.EOF { // it is not known to be durable yet
				return ship.Entry{}, err
			}
			time.Sleep(time.Millisecond)
		}
	}))
}

func (w *world) snapshot(whole bool) wal.Position {
	w.t.Helper()
	at, err := w.take(whole, pins.Options{})
	must(w.t, err)
	return at
}

// take takes a snapshot on the base that is chosen for it.
func (w *world) take(whole bool, pin pins.Options) (wal.Position, error) {
	head := w.m.Stats().Head
	list, err := snapshot.List(ctx, w.store, head.Timeline)
	if errors.Is(err, wal.ErrCorrupt) {
		whole, err = true, nil
	}
	if err != nil {
		return head, err
	}
	var base wal.Position
	if len(list) > 0 && !whole {
		chain, err := snapshot.Chain(ctx, w.store, list[0].Position(), w.ids)
		if err != nil {
			return head, err
		}
		var at []wal.Position
		for _, m := range chain {
			at = append(at, m.Position)
		}
		if at[len(at)-1].LSN < head.LSN {
			base = snapshot.ChooseBase(at, head.LSN)
		}
	}
	made, err := w.m.Backup(ctx, w.store, snapshot.Options{Base: base, PartBytes: 16 << 10, Seal: w.seal, Pin: pin})
	if errors.Is(err, snapshot.ErrTaken) {
		return head, nil
	}
	if err != nil {
		return head, err
	}
	return made.Position, nil
}

// days lives for some days, with three commits and a snapshot each.
func (w *world) days(n int) {
	w.t.Helper()
	for range n {
		w.live(3, 7*time.Hour)
		w.set(w.now.Truncate(24 * time.Hour).Add(24 * time.Hour))
		w.ship()
		w.snapshot(len(w.states)%40 == 0)
	}
}

// restore restores what the archive has.
func (w *world) restore(to restore.Target, o restore.Options) (string, *restore.Restored, error) {
	dir := filepath.Join(w.t.TempDir(), "restored")
	o.Identities, o.Retry = w.ids, impatient
	got, err := txn.Restore(ctx, w.store, dir, to, o, txn.Options{Now: w.time})
	return dir, got, err
}

// move goes on in a store restored to an LSN.
func (w *world) move(to wal.LSN) {
	w.t.Helper()
	must(w.t, w.m.Close())
	from := w.m.Stats().Head.Timeline
	dir, got, err := w.restore(restore.Target{Timeline: from, LSN: to}, restore.Options{})
	must(w.t, err)
	w.dir = dir
	w.begun = got.Position
	w.open(txn.Options{})
	w.note()
}

func (w *world) options() retain.Options {
	now := func() time.Time { return w.now }
	return retain.Options{Identities: w.ids, Retry: impatient, Now: now, Pin: pins.Options{Sleep: objectstest.NoRenewal, Now: now}}
}

func (w *world) prune(p retain.Policy) *retain.Planned {
	w.t.Helper()
	return w.pruneWith(p, w.options())
}

func (w *world) pruneWith(p retain.Policy, o retain.Options) *retain.Planned {
	w.t.Helper()
	plan, err := retain.Plan(ctx, w.store, p, o)
	must(w.t, err)
	done, err := retain.Run(ctx, w.store, p, o)
	must(w.t, err)
	if len(plan.Merged) == 0 && plan.Gone != done.Gone || len(plan.Merged) != len(done.Merged) || !done.Done || plan.Done {
		w.t.Fatalf("%+v was planned, %+v is gone", plan.Gone, done.Gone)
	}
	return done
}

// keeps fails unless the archive has what a plan promises, as far as is tried, and no damage.
func (w *world) keeps(p *retain.Planned, may ...ship.ProblemKind) {
	w.t.Helper()
	for _, s := range p.Snapshots {
		if s.Keep != nil && s.Err == nil {
			w.point(s.Position.Timeline, s.Position.LSN)
		}
	}
	for _, l := range p.Logs {
		for at := range w.states {
			if at.Timeline == l.Timeline && l.From != 0 && (at.LSN == l.From || at.LSN > l.From && w.r.IntN(3) == 0) {
				w.point(l.Timeline, at.LSN)
			}
		}
	}
	w.sound(may...)
}

// point fails unless a point can be restored, now and then for real.
func (w *world) point(timeline wal.TimelineID, lsn wal.LSN) {
	w.t.Helper()
	dry := w.r.IntN(16) != 0
	_, got, err := w.restore(restore.Target{Timeline: timeline, LSN: lsn}, restore.Options{DryRun: dry, Follower: true})
	must(w.t, err)
	want, known := w.states[got.Position]
	if got.Position.LSN != lsn || !known || !got.Time.Equal(want.time) || !dry && (got.Digest != want.digest || got.Volumes != want.volumes) {
		w.t.Fatalf("LSN %d is %+v, not %+v", lsn, got, want)
	}
}

// sound fails if anything is wrong with the archive but what may be.
func (w *world) sound(may ...ship.ProblemKind) {
	w.t.Helper()
	rep, err := ship.Verify(ctx, w.store, ship.ReadOptions{Identities: w.ids, Retry: impatient})
	must(w.t, err)
	for _, p := range rep.Problems {
		if !slices.Contains(may, p.Kind) {
			w.t.Fatalf("%v\nof %v", p, w.keys())
		}
	}
	if slices.Contains(may, ship.Leftover) {
		return
	}
	w.whole()
}

// whole fails if there is a part that no manifest names, or one that is not there.
func (w *world) whole() {
	w.t.Helper()
	parts := map[string]bool{}
	var manifests []archive.Key
	for _, key := range w.keys() {
		k, err := archive.ParseKey(key)
		must(w.t, err)
		switch k.Kind {
		case archive.KindPart:
			parts[key] = true
		case archive.KindManifest:
			manifests = append(manifests, k)
		}
	}
	for _, k := range manifests {
		chain, err := snapshot.Chain(ctx, w.store, wal.Position{Timeline: k.Log, LSN: k.First}, w.ids)
		must(w.t, err)
		m := chain[len(chain)-1]
		for i := range m.Parts {
			if key := m.PartKey(i).String(); !parts[key] {
				w.t.Fatalf("%s is missing", key)
			} else {
				delete(parts, key)
			}
		}
	}
	if len(parts) > 0 {
		w.t.Fatalf("%v are left over", parts)
	}
}

func (w *world) keys() (keys []string) { return keysOf(w.t, w.store) }

func keysOf(t testing.TB, s objects.Store) (keys []string) {
	t.Helper()
	for item, err := range s.List(ctx, "") {
		must(t, err)
		if !strings.HasPrefix(item.Key, archive.PinPrefix) {
			keys = append(keys, item.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

// copyOf is the archive in another place.
func copyOf(t testing.TB, from, to objects.Store) {
	t.Helper()
	for _, key := range keysOf(t, from) {
		r, _, err := from.Get(ctx, key, 0, -1)
		must(t, err)
		b, err := io.ReadAll(r)
		must(t, errors.Join(err, r.Close(), to.Put(ctx, key, objects.Bytes(b))))
	}
}

// memory is a place in memory.
func memory(t testing.TB) objects.Store {
	t.Helper()
	d, err := objects.OpenDir("/place", objects.DirOptions{Disk: crashfs.New(), Create: true})
	must(t, err)
	return d
}
