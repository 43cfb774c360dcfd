package pagetree

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

var update = flag.Bool("update", false, "write golden files that do not exist")

// goldenNodes are one node of each shape; their files are never rewritten.
func goldenNodes() map[string]*body {
	leaf := &body{height: 1}
	full := &body{height: 1}
	for i := range fan {
		full.put(i, Entry{uint64(heap.MakeSlot(7, uint32(i))), wal.LSN(i + 1), wal.PageHash{byte(i), 15: 0xff}})
	}
	leaf.put(3, Entry{uint64(heap.MakeSlot(heap.MaxFile, heap.MaxIndex)), maxBirth, wal.PageHash{1, 2, 3}})
	leaf.put(63, Entry{uint64(heap.MakeSlot(1, 0)), 1, wal.PageHash{4}})
	inner, top := &body{height: 2}, &body{height: maxHeight}
	for i := range fan {
		*inner.makeKid(i) = goldenLink(uint32(i), 64)
	}
	*top.makeKid(0) = goldenLink(9, 1)
	*top.makeKid(63) = goldenLink(10, span(6))
	return map[string]*body{"leaf": leaf, "leaf-full": full, "inner-full": inner, "top": top}
}

func goldenLink(i uint32, count uint64) link {
	k := &knot{birth: wal.LSN(1000 + i), check: wal.PageHash{0xc4, byte(i)}}
	k.slot.Store(uint64(heap.MakeSlot(2, i)))
	return link{k, wal.Sum{Lo: uint64(i), Hi: 1 << 63}, count}
}

func TestGolden(t *testing.T) {
	for name, b := range goldenNodes() {
		slot, err := appendNode(nil, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "node-v1-"+name+".golden")
		want, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && *update {
			want, err = slot, os.WriteFile(file, slot, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(slot, want) {
			t.Errorf("%s is encoded as\n%s", name, hex.Dump(slot))
		}
		recode(t, want)
	}
}

// recode decodes a valid slot and expects the same bytes from it again.
func recode(t *testing.T, slot []byte) {
	t.Helper()
	v, cost, err := decodeNode(slot)
	if err != nil {
		t.Fatal(err)
	}
	if cost <= 0 || cost > 2*maxNode {
		t.Errorf("a node of %d bytes costs %d", len(slot), cost)
	}
	again, err := appendNode(nil, v.(*body), nil)
	if err != nil || !bytes.Equal(again, slot) {
		t.Errorf("encoded again, %v:\n%s\nwant\n%s", err, hex.Dump(again), hex.Dump(slot))
	}
}

func TestNodeSizes(t *testing.T) {
	for name, want := range map[string]int{"leaf": 512, "leaf-full": 2048, "inner-full": 4096, "top": 512} {
		slot, _ := appendNode(nil, goldenNodes()[name], nil)
		if len(slot) != want {
			t.Errorf("%s takes %d bytes, want %d", name, len(slot), want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	leaf, _ := appendNode(nil, goldenNodes()["leaf"], nil)
	top, _ := appendNode(nil, goldenNodes()["top"], nil)
	set := func(b []byte, at int, v ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], v)
		return b
	}
	for name, slot := range map[string][]byte{
		"nothing":        nil,
		"zeros":          make([]byte, 512),
		"magic":          set(leaf, 0, 'X'),
		"height 0":       set(leaf, 5, 0),
		"height 8":       set(leaf, 5, 8),
		"reserved":       set(leaf, 7, 1),
		"no entries":     set(leaf, 8, 0, 0, 0, 0, 0, 0, 0, 0),
		"too many":       set(leaf, 8, 255, 255, 255, 255, 255, 255, 255, 255),
		"slot too large": append(bytes.Clone(leaf), make([]byte, 512)...),
		"slot cut":       leaf[:100],
		"tail":           set(leaf, 511, 1),
		"no file":        set(leaf, 16, 1, 0, 0, 0, 0, 0),
		"no birth":       set(leaf, 22, 0, 0, 0, 0, 0, 0, 0),
		"count 0":        set(top, 16+45, 0),
		"count too high": set(top, 16+45, 1, 0, 0, 0, 0, 255),
	} {
		if _, _, err := decodeNode(slot); err == nil || errors.Is(err, wal.ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := decodeNode(set(leaf, 4, 2)); !errors.Is(err, wal.ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
}

func TestRootRefuses(t *testing.T) {
	tree := Tree{pages: 100, root: goldenLink(1, 7)}
	tree.root.knot.body = nil
	good := tree.AppendRoot(nil)
	if len(good) != RootSize {
		t.Fatalf("root of %d bytes", len(good))
	}
	for name, at := range map[string]struct {
		off int
		b   []byte
	}{
		"size beyond the limit": {5, []byte{5}},
		"count above size":      {8, []byte{101}},
		"count 0 with a sum":    {8, []byte{0}},
		"no slot":               {32, make([]byte, 8)},
		"slot beyond 48 bits":   {38, []byte{1}},
		"no birth":              {40, make([]byte, 8)},
		"birth beyond 56 bits":  {47, []byte{1}},
		"one page, other sum":   {0, []byte{1, 0, 0, 0, 0, 0, 0, 0, 1}},
	} {
		bad := bytes.Clone(good)
		copy(bad[at.off:], at.b)
		if _, err := DecodeRoot(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := DecodeRoot(good[:63]); err == nil {
		t.Error("short root taken")
	}
	if got, err := DecodeRoot(good); err != nil || !bytes.Equal(got.AppendRoot(nil), good) {
		t.Errorf("root again: %v", err)
	}
}

func TestWriteNeedsMoved(t *testing.T) {
	b := &body{height: 1}
	b.put(0, Entry{LogAddr(1, 4096), 1, wal.PageHash{}})
	if _, err := appendNode(nil, b, nil); err == nil {
		t.Error("a node was encoded with an image that lies in the log")
	}
	slot, err := appendNode(nil, b, Moved{LogAddr(1, 4096): heap.MakeSlot(1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	recode(t, slot)
}

// FuzzDecodeNode: any bytes are refused, or are exactly what their decoded
// form encodes to.
func FuzzDecodeNode(f *testing.F) {
	for _, b := range goldenNodes() {
		slot, _ := appendNode(nil, b, nil)
		f.Add(slot)
	}
	f.Fuzz(func(t *testing.T, slot []byte) {
		if _, _, err := decodeNode(slot); err == nil {
			recode(t, slot)
		}
	})
}

func FuzzDecodeRoot(f *testing.F) {
	tree := Tree{pages: 100, root: goldenLink(1, 7)}
	f.Add(tree.AppendRoot(nil))
	f.Add(Tree{}.AppendRoot(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tree, err := DecodeRoot(b); err == nil && !bytes.Equal(tree.AppendRoot(nil), b) {
			t.Errorf("root %x is encoded as %x", b, tree.AppendRoot(nil))
		}
	})
}
