//go:build bars

package bars

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/txn"
)

// The bars of backups, of a volume of 1 GiB of which each page is half random
// bytes, half words: it compresses to about six tenths.
const (
	backupPages   = 1 << 18 // of 4 KiB
	backupWriters = 8
	backupRate    = 0.8 // of commits while a backup is taken, as a part of that without
	changedPages  = 1000
	changedBytes  = 10 << 20 // that an increment of these moves
	restoreSpeed  = 0.5      // of a plain copy's
	backupTries   = 3        // on a machine that does other things, too
)

func init() {
	steps["make 1 GiB"] = makeHalfText
	steps["back up beside 8 writers"] = backUpBesideWriters
	steps["back up 1,000 changed pages"] = backUpChanges
	steps["restore 1 GiB"] = restoreOnce
	steps["copy 1 GiB"] = copyOnce
}

// TestBackup has all in one directory: store, archive, restored, copy.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	run(t, "make 1 GiB", dir)
	run(t, "back up beside 8 writers", dir)
	run(t, "back up 1,000 changed pages", dir)
	restoreFast(t, dir)
	run(t, "verify", filepath.Join(dir, "restored"))
}

// restoreFast restores the archive and copies what was restored, in turns.
//
// A plain copy is one of all files of the restored store, a megabyte at a time,
// each file and directory synced: what somebody without an archive would do to have
// it once more. Both read what is in memory and write a GiB to the disk. It is not
// one of the archive's files, which are smaller, and from which nothing can be
// opened.
func restoreFast(t *testing.T, dir string) {
	t.Helper()
	got := 0.0
	for try := 0; try < backupTries && got < restoreSpeed; try++ {
		var ratios []float64
		for range 3 {
			remove(t, dir, "restored", "copy")
			restored := run(t, "restore 1 GiB", dir)
			copied := run(t, "copy 1 GiB", dir)
			ratios = append(ratios, copied.Seconds()/restored.Seconds())
		}
		slices.Sort(ratios)
		got = ratios[len(ratios)/2]
		t.Logf("restored at %.2f of a plain copy's speed (%.2f to %.2f)", got, ratios[0], ratios[len(ratios)-1])
	}
	if got < restoreSpeed {
		t.Errorf("restored at %.2f of a plain copy's speed, the bar is %.2f", got, restoreSpeed)
	}
}

func remove(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// halfText fills the first half of a page with random bytes, the other with words.
func halfText(r *rand.Rand, b []byte) {
	words := []string{"the ", "page ", "of ", "a ", "volume ", "is ", "kept ", "until ", "nobody ", "reads ", "it ", "any ", "more, ", "whatever ", "was ", "committed.\n"}
	half := len(b) / 2
	for i := 0; i < half; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	for text := b[half:]; len(text) > 0; {
		text = text[copy(text, words[r.IntN(len(words))]):]
	}
}

func makeHalfText(dir string) error {
	m, _, err := txn.Open(filepath.Join(dir, "store"), txn.Options{Create: true})
	if err != nil {
		return err
	}
	r, b := rand.New(rand.NewPCG(1, 2)), make([]byte, 4096)
	const atOnce = 8192
	for first := uint64(0); first < backupPages && err == nil; first += atOnce {
		_, err = m.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if errors.Is(err, txn.ErrNoVolume) {
				v, err = tx.CreateVolume("v", txn.VolumeOptions{})
			}
			for no := first; no < first+atOnce && err == nil; no++ {
				halfText(r, b)
				err = v.WritePage(no, b)
			}
			return err
		})
	}
	return errors.Join(err, m.Close())
}

// writers commit pages at random, until stop.
type writers struct {
	commits atomic.Int64
	ended   atomic.Bool
	errs    [backupWriters]error
	wg      sync.WaitGroup
}

func startWriters(m *txn.Manager) *writers {
	w := new(writers)
	for i := range backupWriters {
		w.wg.Go(func() { w.errs[i] = w.write(m, uint64(i)) })
	}
	return w
}

func (w *writers) write(m *txn.Manager, seed uint64) error {
	r, b := rand.New(rand.NewPCG(seed, 3)), make([]byte, 4096)
	for !w.ended.Load() {
		halfText(r, b)
		if _, err := m.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			return v.WritePage(r.Uint64N(backupPages), b)
		}); err != nil {
			return err
		}
		w.commits.Add(1)
	}
	return nil
}

func (w *writers) stop() error {
	w.ended.Store(true)
	w.wg.Wait()
	return errors.Join(w.errs[:]...)
}

// Each second slice of time the backup stands still, since its archive takes nothing:
// so whatever else the machine does hits both. What it has gathered before it notices
// is worked off in the time that is not counted.
const (
	backupSlice   = 400 * time.Millisecond
	backupSettles = 150 * time.Millisecond
	backupParts   = 1 << 20 // bytes, so that it notices soon
	backupWatched = 25 * time.Second
)

// gate is an archive that can be closed for a while.
type gate struct {
	objects.Store
	open sync.RWMutex
	put  atomic.Int64 // bytes
}

func (g *gate) Put(ctx context.Context, key string, body objects.Body) error {
	g.open.RLock()
	defer g.open.RUnlock()
	g.put.Add(body.Size)
	return g.Store.Put(ctx, key, body)
}

// rate of commits in a slice, of which the beginning does not count.
func (w *writers) rate() float64 {
	time.Sleep(backupSettles)
	began, n := time.Now(), w.commits.Load()
	time.Sleep(backupSlice)
	return float64(w.commits.Load()-n) / time.Since(began).Seconds()
}

