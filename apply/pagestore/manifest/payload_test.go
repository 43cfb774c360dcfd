package manifest

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/quire-db/quire/internal/heap"
)

// payloads are those of a golden file.
func payloads(f *testing.F, name string) (snapshot, edit []byte) {
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		f.Fatal(err)
	}
	r, _ := decodeRecord(b[headerBytes:])
	at := headerBytes + recordBytes
	return b[at : at+int(r.length)], b[at+int(r.length)+recordBytes:]
}

func FuzzDecodeSnapshot(f *testing.F) {
	for _, name := range []string{"v1.manifest", "v1-consumers.manifest", "v1-node.manifest"} {
		snapshot, edit := payloads(f, name)
		f.Add(snapshot)
		f.Add(edit)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		facts, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		once := encodeSnapshot(&facts)
		again, err := decodeSnapshot(once)
		if err != nil || !bytes.Equal(encodeSnapshot(&again), once) {
			t.Fatal("a valid snapshot does not survive encoding:", err)
		}
	})
}

func FuzzDecodeEdit(f *testing.F) {
	for _, name := range []string{"v1.manifest", "v1-consumers.manifest", "v1-node.manifest"} {
		snapshot, edit := payloads(f, name)
		f.Add(edit)
		f.Add(snapshot)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEdit(b)
		if err != nil {
			return
		}
		facts := Facts{Heap: []heap.FileInfo{{Number: 1, Class: 12, Slots: 1000}}}
		before := facts.clone(true)
		if facts.apply(e) != nil {
			if facts.Used.Len() != 0 || !reflect.DeepEqual(facts.clone(false), before.clone(false)) {
				t.Fatal("a refused edit changed the facts")
			}
			return
		}
		again, err := decodeEdit(encodeEdit(e))
		if err != nil {
			t.Fatal("an edit that was applied cannot be read back:", err)
		}
		if before.apply(again) != nil || !reflect.DeepEqual(before.clone(false), facts.clone(false)) {
			t.Fatal("encoding changed an edit")
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	good, _ := appendHeader(nil, [16]byte{1})
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerBytes {
			return
		}
		store, crc, err := decodeHeader(b[:headerBytes])
		if err != nil {
			return
		}
		if again, c := appendHeader(nil, store); c != crc || !bytes.Equal(again, b[:headerBytes]) {
			t.Fatal("a valid header does not survive encoding")
		}
	})
}
