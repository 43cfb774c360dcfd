package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// heavy is the number of commits that HISTORY asks for; 0 for the light form.
func heavy() int {
	n, _ := strconv.Atoi(os.Getenv("HISTORY"))
	return n
}

// commits is how long the long history is.
func commits() int {
	if n := heavy(); n > 0 {
		return n
	}
	return 80
}

// restored counts names.
var restored atomic.Int64

// restore restores from a store, and returns where.
func (w *world) restore(from objects.Store, t restore.Target, follower bool) (dir string, got *restore.Restored, err error) {
	dir = filepath.Join(w.dir, fmt.Sprint("restored", restored.Add(1)))
	o := w.keys.restoring()
	o.Follower = follower
	got, err = txn.Restore(ctx, from, dir, t, o, txn.Options{GenerationBytes: 2 << 20})
	return dir, got, err
}

// equal compares what was restored with what was: every sum; with pages also every
// page, every request, and what Verify says.
func (w *world) equal(dir string, got *restore.Restored, m *moment, pages bool) error {
	if got.Position != m.at || !got.Time.Equal(m.time) || got.Volumes != m.volumes || got.Digest != m.digest {
		return fmt.Errorf("it is at %v (%v), %d volumes, digest %v; want %v (%v), %d volumes, digest %v",
			got.Position, got.Time, got.Volumes, got.Digest, m.at, m.time, m.volumes, m.digest)
	}
	sums, err := sumsOf(dir)
	if err != nil {
		return err
	}
	if want := m.state.sums(); !maps.Equal(sums, want) {
		return fmt.Errorf("its sums are %v, want %v", sums, want)
	}
	if pages {
		return w.equalPages(dir, m)
	}
	return nil
}

// sumsOf are the states of a store's volumes and tags.
func sumsOf(dir string) (map[string]wal.State, error) {
	v, err := recovery.View(vfs.OS(), dir, 0)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	sums := map[string]wal.State{}
	for vol, err := range v.Snapshot().Volumes() {
		if err != nil {
			return nil, err
		}
		sums[vol.Attrs.Name] = vol.State()
		for tag, err := range v.Snapshot().Tags(vol.ID) {
			if err != nil {
				return nil, err
			}
			sums[vol.Attrs.Name+"@"+string(tag.Ref)] = tag.State()
		}
	}
	return sums, nil
}

func (w *world) equalPages(dir string, m *moment) error {
	db, _, err := txn.Open(dir, txn.Options{})
	if err != nil {
		return err
	}
	err = db.View(ctx, func(tx *txn.Tx) error {
		for name, model := range m.state {
			v, err := tx.Volume(name)
			if err == nil {
				err = samePages(v, model)
			}
			for tag, model := range model.tags {
				if v, err = tx.At(name, tag); err == nil {
					err = samePages(v, model)
				}
				if err != nil {
					return fmt.Errorf("%s@%s: %w", name, tag, err)
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
	if err == nil && m.request > 0 {
		err = w.knowsRequests(db, m)
	}
	return errors.Join(err, db.Close())
}

// samePages reads every page.
func samePages(v *txn.Volume, model *volume) error {
	size, err := v.Size()
	if err != nil || size != model.size || v.PageSize() != model.pageSize {
		return fmt.Errorf("%d pages of %d bytes, want %d of %d: %w", size, v.PageSize(), model.size, model.pageSize, err)
	}
	got, zeros := make([]byte, model.pageSize), make([]byte, model.pageSize)
	for no := range size {
		want, present := model.pages[no]
		if !present {
			want = zeros
		}
		if err := v.ReadPage(no, got); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("page %d is another", no)
		}
	}
	return nil
}

// knowsRequests asks for the actor's last request, and the next one.
func (w *world) knowsRequests(db *txn.Manager, m *moment) error {
	for seq, want := range map[uint64]bool{m.request: true, m.request + 1: false} {
		o, err := db.Outcome(ctx, txn.OutcomeKey{Actor: w.actor, Seq: seq})
		if err != nil {
			return err
		}
		if (o.Status == txn.Committed) != want || want && o.Position.LSN > m.at.LSN {
			return fmt.Errorf("request %d of %d: %+v", seq, m.request, o)
		}
	}
	return nil
}

// parallel does work for each number below n, on all processors.
func parallel(n int, work func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				work(i)
			}
		})
	}
	wg.Wait()
}

// checked restores to a target and compares. The store is deleted.
func (w *world) checked(from objects.Store, t restore.Target, want *moment, pages bool) error {
	dir, got, err := w.restore(from, t, !pages)
	defer os.RemoveAll(dir)
	if err == nil {
		err = w.equal(dir, got, want, pages)
	}
	if err != nil {
		return fmt.Errorf("to %s of %v: %w", t, t.Timeline, err)
	}
	return nil
}

