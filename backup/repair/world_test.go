package repair_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
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
	t       testing.TB
	dir     string
	m       *txn.Manager
	archive *objects.Dir
	r       *rand.Rand
	states  map[wal.LSN]wal.PageHash
	hashes  map[wal.LSN]wal.Hash
	snaps   []wal.Position
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, dir: filepath.Join(t.TempDir(), "store"), r: rand.New(rand.NewPCG(seed, 9)),
		states: map[wal.LSN]wal.PageHash{}, hashes: map[wal.LSN]wal.Hash{},
	}
	w.open()
	t.Cleanup(func() { must(t, w.m.Close()) })
	var err error
	w.archive, err = objects.OpenDir(t.TempDir(), objects.DirOptions{})
	must(t, err)
	return w
}

func (w *world) open() {
	var err error
	w.m, _, err = txn.Open(w.dir, txn.Options{FS: disk, Create: true, CheckpointEvery: -1, GenerationBytes: wal.MinGenerationBytes})
	must(w.t, err)
	w.note()
}

// note remembers what the store holds now.
func (w *world) note() {
	w.t.Helper()
	v, err := recovery.View(disk, w.dir, 0)
	must(w.t, err)
	head := v.Snapshot().Head
	_, w.states[head.LSN], err = v.Snapshot().Digest()
	w.hashes[head.LSN] = head.Hash
	must(w.t, errors.Join(err, v.Close()))
}

// live changes volumes, tags and forks at random.
func (w *world) live(n int) {
	w.t.Helper()
	for range n {
		_, err := w.m.Update(ctx, w.change)
		if !errors.Is(err, txn.ErrVolumeExists) && !errors.Is(err, txn.ErrStaged) {
			must(w.t, err)
		}
		w.note()
	}
}

func (w *world) change(tx *txn.Tx) error {
	name := fmt.Sprint("v", w.r.IntN(5))
	v, err := tx.Volume(name)
	if errors.Is(err, txn.ErrNoVolume) {
		v, err = tx.CreateVolume(name, txn.VolumeOptions{PageSize: []uint32{512, 4096}[w.r.IntN(2)]})
	}
	if err != nil {
		return err
	}
	switch w.r.IntN(12) {
	case 0:
		return v.Truncate(w.r.Uint64N(300))
	case 1, 2:
		return tx.SetTag(v, fmt.Sprint("t", w.r.IntN(3)), v)
	case 3:
		_, err := tx.Fork(fmt.Sprint("v", w.r.IntN(5)), v)
		return err
	}
	page := make([]byte, v.PageSize())
	for range 1 + w.r.IntN(4)*w.r.IntN(8) {
		for i := range page {
			page[i] = byte(w.r.Uint32())
		}
		if err := v.WritePage(w.r.Uint64N(300), page); err != nil {
			return err
		}
	}
	return nil
}

// ship brings the archive up to now.
func (w *world) ship() {
	w.t.Helper()
	head := w.m.Stats().Head
	_, err := w.m.Wait(ctx, head, txn.Ack{Applied: true})
	must(w.t, err)
	a, err := ship.Open(ctx, w.archive, ship.History{head}, ship.Options{MaxBytes: 20 << 10})
	must(w.t, err)
	last := a.Position().LSN
	tail, err := recovery.OpenTail(disk, w.dir, last+1)
	must(w.t, err)
	defer tail.Close()
	must(w.t, a.Run(ctx, ship.Func(func(context.Context) (ship.Entry, error) {
		if last == head.LSN {
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
	})))
}

func (w *world) snapshot() {
	w.t.Helper()
	var base wal.Position
	if n := len(w.snaps); n%2 == 1 {
		base = w.snaps[n-1]
	}
	m, err := w.m.Backup(ctx, w.archive, snapshot.Options{Base: base, PartBytes: 64 << 10})
	must(w.t, err)
	w.snaps = append(w.snaps, m.Position)
}

// history is three snapshots, each with log behind it; a consumer reads from before the
// last of them on, and the store has two checkpoints.
func (w *world) history() (consumer wal.Position) {
	w.t.Helper()
	for i := range 3 {
		if i == 2 {
			c, err := w.m.Consumer(ctx, "mirror")
			must(w.t, err)
			consumer, err = c.Acked()
			must(w.t, err)
		}
		w.live(8)
		w.ship()
		w.snapshot()
		w.live(3)
		must(w.t, w.m.Checkpoint(ctx))
	}
	w.live(6)
	w.ship()
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
	v, err := recovery.View(disk, dir, 0)
	must(w.t, err)
	defer v.Close()
	return v.Snapshot().Head.Position
}

// copy is the store as it lies on the disk, closed, under another name.
func (w *world) copy() string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "store")
	must(w.t, os.CopyFS(dir, os.DirFS(w.dir)))
	return dir
}

func (w *world) repair(dir string, o repair.Options) (*repair.Repaired, error) {
	return txn.Repair(ctx, w.archive, dir, o, txn.Options{FS: disk})
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
	w.t.Helper()
	at := got.Position.LSN
	if got.Digest != w.states[at] || got.Position.Hash != w.hashes[at] {
		w.t.Fatalf("%+v is not %v at LSN %d", got, w.states[at], at)
	}
	rep, err := recovery.Verify(ctx, disk, dir, recovery.VerifyOptions{})
	must(w.t, err)
	if !rep.Clean {
		w.t.Fatal(rep.Problems)
	}
	w.log(dir, got)
	m, opened, err := txn.Open(dir, txn.Options{FS: disk})
	must(w.t, err)
	defer func() { must(w.t, m.Close()) }()
	if opened.Copied || opened.Role == txn.RoleWriter && opened.Began != "" {
		w.t.Fatalf("opening says %+v", opened)
	}
	if opened.Role == txn.RoleWriter {
		_, err = m.Update(ctx, func(tx *txn.Tx) error { _, err := tx.CreateVolume("behind", txn.VolumeOptions{}); return err })
		must(w.t, err)
	}
}

// log compares the entries of the repaired store's log with those that there were.
func (w *world) log(dir string, got *repair.Repaired) {
	w.t.Helper()
	found, err := recovery.Examine(disk, dir)
	must(w.t, err)
	n := 0
	for rec, err := range wal.Records(disk, filepath.Join(dir, "wal"), found.Facts.Generations, got.LogFrom, got.Position.LSN) {
		must(w.t, err)
		if rec.Hash != w.hashes[rec.LSN] {
			w.t.Fatalf("entry %d is another", rec.LSN)
		}
		n++
	}
	if n == 0 {
		w.t.Fatal("the log is empty")
	}
}
