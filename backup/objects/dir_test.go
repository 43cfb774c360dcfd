package objects_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// TestFilesAreObjects: the directory is what people see, and a plain copy of it
// is the store.
func TestFilesAreObjects(t *testing.T) {
	dir := t.TempDir()
	s := must(t)(openDir(dir))
	ok(t, put(s, "logs/a/start", "text"))
	b, err := os.ReadFile(filepath.Join(dir, "logs", "a", "start"))
	if string(b) != "text" || err != nil {
		t.Errorf("the file holds %q, %v", b, err)
	}
	fresh := filepath.Join(t.TempDir(), "copy")
	ok(t, os.CopyFS(fresh, os.DirFS(dir)))
	if has := contents(t, must(t)(openDir(fresh))); len(has) != 1 || has["logs/a/start"] != "text" {
		t.Errorf("a copy has %v", has)
	}
}

// TestLeftovers: what a dead process left is removed when it is old; what a
// live one is filling is not, however old, and neither are strangers.
func TestLeftovers(t *testing.T) {
	for name, disk := range map[string]func(t *testing.T) (vfs.Linker, string){
		"memory": func(*testing.T) (vfs.Linker, string) { return crashfs.New(), "/store" },
		"disk":   func(t *testing.T) (vfs.Linker, string) { return vfs.OSLinker(), t.TempDir() },
	} {
		t.Run(name, func(t *testing.T) {
			disk, root := disk(t)
			testLeftovers(t, disk, root)
		})
	}
}

func testLeftovers(t *testing.T, disk vfs.Linker, root string) {
	open := func(age time.Duration) *objects.Dir {
		d, err := objects.OpenDir(root, objects.DirOptions{Disk: disk, Create: true, Now: func() time.Time { return began.Add(age) }})
		ok(t, err)
		return d
	}
	ok(t, put(open(0), "a", "")) // makes .put
	name := func(s string) string { return filepath.Join(root, ".put", s) }
	dead := name(fmt.Sprintf("%013d-00000000-0000-4000-8000-000000000001", began.UnixMilli()))
	live := name(fmt.Sprintf("%013d-00000000-0000-4000-8000-000000000002", began.UnixMilli()))
	strange := name("notes")
	for _, n := range []string{dead, strange} {
		f, err := disk.Create(n)
		ok(t, err)
		ok(t, f.Close())
	}
	release, err := disk.Lock(live, "")
	ok(t, err)
	there := func(n string) bool {
		_, err := disk.Lstat(n)
		return err == nil
	}

	ok(t, put(open(objects.LeftoverAge-time.Second), "b", ""))
	if !there(dead) {
		t.Error("a file was removed before it was old")
	}
	ok(t, put(open(2*objects.LeftoverAge), "c", ""))
	if there(dead) || !there(live) || !there(strange) {
		t.Errorf("dead, live, strange: %v %v %v", there(dead), there(live), there(strange))
	}
	ok(t, release())
	ok(t, put(open(2*objects.LeftoverAge), "d", ""))
	if there(live) {
		t.Error("what a process left that ended stays for ever")
	}
	if has := contents(t, open(0)); len(has) != 4 {
		t.Errorf("leftovers are listed: %v", has)
	}
}

// TestPutOutlivesASweep removes, as another machine might, what a Put is
// filling: it fails, puts nothing, and works when repeated.
func TestPutOutlivesASweep(t *testing.T) {
	dir := t.TempDir()
	s := must(t)(openDir(dir))
	body := objects.Bytes([]byte("text"))
	body.Data = onRead{body.Data, func() { ok(t, os.RemoveAll(filepath.Join(dir, ".put"))) }}
	if err := s.Put(background, "a/b", body); err == nil || errors.Is(err, objects.ErrUnknown) {
		t.Fatalf("error is %v", err)
	}
	if has := contents(t, s); len(has) != 0 {
		t.Errorf("%v was put", has)
	}
	ok(t, put(s, "a/b", "text"))
}

type onRead struct {
	io.ReaderAt
	do func()
}

func (r onRead) ReadAt(p []byte, off int64) (int, error) {
	r.do()
	return r.ReaderAt.ReadAt(p, off)
}

// TestRemovedDirectories: empty directories that somebody tidied away come back.
func TestRemovedDirectories(t *testing.T) {
	dir := t.TempDir()
	s := must(t)(openDir(dir))
	ok(t, put(s, "a/b/c", "one"))
	ok(t, s.Delete(background, "a/b/c"))
	if !exists(filepath.Join(dir, "a", "b")) {
		t.Error("Delete removed a directory")
	}
	ok(t, os.RemoveAll(filepath.Join(dir, "a")))
	ok(t, put(s, "a/b/c", "two"))
	if got := text(t, s, "a/b/c"); got != "two" {
		t.Errorf("it holds %q", got)
	}
}

// TestForeign: what is no object in the place of one is reported, never taken
// for one, followed or removed; names that no key has are nobody's.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	s := must(t)(openDir(dir))
	ok(t, put(s, "a/b", "text"))
	is(t, put(s, "a", ""), objects.ErrForeign)
	is(t, put(s, "a/b/c", ""), objects.ErrForeign)
	is(t, put(s, "a/b/c/d", ""), objects.ErrForeign)
	is(t, s.Delete(background, "a"), objects.ErrForeign)
	for _, key := range []string{"a", "a/b/c"} {
		_, _, err := s.Get(background, key, 0, -1)
		is(t, err, objects.ErrForeign)
	}
	ok(t, s.Delete(background, "a/b/c"))
	ok(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o000))
	ok(t, os.WriteFile(filepath.Join(dir, ".DS_Store"), nil, 0o600))
	if has := contents(t, s); len(has) != 1 || has["a/b"] != "text" {
		t.Errorf("it has %v", has)
	}

	ok(t, os.Symlink(filepath.Join(dir, "a", "b"), filepath.Join(dir, "link")))
	ok(t, syscall.Mkfifo(filepath.Join(dir, "a", "fifo"), 0o600))
	for _, key := range []string{"link", "a/fifo"} {
		_, _, err := s.Get(background, key, 0, -1)
		is(t, err, objects.ErrForeign)
		is(t, put(s, key, ""), objects.ErrForeign)
		is(t, s.Delete(background, key), objects.ErrForeign)
		for _, err = range s.List(background, key) {
			break
		}
		is(t, err, objects.ErrForeign)
	}
}