// TestHistory makes the long history, and restores it. Its three parts are promises:
// every LSN, every time between two commits, and dates of files that mean nothing.
func TestHistory(t *testing.T) {
	w := newWorld(t, 1, keys{})
	w.partBytes = 192 << 10
	began := time.Now()
	w.live(commits())
	w.close()
	t.Logf("%d commits in %v: %s", commits(), time.Since(began).Round(time.Millisecond), w.kinds())
	t.Run("EveryLSN", func(t *testing.T) { w.everyLSN(t, 1) })
	t.Run("EveryTime", func(t *testing.T) { w.everyTime(t, 3) })
	t.Run("DatesOfFiles", w.datesOfFiles)
}

// TestEncryptedHistory does the same with a shorter history that is encrypted.
func TestEncryptedHistory(t *testing.T) {
	w := newWorld(t, 2, encrypted(t))
	w.live(max(commits()/8, 60))
	w.close()
	t.Log(w.kinds())
	t.Run("EveryLSN", func(t *testing.T) { w.everyLSN(t, 1) })
	t.Run("EveryTime", func(t *testing.T) { w.everyTime(t, 4) })
	dir, _, err := (&world{dir: w.dir}).restore(w.store, restore.Target{}, true)
	if !errors.Is(err, archive.ErrLocked) {
		t.Errorf("without the key: %s, %v", dir, err)
	}
}

// points are the LSNs that each line leads to: its own, and some of its parents'.
func (w *world) points() (all []point) {
	for _, l := range w.lines {
		for lsn := wal.LSN(1); lsn <= l.last(); lsn++ {
			if lsn >= l.first || lsn%16 == 0 || lsn == l.first-1 {
				all = append(all, point{l, lsn})
			}
		}
	}
	return all
}

// point is an LSN of a history.
type point struct {
	l   *line
	lsn wal.LSN
}

func (p point) moment() *moment { return p.l.moment(p.lsn) }

func (p point) target() restore.Target { return restore.Target{Timeline: p.l.id, LSN: p.lsn} }

// between is a time from that of the point on and before the next one's.
func (p point) between(r *rand.Rand) restore.Target {
	until := p.moment().time.Add(time.Hour)
	if p.lsn < p.l.last() {
		until = p.l.moment(p.lsn + 1).time
	}
	at := p.moment().time
	return restore.Target{Timeline: p.l.id, Time: at.Add(time.Duration(r.Int64N(int64(until.Sub(at)))))}
}

// everyLSN restores to each nth LSN of both timelines; of some it reads all pages.
func (w *world) everyLSN(t *testing.T, nth int) {
	began, all := time.Now(), w.points()
	parallel(len(all)/nth, func(i int) {
		p := all[i*nth]
		if err := w.checked(w.store, p.target(), p.moment(), i%20 == 0); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%d restores in %v", len(all)/nth, time.Since(began).Round(time.Millisecond))
}

// everyTime restores to a time between each nth LSN and the next one.
func (w *world) everyTime(t *testing.T, nth int) {
	began, all := time.Now(), w.points()
	parallel(len(all)/nth, func(i int) {
		p := all[i*nth]
		r := rand.New(rand.NewPCG(uint64(i), 1))
		if err := w.checked(w.store, p.between(r), p.moment(), i%50 == 0); err != nil {
			t.Errorf("LSN %d: %v", p.lsn, err)
		}
	})
	t.Logf("%d restores in %v", len(all)/nth, time.Since(began).Round(time.Millisecond))
}

// datesOfFiles restores from copies of the archive whose files have other dates.
func (w *world) datesOfFiles(t *testing.T) {
	all, n := w.points(), 0
	r := rand.New(rand.NewPCG(7, 7))
	for name, date := range map[string]func() time.Time{
		"1970":     func() time.Time { return time.Unix(0, 0) },
		"now":      time.Now,
		"shuffled": func() time.Time { return time.Unix(r.Int64N(4_000_000_000), 0) },
	} {
		dir := filepath.Join(scratch(t), "archive")
		must(t, os.CopyFS(dir, os.DirFS(w.archive())))
		must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			at := date()
			return os.Chtimes(path, at, at)
		}))
		store, err := objects.OpenDir(dir, objects.DirOptions{})
		must(t, err)
		for i := 3; i < len(all); i += max(len(all)/6, 1) {
			n += 2
			p := all[i]
			for _, to := range []restore.Target{p.target(), p.between(r)} {
				if err := w.checked(store, to, p.moment(), false); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	t.Logf("%d restores", n)
}
