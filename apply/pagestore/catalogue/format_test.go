package catalogue

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

var update = flag.Bool("update", false, "write golden files that do not exist yet")

// slots is a heap in memory.
type slots map[heap.Slot][]byte

func (s slots) write(slot heap.Slot, b []byte) error {
	s[slot] = bytes.Clone(b)
	return nil
}

func (s slots) alloc(heap.Class) (heap.Slot, error) {
	slot := heap.MakeSlot(1, uint32(len(s)))
	s[slot] = nil
	return slot, nil
}

func (s slots) Load(ref node.Ref, decode func([]byte) (any, int, error)) (any, error) {
	if wal.HashPage(uint64(ref.Slot), s[ref.Slot]) != ref.Check {
		return nil, &wal.CorruptError{File: "heap", Offset: -1, Reason: "check"}
	}
	n, _, err := decode(s[ref.Slot])
	return n, err
}

func noDead(node.Dead) {}

// sample is a written catalogue with a root and two leaves.
func sample(t testing.TB) (slots, Catalogue) {
	t.Helper()
	s, c := slots{}, Catalogue{}
	e := Edit{Epoch: 1, LSN: 77, Source: s, Dead: noDead}
	for i := range 60 {
		if err := e.Put(&c, fmt.Sprintf("key/%02d", i), Raw(strings.Repeat("v", i*2))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.Freeze(s.alloc, noDead), c.Write(s.write)); err != nil {
		t.Fatal(err)
	}
	return s, FromRoot(c.Root())
}

// Golden files of a version are never rewritten.
func TestGolden(t *testing.T) {
	s, c := sample(t)
	for name, slot := range map[string]heap.Slot{"v1.leaf": heap.MakeSlot(1, 0), "v1.inner": c.Root().Slot} {
		name = filepath.Join("testdata", name)
		if _, err := os.Stat(name); *update && os.IsNotExist(err) {
			if err := os.WriteFile(name, s[slot], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, s[slot]) {
			t.Errorf("%s: the writer no longer makes version 1", name)
		}
		if _, err := decodeNode(kept); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode: what decodes is exactly what encode makes of it.
func FuzzDecode(f *testing.F) {
	s, _ := sample(f)
	for _, b := range s {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNode(b)
		if err != nil {
			return
		}
		n.slot = 1 << 28
		again, err := encode(make([]byte, maxBytes), n)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatal("a valid node does not survive encoding:", err)
		}
	})
}

func TestMalformed(t *testing.T) {
	s, c := sample(t)
	leaf, inner := s[heap.MakeSlot(1, 0)], s[c.Root().Slot]
	for name, edit := range map[string]func(leaf, inner []byte) []byte{
		"empty":             func(l, _ []byte) []byte { return nil },
		"zeros":             func(l, _ []byte) []byte { clear(l); return l },
		"version 0":         func(l, _ []byte) []byte { l[4] = 0; return l },
		"level":             func(_, i []byte) []byte { i[5] = maxLevel + 1; return i },
		"no items":          func(l, _ []byte) []byte { l[6], l[7] = 0, 0; return l },
		"many items":        func(l, _ []byte) []byte { l[7] = 255; return l },
		"a byte behind":     func(l, _ []byte) []byte { l[len(l)-1] = 1; return l },
		"larger slot":       func(_, i []byte) []byte { return append(i, make([]byte, len(i))...) },
		"smaller slot":      func(l, _ []byte) []byte { return l[:len(l)/2] },
		"long value":        func(l, _ []byte) []byte { l[headerSize+3] = 5; return l },
		"empty key":         func(l, _ []byte) []byte { l[headerSize], l[headerSize+2] = 0, 6; return l },
		"first key of many": func(_, i []byte) []byte { i[headerSize], i[headerSize+2] = 1, i[headerSize+2]-1; return i },
		"kid without slot":  func(_, i []byte) []byte { clear(i[bytes.Index(i, []byte("key"))+6:]); return i },
		"descending":        func(l, _ []byte) []byte { l[bytes.Index(l, []byte("key"))] = 'z'; return l },
	} {
		b := edit(bytes.Clone(leaf), bytes.Clone(inner))
		if _, err := decodeNode(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	leaf[4] = 2
	if _, err := decodeNode(leaf); !errors.Is(err, wal.ErrVersion) {
		t.Error(err)
	}
}

// Every flipped bit of every node is found by reading.
func TestFlips(t *testing.T) {
	s, c := sample(t)
	for _, b := range s {
		for bit := range 8 * len(b) {
			b[bit/8] ^= 1 << (bit % 8)
			var err error
			for _, err = range c.Scan(s, "", "") {
			}
			if !errors.Is(err, wal.ErrCorrupt) {
				t.Fatalf("bit %d: %v", bit, err)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// Check finds nodes that are sound in themselves and in the wrong place.
func TestCheckFindsMisplacedNodes(t *testing.T) {
	rewrite := func(s slots, c Catalogue, change func(root *treeNode)) error {
		root, err := c.root.load(s, anyLevel)
		if err != nil {
			t.Fatal(err)
		}
		root = root.copy(1, 1)
		change(root)
		c = Catalogue{kid{n: root}}
		if err := errors.Join(c.Freeze(s.alloc, noDead), c.Write(s.write)); err != nil {
			t.Fatal(err)
		}
		return FromRoot(c.Root()).Check(s, func(node.Ref, int) error { return nil })
	}
	for name, change := range map[string]func(root *treeNode){
		"swapped":  func(n *treeNode) { n.kids[0], n.kids[1] = n.kids[1], n.kids[0] },
		"doubled":  func(n *treeNode) { n.kids[1] = n.kids[0] },
		"level":    func(n *treeNode) { n.level++ },
		"high key": func(n *treeNode) { n.keys[1] = "key/40" },
		"low key":  func(n *treeNode) { n.keys[1] = "key/20" },
	} {
		s, c := sample(t)
		err := rewrite(s, c, change)
		var at *wal.CorruptError
		if !errors.As(err, &at) || at.LSN == 0 {
			t.Errorf("%s: want a corruption with its place, got %v", name, err)
		}
	}
	s, c := sample(t)
	if err := rewrite(s, c, func(*treeNode) {}); err != nil {
		t.Error(err)
	}
}
