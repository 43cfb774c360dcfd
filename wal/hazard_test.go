package wal

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	tidwall "github.com/tidwall/wal"

	"github.com/quire-db/quire/internal/vfs"
)

// Each test here is a row of DESIGN 7's table: what the library does on its own,
// where that can be shown, and that the log built on it does not.

// raw is the library as its users have it, with small segments.
func raw(t *testing.T, dir string, segment int) *tidwall.Log {
	t.Helper()
	l, err := tidwall.Open(dir, &tidwall.Options{NoSync: true, SegmentSize: segment})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// rawLog writes n records of 10 bytes and closes.
func rawLog(t *testing.T, segment, n int) (dir string, segments []string) {
	t.Helper()
	dir = t.TempDir()
	l := raw(t, dir, segment)
	for i := range n {
		if err := l.Write(uint64(i+1), fmt.Appendf(nil, "record %03d", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	segments, _ = filepath.Glob(filepath.Join(dir, "*"))
	return dir, segments
}

func appendTo(t *testing.T, path string, b []byte) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(old, b...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestHazardZerosAreEntries(t *testing.T) {
	dir, segments := rawLog(t, 1<<20, 10)
	appendTo(t, segments[0], make([]byte, 4096))
	if n, _ := raw(t, dir, 1<<20).LastIndex(); n != 4106 {
		t.Errorf("library: last index %d", n)
	}

	r := newRig(t) // zero-filled from the start
	r.commit(10, Body{})
	if res, err := r.scan(); err != nil || res.Last != 10 || res.Cut != nil {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestHazardNoChecksum(t *testing.T) {
	dir, segments := rawLog(t, 1<<20, 3)
	b, _ := os.ReadFile(segments[0])
	b[5] ^= 1
	os.WriteFile(segments[0], b, 0o600)
	if got, err := raw(t, dir, 1<<20).Read(1); err != nil || string(got) == "record 001" {
		t.Errorf("library: %q, %v", got, err)
	}
	// Ours: TestEveryFlip.
}

func TestHazardTornTailLocksOut(t *testing.T) {
	dir, segments := rawLog(t, 1<<20, 3)
	os.Truncate(segments[0], 30)
	if _, err := tidwall.Open(dir, nil); !errors.Is(err, tidwall.ErrCorrupt) {
		t.Errorf("library: %v", err)
	}

	r := newRig(t)
	r.commit(3, Body{})
	r.must(os.Truncate(r.path(0), int64(len(r.trim())-5)))
	res, err := r.scan()
	r.must(err)
	r.last = Position{res.Timeline, res.Last, res.Hash}
	r.open(res.Last + 1)
	r.commit(1, Body{})
	if res, err := r.scan(); err != nil || res.Last != 3 {
		t.Errorf("%+v, %v", res, err)
	}
}

// limitFiles makes writes behind size fail after a true short write.
func limitFiles(t *testing.T, size int64) (lift func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(size), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old) }
}

func TestHazardLifeAfterFailedWrite(t *testing.T) {
	dir := t.TempDir()
	l := raw(t, dir, 1<<20)
	lift := limitFiles(t, 15)
	l.Write(1, []byte("record 001"))
	failed := l.Write(2, []byte("record 002"))
	lift()
	if failed == nil || l.Write(2, []byte("record 2 again")) != nil {
		t.Error("library: the retry was not acknowledged")
	}
	if got, _ := l.Read(2); string(got) != "record 002" {
		t.Errorf("library: the retry reads %q", got)
	}

	r := newRig(t)
	r.commit(3, Body{})
	lift = limitFiles(t, r.log.tail.written+100)
	g, err := r.log.NewGroup(1)
	r.must(err)
	_, err = g.Add(r.next(), Body{})
	r.must(err)
	err = r.log.Append(g, 3)
	lift()
	if !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("append: %v", err)
	}
	r.wantPoisoned(syscall.EFBIG)
	r.wantCut(3, 1)
}

// wantPoisoned checks that nothing is written any more and why it says so.
func (r *rig) wantPoisoned(cause error) {
	r.t.Helper()
	before := r.bytes(0)
	_, newGroup := r.log.NewGroup(1)
	_, prepare := r.log.Prepare(0)
	_, seal := r.log.SealRetired(r.last.LSN)
	_, closed := r.log.Close()
	for what, err := range map[string]error{
		"NewGroup": newGroup, "Prepare": prepare, "SealRetired": seal, "Close": closed,
		"AppendMark": r.log.AppendMark(1), "Sync": r.log.Sync(), "Poisoned": r.log.Poisoned(),
	} {
		if !errors.Is(err, ErrPoisoned) || !errors.Is(err, cause) {
			r.t.Errorf("%s: %v", what, err)
		}
	}
	if !bytes.Equal(before, r.bytes(0)) {
		r.t.Error("the file was changed after the failure")
	}
}

// faulty is a disk on which operations fail as told, and which keeps a list of
// what was made durable.
type faulty struct {
	vfs.FS
	fail map[string]error
	done []string
}

func (f *faulty) do(op, name string) error {
	f.done = append(f.done, op+" "+filepath.Base(name))
	return f.fail[op]
}

func (f *faulty) SyncDir(name string) error {
	return errors.Join(f.FS.SyncDir(name), f.do("syncdir", name))
}

func (f *faulty) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	return faultyFile{file, f, name}, err
}

type faultyFile struct {
	vfs.File
	fs   *faulty
	name string
}

func (f faultyFile) Sync() error { return errors.Join(f.File.Sync(), f.fs.do("sync", f.name)) }

func (f faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.fs.fail["write"]; err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

func newFaultyRig(t *testing.T) (*rig, *faulty) {
	f := &faulty{FS: vfs.OS(), fail: map[string]error{}}
	r := &rig{t: t, fs: f, dir: filepath.Join(t.TempDir(), "wal")}
	r.open(1)
	return r, f
}

func TestHazardLifeAfterFailedSync(t *testing.T) {
	r, disk := newFaultyRig(t)
	r.commit(3, Body{})
	r.append(1, 3, Body{})
	disk.fail["sync"] = syscall.EIO
	if err := r.log.Sync(); !errors.Is(err, ErrPoisoned) {
		t.Fatal(err)
	}
	delete(disk.fail, "sync") // the next one would succeed, and prove nothing
	disk.done = nil
	r.wantPoisoned(syscall.EIO)
	if len(disk.done) > 0 {
		t.Errorf("after the failure: %v", disk.done)
	}
}

// TestRotationKeepsOrder: nothing is written to the next generation before what
// lies in this one is synced.
func TestRotationKeepsOrder(t *testing.T) {
	r, disk := newFaultyRig(t)
	r.prepare(0)
	for range 5 {
		r.append(1, 0, inline(1<<20-2000))
	}
	g, err := r.log.NewGroup(1)
	r.must(err)
	r.add(g, Body{})
	disk.fail["sync"] = syscall.EIO
	if err := r.log.Append(g, 0); !errors.Is(err, ErrPoisoned) {
		t.Errorf("append: %v", err)
	}
	if b := bytes.TrimRight(r.bytes(1), "\x00"); len(b) > 0 {
		t.Errorf("%d bytes lie in the next generation", len(b))
	}
}

func TestHazardNamesAreNotSynced(t *testing.T) {
	r, disk := newFaultyRig(t)
	id := r.gens[0].ID.String()
	want := []string{"syncdir " + filepath.Base(filepath.Dir(r.dir)), "sync " + segment, "syncdir " + id, "syncdir wal"}
	if !slices.Equal(disk.done, want) {
		t.Errorf("before the first record: %q, want %q", disk.done, want)
	}
}

// TestNoSpaceIsOrdinary: a generation that cannot be made leaves no trace.
func TestNoSpaceIsOrdinary(t *testing.T) {
	for _, op := range []string{"write", "sync", "syncdir"} {
		r, disk := newFaultyRig(t)
		r.commit(1, Body{})
		disk.fail[op] = syscall.ENOSPC
		if _, err := r.log.Prepare(0); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", op, err)
		}
		delete(disk.fail, op)
		if ids, err := List(r.fs, r.dir); err != nil || len(ids) != 1 {
			t.Errorf("%s: generations %v, %v", op, ids, err)
		}
		r.commit(1, Body{})
		r.prepare(0)
	}
}

// TestLogNotMade: a log whose directory cannot be made, or is not surely there
// after a crash, does not open.
func TestLogNotMade(t *testing.T) {
	r, disk := newFaultyRig(t)
	if _, err := OpenLog(LogOptions{FS: disk, Dir: filepath.Join(r.dir, "nowhere", "wal")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made nowhere: %v", err)
	}
	disk.fail["syncdir"] = syscall.EIO
	if _, err := OpenLog(LogOptions{FS: disk, Dir: filepath.Join(r.dir, "other")}); !errors.Is(err, syscall.EIO) {
		t.Errorf("name not synced: %v", err)
	}
}

func TestHazardRotation(t *testing.T) {
	dir := t.TempDir()
	next := filepath.Join(dir, "00000000000000000004")
	l := raw(t, dir, 30)
	os.WriteFile(next, []byte("made beforehand"), 0o600)
	for i := range 3 {
		l.Write(uint64(i+1), []byte("record 001"))
	}
	if b, _ := os.ReadFile(next); len(b) != 0 {
		t.Errorf("library: the file of the next name has %q", b)
	}

	r := &rig{t: t, fs: vfs.OS(), dir: filepath.Join(t.TempDir(), "wal")}
	var err error
	r.log, err = OpenLog(LogOptions{FS: r.fs, Dir: r.dir, GenerationBytes: 32 << 20})
	r.must(err)
	r.prepare(1)
	for range 24 { // past the library's 20 MiB
		r.append(1, 0, inline(1<<20-2000))
	}
	r.must(r.log.Sync())
	if names, _ := r.fs.ReadDir(filepath.Dir(r.path(0))); len(names) != 1 || names[0].Size != 32<<20 {
		t.Errorf("files of a generation: %+v", names)
	}
}

// TestHazardLibraryCalls: of the library nothing is used but what appends.
func TestHazardLibraryCalls(t *testing.T) {
	allowed := []string{"Open", "Options", "Binary", "Log", "Batch"}
	refused := []string{"TruncateFront", "TruncateBack", "ClearCache", "FirstIndex", "LastIndex"}
	names, _ := filepath.Glob("*.go")
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "tidwall" && !slices.Contains(allowed, s.Sel.Name) {
				t.Errorf("%s uses tidwall.%s", name, s.Sel.Name)
			}
			if x, ok := s.X.(*ast.SelectorExpr); ok && x.Sel.Name == "lib" && s.Sel.Name != "WriteBatch" && s.Sel.Name != "Close" {
				t.Errorf("%s calls %s of the library's log", name, s.Sel.Name)
			}
			if slices.Contains(refused, s.Sel.Name) {
				t.Errorf("%s uses %s", name, s.Sel.Name)
			}
			return true
		})
	}
}

func TestHazardMissingFile(t *testing.T) {
	dir, segments := rawLog(t, 60, 25)
	os.Remove(segments[len(segments)-1])
	os.Remove(segments[0])
	l := raw(t, dir, 60)
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	if first == 1 || last == 25 {
		t.Errorf("library: %d to %d", first, last)
	}
	// Ours: TestFilesThatAreNotTheLog, and each generation of three:
	for i := range 3 {
		r := newThree(t)
		r.must(os.RemoveAll(filepath.Dir(r.path(i))))
		if _, err := r.scan(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("without generation %d: %v", i, err)
		}
	}
}

// newThree is a log of two sealed generations and an open one.
func newThree(t *testing.T) *rig {
	r := newRig(t)
	for range 11 {
		if !r.log.Ready() {
			r.prepare(0)
		}
		r.commit(1, inline(1<<20-2000))
	}
	facts, err := r.log.SealRetired(r.last.LSN)
	r.must(err)
	r.store(facts)
	r.gens = r.gens[:3]
	return r
}

func TestHazardShortMiddle(t *testing.T) {
	dir, segments := rawLog(t, 60, 25)
	os.Truncate(segments[1], 11)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("library: no panic")
			}
		}()
		raw(t, dir, 60).Read(8)
	}()

	r := newThree(t)
	r.must(os.Truncate(r.path(1), r.gens[1].Length-1))
	if _, err := r.scan(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("scan: %v", err)
	}
	var last error
	for _, err := range Records(r.fs, r.dir, r.gens, 1, 11) {
		last = err
	}
	if !errors.Is(last, ErrCorrupt) {
		t.Errorf("records: %v", last)
	}
}

