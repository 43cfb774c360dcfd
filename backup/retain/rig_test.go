package retain_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/backuptest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/retain"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var ctx = context.Background()

var must = backuptest.Must

// world is a store that lives, in a time of its own, an archive of it, and what it held.
type world struct {
	*backuptest.Store
	now    time.Time
	clock  *atomic.Int64 // now, for the goroutines of stores
	states map[wal.Position]backuptest.State
	seal   archive.SealOptions
	ids    []age.Identity
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{clock: new(atomic.Int64), states: map[wal.Position]backuptest.State{}}
	w.set(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	w.Store = backuptest.New(t, seed, memory(t), backuptest.Changes{}, txn.Options{CheckpointEvery: -1, Now: w.time})
	w.R = rand.New(rand.NewPCG(seed, 7))
	w.Shipping = ship.Options{MaxBytes: 4 << 10, InlineBytes: 4 << 10, BlobBytes: 3 << 10, MarkEvery: 4}
	w.note()
	return w
}

// encrypt has all that follows be encrypted.
func (w *world) encrypt() {
	id, err := age.GenerateX25519Identity()
	must(w.T, err)
	w.seal.Recipients, w.ids = []age.Recipient{id.Recipient()}, []age.Identity{id}
	w.Shipping.Seal, w.Shipping.Identities = w.seal, w.ids
}

// set sets the time.
func (w *world) set(now time.Time) {
	w.now = now
	w.clock.Store(now.UnixNano())
}

// time is the time for stores.
func (w *world) time() time.Time { return time.Unix(0, w.clock.Load()) }

// note remembers what the store holds now.
func (w *world) note() {
	w.T.Helper()
	held := w.Held()
	w.states[held.Head.Position] = held
}

// live commits n times, with a pause before each.
func (w *world) live(n int, pause time.Duration) {
	w.T.Helper()
	for range n {
		w.set(w.now.Add(pause))
		_, err := w.M.Update(ctx, w.change)
		must(w.T, err)
		w.note()
	}
}

func (w *world) change(tx *txn.Tx) error {
	name := fmt.Sprint("v", w.R.IntN(3))
	v, err := tx.Volume(name)
	if errors.Is(err, txn.ErrNoVolume) {
		v, err = tx.CreateVolume(name, txn.VolumeOptions{PageSize: 512})
	}
	if err != nil {
		return err
	}
	if w.R.IntN(10) == 0 {
		return tx.DeleteVolume(name)
	}
	page := make([]byte, v.PageSize())
	for range []int{1, 2, 12}[w.R.IntN(3)] { // the most go to blobs
		for i := range page {
			page[i] = byte(w.R.Uint32())
		}
		if err := v.WritePage(w.R.Uint64N(60), page); err != nil {
			return err
		}
	}
	return nil
}

var impatient = objectstest.Impatient(3)

func (w *world) snapshot(whole bool) wal.Position {
	w.T.Helper()
	at, err := w.take(whole, pins.Options{})
	must(w.T, err)
	return at
}

// take takes a snapshot on the base that is chosen for it.
func (w *world) take(whole bool, pin pins.Options) (wal.Position, error) {
	head := w.M.Stats().Head
	made, err := w.M.Backup(ctx, w.Archive, snapshot.Options{Increment: !whole, Identities: w.ids, PartBytes: 16 << 10, Seal: w.seal, Pin: pin})
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
	w.T.Helper()
	for range n {
		w.live(3, 7*time.Hour)
		w.set(w.now.Truncate(24 * time.Hour).Add(24 * time.Hour))
		w.Ship()
		w.snapshot(len(w.states)%40 == 0)
	}
}

// restore restores what the archive has.
func (w *world) restore(to restore.Target, o restore.Options) (string, *restore.Restored, error) {
	dir := filepath.Join(w.T.TempDir(), "restored")
	o.Identities, o.Retry = w.ids, impatient
	got, err := txn.Restore(ctx, w.Archive, dir, to, o, txn.Options{Now: w.time})
	return dir, got, err
}

// move goes on in a store restored to an LSN.
func (w *world) move(to wal.LSN) {
	w.T.Helper()
	must(w.T, w.M.Close())
	from := w.M.Stats().Head.Timeline
	dir, got, err := w.restore(restore.Target{Timeline: from, LSN: to}, restore.Options{})
	must(w.T, err)
	w.Dir = dir
	w.Begun = got.Position
	w.Open()
	w.note()
}

func (w *world) options() retain.Options {
	now := func() time.Time { return w.now }
	return retain.Options{Identities: w.ids, Retry: impatient, Now: now, Pin: pins.Options{Sleep: objectstest.NoRenewal, Now: now}}
}

func (w *world) prune(p retain.Policy) *retain.Planned {
	w.T.Helper()
	return w.pruneWith(p, w.options())
}

func (w *world) pruneWith(p retain.Policy, o retain.Options) *retain.Planned {
	w.T.Helper()
	plan, err := retain.Plan(ctx, w.Archive, p, o)
	must(w.T, err)
	done, err := retain.Run(ctx, w.Archive, p, o)
	must(w.T, err)
	if len(plan.Merged) == 0 && plan.Gone != done.Gone || len(plan.Merged) != len(done.Merged) || !done.Done || plan.Done {
		w.T.Fatalf("%+v was planned, %+v is gone", plan.Gone, done.Gone)
	}
	return done
}

// keeps fails unless the archive has what a plan promises, as far as is tried, and no damage.
func (w *world) keeps(p *retain.Planned, may ...ship.ProblemKind) {
	w.T.Helper()
	for _, s := range p.Snapshots {
		if s.Keep != nil && s.Err == nil {
			w.point(s.Position.Timeline, s.Position.LSN)
		}
	}
	for _, l := range p.Logs {
		for at := range w.states {
			if at.Timeline == l.Timeline && l.From != 0 && (at.LSN == l.From || at.LSN > l.From && w.R.IntN(3) == 0) {
				w.point(l.Timeline, at.LSN)
			}
		}
	}
	w.sound(may...)
}

// point fails unless a point can be restored, now and then for real.
func (w *world) point(timeline wal.TimelineID, lsn wal.LSN) {
	w.T.Helper()
	dry := w.R.IntN(16) != 0
	_, got, err := w.restore(restore.Target{Timeline: timeline, LSN: lsn}, restore.Options{DryRun: dry, Follower: true})
	must(w.T, err)
	want, known := w.states[got.Position]
	if got.Position.LSN != lsn || !known || !got.Time.Equal(want.Time()) || !dry && (got.Digest != want.Digest || got.Volumes != want.Volumes) {
		w.T.Fatalf("LSN %d is %+v, not %+v", lsn, got, want)
	}
}

// sound fails if anything is wrong with the archive but what may be.
func (w *world) sound(may ...ship.ProblemKind) {
	w.T.Helper()
	rep, err := ship.Verify(ctx, w.Archive, ship.ReadOptions{Identities: w.ids, Retry: impatient})
	must(w.T, err)
	for _, p := range rep.Problems {
		if !slices.Contains(may, p.Kind) {
			w.T.Fatalf("%v\nof %v", p, w.keys())
		}
	}
	if slices.Contains(may, ship.Leftover) {
		return
	}
	w.whole()
}

// whole fails if there is a part that no manifest names, or one that is not there.
func (w *world) whole() {
	w.T.Helper()
	parts := map[string]bool{}
	var manifests []archive.Key
	for _, key := range w.keys() {
		k, err := archive.ParseKey(key)
		must(w.T, err)
		switch k.Kind {
		case archive.KindPart:
			parts[key] = true
		case archive.KindManifest:
			manifests = append(manifests, k)
		}
	}
	for _, k := range manifests {
		chain, err := snapshot.Chain(ctx, w.Archive, wal.Position{Timeline: k.Log, LSN: k.First}, w.ids)
		must(w.T, err)
		m := chain[len(chain)-1]
		for i := range m.Parts {
			if key := m.PartKey(i).String(); !parts[key] {
				w.T.Fatalf("%s is missing", key)
			} else {
				delete(parts, key)
			}
		}
	}
	if len(parts) > 0 {
		w.T.Fatalf("%v are left over", parts)
	}
}

func (w *world) keys() (keys []string) { return keysOf(w.T, w.Archive) }

// keysOf are those of an archive, but for pins.
func keysOf(t testing.TB, s objects.Store) []string {
	t.Helper()
	return slices.DeleteFunc(objectstest.Keys(t, s, ""), func(key string) bool { return strings.HasPrefix(key, archive.PinPrefix) })
}

// copyOf is the archive in another place.
func copyOf(t testing.TB, from, to objects.Store) {
	t.Helper()
	for _, key := range keysOf(t, from) {
		must(t, to.Put(ctx, key, objects.Bytes(objectstest.Bytes(t, from, key))))
	}
}

// copy is the archive in a place in memory.
func (w *world) copy() objects.Store {
	w.T.Helper()
	s := memory(w.T)
	copyOf(w.T, w.Archive, s)
	return s
}

// memory is a place in memory.
func memory(t testing.TB) objects.Store {
	t.Helper()
	d, err := objects.OpenDir("/place", objects.DirOptions{Disk: crashfs.New(), Create: true})
	must(t, err)
	return d
}
