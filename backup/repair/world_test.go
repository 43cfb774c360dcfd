package repair_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/backup/backuptest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var ctx = context.Background()

var must = backuptest.Must

// quick is a disk that does not wait for the device: nothing here outlives the machine.
type quick struct{ vfs.Linker }

func (q quick) SyncDir(string) error { return nil }

func (q quick) Create(name string) (vfs.File, error) {
	f, err := q.Linker.Create(name)
	return lazy{f}, err
}

func (q quick) Open(name string) (vfs.File, error) {
	f, err := q.Linker.Open(name)
	return lazy{f}, err
}

type lazy struct{ vfs.File }

func (lazy) Sync() error { return nil }

// disk is where all stores of these tests lie.
var disk vfs.Linker = quick{vfs.OS().(vfs.Linker)}

// world is a store that lives, an archive of it, and what it held.
type world struct {
	*backuptest.Store
	states map[wal.LSN]backuptest.State
}

func newWorld(t testing.TB, seed uint64) *world {
	archive, err := objects.OpenDir(t.TempDir(), objects.DirOptions{})
	must(t, err)
	changes := backuptest.Changes{PageSizes: []uint32{512, 4096}, Most: 20, Pages: 300}
	o := txn.Options{FS: disk, CheckpointEvery: -1, GenerationBytes: wal.MinGenerationBytes}
	w := &world{backuptest.New(t, seed, archive, changes, o), map[wal.LSN]backuptest.State{}}
	w.Shipping.MaxBytes = 8 << 10 // many objects
	w.note()
	return w
}

// backedUp is a world with so many commits and a snapshot of them.
func backedUp(t testing.TB, seed uint64, commits int) *world {
	w := newWorld(t, seed)
	w.live(commits)
	w.Ship()
	w.Snapshot(true)
	return w
}

// inLog has what follows lie in the log, and nothing of it in the heap: the commits are
// small, and so were the last that the archive has.
func (w *world) inLog() {
	w.T.Helper()
	w.Changes.Most = 1
	w.live(3)
	w.Ship()
}

// note remembers what the store holds now.
func (w *world) note() {
	w.T.Helper()
	held := w.Held()
	w.states[held.Head.LSN] = held
}

// live commits n times at random, and remembers all that the store held.
func (w *world) live(n int) {
	w.T.Helper()
	for n += len(w.states); len(w.states) < n; {
		w.Live(1)
		w.note()
	}
}

// history is three snapshots, each with log behind it; a consumer reads from before the
// last of them on, and the store has two checkpoints.
func (w *world) history() (consumer wal.Position) {
	w.T.Helper()
	for i := range 3 {
		if i == 2 {
			c, err := w.M.Consumer(ctx, "mirror")
			must(w.T, err)
			consumer, err = c.Acked()
			must(w.T, err)
		}
		w.live(8)
		w.Ship()
		w.Snapshot(i%2 == 0)
		w.live(3)
		must(w.T, w.M.Checkpoint(ctx))
	}
	w.live(6)
	w.Ship()
	return consumer
}

// last is the newest LSN.
func (w *world) last() (last wal.LSN) {
	for lsn := range w.states {
		last = max(last, lsn)
	}
	return last
}

// position is that of the last entry of a store.
func (w *world) position(dir string) wal.Position {
	return backuptest.Held(w.T, disk, dir).Head.Position
}

// copy is the store as it lies on the disk, closed, under another name.
func (w *world) copy() string {
	w.T.Helper()
	dir := filepath.Join(w.T.TempDir(), "store")
	must(w.T, os.CopyFS(dir, os.DirFS(w.Dir)))
	return dir
}

func (w *world) repair(dir string, o repair.Options) (*repair.Repaired, error) {
	return txn.Repair(ctx, w.Archive, dir, o, txn.Options{FS: disk})
}

// repaired repairs a store, which loses nothing.
func (w *world) repaired(dir string) *repair.Repaired {
	w.T.Helper()
	got, err := w.repair(dir, repair.Options{})
	must(w.T, err)
	if got.Position.LSN != w.last() {
		w.T.Fatalf("LSN %d was the last: %+v", w.last(), got)
	}
	w.holds(dir, got)
	return got
}

// fingerprint is everything in a directory: names, kinds and bytes.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	var out bytes.Buffer
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s %v ", path, d.Type())
		if d.Type().IsRegular() {
			b, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "%d %v", len(b), wal.HashPage(0, b))
		}
		out.WriteByte('\n')
		return nil
	}))
	return out.String()
}

// beside are the names beside a store.
func beside(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	must(t, err)
	for _, e := range entries {
		if e.Name() != filepath.Base(dir) {
			names = append(names, e.Name())
		}
	}
	return names
}

// holds fails unless a repaired store is what the world was then, and goes on.
func (w *world) holds(dir string, got *repair.Repaired) {
	w.T.Helper()
	at := got.Position.LSN
	if want := w.states[at]; got.Digest != want.Digest || got.Position.Hash != want.Head.Hash {
		w.T.Fatalf("%+v is not %v at LSN %d", got, want.Digest, at)
	}
	verifytest.CleanFS(w.T, disk, dir)
	w.log(dir, got)
	m, opened, err := txn.Open(dir, txn.Options{FS: disk})
	must(w.T, err)
	defer func() { must(w.T, m.Close()) }()
	if opened.Copied || opened.Role == txn.RoleWriter && opened.Began != "" {
		w.T.Fatalf("opening says %+v", opened)
	}
	if opened.Role == txn.RoleWriter {
		_, err = m.Update(ctx, func(tx *txn.Tx) error { _, err := tx.CreateVolume("behind", txn.VolumeOptions{}); return err })
		must(w.T, err)
	}
}

// log compares the entries of the repaired store's log with those that there were.
func (w *world) log(dir string, got *repair.Repaired) {
	w.T.Helper()
	found, err := recovery.Examine(disk, dir)
	must(w.T, err)
	n := 0
	for rec, err := range wal.Records(disk, filepath.Join(dir, "wal"), found.Facts.Generations, got.LogFrom, got.Position.LSN) {
		must(w.T, err)
		if rec.Hash != w.states[rec.LSN].Head.Hash {
			w.T.Fatalf("entry %d is another", rec.LSN)
		}
		n++
	}
	if n == 0 {
		w.T.Fatal("the log is empty")
	}
}
