package recovery_test

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// damage is done to the files of a store of which a younger state is at dir
// and an older one at older.
type damage struct {
	name string
	do   func(t *testing.T, dir, older string)
	want error // of Open and View; Verify finds a problem or returns it
}

var damages = []damage{
	{"manifest missing", remove(manifest.Name), wal.ErrCorrupt},
	{"manifest empty", truncate(manifest.Name, 0), wal.ErrCorrupt},
	{"manifest cut", truncate(manifest.Name, 100), wal.ErrCorrupt},
	{"manifest a link", link(manifest.Name), wal.ErrCorrupt},
	{"manifest a FIFO", fifo(manifest.Name), wal.ErrCorrupt},
	{"manifest a directory", directory(manifest.Name), wal.ErrCorrupt},
	{"manifest of an older state", older(manifest.Name), wal.ErrCorrupt},
	{"manifest of another store", foreign(manifest.Name), wal.ErrCorrupt},
	{"manifest of a newer format", newer(manifest.Name, "QUIREMAN", 32, 8, 10), wal.ErrVersion},

	{"heap missing", remove("heap"), wal.ErrCorrupt},
	{"heap a link", link("heap"), wal.ErrCorrupt},
	{"heap file missing", remove("heap/00000001"), wal.ErrCorrupt},
	{"heap file empty", truncate("heap/00000001", 0), wal.ErrCorrupt},
	{"heap file cut", truncate("heap/00000001", 8192), wal.ErrCorrupt},
	{"heap file a link", link("heap/00000001"), wal.ErrCorrupt},
	{"heap file a FIFO", fifo("heap/00000001"), wal.ErrCorrupt},
	{"heap file a directory", directory("heap/00000001"), wal.ErrCorrupt},
	{"heap file twice", copied("heap/00000001", "heap/00000002"), wal.ErrCorrupt},
	{"heap file of another store", foreign("heap/00000001"), wal.ErrCorrupt},
	{"heap file of a newer format", newer("heap/00000001", "QHEP", 4092, 4), wal.ErrVersion},
	{"strange file in the heap", copied(manifest.Name, "heap/notes.txt"), wal.ErrCorrupt},

	{"log missing", remove("wal"), wal.ErrCorrupt},
	{"log a FIFO", fifo("wal"), wal.ErrCorrupt},
	{"generation missing", remove("wal/*"), wal.ErrCorrupt},
	{"generation without its file", remove("wal/*/*"), wal.ErrCorrupt},
	{"generation empty", truncate("wal/*/*", 0), wal.ErrCorrupt},
	{"generation cut", truncate("wal/*/*", 5000), wal.ErrCorrupt},
	{"generation a link", link("wal/*/*"), wal.ErrCorrupt},
	{"generation a FIFO", fifo("wal/*/*"), wal.ErrCorrupt},
	{"generation a directory", directory("wal/*/*"), wal.ErrCorrupt},
	{"generation of an older state", older("wal/*/*"), wal.ErrCorrupt},
	{"generation of another store", foreign("wal/*/*"), wal.ErrCorrupt},
	{"generation of a newer format", newer("wal/*/*", "QFRM", 112, 4), wal.ErrVersion},
	{"second file in a generation", copied(manifest.Name, "wal/*/00000000000000000002"), wal.ErrCorrupt},
	{"strange file in the log", copied(manifest.Name, "wal/notes.txt"), wal.ErrCorrupt},
	{"strange file in the store", copied(manifest.Name, "notes.txt"), wal.ErrCorrupt},
	{"strange file in quarantine", copied(manifest.Name, "quarantine/notes.txt"), wal.ErrCorrupt},
	{"heap a FIFO", fifo("heap"), wal.ErrCorrupt},
	{"log a link", link("wal"), wal.ErrCorrupt},
	{"quarantine a FIFO", fifo("quarantine"), wal.ErrCorrupt},
	{"quarantine a link", link("quarantine"), wal.ErrCorrupt},
	{"lock a FIFO", fifo(recovery.LockName), wal.ErrCorrupt},
	{"lock a link", link(recovery.LockName), wal.ErrCorrupt},
	{"lock a directory", directory(recovery.LockName), wal.ErrCorrupt},
}

func TestDamage(t *testing.T) {
	dir, b := build(t, 3, txn.Options{})
	b.mixed()
	b.close()
	old := filepath.Join(t.TempDir(), "older")
	copyDir(t, dir, old)
	m, _, err := txn.Open(dir, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	if err != nil {
		t.Fatal(err)
	}
	b.m = m
	b.checkpoint()
	b.write("plain", 30, 4000)
	b.write("tiny", 3, 3000)
	b.close()
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			damaged := filepath.Join(t.TempDir(), "store")
			copyDir(t, dir, damaged)
			d.do(t, damaged, old)
			quickly(t, func() { d.check(t, damaged, b.now) })
		})
	}
}

// quickly fails when f hangs.
func quickly(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
}