func TestHazardSwappedGenerations(t *testing.T) {
	r := newThree(t)
	a, b := r.bytes(0), r.bytes(1)
	r.must(errors.Join(os.WriteFile(r.path(0), b, 0o600), os.WriteFile(r.path(1), a, 0o600)))
	if _, err := r.scan(); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// TestHazardReadersRace: readers beside the writer, for the race detector. The
// library's Read changes its cache under a read lock.
func TestHazardReadersRace(t *testing.T) {
	r := newRig(t)
	r.commit(1, Body{})
	gens := slices.Clone(r.gens)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			rd, err := NewReader(r.fs, r.dir, gens, 1)
			if err != nil {
				t.Error(err)
				return
			}
			defer rd.Close()
			for n := LSN(0); n < 200; {
				rec, err := rd.Next()
				switch {
				case err == nil && rec.LSN == n+1:
					n++
				case err == nil:
					t.Errorf("LSN %d behind %d", rec.LSN, n)
					return
				case err.Error() != "EOF":
					t.Error(err)
					return
				default:
					runtime.Gosched()
				}
			}
		})
	}
	for r.last.LSN < 200 {
		r.append(1, r.last.LSN, inline(2000))
	}
	wg.Wait()
}

// TestHazardOpenChangesFiles: looking must not touch.
func TestHazardOpenChangesFiles(t *testing.T) {
	dir, segments := rawLog(t, 60, 25)
	os.Rename(segments[2], segments[2]+".START")
	raw(t, dir, 60)
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) == len(segments) {
		t.Error("library: no file was removed")
	}

	r := newThree(t)
	r.must(os.Rename(r.path(1), r.path(1)+".START"))
	before := fingerprint(t, r.dir)
	if _, err := r.scan(); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	for range Records(r.fs, r.dir, r.gens, 1, 0) {
	}
	if fingerprint(t, r.dir) != before {
		t.Error("the directory was changed")
	}
}

