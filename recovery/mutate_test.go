package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// mutant is a directory with a store that is to be damaged, and where the
// damage comes from.
type mutant struct {
	t            *testing.T
	r            *rand.Rand
	dir          string
	older, other string // an earlier state of it; another store of the same contents
	log          []string
}

// mutations are what is done to one file of a store, each as likely.
var mutations = []func(m *mutant, name string){
	(*mutant).flip, (*mutant).flip,
	(*mutant).cut, (*mutant).extend, (*mutant).garble,
	(*mutant).zeroBlock, (*mutant).copyBlock, (*mutant).swapBlocks,
	(*mutant).staleBlock, (*mutant).staleBlock,
	(*mutant).deleted, (*mutant).replaced,
	(*mutant).olderFile, (*mutant).foreignFile, (*mutant).addFile,
}

// mutate does one of them, or sometimes a few.
func (m *mutant) mutate() {
	for n := 1 + m.r.IntN(3)/2*m.r.IntN(3); n >= 0; n-- {
		mutations[m.r.IntN(len(mutations))](m, m.some())
	}
}

func (m *mutant) say(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

// files are the regular ones below a store's directory.
func (m *mutant) files(dir string) (names []string) {
	must(m.t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	}))
	return names
}

func (m *mutant) some() string {
	names := m.files(m.dir)
	return names[m.r.IntN(len(names))]
}

func (m *mutant) read(name string) []byte {
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	must(m.t, err)
	return b
}

func (m *mutant) write(name string, b []byte) {
	must(m.t, os.WriteFile(filepath.Join(m.dir, name), b, 0o600))
}

// block is a part of n bytes, aligned to sectors or to pages; most of them in
// the first half megabyte, where most of what is in use lies.
func (m *mutant) block(n int) (from, to int) {
	size := []int{512, 4096}[m.r.IntN(2)]
	if m.r.IntN(4) > 0 {
		n = min(n, 512<<10)
	}
	from = m.r.IntN(n/size+1) * size
	return min(from, n), min(from+size, n)
}

func (m *mutant) flip(name string) {
	b := m.read(name)
	for range 1 + m.r.IntN(8) {
		if from, to := m.block(len(b)); from < to {
			at := from + m.r.IntN(to-from)
			b[at] ^= 1 << m.r.IntN(8)
			m.say("%s: bit flipped in byte %d", name, at)
		}
	}
	m.write(name, b)
}

func (m *mutant) cut(name string) {
	b := m.read(name)
	at, to := m.block(len(b))
	if m.r.IntN(2) == 0 {
		at += m.r.IntN(to - at + 1)
	}
	m.say("%s: cut at byte %d", name, at)
	m.write(name, b[:at])
}

func (m *mutant) extend(name string) {
	more := make([]byte, 1+m.r.IntN(10_000))
	if m.r.IntN(2) == 0 {
		m.garbage(more)
	}
	m.say("%s: %d bytes more, %x...", name, len(more), more[:1])
	m.write(name, append(m.read(name), more...))
}

func (m *mutant) garbage(b []byte) {
	for i := range b {
		b[i] = byte(m.r.Uint32())
	}
}

func (m *mutant) garble(name string) {
	b := m.read(name)
	from, to := m.block(len(b))
	m.say("%s: garbage in bytes %d to %d", name, from, to)
	m.garbage(b[from:to])
	m.write(name, b)
}

func (m *mutant) zeroBlock(name string) {
	b := m.read(name)
	from, to := m.block(len(b))
	m.say("%s: zeros in bytes %d to %d", name, from, to)
	clear(b[from:to])
	m.write(name, b)
}

func (m *mutant) copyBlock(name string) {
	b := m.read(name)
	from, to := m.block(len(b))
	at, _ := m.block(len(b))
	m.say("%s: bytes %d to %d again at %d", name, from, to, at)
	copy(b[at:], b[from:to])
	m.write(name, b)
}

func (m *mutant) swapBlocks(name string) {
	second := m.some()
	b, c := m.read(name), m.read(second)
	if name == second {
		c = b
	}
	from, to := m.block(len(b))
	at, end := m.block(len(c))
	n := min(to-from, end-at)
	m.say("%s at byte %d, %s at byte %d: %d bytes exchanged", name, from, second, at, n)
	kept := append([]byte(nil), b[from:from+n]...)
	copy(b[from:], c[at:at+n])
	copy(c[at:], kept)
	m.write(name, b)
	m.write(second, c)
}

