//go:build crashfs

package restore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/quire-db/quire/backup/backuptest"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// bay is where disks in memory are mounted, one after the other.
type bay struct {
	w       *world
	root    string
	o       restore.Options
	want    wal.PageHash // of all refs and states
	volumes uint64
}

func (b *bay) dir() string { return b.root + "/store" }

// on mounts a disk for a while.
func (b *bay) on(disk *crashfs.FS, do func()) {
	defer tidwallfs.Mount(b.root, disk)()
	do()
}

func (b *bay) restore(disk *crashfs.FS) (got *restore.Restored, err error) {
	b.on(disk, func() {
		got, err = txn.Restore(ctx, b.w.Archive, b.dir(), restore.Target{}, b.o, txn.Options{FS: disk})
	})
	return got, err
}

// cut cuts the power of a disk behind operation k. Whether there is a store must be
// right; there is one, whole, or the next restore makes it.
func (b *bay) cut(disk *crashfs.FS, k, acknowledged int, m crashfs.Model) (there bool) {
	t := b.w.T
	t.Helper()
	image := disk.Cut(k, m)
	defer func() {
		if t.Failed() {
			t.Fatalf("cut behind operation %d of %d (%v), %v", k, disk.Ops(), disk.Log()[max(k-1, 0)], m)
		}
	}()
	_, err := image.Lstat(b.dir())
	there = err == nil
	switch {
	case !there && !errors.Is(err, fs.ErrNotExist), !there && k >= acknowledged:
		t.Errorf("the store: %v", err)
	case !there:
		if _, err := b.restore(image); err != nil {
			t.Errorf("the next restore: %v", err)
			return there
		}
	}
	if left := b.beside(image); there && slices.ContainsFunc(left, func(name string) bool { return !strings.HasSuffix(name, ".lock") }) || !there && len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	b.on(image, func() { b.whole(image) })
	return there
}

// beside is what a restore may leave.
func (b *bay) beside(disk *crashfs.FS) (names []string) {
	entries, err := disk.ReadDir(b.root)
	must(b.w.T, err)
	for _, e := range entries {
		if e.Name != path.Base(b.dir()) {
			names = append(names, e.Name)
		}
	}
	return names
}

// whole fails unless the store is what was to be restored, sound, and takes writes.
func (b *bay) whole(disk *crashfs.FS) {
	t := b.w.T
	if got := backuptest.Held(t, disk, b.dir()); got.Volumes != b.volumes || got.Digest != b.want {
		t.Errorf("it holds %+v, want %d volumes with digest %v", got, b.volumes, b.want)
	}
	wellStored(t, disk, b.dir())
}

// TestHookedRestoreCutEverywhere cuts the power at every operation of a restore, of the
// whole store and of one volume: there is a store, whole, or there is none and the
// next restore makes it.
func TestHookedRestoreCutEverywhere(t *testing.T) {
	w := newWorld(t, 41)
	w.live(12)
	w.Ship()
	w.Snapshot(true)
	w.live(3)
	w.Ship()
	for _, volumes := range [][]string{nil, {""}} {
		b := &bay{w: w, root: fmt.Sprintf("/bay%d", len(volumes))}
		if len(volumes) > 0 {
			dir, _, err := w.restore(restore.Target{}, restore.Options{Follower: true})
			must(t, err)
			b.o.Volumes = []string{holding(t, dir)[0].Name}
		}
		disk := crashfs.New()
		must(t, errors.Join(disk.Mkdir(b.root), disk.SyncDir("/")))
		begun := disk.Ops()
		got, err := b.restore(disk)
		must(t, err)
		b.want, b.volumes = got.Digest, got.Volumes
		there, points := 0, 0
		for k := begun; k <= disk.Ops(); k++ {
			for _, m := range cuts(k, disk.Ops()-k) {
				points++
				if b.cut(disk, k, disk.Ops(), m) {
					there++
				}
			}
		}
		t.Logf("%d operations, %d cuts, the store was there behind %d", disk.Ops()-begun, points, there)
		if there < 5 || there > points/2 {
			t.Error("that proves nothing of the last steps")
		}
	}
}

// cuts are the models under which the power is cut behind operation k: all of them in the
// long form (CRASH_POINTS); else, of every second operation, one, another each time, and of
// the last ones three.
func cuts(k, left int) []crashfs.Model {
	all := []crashfs.Model{crashfs.Posix, crashfs.MetadataOrdered(uint64(k)), crashfs.Random(uint64(k)), crashfs.KillOnly, crashfs.Ordered, crashfs.Random(uint64(k) + 1<<32)}
	switch {
	case os.Getenv("CRASH_POINTS") != "":
		return all
	case left < 12:
		return all[:3]
	case k%2 == 0:
		return all[k/2%5:][:1]
	}
	return nil
}
