package ship_test

import (
	"context"
	"testing"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

// TestPowerCut cuts the power of the machine that has the archive at every operation of
// its disk, while it ships and while it packs: what was said to be shipped by then is
// there, and the next archiver finishes the work.
func TestPowerCut(t *testing.T) {
	made := lived(9)
	disk := crashfs.New()
	s, err := objects.OpenDir("/store", objects.DirOptions{Disk: disk, Create: true})
	ok(t, err)
	a, err := ship.Open(background, s, historyOf(made), small)
	ok(t, err)
	type said struct {
		ops     int
		shipped wal.LSN
	}
	var all []said
	note := func() { all = append(all, said{disk.Ops(), a.Status().Shipped.LSN}) }
	src := source(made)
	ok(t, a.Run(background, ship.Func(func(ctx context.Context) (ship.Entry, error) {
		note()
		return src.Next(ctx)
	})))
	note()
	for _, end := range historyOf(made) {
		_, err := ship.Pack(background, s, end.Timeline, packs)
		ok(t, err)
	}
	if len(all) != len(made)+2 || all[len(all)-1].shipped != wal.LSN(len(made)) || len(keysOf(t, s, archive.KindPack)) == 0 {
		t.Fatalf("%v, and %v", keysOf(t, s), all)
	}
	for k := all[0].ops; k <= disk.Ops(); k++ {
		for _, model := range []crashfs.Model{crashfs.Posix, crashfs.Random(uint64(k))} {
			image, err := objects.OpenDir("/store", objects.DirOptions{Disk: disk.Cut(k, model), Create: true})
			ok(t, err)
			last := wal.LSN(0)
			for _, s := range all {
				if s.ops <= k {
					last = s.shipped
				}
			}
			if last > 0 {
				if n, err := read(t, image, made[:last], 1, last, ship.ReadOptions{}); n != int(last) || err != nil {
					t.Fatalf("after operation %d: %d of %d entries, %v", k, n, last, err)
				}
			}
			shipped(t, image, made, small)
			whole(t, image, made, ship.Leftover)
		}
	}
}