func (d damage) check(t *testing.T, dir string, want oracle) {
	before := fingerprint(t, dir)
	if err := compare(t, dir, want); !errors.Is(err, d.want) {
		t.Errorf("View: %v", err)
	}
	rep, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
	if err == nil && rep.Clean || err != nil && !errors.Is(err, wal.ErrVersion) {
		t.Errorf("Verify: %v, %v", rep, err)
	}
	if after := fingerprint(t, dir); after != before {
		t.Errorf("looking changed the directory:\n%s\n%s", before, after)
	}
	var owner []byte
	if info, err := os.Lstat(filepath.Join(dir, recovery.LockName)); err == nil && info.Mode().IsRegular() {
		owner, _ = os.ReadFile(filepath.Join(dir, recovery.LockName))
	}
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err == nil {
		m.Close()
	}
	if !errors.Is(err, d.want) && !errors.Is(err, vfs.ErrNotRegular) {
		t.Errorf("Open: %v", err)
	}
	if len(owner) > 0 { // Open says who has the store while it looks
		if err := os.WriteFile(filepath.Join(dir, recovery.LockName), owner, 0o600); err != nil {
			t.Error(err)
		}
	}
	if after := fingerprint(t, dir); after != before {
		t.Errorf("Open changed the directory:\n%s\n%s", before, after)
	}
}

// find is the file that a pattern below dir means: the last one, which is the
// generation that is in use.
func find(t *testing.T, dir, pattern string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(list) == 0 {
		t.Fatalf("there is no %s: %v", pattern, err)
	}
	largest := list[0]
	for _, name := range list {
		if size(t, name) > size(t, largest) {
			largest = name
		}
	}
	return largest
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type doing = func(t *testing.T, dir, older string)

func remove(name string) doing {
	return func(t *testing.T, dir, _ string) { must(t, os.RemoveAll(find(t, dir, name))) }
}

func truncate(name string, size int64) doing {
	return func(t *testing.T, dir, _ string) { must(t, os.Truncate(find(t, dir, name), size)) }
}

// link puts a link in a file's place that leads to it.
func link(name string) doing {
	return func(t *testing.T, dir, _ string) {
		file, moved := find(t, dir, name), filepath.Join(t.TempDir(), "moved")
		must(t, os.Rename(file, moved))
		must(t, os.Symlink(moved, file))
	}
}

func fifo(name string) doing {
	return func(t *testing.T, dir, _ string) {
		file := find(t, dir, name)
		must(t, os.RemoveAll(file))
		must(t, syscall.Mkfifo(file, 0o600))
	}
}

func directory(name string) doing {
	return func(t *testing.T, dir, _ string) {
		file := find(t, dir, name)
		must(t, os.Remove(file))
		must(t, os.Mkdir(file, 0o700))
	}
}

// newer raises the versions at offsets behind the first magic of a file, and
// makes the CRC that covers all before it fit.
func newer(name, magic string, crc int, versions ...int) doing {
	return func(t *testing.T, dir, _ string) {
		file := find(t, dir, name)
		b, err := os.ReadFile(file)
		must(t, err)
		head := b[strings.Index(string(b), magic):]
		for _, at := range versions {
			head[at]++
		}
		sum := crc32.Checksum(head[:crc], crc32.MakeTable(crc32.Castagnoli))
		binary.LittleEndian.PutUint32(head[crc:], sum)
		must(t, os.WriteFile(file, b, 0o600))
	}
}

// copied copies a file to another name; a pattern in it is a directory's.
func copied(name, to string) doing {
	return func(t *testing.T, dir, _ string) {
		b, err := os.ReadFile(find(t, dir, name))
		must(t, err)
		target := filepath.Join(dir, to)
		if strings.Contains(to, "*") {
			target = filepath.Join(find(t, dir, filepath.Dir(to)), filepath.Base(to))
		}
		must(t, os.WriteFile(target, b, 0o600))
	}
}

// older puts a file of the older state in the place of the one of now.
func older(name string) doing {
	return func(t *testing.T, dir, older string) {
		b, err := os.ReadFile(find(t, older, name))
		must(t, err)
		must(t, os.WriteFile(find(t, dir, name), b, 0o600))
	}
}

// foreign puts a file of another store of the same contents in its place.
func foreign(name string) doing {
	return func(t *testing.T, dir, _ string) {
		other, b := build(t, 3, txn.Options{})
		b.mixed()
		b.close()
		older(name)(t, dir, other)
	}
}

func TestNoStore(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Join(dir, "nothing")} {
		if _, err := recovery.View(vfs.OS(), d, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("View: %v", err)
		}
		if _, err := recovery.Verify(context.Background(), vfs.OS(), d, recovery.VerifyOptions{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Verify: %v", err)
		}
		if _, _, err := txn.Open(d, txn.Options{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open: %v", err)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) > 0 {
		t.Errorf("looking made %v", list)
	}
	must(t, os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600))
	for _, create := range []bool{false, true} {
		if _, _, err := txn.Open(dir, txn.Options{Create: create}); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("Open of a directory of other things: %v", err)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("refusing made %v", list)
	}
}