// TestTruncatedFile: a reader whose file is cut off beneath it says so.
func TestTruncatedFile(t *testing.T) {
	dir := t.TempDir()
	s := must(t)(openDir(dir))
	ok(t, put(s, "a", "text"))
	r, _, err := s.Get(background, "a", 0, -1)
	ok(t, err)
	ok(t, os.Truncate(filepath.Join(dir, "a"), 2))
	b, err := io.ReadAll(r)
	if string(b) != "te" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v", b, err)
	}
	ok(t, r.Close())
}

// TestRootIsGone: a store that is not there, as when it was unmounted, is an error and
// never an empty store.
func TestRootIsGone(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	_, err := openDir(root)
	is(t, err, fs.ErrNotExist)
	s, err := objects.OpenDir(root, objects.DirOptions{Create: true})
	ok(t, err)
	ok(t, put(s, "a/b", "text"))
	ok(t, os.Rename(root, root+".away"))
	for range 2 {
		_, _, err = s.Get(background, "a/b", 0, -1)
		fails(t, err)
		fails(t, put(s, "a/b", "text"))
		fails(t, put(s, "x", ""))
		fails(t, s.Delete(background, "a/b"))
		for _, err = range s.List(background, "") {
			break
		}
		fails(t, err)
		if err := os.Mkdir(root, 0o700); err != nil { // an empty mount point, the second time
			break
		}
	}
	ok(t, os.Remove(root)) // nothing was made in it
	ok(t, os.Rename(root+".away", root))
	if got := text(t, s, "a/b"); got != "text" {
		t.Errorf("it holds %q", got)
	}
}

func fails(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, objects.ErrNotFound) || errors.Is(err, objects.ErrExists) {
		t.Fatalf("error is %v", err)
	}
}

// TestOpenChangesNothing: looking at a store on a read-only disk is possible.
func TestOpenChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := must(t)(openDir(dir))
	if has := contents(t, s); len(has) != 0 {
		t.Errorf("it has %v", has)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("opening made %v, %v", names, err)
	}
	file := filepath.Join(dir, "file")
	ok(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{file, "relative", ""} {
		if _, err := openDir(path); err == nil {
			t.Errorf("%q was opened", path)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(dir, link))
	ok(t, put(must(t)(openDir(link)), "a", "through a link"))
	if !exists(filepath.Join(dir, "a")) {
		t.Error("a link to the store is another store")
	}
}

// lying is a network disk: link answers something else than what it did.
type lying struct {
	*crashfs.FS
	links  bool // link is carried out
	answer error
	lies   atomic.Int64 // that are left
}

func (l *lying) Link(from, to string) error {
	if l.lies.Add(-1) < 0 {
		return l.FS.Link(from, to)
	}
	if l.links {
		if err := l.FS.Link(from, to); err != nil {
			return err
		}
	}
	return &os.LinkError{Op: "link", Old: from, New: to, Err: l.answer}
}

// TestLostAnswers: when the answer to a link was lost, Put finds out what became of it or
// says that this is unknown, and putting again settles it.
func TestLostAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		links  bool
		answer error
		want   error
		there  bool
	}{
		{"repeated by NFS", true, syscall.EEXIST, nil, true},
		{"lost, and carried out", true, syscall.EIO, nil, true},
		{"lost, and not carried out", false, syscall.ETIMEDOUT, objects.ErrUnknown, false},
		{"refused", false, syscall.EPERM, fs.ErrPermission, false},
		{"full", false, syscall.ENOSPC, syscall.ENOSPC, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := &lying{FS: crashfs.New(), links: c.links, answer: c.answer}
			s := onDisk(t, disk, began)
			ok(t, put(s, "a/first", ""))
			disk.lies.Store(1)
			err := put(s, "a/b", "text")
			if !errors.Is(err, c.want) {
				t.Fatalf("error is %v, want %v", err, c.want)
			}
			if has := contents(t, s); (len(has) == 2) != c.there {
				t.Errorf("it has %v", has)
			}
			if unknown := errors.Is(err, objects.ErrUnknown); unknown != (c.want == objects.ErrUnknown) {
				t.Errorf("unknown: %v", err)
			}
			again := put(s, "a/b", "text")
			if c.there {
				is(t, again, objects.ErrExists)
			} else {
				ok(t, again)
			}
		})
	}
}

// TestFullDisk: no space is an ordinary error of one Put, and leaves nothing.
func TestFullDisk(t *testing.T) {
	disk := crashfs.New()
	s := onDisk(t, disk, began)
	ok(t, put(s, "a", ""))
	disk.Inject(crashfs.FailKind(syscall.ENOSPC, crashfs.Write))
	err := put(s, "b", strings.Repeat("x", 1<<20))
	if !vfs.IsFull(err) || errors.Is(err, objects.ErrUnknown) {
		t.Fatalf("error is %v", err)
	}
	disk.Inject(nil)
	if left, err := disk.ReadDir("/deep/store/.put"); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	ok(t, put(s, "b", "x"))
}
