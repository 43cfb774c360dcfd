package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

func TestViewAtEveryLSN(t *testing.T) {
	dir, b := build(t, 5, txn.Options{})
	b.mixed()
	last := wal.LSN(0)
	for lsn := range b.at {
		last = max(last, lsn)
	}
	b.close()
	for lsn, want := range b.at {
		v, err := recovery.View(vfs.OS(), dir, lsn)
		if err != nil {
			t.Fatal(err)
		}
		if v.Snapshot().LSN() != lsn {
			t.Errorf("LSN %d, want %d", v.Snapshot().LSN(), lsn)
		}
		if err := compareView(t, v, want); err != nil {
			t.Error(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := recovery.View(vfs.OS(), dir, 3); !errors.Is(err, wal.ErrCompacted) {
		t.Errorf("before the checkpoint: %v", err)
	}
	if _, err := recovery.View(vfs.OS(), dir, last+1); !errors.Is(err, recovery.ErrFuture) {
		t.Errorf("behind the last: %v", err)
	}
}

// TestViewBesideService looks at a store again and again while it is written
// and checkpointed: each look is right, or an error that says why.
func TestViewBesideService(t *testing.T) {
	dir, b := build(t, 6, txn.Options{CheckpointBytes: 256 << 10})
	b.create("v", 4096)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	time.AfterFunc(2*time.Second, func() {
		for b.m.Stats().Checkpoints < 2 && ctx.Err() == nil { // the disk is slow
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := uint64(1); ctx.Err() == nil; n++ {
			if _, err := b.m.Update(context.Background(), func(tx *txn.Tx) error { return fillVolume(tx, n) }); err != nil {
				t.Error(err)
				return
			}
		}
	})
	looks, moved := 0, 0
	for ctx.Err() == nil {
		v, err := recovery.View(vfs.OS(), dir, 0)
		if err != nil {
			t.Error(err)
			break
		}
		if looks%50 == 49 {
			time.Sleep(50 * time.Millisecond) // for the writer to overtake
		}
		if err := uniform(v); err == nil {
			looks++
		} else if gone, errMoved := v.Moved(); gone && errors.Is(err, wal.ErrCorrupt) {
			moved++
		} else {
			t.Errorf("moved %v, %v: %v", gone, errMoved, err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	writer.Wait()
	if n := b.m.Stats().Checkpoints; n < 2 {
		t.Errorf("only %d checkpoints", n)
	}
	b.close()
	if looks == 0 {
		t.Error("no look came to its end")
	}
	t.Logf("%d looks, %d overtaken by the writer", looks, moved)
}

// busy is a disk on which somebody works whenever a file of that name, or below a
// directory of that name, is opened for reading, and which then may look damaged.
type busy struct {
	vfs.FS
	file string
	work func() error
	in   bool
}

func (b *busy) OpenRead(name string) (vfs.File, error) {
	if !b.in && strings.Contains(name+"/", "/"+b.file+"/") {
		b.in = true
		err := b.work()
		b.in = false
		if err != nil {
			return nil, err
		}
	}
	return b.FS.OpenRead(name)
}

// telling is such a disk that can tell who holds a lock, as the real one does.
type telling struct{ busy }

func (d *telling) LockHolder(name string) (owner string, held bool, err error) {
	return d.FS.(interface {
		LockHolder(name string) (string, bool, error)
	}).LockHolder(name)
}

// TestViewOvertaken: a checkpoint lets the log go under each of twenty looks, or as
// many as a slow disk has time for, and the one behind them sees the store; when it
// never ends, View does, and does not speak of damage.
func TestViewOvertaken(t *testing.T) {
	t.Parallel()
	dir, b := build(t, 8, txn.Options{})
	b.create("v", 4096)
	defer b.close()
	var enough time.Time // View's patience begins then, too
	work, done, damage := 0, 0, error(nil)
	disk := &busy{FS: vfs.OS(), file: "wal", work: func() error {
		if work--; work < 0 || done >= 8 && time.Now().After(enough) {
			return nil
		}
		done++
		_, err := b.m.Update(context.Background(), func(tx *txn.Tx) error { return fillVolume(tx, uint64(work)) })
		must(t, errors.Join(err, b.m.Checkpoint(context.Background())))
		return damage
	}}
	for _, damage = range []error{nil, wal.ErrCorrupt} { // what a look meets differs, or does not
		work, done, enough = 40, 0, time.Now().Add(2*time.Second)
		v, err := recovery.View(disk, dir, 0)
		if err != nil {
			t.Fatalf("%d left: %v", work, err)
		}
		must(t, errors.Join(uniform(v), v.Close()))
	}
	work, enough = 1<<40, time.Now().Add(time.Hour)
	if _, err := recovery.View(disk, dir, 0); !errors.Is(err, recovery.ErrMoving) || errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("a store that never rests: %v", err)
	}
}

// TestViewBelievesDamage: what is found twice while nothing moves is real, also
// when somebody has the store open.
func TestViewBelievesDamage(t *testing.T) {
	dir, b := build(t, 9, txn.Options{})
	b.create("v", 4096)
	_, err := b.m.Update(context.Background(), func(tx *txn.Tx) error { return fillVolume(tx, 1) })
	must(t, err)
	must(t, b.m.Checkpoint(context.Background()))
	damaged := flip{file: filepath.Join("heap", heapName(1)), off: 3}
	damaged.apply(t, dir)
	looks := 0
	disk := &telling{busy{FS: vfs.OS(), file: heapName(1), work: func() error { looks++; return nil }}}
	if _, err := recovery.View(disk, dir, 0); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("a damaged heap: %v", err)
	}
	if looks > 10 { // something may move meanwhile, but not for five seconds
		t.Errorf("it looked %d times", looks)
	}
	damaged.apply(t, dir)
	b.close()
}

// fillVolume writes 16 pages of one content.
func fillVolume(tx *txn.Tx, n uint64) error {
	v, err := tx.Volume("v")
	if err != nil {
		return err
	}
	page := []byte(strings.Repeat(string(rune('a'+n%26)), 4096))
	for no := range uint64(16) {
		if err := v.WritePage(no*100, page); err != nil {
			return err
		}
	}
	return nil
}

// uniform reads what fillVolume wrote: all or nothing of each.
func uniform(v *recovery.Viewed) error {
	for vol, err := range v.Snapshot().Volumes() {
		if err != nil {
			return err
		}
		first, buf := make([]byte, 4096), make([]byte, 4096)
		if err := vol.Read(0, first); err != nil {
			return err
		}
		for no := range uint64(16) {
			if err := vol.Read(no*100, buf); err != nil {
				return err
			}
			if string(buf) != string(first) {
				return errors.New("a transaction is seen in part")
			}
		}
	}
	return nil
}

func TestLockHolder(t *testing.T) {
	dir, b := build(t, 2, txn.Options{})
	owner, held, err := recovery.LockHolder(vfs.OS(), dir)
	if err != nil || !held || !strings.HasPrefix(owner, "process ") {
		t.Errorf("open: %q %v %v", owner, held, err)
	}
	var locked *vfs.LockedError
	if _, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{}); !errors.As(err, &locked) || locked.Owner != owner {
		t.Errorf("Verify beside a service: %v", err)
	}
	b.close()
	if owner, held, err := recovery.LockHolder(vfs.OS(), dir); owner != "" || held || err != nil {
		t.Errorf("closed: %q %v %v", owner, held, err)
	}
	must(t, os.Remove(filepath.Join(dir, recovery.LockName)))
	if owner, held, err := recovery.LockHolder(vfs.OS(), dir); owner != "" || held || err != nil {
		t.Errorf("no lock file: %q %v %v", owner, held, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, recovery.LockName)); err == nil {
		t.Error("looking made the lock file")
	}
}

// A view that goes on from LSN to LSN shows what views of their own show, and
// what it showed first stays.
func TestViewGoesOn(t *testing.T) {
	dir, b := build(t, 5, txn.Options{})
	b.mixed()
	b.close()
	lsns := slices.Sorted(maps.Keys(b.at))
	v, err := recovery.View(vfs.OS(), dir, lsns[0])
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, lsn := range lsns[1:] {
		snap, err := v.At(lsn)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := recovery.View(vfs.OS(), dir, lsn)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sums(t, snap), sums(t, alone.Snapshot()); got != want {
			t.Errorf("LSN %d: %s, want %s", lsn, got, want)
		}
		if err := alone.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := compareView(t, v, b.at[lsns[0]]); err != nil {
		t.Error(err)
	}
	if snap, err := v.At(0); err != nil || snap.LSN() != lsns[len(lsns)-1] {
		t.Errorf("the newest: %v", err)
	}
	if _, err := v.At(lsns[0]); !errors.Is(err, wal.ErrCompacted) {
		t.Errorf("back to the first: %v", err)
	}
	if _, err := v.At(lsns[len(lsns)-1] + 1); !errors.Is(err, recovery.ErrFuture) {
		t.Errorf("behind the last: %v", err)
	}
}

// sums are the states of all volumes.
func sums(t *testing.T, s *pagestore.Snapshot) string {
	t.Helper()
	var all strings.Builder
	for v, err := range s.Volumes() {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, v.Attrs.Name, v.ID, v.State(), v.Changed, v.Seq)
	}
	return all.String()
}
