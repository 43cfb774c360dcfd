package pagestore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// A root as package pagetree encodes it, and an empty one.
func sampleRoot(t testing.TB, empty bool) pagetree.Tree {
	b := make([]byte, pagetree.RootSize)
	if !empty {
		b[1], b[8], b[16], b[33], b[36], b[40], b[48] = 1, 200, 7, 2, 1, 9, 3 // 256 pages, 200 present, a node in slot 1:2
	}
	tree, err := pagetree.DecodeRoot(b)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func encodeLine(l lineageRecord) []byte {
	l.written = l.Tree
	return l.Append(nil)
}

// tipRecords are one record of each kind and what decodes it; the result is
// encoded anew.
func tipRecords(t testing.TB) map[string]struct {
	encoded []byte
	again   func([]byte) ([]byte, error)
} {
	line := func(b []byte) ([]byte, error) {
		l, err := decodeLineage(b)
		if err != nil {
			return nil, err
		}
		return encodeLine(*l), nil
	}
	ref := func(b []byte) ([]byte, error) {
		r, err := decodeRef(b)
		return r.encode(), err
	}
	tag := func(b []byte) ([]byte, error) {
		r, err := decodeTag(catalogue.Raw(b))
		return r.encode(), err
	}
	origin := tipID{LineageID{5, 1}, 7}
	return map[string]struct {
		encoded []byte
		again   func([]byte) ([]byte, error)
	}{
		"ref-v1.golden": {refRecord{Lineage: LineageID{70000, 3}, Seq: 9, Changed: 80000, Created: 70000,
			Attrs: wal.VolumeAttrs{Name: "notes", PageSize: 4096, PageAlgo: wal.AlgoXXH3}}.encode(), ref},
		"tag-v1.golden":     {tagRecord{At: origin, Seq: 3, Changed: 80000, Created: 70000, Time: 1700000000000000000}.encode(), tag},
		"lineage-v1.golden": {encodeLine(lineageRecord{Origin: origin, Fork: 10, After: 12, Tip: 13, PageSize: 512, Tree: sampleRoot(t, false)}), line},
		"ended-v1.golden":   {encodeLine(lineageRecord{Ended: true, After: 12, Tip: 13, PageSize: 65536, Tree: sampleRoot(t, true)}), line},
		"tip-v1.golden":     {encodeLine(lineageRecord{After: 12, Tip: 13, Pins: 70000, PageSize: 512, Tree: sampleRoot(t, false)}), line},
	}
}

// Golden files of a version are never rewritten.
func TestTipRecordsGolden(t *testing.T) {
	for name, r := range tipRecords(t) {
		file := filepath.Join("testdata", name)
		if _, err := os.Stat(file); *update && os.IsNotExist(err) {
			if err := os.WriteFile(file, r.encoded, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, r.encoded) {
			t.Errorf("%s: the writer no longer makes version 1", name)
		}
		if again, err := r.again(kept); err != nil || !bytes.Equal(again, kept) {
			t.Errorf("%s: read as %x, %v", name, again, err)
		}
	}
}

func TestTipRecordsRefused(t *testing.T) {
	for name, r := range tipRecords(t) {
		newer := bytes.Clone(r.encoded)
		newer[0]++
		if _, err := r.again(newer); !errors.Is(err, wal.ErrVersion) {
			t.Errorf("%s of version 2: %v", name, err)
		}
		for what, b := range map[string][]byte{
			"short": r.encoded[:len(r.encoded)-1], "empty": {}, "long": append(bytes.Clone(r.encoded), 0),
		} {
			if _, err := r.again(b); !errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	ended := encodeLine(lineageRecord{Ended: true, PageSize: 512, Tree: sampleRoot(t, true)})
	ended[1] = 2
	if _, err := decodeLineage(ended); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("a lineage that is neither ended nor not: %v", err)
	}
	for _, key := range []string{"", "x", string(make([]byte, tipIDSize+1))} {
		if _, err := parseTipID(key); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func FuzzDecodeTipRecord(f *testing.F) {
	for _, r := range tipRecords(f) {
		f.Add(r.encoded)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, r := range tipRecords(t) {
			again, err := r.again(b)
			if err != nil && !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil && !bytes.Equal(again, b) {
				t.Errorf("%s: %x is read, and written as %x", name, b, again)
			}
		}
	})
}
