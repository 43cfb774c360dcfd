//go:build crashfs

package tidwallfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
	"github.com/tidwall/wal"
)

// formatted returns a disk with a durable, empty directory /db.
func formatted(t *testing.T) *crashfs.FS {
	t.Helper()
	disk := crashfs.New()
	must(t, disk.Mkdir("/db"))
	must(t, disk.SyncDir("/"))
	return disk
}

// reopened returns the last index of the log that a cut leaves.
func reopened(t *testing.T, disk *crashfs.FS) (last uint64, err error) {
	t.Helper()
	unmount := tidwallfs.Mount("/db", disk)
	defer unmount()
	log, err := wal.Open("/db", nil)
	if err != nil {
		return 0, err
	}
	return log.LastIndex()
}

// write writes records 1 to n and returns the number of operations after each.
func write(t *testing.T, disk *crashfs.FS, n uint64, noSync bool) (acked []int) {
	t.Helper()
	unmount := tidwallfs.Mount("/db", disk)
	defer unmount()
	log, err := wal.Open("/db", &wal.Options{NoSync: noSync})
	must(t, err)
	must(t, disk.SyncDir("/db")) // the library does not
	for i := range n {
		must(t, log.Write(i+1, fmt.Appendf(nil, "record %d", i+1)))
		acked = append(acked, disk.Ops())
	}
	return acked
}

// TestLibraryLosesUnsyncedRecords: without sync a power cut takes what was
// acknowledged, and a kill does not.
func TestLibraryLosesUnsyncedRecords(t *testing.T) {
	disk := formatted(t)
	write(t, disk, 3, true)
	for _, c := range []struct {
		model crashfs.Model
		want  uint64
	}{{crashfs.Posix, 0}, {crashfs.Ordered, 3}, {crashfs.KillOnly, 3}} {
		if last, err := reopened(t, disk.Cut(disk.Ops(), c.model)); err != nil || last != c.want {
			t.Errorf("%v: %d records, %v; want %d", c.model, last, err, c.want)
		}
	}
}

// TestLibraryKeepsSyncedRecords: with sync, and the directory synced by the
// caller, every acknowledged record survives a cut at every operation, where
// the log can be opened at all.
func TestLibraryKeepsSyncedRecords(t *testing.T) {
	disk := formatted(t)
	acked := write(t, disk, 20, false)
	torn := 0
	for k := range disk.Ops() + 1 {
		for seed := range uint64(8) {
			for _, model := range []crashfs.Model{crashfs.Ordered, crashfs.Posix, crashfs.MetadataOrdered(seed), crashfs.Random(seed)} {
				last, err := reopened(t, disk.Cut(k, model))
				if errors.Is(err, wal.ErrCorrupt) {
					torn++
					continue
				}
				must(t, err)
				if last < uint64(len(acked)) && acked[last] <= k {
					t.Fatalf("%v at %d: %d records, acknowledged record %d is lost", model, k, last, last+1)
				}
			}
		}
	}
	if torn == 0 {
		t.Error("no cut left a torn tail")
	}
}

// TestLibraryLosesNamesWithoutSyncDir: the library syncs its file and not the
// directory, so that a synced record is lost with the file's name.
func TestLibraryLosesNamesWithoutSyncDir(t *testing.T) {
	disk := formatted(t)
	defer tidwallfs.Mount("/db", disk)()
	log, err := wal.Open("/db", nil)
	must(t, err)
	must(t, log.Write(1, []byte("acknowledged")))
	list, err := disk.Cut(disk.Ops(), crashfs.Posix).ReadDir("/db")
	if err != nil || len(list) != 0 {
		t.Errorf("the directory holds %v, %v; want nothing", list, err)
	}
}

// TestLibraryOnSeveralDisks: disks with different prefixes, and the operating
// system's, are used at once.
func TestLibraryOnSeveralDisks(t *testing.T) {
	var wg sync.WaitGroup
	real := t.TempDir()
	for i := range 8 {
		dir := fmt.Sprintf("/disk%d/log", i)
		if i == 0 {
			dir = filepath.Join(real, "log")
		}
		disk := crashfs.New()
		t.Cleanup(tidwallfs.Mount(fmt.Sprintf("/disk%d", i), disk))
		wg.Go(func() { exercise(t, dir) })
		t.Cleanup(func() {
			if _, err := disk.Lstat(dir); (err == nil) != (i > 0) {
				t.Errorf("%s on its disk: %v", dir, err)
			}
		})
	}
	wg.Wait()
	if _, err := os.Lstat(filepath.Join(real, "log")); err != nil {
		t.Error(err)
	}
}

// exercise uses everything of the library that reaches the disk.
func exercise(t *testing.T, dir string) {
	for round := range uint64(3) {
		log, err := wal.Open(dir, &wal.Options{SegmentSize: 100})
		if err != nil {
			t.Error(err)
			return
		}
		last, err := log.LastIndex()
		if err != nil || last != round*20 {
			t.Errorf("%s: last index %d, %v", dir, last, err)
		}
		for i := range uint64(30) {
			err = errors.Join(err, log.Write(last+i+1, fmt.Appendf(nil, "record %d of %s", last+i+1, dir)))
		}
		err = errors.Join(err, log.TruncateFront(last+5), log.TruncateBack(last+20))
		got, rerr := log.Read(last + 7)
		if want := fmt.Sprintf("record %d of %s", last+7, dir); string(got) != want {
			t.Errorf("read %q, want %q", got, want)
		}
		if err = errors.Join(err, rerr, log.Close()); err != nil {
			t.Error(err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
