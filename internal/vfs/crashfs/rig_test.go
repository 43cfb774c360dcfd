package crashfs_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

const seeds = 200

// models are all of them, those with chance under many seeds.
func models() []crashfs.Model {
	list := []crashfs.Model{crashfs.Ordered, crashfs.KillOnly, crashfs.Posix}
	for seed := range uint64(seeds) {
		list = append(list, crashfs.MetadataOrdered(seed), crashfs.Random(seed))
	}
	return list
}

// rig makes a workload read as a list of steps.
type rig struct {
	testing.TB
	*crashfs.FS
}

func newRig(t testing.TB) rig { return rig{t, crashfs.New()} }

func (r rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r rig) create(name, text string) vfs.File {
	r.Helper()
	f, err := r.Create(name)
	r.ok(err)
	r.write(f, text, 0)
	return f
}

func (r rig) write(f vfs.File, text string, off int64) {
	r.Helper()
	_, err := f.WriteAt([]byte(text), off)
	r.ok(err)
}

// synced makes a file and its name durable.
func (r rig) synced(name, text string) vfs.File {
	r.Helper()
	f := r.create(name, text)
	r.ok(f.Sync())
	r.ok(r.SyncDir("/"))
	return f
}

// text is what a file of the disk holds; "-" when there is none.
func text(t testing.TB, disk *crashfs.FS, name string) string {
	t.Helper()
	f, err := disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, size)
	if n, err := f.ReadAt(buf, 0); n != len(buf) {
		t.Fatal(err)
	}
	return string(buf)
}

// names lists the root of a disk.
func names(t testing.TB, disk *crashfs.FS) string {
	t.Helper()
	list, err := disk.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range list {
		s = append(s, e.Name)
	}
	return strings.Join(s, " ")
}

// outcomes are the distinct results of see over the cuts after the last
// operation under every seed of a model.
func (r rig) outcomes(model func(uint64) crashfs.Model, see func(*crashfs.FS) string) map[string]int {
	seen := make(map[string]int)
	for seed := range uint64(seeds) {
		seen[see(r.Cut(r.Ops(), model(seed)))]++
	}
	return seen
}
