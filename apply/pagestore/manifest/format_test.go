package manifest_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

var update = flag.Bool("update", false, "write golden files that do not exist yet")

// newer is the file b as a program of version 2 would have begun it.
func newer(b []byte) []byte {
	b = bytes.Clone(b)
	b[8], b[10] = 2, 2
	binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(b[:32], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// golden has a snapshot, an edit of every part and nothing torn.
func golden(t *testing.T) ([]byte, manifest.Facts) {
	d := disk(t)
	m, err := manifest.Create(d, dir, newFacts())
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Append(manifest.Edit{
		Timeline:    &manifest.Timeline{ID: wal.TimelineID{1, 2, 3}, Epoch: 2},
		Checkpoint:  &manifest.Checkpoint{LSN: 77, Hash: wal.Hash{4, 5}, Time: 1_700_000_001_000_000_000, Root: node.Ref{Slot: heap.MakeSlot(1, 9), Birth: 76, Check: wal.PageHash{6}}},
		LowWater:    70,
		Generations: &[]wal.Generation{{ID: 0xfeedface, First: 1, Sealed: true, Last: 77, Length: 12345, Chain: wal.Hash{7}}, {ID: 8, First: 78}},
		Heap:        []heap.FileInfo{{Number: 2, Class: 9, Slots: 64}},
		Used:        []heap.Extent{{First: heap.MakeSlot(2, 0), Count: 64}, {First: heap.MakeSlot(1, 9), Count: 2}},
		Free:        []heap.Extent{{First: heap.MakeSlot(2, 10), Count: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return records(t, d), load(t, d)
}

// Golden files of a version are never rewritten.
func TestGolden(t *testing.T) {
	b, want := golden(t)
	name := filepath.Join("testdata", "v1.manifest")
	if _, err := os.Stat(name); *update && os.IsNotExist(err) {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, b) {
		t.Error("the writer no longer makes version 1")
	}
	if got := load(t, with(t, kept)); !same(got, want) {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

func FuzzLoad(f *testing.F) {
	kept, err := os.ReadFile(filepath.Join("testdata", "v1.manifest"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kept)
	f.Add(kept[:200])
	consumers, err := os.ReadFile(filepath.Join("testdata", "v1-consumers.manifest"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(consumers)
	f.Add(newer(kept))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := with(t, b)
		got, _, err := manifest.Load(d, dir)
		if err != nil {
			return
		}
		m, again, _, err := manifest.Open(d, dir)
		if got.Seq++; err != nil || !same(got, again) || m.Close() != nil {
			t.Fatal("what loads must open:", err)
		}
		if got := load(t, d); !same(got, again) {
			t.Fatal("folding changed the facts")
		}
	})
}
