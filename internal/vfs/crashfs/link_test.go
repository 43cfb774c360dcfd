package crashfs_test

import (
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/vfstest"
)

func TestLinkerConformance(t *testing.T) {
	vfstest.RunLinker(t, func(t *testing.T) (vfs.Linker, string) {
		disk := crashfs.New()
		if err := disk.Mkdir("/work"); err != nil {
			t.Fatal(err)
		}
		return disk, "/work"
	})
}

// A second name is durable by SyncDir of its own directory, whatever becomes of
// the first.
func TestLinkIsDurableByItsDirectory(t *testing.T) {
	r := newRig(t)
	r.ok(r.Mkdir("/d"))
	r.ok(r.SyncDir("/"))
	f := r.create("/a", "text")
	r.ok(f.Sync())
	r.ok(r.Link("/a", "/d/b"))
	if got := text(t, r.Cut(r.Ops(), crashfs.Posix), "/d/b"); got != "-" {
		t.Errorf("before SyncDir a cut leaves %q", got)
	}
	got := r.outcomes(crashfs.Random, func(disk *crashfs.FS) string { return text(t, disk, "/d/b") })
	if got["-"] == 0 || got["text"] == 0 || len(got) != 2 {
		t.Errorf("before SyncDir cuts leave %v", got)
	}
	r.ok(r.SyncDir("/d"))
	r.ok(r.Remove("/a"))
	for _, m := range models() {
		if got := text(t, r.Cut(r.Ops(), m), "/d/b"); got != "text" {
			t.Errorf("%v leaves %q after SyncDir", m, got)
		}
	}
	for _, model := range []func(uint64) crashfs.Model{crashfs.Random, crashfs.MetadataOrdered} {
		if n := r.outcomes(model, func(disk *crashfs.FS) string { return text(t, disk, "/d/b") }); len(n) != 1 {
			t.Errorf("after SyncDir cuts leave %v", n)
		}
	}
}