// staleBlock puts back what was at the same place of the same file before.
func (m *mutant) staleBlock(name string) {
	old, err := os.ReadFile(filepath.Join(m.older, name))
	if err != nil {
		return
	}
	b := m.read(name)
	from, to := m.block(min(len(b), len(old)))
	m.say("%s: bytes %d to %d of the earlier state", name, from, to)
	copy(b[from:to], old[from:to])
	m.write(name, b)
}

func (m *mutant) deleted(name string) {
	m.say("%s: deleted", name)
	must(m.t, os.Remove(filepath.Join(m.dir, name)))
}

// replaced puts something else in the file's place.
func (m *mutant) replaced(name string) {
	path := filepath.Join(m.dir, name)
	target := filepath.Join(m.dir, m.some())
	must(m.t, os.Remove(path))
	switch m.r.IntN(3) {
	case 0:
		m.say("%s: a FIFO", name)
		must(m.t, syscall.Mkfifo(path, 0o600))
	case 1:
		m.say("%s: a link to %s", name, target)
		must(m.t, os.Symlink(target, path))
	case 2:
		m.say("%s: a directory", name)
		must(m.t, os.Mkdir(path, 0o700))
	}
}

// olderFile puts the file's earlier state back; if it had none, another's.
func (m *mutant) olderFile(name string) { m.from(m.older, name, "the earlier state") }

func (m *mutant) foreignFile(name string) { m.from(m.other, name, "another store") }

func (m *mutant) from(dir, name, what string) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	for err != nil {
		names := m.files(dir)
		pick := names[m.r.IntN(len(names))]
		if filepath.Dir(filepath.Dir(pick)) == filepath.Dir(filepath.Dir(name)) {
			b, err = os.ReadFile(filepath.Join(dir, pick))
		}
	}
	m.say("%s: that of %s", name, what)
	m.write(name, b)
}

// addFile puts a file where there was none.
func (m *mutant) addFile(name string) {
	b := m.read(name)
	to := []string{
		"notes", "heap/00000007", "heap/notes", "wal/notes", "quarantine/notes",
		"wal/00000000000000ff/00000000000000000001", filepath.Dir(name) + "/00000000000000000002", "MANIFEST.new",
	}[m.r.IntN(8)]
	must(m.t, os.MkdirAll(filepath.Join(m.dir, filepath.Dir(to)), 0o700))
	m.say("%s: as %s too", name, to)
	m.write(to, b)
}

// mutantsWanted is how many there are of each kind of store.
func mutantsWanted(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("MUTANTS"))
	switch {
	case err == nil:
		return n
	case testing.Short():
		return 20
	}
	return 60
}

// TestMutants damages any file of a store in any way. Nothing panics or hangs,
// nobody reads what was not written or half of a transaction, memory is bounded;
// and damage to a store that was closed cleanly is found, or does no harm.
func TestMutants(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(map[bool]string{false: "clean", true: "killed"}[killed], func(t *testing.T) {
			dir, b := build(t, 21, txn.Options{})
			b.mixed()
			older := filepath.Join(t.TempDir(), "older")
			copyDir(t, b.kill(dir), older) // the manager is closed by that
			m, _, err := txn.Open(dir, txn.Options{GenerationBytes: wal.MinGenerationBytes})
			must(t, err)
			b.m = m
			b.checkpoint()
			b.write("plain", 30, 4000)
			b.write("tiny", 3, 3000)
			b.write("late", 1, 64)
			if killed {
				dir = b.kill(dir)
			} else {
				b.close()
			}
			other, c := build(t, 22, txn.Options{})
			c.mixed()
			c.close()
			found := 0
			for seed := range mutantsWanted(t) {
				x := &mutant{t: t, r: rand.New(rand.NewPCG(uint64(seed), 3)), dir: filepath.Join(t.TempDir(), "store"), older: older, other: other}
				copyDir(t, dir, x.dir)
				x.mutate()
				quickly(t, func() {
					if x.check(b, killed) {
						found++
					}
				})
				if t.Failed() {
					t.Fatalf("mutant %d: %q", seed, x.log)
				}
				must(t, os.RemoveAll(x.dir))
			}
			t.Logf("%d mutants, damage found in %d", mutantsWanted(t), found)
		})
	}
}

