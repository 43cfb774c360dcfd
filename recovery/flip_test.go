package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// region is bytes that hold what was made durable.
type region struct {
	file     string
	off, len int64
}

// regions lists all such bytes of a store: of a clean one, log and manifest to
// the last byte; of a killed one, what lies below the durable mark. kind tells
// them apart, so that none is left out of a sample.
func regions(t *testing.T, dir string) (kinds map[string][]region) {
	t.Helper()
	found, err := recovery.Examine(vfs.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	facts := found.Facts
	kinds = map[string][]region{"manifest": {{manifest.Name, 0, manifestEnd(t, dir, facts)}}}
	named := facts.Used
	if named == nil {
		named = new(manifest.SlotSet)
	}
	kept := map[string]int64{}
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(dir, "wal"), facts.Generations, facts.Generations[0].First, found.Scan.Durable.LSN) {
		if err != nil {
			t.Fatal(err)
		}
		kept[filepath.Join("wal", rec.Gen.Path())] = rec.Offset + rec.Length
		if rec.LSN <= facts.Checkpoint.LSN {
			continue // its slots may be others' by now
		}
		for _, x := range rec.Extents {
			class := classOf(t, dir, heap.Slot(x.Slot))
			if err := named.Add(heap.Extent{First: heap.Slot(x.Slot), Count: uint32(x.Length >> class)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for file, end := range kept {
		if facts.Clean != 0 {
			end = size(t, filepath.Join(dir, file))
		}
		kinds["log"] = append(kinds["log"], region{file, 0, end})
		kinds["first frame"] = []region{{file, 0, min(end, 119)}}
	}
	files := map[uint32]bool{}
	for _, f := range facts.Heap {
		files[f.Number] = true
	}
	for e := range named.Extents() {
		files[e.First.File()] = true
		class := classOf(t, dir, e.First)
		for i := range int64(e.Count) {
			r := region{filepath.Join("heap", heapName(e.First.File())), 4096 + (int64(e.First.Index())+i)<<class, 1 << class}
			kind := kindOf(t, dir, r)
			kinds[kind] = append(kinds[kind], r)
		}
	}
	for number := range files {
		file := filepath.Join("heap", heapName(number))
		kinds["heap header"] = append(kinds["heap header"], region{file, 0, 4096})
		kinds["heap identity"] = []region{{file, 0, 28}, {file, 4092, 4}}
	}
	return kinds
}

func heapName(number uint32) string { return fmt.Sprintf("%08x", number) }

// classOf is the class in the header of a slot's file.
func classOf(t *testing.T, dir string, s heap.Slot) heap.Class {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "heap", heapName(s.File())))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], 6); err != nil {
		t.Fatal(err)
	}
	return heap.Class(b[0])
}

// kindOf tells pages from nodes.
func kindOf(t *testing.T, dir string, r region) string {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, r.file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], r.off); err != nil {
		t.Fatal(err)
	}
	switch string(magic[:]) {
	case "QPTN":
		return "tree node"
	case "QCAT":
		return "catalogue node"
	}
	return "page"
}

