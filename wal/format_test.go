package wal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var addGolden = flag.Bool("wal.golden", false, "write the golden files of entries that are missing; none is ever rewritten")

// goldenEntries are the entries of testdata/entry/v1, one file each.
func goldenEntries() map[string]*Entry {
	buffered := writeEntry()
	buffered.Actor, buffered.Seq, buffered.Sections = ActorID{}, 0, nil
	newer := writeEntry()
	newer.Version = 9
	large, _ := chunkedEntry()
	return map[string]*Entry{
		"begin-first": genesisEntry(), "begin-promotion": promotionEntry(), "write": writeEntry(),
		"empty": buffered, "all-fields": fullEntry(), "chunked": large, "range": rangeEntry(), "newer-but-readable": newer,
	}
}

// refusedEntries are encodings that version 1 refuses, one file of
// testdata/entry/v1 each: what it takes for corrupt, and what for newer, must not
// change either.
func refusedEntries() map[string][]byte {
	edit := func(e *Entry, change func(e *Entry)) []byte {
		change(e)
		return encodeAnyway(e)
	}
	poke := func(at int, v byte) []byte {
		b := encodeAnyway(writeEntry())
		b[at] = v
		return b
	}
	return map[string][]byte{
		"refused-magic":           poke(0, 'q'),
		"refused-reader-2":        append([]byte("QENT\x02\x00\x02\x00"), encodeAnyway(writeEntry())[8:]...),
		"refused-reader-0":        poke(6, 0),
		"refused-flags":           poke(8, 1),
		"refused-kind":            poke(10, 4),
		"refused-section-count":   poke(15, 0xff),
		"refused-cut-short":       encodeAnyway(writeEntry())[:300],
		"refused-trailing-byte":   append(encodeAnyway(writeEntry()), 0),
		"refused-zstd":            edit(writeEntry(), func(e *Entry) { e.Sections[0].Delta.Rows[0].Locator |= Locator(EncodingZstd) << 60 }),
		"refused-from-ref":        edit(writeEntry(), func(e *Entry) { e.Sections[0].Delta.Rows[0].Locator |= Locator(EncodingFromRef) << 60 }),
		"refused-remote":          edit(writeEntry(), func(e *Entry) { e.Sections[0].Delta.Rows[0].Locator |= Locator(EncodingRemote) << 60 }),
		"refused-critical-origin": edit(writeEntry(), func(e *Entry) { e.Exts = []Extension{{ExtOrigin, true, nil}} }),
		"refused-critical-900":    edit(writeEntry(), func(e *Entry) { e.Exts = []Extension{{900, true, nil}} }),
		"refused-algorithm":       edit(genesisEntry(), func(e *Entry) { e.Begin.HashAlgo = 2 }),
		"refused-order":           edit(fullEntry(), func(e *Entry) { e.Sections[0], e.Sections[1] = e.Sections[1], e.Sections[0] }),
	}
}

// golden is what a file of the corpus says: a hash or a verdict, then the bytes
// in hexadecimal.
func golden(verdict string, b []byte) string {
	var s strings.Builder
	fmt.Fprintln(&s, verdict)
	for ; len(b) > 32; b = b[32:] {
		fmt.Fprintf(&s, "%x\n", b[:32])
	}
	fmt.Fprintf(&s, "%x\n", b)
	return s.String()
}