// mutantMemory is how many bytes may be allocated by all looks at a mutant
// together: what a sound one takes is a fifth of it.
const mutantMemory = 512 << 20

// check looks at a mutant and opens it.
func (m *mutant) check(b *builder, killed bool) (found bool) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	found = m.look(b, killed)
	m.open(b, killed || found)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > mutantMemory {
		m.t.Errorf("%d MiB were allocated", took>>20)
	}
	return found
}

// look verifies and views.
func (m *mutant) look(b *builder, killed bool) (found bool) {
	was := fingerprint(m.t, m.dir)
	rep, err := recovery.Verify(context.Background(), vfs.OS(), m.dir, recovery.VerifyOptions{})
	found = err != nil || !rep.Clean
	if err != nil && !typed(err) {
		m.t.Errorf("Verify: %v", err)
	}
	if !killed && !found && !rep.ClosedCleanly {
		m.t.Error("Verify is content with a store that was closed cleanly and is not any more")
	}
	if m.r.IntN(3) == 0 {
		if _, e := recovery.Assess(context.Background(), vfs.OS(), m.dir, recovery.VerifyOptions{}); e != nil && (err == nil || !typed(e)) {
			m.t.Errorf("Assess: %v; Verify: %v", e, err)
		}
	}
	v, err := recovery.View(vfs.OS(), m.dir, 0)
	if err == nil {
		if want := m.want(b, v.Snapshot().LSN(), killed || found); want != nil {
			err = compareView(m.t, v, want)
		}
		v.Close()
	}
	if err != nil && (!found || !typed(err)) {
		m.t.Errorf("View: %v; and Verify found something: %v", err, found)
	}
	if fingerprint(m.t, m.dir) != was {
		m.t.Error("looking changed the directory")
	}
	return found
}

// want is the state at an LSN. Of a killed store, or a damaged one, the end may
// be missing.
func (m *mutant) want(b *builder, lsn wal.LSN, shorter bool) oracle {
	want, last := b.ever[lsn], wal.LSN(0)
	for l := range maps.Keys(b.ever) {
		last = max(last, l)
	}
	if want == nil || lsn < last && !shorter {
		m.t.Errorf("the store ends at LSN %d, it was closed at %d", lsn, last)
		return nil
	}
	return want
}

// open opens for writing what may be damaged, reads all of it and closes it.
func (m *mutant) open(b *builder, damaged bool) {
	was := withoutLock(fingerprint(m.t, m.dir))
	manager, rep, err := txn.Open(m.dir, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	if err != nil {
		if !damaged || !typed(err) {
			m.t.Errorf("Open: %v", err)
		}
		if withoutLock(fingerprint(m.t, m.dir)) != was {
			m.t.Errorf("Open refused the store and changed it: %v", err)
		}
		return
	}
	last := rep.Last
	if rep.Began == recovery.ReasonCopy {
		last-- // all mutants are copies
	}
	if want := m.want(b, last, damaged); want != nil {
		if err := readAll(m.t, manager, want); err != nil && (!damaged || !typed(err)) {
			m.t.Errorf("reading: %v", err)
		}
	}
	if err := manager.Close(); err != nil && (!damaged || !typed(err)) {
		m.t.Errorf("Close: %v", err)
	}
	if damaged {
		return
	}
	if rep, err := recovery.Verify(context.Background(), vfs.OS(), m.dir, recovery.VerifyOptions{}); err != nil || !rep.Clean {
		m.t.Errorf("Verify behind opening and closing: %v, %v", rep, err)
	}
}

// withoutLock leaves out who had the store last.
func withoutLock(fingerprint string) string {
	lines := slices.DeleteFunc(strings.Split(fingerprint, "\n"), func(l string) bool { return strings.HasPrefix(l, recovery.LockName+" ") })
	return strings.Join(lines, "\n")
}

// typed reports whether an error says that the store is not as it must be.
func typed(err error) bool {
	return errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion) || errors.Is(err, vfs.ErrNotRegular)
}