func copyFile(t *testing.T, from, to, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// manifestEnd is where the newest record ends that a frame of the log names.
// One behind it may be torn, and is not believed before recovery wrote it anew.
func manifestEnd(t *testing.T, dir string, facts manifest.Facts) int64 {
	t.Helper()
	whole, err := os.ReadFile(filepath.Join(dir, manifest.Name))
	if err != nil {
		t.Fatal(err)
	}
	if facts.Clean != 0 {
		return int64(len(whole))
	}
	var named uint64
	for _, g := range facts.Generations {
		seq, _, err := wal.NewestManifest(vfs.OS(), filepath.Join(dir, "wal"), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		named = max(named, seq)
	}
	cut := t.TempDir()
	return int64(sort.Search(len(whole), func(n int) bool {
		if err := os.WriteFile(filepath.Join(cut, manifest.Name), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		f, _, err := manifest.Load(vfs.OS(), cut)
		return err == nil && f.Seq >= named
	}))
}

// flip is one bit.
type flip struct {
	kind, file string
	off        int64
	bit        uint
}

// apply flips the bit in the file; a second time it is as it was.
func (f flip) apply(t *testing.T, dir string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, f.file), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b [1]byte
	if _, err := file.ReadAt(b[:], f.off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << f.bit
	if _, err := file.WriteAt(b[:], f.off); err != nil {
		t.Fatal(err)
	}
}

// sample takes n bits of every kind, spread evenly over its bytes, and all of
// a kind that has no more.
func sample(kinds map[string][]region, n int, rng *rand.Rand) (flips []flip) {
	for kind, list := range kinds {
		total := int64(0)
		for _, r := range list {
			total += r.len * 8
		}
		every := rng.Perm(int(min(total, int64(n))))
		for _, i := range every {
			at := int64(i)
			if total > int64(n) {
				at = rng.Int64N(total)
			}
			for _, r := range list {
				if at < r.len*8 {
					flips = append(flips, flip{kind, r.file, r.off + at/8, uint(at % 8)})
					break
				}
				at -= r.len * 8
			}
		}
	}
	return flips
}

// TestFlips flips single bits of what a store has made durable, one at a time:
// Verify detects each, and no read returns what was not written.
func TestFlips(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      txn.Options
		killed bool
		bits   int // of each kind
	}{
		{"clean", txn.Options{}, false, 850},
		{"clean, all in the heap", txn.Options{InlineBytes: 1}, false, 420},
		{"killed", txn.Options{}, true, 250},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, b := build(t, 7, c.o)
			b.mixed()
			if c.killed {
				dir = b.kill(dir)
			} else {
				b.close()
			}
			if testing.Short() {
				c.bits /= 10
			}
			rng := rand.New(rand.NewPCG(99, uint64(c.bits)))
			kinds := regions(t, dir)
			flips := sample(kinds, c.bits, rng)
			before := fingerprint(t, dir)
			for i, f := range flips {
				f.apply(t, dir)
				checkFlipped(t, dir, f, b.now)
				if i%61 == 0 {
					checkOpened(t, dir, f, b.now)
				}
				f.apply(t, dir)
			}
			if fingerprint(t, dir) != before {
				t.Error("looking changed the directory")
			}
			if len(flips) < 6*c.bits {
				t.Errorf("only %d bits of %v", len(flips), slices.Sorted(maps.Keys(kinds)))
			}
			t.Logf("%d bits flipped", len(flips))
		})
	}
}

// TestFlippedNodes opens killed stores with a bit of a node flipped: replay,
// which meets it first, must not have begun to change anything.
func TestFlippedNodes(t *testing.T) {
	t.Parallel()
	dir, b := build(t, 11, txn.Options{})
	b.mixed()
	dir = b.kill(dir)
	kinds := regions(t, dir)
	maps.DeleteFunc(kinds, func(kind string, _ []region) bool { return !strings.HasSuffix(kind, "node") })
	for _, f := range sample(kinds, 40, rand.New(rand.NewPCG(5, 5))) {
		f.apply(t, dir)
		checkOpened(t, dir, f, b.now)
		f.apply(t, dir)
	}
}

func checkFlipped(t *testing.T, dir string, f flip, want oracle) {
	t.Helper()
	rep, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
	if err == nil && rep.Clean {
		t.Errorf("Verify does not detect %+v", f)
	}
	if err != nil && !errors.Is(err, wal.ErrVersion) {
		t.Errorf("%+v: Verify could not look: %v", f, err)
	}
	_ = compare(t, dir, want)
}

// checkOpened opens a copy for writing and reads it: what recovery does not
// notice, since it does not read all, reading does.
func checkOpened(t *testing.T, dir string, f flip, want oracle) {
	t.Helper()
	opened := filepath.Join(t.TempDir(), "opened")
	copyDir(t, dir, opened)
	defer os.RemoveAll(opened)
	before := fingerprint(t, opened)
	m, _, err := txn.Open(opened, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	if err != nil {
		if !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) {
			t.Errorf("%+v: Open: %v", f, err)
		}
		copyFile(t, dir, opened, recovery.LockName) // names the new owner
		if fingerprint(t, opened) != before {
			t.Errorf("%+v: Open refused the store and changed it: %v", f, err)
		}
		return
	}
	defer m.Close()
	if err := readAll(t, m, want); err != nil && !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("%+v: reading: %v", f, err)
	}
}