func fingerprint(t *testing.T, dir string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		fmt.Fprintln(&b, path, d.Type())
		if err == nil && d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			fmt.Fprintf(&b, "%x\n", HashPage(0, data))
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHazardBatchIsNotOneWrite(t *testing.T) {
	dir := t.TempDir()
	l := raw(t, dir, 60)
	var batch tidwall.Batch
	for i := range 30 {
		batch.Write(uint64(i+1), []byte("record 001"))
	}
	l.WriteBatch(&batch)
	if segments, _ := filepath.Glob(filepath.Join(dir, "*")); len(segments) < 2 {
		t.Error("library: the batch lies in one file")
	}

	r := newRig(t)
	r.commit(1, Body{})
	least := int64(1 << 30) // the runtime writes too, now and then
	for range 20 {
		g, err := r.log.NewGroup(1)
		r.must(err)
		for range 50 {
			r.add(g, inline(1000))
		}
		before := writes(t)
		r.must(r.log.Append(g, 1))
		least = min(least, writes(t)-before)
	}
	if least != 1 {
		t.Errorf("a group takes %d writes", least)
	}
}

// writes is the number of write system calls of this process so far.
func writes(t *testing.T) (n int64) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("no /proc/self/io: ", err)
	}
	_, after, _ := bytes.Cut(b, []byte("syscw: "))
	fmt.Sscan(string(after), &n)
	return n
}

// TestHazardMemory: the library keeps every record of its segment in memory, so
// a record is small and a sealed generation lets go of the library.
func TestHazardMemory(t *testing.T) {
	heapBytes := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	r := newRig(t)
	before := heapBytes()
	for range 20 {
		if !r.log.Ready() {
			r.prepare(0)
		}
		r.commit(1, inline(1<<20-2000))
	}
	_, err := r.log.SealRetired(r.last.LSN)
	r.must(err)
	if grown := heapBytes() - before; grown > 4*MaxGroupBytes {
		t.Errorf("%d bytes more are live", grown)
	}
	runtime.KeepAlive(r.log)
}