func readGolden(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(goldenPath(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func goldenPath(name string) string { return filepath.Join("testdata", "entry", "v1", name+".hex") }

func checkGolden(t *testing.T, name, want string) {
	t.Helper()
	if _, err := os.Stat(goldenPath(name)); os.IsNotExist(err) && *addGolden {
		if err := os.WriteFile(goldenPath(name), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := readGolden(t, name); got != want {
		t.Errorf("%s: version 1 is not what it was\nfile %s\nnow  %s", name, got, want)
	}
}

func goldenBytes(t testing.TB, name string) []byte {
	_, lines, _ := strings.Cut(readGolden(t, name), "\n")
	b, err := hex.DecodeString(strings.ReplaceAll(lines, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGolden(t *testing.T) {
	for name, e := range goldenEntries() {
		b, err := AppendEntry(nil, e)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkGolden(t, name, golden("hash "+e.Hash().String(), b))
		got, err := DecodeEntry(goldenBytes(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Errorf("%s: decoded to\n%+v, want\n%+v", name, got, e)
		}
	}
}

func TestGoldenRefused(t *testing.T) {
	for name, b := range refusedEntries() {
		_, err := DecodeEntry(b)
		verdict := "accepted"
		switch {
		case errors.Is(err, ErrVersion):
			verdict = "newer"
		case errors.Is(err, ErrCorrupt):
			verdict = "corrupt"
		}
		checkGolden(t, name, golden(verdict, b))
	}
}

func TestGoldenRows(t *testing.T) {
	in := rowsOf(3, func(i int) uint64 { return uint64(i * i) })
	b := AppendRows(nil, in)
	checkGolden(t, "rows-of-a-chunk", golden("digest "+DigestRows(in).String(), b))
	out, err := DecodeRows(b, 3)
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Fatalf("%v, %v", out, err)
	}
	for _, n := range []int{-1, 0, 2, 4, MaxInlineRows + 1, 1 << 59} {
		if _, err := DecodeRows(b, n); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d rows of %d bytes: %v", n, len(b), err)
		}
	}
}

// No entry is the beginning of another, so a cut never goes unseen.
func TestDecodeRefusesEveryPrefix(t *testing.T) {
	b := encodeAnyway(fullEntry())
	for n := range b {
		if _, err := DecodeEntry(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("first %d bytes: %v", n, err)
		}
	}
}

// A count that the bytes behind it cannot hold is refused before it allocates.
func TestDecodeBoundsCounts(t *testing.T) {
	rowCount := len(encodeAnyway(writeEntry())) - RowSize - 8
	for _, at := range []int{12, headerSize + 152, rowCount - 4, rowCount, rowCount + 4} {
		b := encodeAnyway(writeEntry())
		le.PutUint32(b[at:], 1<<32-1)
		var err error
		allocs := testing.AllocsPerRun(1, func() { _, err = DecodeEntry(b) })
		if !errors.Is(err, ErrCorrupt) || allocs > 12 {
			t.Errorf("count at byte %d: %v, %v allocations", at, err, allocs)
		}
	}
}

// The result does not alias what it was decoded from.
func TestDecodeKeepsNothing(t *testing.T) {
	b := encodeAnyway(fullEntry())
	e, err := DecodeEntry(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !reflect.DeepEqual(e, fullEntry()) {
		t.Fatal("the entry changed with the bytes it came from")
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for name := range goldenEntries() {
		f.Add(goldenBytes(f, name))
	}
	for name := range refusedEntries() {
		f.Add(goldenBytes(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			if e != nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%v with %v", e, err)
			}
			return
		}
		again, err := AppendEntry(nil, e)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("not the one encoding: %v\n%x\n%x", err, b, again)
		}
		e.Hash()
	})
}

// Whatever part of a body is overwritten or cut off, EachRow yields only rows that
// the entry's digests cover, and all of them or an error.
func FuzzEachRow(f *testing.F) {
	e, good := chunkedEntry()
	want := rowsOf(5000, func(i int) uint64 { return 2 * uint64(i) })
	f.Add(uint32(0), []byte(nil), uint32(len(good)))
	f.Add(uint32(40), []byte{1}, uint32(len(good)))
	f.Add(uint32(MaxInlineRows*RowSize+31), []byte{0x10}, uint32(len(good)))
	f.Add(uint32(0), []byte(nil), uint32(MaxInlineRows*RowSize))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, length uint32) {
		body := bytes.Clone(good)
		copy(body[min(int(at), len(body)):], patch)
		body = body[:min(int(length), len(body))]
		n := 0
		for r, err := range e.Sections[0].EachRow(bytes.NewReader(body)) {
			if err != nil {
				return
			}
			if r.Page != want[n].Page || r.Hash != want[n].Hash {
				t.Fatalf("row %d is %v", n, r)
			}
			n++
		}
		if n != len(want) {
			t.Fatalf("%d rows without an error", n)
		}
	})
}

func BenchmarkAppendEntry(b *testing.B) {
	e, dst := writeEntry(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendEntry(dst, e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEntry(b *testing.B) {
	enc := encodeAnyway(writeEntry())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEntry(enc); err != nil {
			b.Fatal(err)
		}
	}
}