// backUpBesideWriters compares the rates while a whole backup is taken with those
// while it stands still.
func backUpBesideWriters(dir string) error {
	m, _, err := txn.Open(filepath.Join(dir, "store"), txn.Options{})
	if err != nil {
		return err
	}
	w := startWriters(m)
	best := 0.0
	for try := 0; try < backupTries && best < backupRate && err == nil; try++ {
		var got float64
		got, err = w.beside(m, filepath.Join(dir, "beside"))
		best = max(best, got)
	}
	if err = errors.Join(err, w.stop(), m.Close()); err != nil {
		return err
	}
	if best < backupRate {
		return fmt.Errorf("rate %.2f while a backup is taken, the bar is %.2f", best, backupRate)
	}
	return nil
}

// beside is the median of the ratios of a slice with, and one without.
func (w *writers) beside(m *txn.Manager, dir string) (float64, error) {
	store, err := beginArchive(m, dir)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, backupWatched)
	defer cancel()
	g, done := &gate{Store: store}, make(chan error, 1)
	go func() {
		_, err := m.Backup(ctx, g, snapshot.Options{PartBytes: backupParts})
		done <- err
	}()
	var ratios, with, without []float64
	for {
		a := w.rate()
		g.open.Lock()
		b := w.rate()
		g.open.Unlock()
		select {
		case err := <-done: // the last slices may not have had it
			fmt.Printf("%.0f commits/s, %.0f while the backup stood still: %.2f, of %d pairs and %d MiB put\n",
				median(with), median(without), median(ratios), len(ratios), g.put.Load()>>20)
			if errors.Is(err, context.DeadlineExceeded) {
				err = nil // it was watched for long enough
			}
			return median(ratios), errors.Join(err, os.RemoveAll(dir))
		default:
			ratios, with, without = append(ratios, a/b), append(with, a), append(without, b)
		}
	}
}

func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// backUpChanges takes a whole backup of a store, changes pages of it, and takes an
// increment.
func backUpChanges(dir string) error {
	m, _, err := txn.Open(filepath.Join(dir, "store"), txn.Options{})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "archive")
	store, err := beginArchive(m, path)
	if err != nil {
		return err
	}
	whole, err := m.Backup(ctx, store, snapshot.Options{})
	if err != nil {
		return err
	}
	before, err := sizeOf(path)
	if err == nil {
		err = change(m)
	}
	if err == nil {
		_, err = m.Backup(ctx, store, snapshot.Options{Base: whole.Position})
	}
	after, errSize := sizeOf(path)
	if err = errors.Join(err, errSize, m.Close()); err != nil {
		return err
	}
	fmt.Printf("whole: %.1f MiB; increment behind %d changed pages: %.2f MiB\n", float64(before)/(1<<20), changedPages, float64(after-before)/(1<<20))
	if after-before >= changedBytes {
		return fmt.Errorf("the increment has %d bytes, the bar is %d", after-before, changedBytes)
	}
	return nil
}

// change commits pages at random, a hundred at once.
func change(m *txn.Manager) error {
	r, b := rand.New(rand.NewPCG(4, 4)), make([]byte, 4096)
	numbers := r.Perm(backupPages)[:changedPages]
	for some := range slices.Chunk(numbers, 100) {
		if _, err := m.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			for _, no := range some {
				halfText(r, b)
				err = errors.Join(err, v.WritePage(uint64(no), b))
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// beginArchive makes an archive whose log begins behind the store's newest entry.
func beginArchive(m *txn.Manager, dir string) (objects.Store, error) {
	store, err := objects.OpenDir(dir, objects.DirOptions{Create: true})
	if err != nil {
		return nil, err
	}
	head := m.Stats().Head
	if _, err := ship.Open(ctx, store, ship.History{head}, ship.Options{}); err != nil {
		return nil, err
	}
	key := archive.Key{Kind: archive.KindStart, Log: head.Timeline}
	s := archive.Start{Timeline: head.Timeline, Epoch: 1, First: head.LSN + 1, Before: head.Hash}
	return store, store.Put(ctx, key.String(), objects.Bytes(archive.EncodeStart(s)))
}

func sizeOf(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

// restoreOnce restores the newest state.
func restoreOnce(dir string) error {
	store, err := objects.OpenDir(filepath.Join(dir, "archive"), objects.DirOptions{})
	if err != nil {
		return err
	}
	got, err := txn.Restore(ctx, store, filepath.Join(dir, "restored"), restore.Target{}, restore.Options{}, txn.Options{})
	if err != nil {
		return err
	}
	fmt.Printf("%d snapshots, %.1f MiB in %d objects\n", len(got.Snapshots), float64(got.Bytes)/(1<<20), got.Objects)
	if len(got.Snapshots) != 2 {
		return errors.New("a whole one and an increment were taken")
	}
	return nil
}

// copyOnce copies the restored store.
func copyOnce(dir string) error {
	from, to := filepath.Join(dir, "restored"), filepath.Join(dir, "copy")
	if err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, path[len(from):])
		if d.IsDir() {
			return os.Mkdir(target, 0o700)
		}
		return copyFile(path, target)
	}); err != nil {
		return err
	}
	return syncDirs(to)
}

// copyFile writes all bytes: io.Copy between files might share them instead.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20))
	return errors.Join(err, out.Sync(), out.Close())
}

func syncDirs(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
