package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/backuptest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var ctx = context.Background()

var must = backuptest.Must

// scratch is a directory in memory, where there is enough.
func scratch(t testing.TB) string {
	t.Helper()
	const memory, enough = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "quire-backup-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// moment is what the world was at an LSN.
type moment struct {
	at      wal.Position
	time    time.Time
	volumes uint64
	digest  wal.PageHash
	state   state
	request uint64 // the actor's last one
}

// line is a timeline.
type line struct {
	id      wal.TimelineID
	parent  *line
	first   wal.LSN // of its own
	moments []*moment
}

// moment at an LSN of the history that leads to the line's end.
func (l *line) moment(lsn wal.LSN) *moment {
	for lsn < l.first {
		l = l.parent
	}
	return l.moments[lsn-l.first]
}

func (l *line) last() wal.LSN { return l.first + wal.LSN(len(l.moments)) - 1 }

// keys of an archive.
type keys struct {
	seal archive.SealOptions
	ids  []age.Identity
}

// encrypted makes a key.
func encrypted(t testing.TB) keys {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	return keys{archive.SealOptions{Recipients: []age.Recipient{id.Recipient()}}, []age.Identity{id}}
}

// world is a store that lives, its archive, and all that it ever held.
type world struct {
	t       testing.TB
	r       *rand.Rand
	dir     string // of everything
	home    string // the store's
	m       *txn.Manager
	store   *objects.Dir
	keys    keys
	clock   atomic.Int64 // seconds
	state   state
	lines   []*line
	snaps   []wal.Position
	actor   wal.ActorID
	request uint64
	made    int // names

	partBytes int // of snapshots
}

func newWorld(t testing.TB, seed uint64, k keys) *world {
	t.Helper()
	w := &world{t: t, dir: scratch(t), r: rand.New(rand.NewPCG(seed, 4)), keys: k, state: state{}, partBytes: 24 << 10}
	w.clock.Store(1_800_000_000)
	w.home = filepath.Join(w.dir, "store")
	var err error
	w.store, err = objects.OpenDir(w.archive(), objects.DirOptions{Create: true})
	must(t, err)
	w.open(true)
	w.actor = w.m.NewActor()
	w.begin(nil)
	t.Cleanup(w.close)
	return w
}

func (w *world) archive() string { return filepath.Join(w.dir, "archive") }

func (w *world) open(create bool) {
	w.t.Helper()
	var err error
	w.m, _, err = txn.Open(w.home, txn.Options{
		Create: create, CheckpointEvery: -1, CheckpointBytes: 1 << 30, GenerationBytes: 2 << 20,
		Now: func() time.Time { return time.Unix(w.clock.Load(), 0) },
	})
	must(w.t, err)
}

func (w *world) close() {
	if w.m != nil {
		must(w.t, w.m.Close())
		w.m = nil
	}
}

// line is the one that is lived.
func (w *world) line() *line { return w.lines[len(w.lines)-1] }

// begin notes the begin of a timeline.
func (w *world) begin(parent *line) {
	w.t.Helper()
	head := w.m.Stats().Head
	w.lines = append(w.lines, &line{id: head.Timeline, parent: parent, first: head.LSN})
	w.note(head)
}

// note remembers what the world is now.
func (w *world) note(at wal.Position) {
	w.t.Helper()
	l := w.line()
	if want := l.first + wal.LSN(len(l.moments)); at.LSN != want || at.Timeline != l.id {
		w.t.Fatalf("the newest entry is %v, want LSN %d of %v", at, want, l.id)
	}
	v, err := recovery.View(vfs.OS(), w.home, at.LSN)
	must(w.t, err)
	n, d, err := v.Snapshot().Digest()
	must(w.t, errors.Join(err, v.Close()))
	l.moments = append(l.moments, &moment{at, time.Unix(0, v.Snapshot().Head.Time), n, d, w.state, w.request})
}

// history is where the store stands.
func (w *world) history() (h ship.History) {
	l := w.line()
	h = ship.History{l.moments[len(l.moments)-1].at}
	for ; l.parent != nil; l = l.parent {
		h = append(ship.History{l.parent.moment(l.first - 1).at}, h...)
	}
	return h
}

// small objects, and many; large entries in blobs.
func (k keys) shipping() ship.Options {
	return ship.Options{Seal: k.seal, Identities: k.ids, MaxBytes: 12 << 10, InlineBytes: 16 << 10, BlobBytes: 40 << 10, MarkEvery: 8, Interval: time.Hour, Retry: impatient}
}

func (k keys) packing() ship.PackOptions {
	return ship.PackOptions{Seal: k.seal, Identities: k.ids, MaxBytes: 200 << 10, MinAppends: 4, MinPacks: 3, Retry: impatient}
}

var impatient = objectstest.Impatient(2)

// ship brings the archive up to now.
func (w *world) ship() {
	w.t.Helper()
	h := w.history()
	head := h[len(h)-1]
	a, err := ship.Open(ctx, w.store, h, w.keys.shipping())
	must(w.t, err)
	src, stop := ship.Pull(ctx, func(ctx context.Context) iter.Seq2[ship.Entry, error] { return w.entries(ctx, a.Position(), head) })
	defer stop()
	must(w.t, a.Run(ctx, src))
	if got := a.Status().Shipped; got != head {
		w.t.Fatalf("shipped up to %v of %v", got, head)
	}
}

// entries are the store's from behind one position to another.
func (w *world) entries(ctx context.Context, after, to wal.Position) iter.Seq2[ship.Entry, error] {
	return func(yield func(ship.Entry, error) bool) {
		if after == to {
			return
		}
		for e, err := range w.m.Watch(ctx, txn.WatchOptions{After: after}) {
			var images io.ReaderAt
			if err == nil {
				images, err = e.Images()
			}
			if err != nil {
				yield(ship.Entry{}, err)
				return
			}
			if !yield(ship.Entry{Entry: e.Entry, Images: images}, nil) || e.Position == to {
				return
			}
		}
	}
}

// snapshot takes one, each fourth a whole one; others are based on the one before, or
// an older one, of whichever timeline.
func (w *world) snapshot() {
	w.t.Helper()
	n := len(w.snaps)
	var base wal.Position
	if n%4 != 0 {
		base = w.snaps[n-1]
		if w.r.IntN(4) == 0 {
			base = w.snaps[w.r.IntN(n)]
		}
	}
	m, err := w.m.Backup(ctx, w.store, snapshot.Options{Base: base, PartBytes: w.partBytes, Seal: w.keys.seal})
	if errors.Is(err, snapshot.ErrTaken) {
		return // nothing was committed since the last one
	}
	must(w.t, err)
	w.snaps = append(w.snaps, m.Position)
}

func (w *world) pack() {
	w.t.Helper()
	for _, l := range w.lines {
		_, err := ship.Pack(ctx, w.store, l.id, w.keys.packing())
		must(w.t, err)
	}
}

// lose gives the store up, and goes on with one that is restored from the archive, some
// commits short of its end.
func (w *world) lose(short wal.LSN) {
	w.t.Helper()
	old := w.line()
	at := old.last() - short
	w.close()
	w.home = filepath.Join(w.dir, fmt.Sprint("store", len(w.lines)))
	_, err := txn.Restore(ctx, w.store, w.home, restore.Target{Timeline: old.id, LSN: at}, w.keys.restoring(), txn.Options{GenerationBytes: 2 << 20,
		Now: func() time.Time { return time.Unix(w.clock.Load(), 0) }})
	must(w.t, err)
	w.open(false)
	m := old.moment(at)
	w.state, w.request = m.state, m.request
	for len(w.snaps) > 0 && w.snaps[len(w.snaps)-1].LSN > at {
		w.snaps = w.snaps[:len(w.snaps)-1]
	}
	w.begin(old)
}

func (k keys) restoring() restore.Options {
	return restore.Options{Identities: k.ids, Retry: impatient, CacheBytes: 4 << 20}
}

// live makes a history of n commits, and its archive.
func (w *world) live(n int) {
	w.t.Helper()
	snaps := max(n/50, 6)
	for i := 1; i <= n; i++ {
		w.commit()
		if i%7 == 1 || i == n {
			w.ship()
		}
		if i%snaps == snaps/2 {
			w.snapshot()
		}
		if i == n/3 || i == n/2 || i == n*4/5 {
			w.pack()
		}
		if i%100 == 0 {
			w.ship() // a checkpoint lets go of the log
			must(w.t, w.m.Checkpoint(ctx))
		}
		if i == n*3/5 || i == n*5/6 { // with a snapshot of what is given up
			w.ship()
			w.snapshot()
			w.lose(5)
		}
	}
}

// kinds says what the archive is made of.
func (w *world) kinds() string {
	names := map[archive.Kind]string{archive.KindAppend: "appends", archive.KindPack: "packs", archive.KindManifest: "snapshots", archive.KindPart: "parts",
		archive.KindBlob: "blobs", archive.KindMark: "marks", archive.KindStart: "timelines"}
	counts := map[string]int{}
	for item, err := range w.store.List(ctx, "") {
		must(w.t, err)
		if k, err := archive.ParseKey(item.Key); err == nil && names[k.Kind] != "" {
			counts[names[k.Kind]]++
		}
	}
	return fmt.Sprint(counts)
}
