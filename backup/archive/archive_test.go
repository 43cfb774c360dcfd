package archive_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

var update = flag.Bool("update", false, "write the golden files; only for a new version of the format")

var (
	timeline = wal.TimelineID{1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}
	parent   = wal.TimelineID{0xa1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}
	id       = uuid.UUID{0xb1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}

	format = archive.Format{Archive: id, Made: 1767323045123456789}
	start  = archive.Start{
		Timeline: timeline, Epoch: 7, First: 1<<40 + 1, Before: wal.Hash{9, 8, 7},
		Parent: wal.Position{Timeline: parent, LSN: 12345, Hash: wal.Hash{1, 2, 3}},
	}
)

// starts are valid in every way that differs.
func starts() []archive.Start {
	first := archive.Start{Timeline: timeline, First: 1}
	middle := archive.Start{Timeline: timeline, First: 2, Before: wal.Hash{1}}
	next := start
	next.First, next.Before = start.Parent.LSN+1, start.Parent.Hash
	last := start
	last.First = math.MaxUint64
	return []archive.Start{start, first, middle, next, last}
}

// golden compares with a file of testdata that is never rewritten.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	want := readGolden(t, name, func() []byte { return got })
	if !bytes.Equal(got, want) {
		t.Fatalf("encoded as\n%q, %s has\n%q", got, name, want)
	}
	return want
}

// readGolden reads a file of testdata, which made is written to for a new version.
func readGolden(t testing.TB, name string, made func() []byte) []byte {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update && made != nil {
		if err := os.WriteFile(name, made(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

func TestFormatGolden(t *testing.T) {
	got, err := archive.DecodeFormat(golden(t, "format.v1.golden", archive.EncodeFormat(format)))
	if got != format || err != nil {
		t.Fatal(got, err)
	}
}

func TestStartGolden(t *testing.T) {
	got, err := archive.DecodeStart(timeline, golden(t, "start.v1.golden", archive.EncodeStart(start)))
	if got != start || err != nil {
		t.Fatal(got, err)
	}
}

func TestStarts(t *testing.T) {
	for _, want := range starts() {
		if got, err := archive.DecodeStart(timeline, archive.EncodeStart(want)); got != want || err != nil {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
	for what, spoil := range map[string]func(s *archive.Start){
		"another's":               func(s *archive.Start) { s.Timeline = parent },
		"no LSN":                  func(s *archive.Start) { s.First = 0 },
		"no hash before it":       func(s *archive.Start) { s.Before = wal.Hash{} },
		"hash before the first":   func(s *archive.Start) { s.First, s.Parent = 1, wal.Position{} },
		"parent without LSN":      func(s *archive.Start) { s.Parent.LSN = 0 },
		"parent without hash":     func(s *archive.Start) { s.Parent.Hash = wal.Hash{} },
		"parent without timeline": func(s *archive.Start) { s.Parent.Timeline = wal.TimelineID{} },
		"its own parent":          func(s *archive.Start) { s.Parent.Timeline = timeline },
		"before its parent":       func(s *archive.Start) { s.Parent.LSN = s.First },
		"another parent's hash":   func(s *archive.Start) { s.Parent.LSN = s.First - 1 },
	} {
		s := start
		spoil(&s)
		if _, err := archive.DecodeStart(timeline, archive.EncodeStart(s)); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := archive.DecodeStart(wal.TimelineID{}, archive.EncodeStart(archive.Start{First: 1})); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("no timeline: %v", err)
	}
	if _, err := archive.DecodeFormat(archive.EncodeFormat(archive.Format{})); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("no UUID: %v", err)
	}
}

// notes are the keys whose objects EncodeNote makes.
func notes() (n []archive.Key) {
	for _, k := range keys() {
		if k.Kind == archive.KindFloor || k.Kind == archive.KindMark || k.Kind == archive.KindTrim {
			n = append(n, k)
		}
	}
	return n
}

// TestNotes: a floor or mark is its own key's only.
func TestNotes(t *testing.T) {
	var all []byte
	for _, k := range notes() {
		b := archive.EncodeNote(k)
		all = append(all, b...)
		for _, other := range keys() {
			if err := archive.CheckNote(other, b); (err == nil) != (other == k) {
				t.Errorf("%s by %s: %v", k, other, err)
			}
		}
	}
	golden(t, "notes.v1.golden", all)
}

func decodeNote(b []byte) error { return archive.CheckNote(notes()[0], b) }

func decodeStart(b []byte) error {
	_, err := archive.DecodeStart(timeline, b)
	return err
}

func decodeFormat(b []byte) error {
	_, err := archive.DecodeFormat(b)
	return err
}

// TestEveryBit changes each bit, and each length, of the objects.
func TestEveryBit(t *testing.T) {
	for name, c := range map[string]struct {
		whole  []byte
		decode func([]byte) error
	}{
		"format": {archive.EncodeFormat(format), decodeFormat},
		"start":  {archive.EncodeStart(start), decodeStart},
		"note":   {archive.EncodeNote(notes()[0]), decodeNote},
	} {
		for i := range len(c.whole) * 8 {
			b := bytes.Clone(c.whole)
			b[i/8] ^= 1 << (i % 8)
			want := wal.ErrCorrupt
			if i/8 == 4 {
				want = wal.ErrVersion
			}
			if err := c.decode(b); !errors.Is(err, want) {
				t.Errorf("%s, bit %d: %v", name, i, err)
			}
		}
		for n := range c.whole {
			if err := c.decode(c.whole[:n]); !errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("%s, %d bytes: %v", name, n, err)
			}
		}
		if err := c.decode(append(bytes.Clone(c.whole), 0)); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
		reserved := bytes.Clone(c.whole)
		reserved[6] = 1
		n := len(reserved) - 4
		crc := objects.Checksum(0, reserved[:n])
		copy(reserved[n:], []byte{byte(crc), byte(crc >> 8), byte(crc >> 16), byte(crc >> 24)})
		if err := c.decode(reserved); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s with a reserved byte: %v", name, err)
		}
	}
}

// keys are two of each kind at least, in the order of their texts within one.
func keys() []archive.Key {
	return []archive.Key{
		{Kind: archive.KindFormat},
		{Kind: archive.KindStart, Log: timeline},
		{Kind: archive.KindStart, Log: parent},
		{Kind: archive.KindAppend, Log: timeline, First: 1},
		{Kind: archive.KindAppend, Log: timeline, First: 2},
		{Kind: archive.KindAppend, Log: timeline, First: 10},
		{Kind: archive.KindAppend, Log: timeline, First: math.MaxUint64},
		{Kind: archive.KindPack, Log: timeline, First: 3, Last: 3},
		{Kind: archive.KindPack, Log: timeline, First: 3, Last: math.MaxUint64},
		{Kind: archive.KindFloor, Log: timeline, First: 9},
		{Kind: archive.KindFloor, Log: timeline, First: 10},
		{Kind: archive.KindManifest, Log: timeline, First: 12},
		{Kind: archive.KindPart, Log: timeline, First: 12, ID: id},
		{Kind: archive.KindPart, Log: timeline, First: 12, ID: id, Number: 999_999},
		{Kind: archive.KindManifest, Log: timeline, First: 13},
		{Kind: archive.KindBlob, ID: id},
		{Kind: archive.KindPin, ID: id},
		{Kind: archive.KindPin, ID: id, Expires: 1767323045123},
		{Kind: archive.KindPin, ID: id, Expires: 9_999_999_999_999},
		{Kind: archive.KindMark, Log: timeline, First: 9},
		{Kind: archive.KindMark, Log: timeline, First: math.MaxUint64},
		{Kind: archive.KindTrim, Log: timeline, First: 10},
	}
}

func TestKeysGolden(t *testing.T) {
	var text strings.Builder
	for _, k := range keys() {
		fmt.Fprintln(&text, k)
	}
	golden(t, "keys.v1.golden", []byte(text.String()))
}

// TestMergedGolden: what came to version 1 later.
func TestMergedGolden(t *testing.T) {
	k := archive.Key{Kind: archive.KindManifest, Log: timeline, First: 12, Number: 3}
	h := archive.Header{Kind: k.Kind, Log: k.Log, Epoch: 1, First: 12, Last: 12, Hash: wal.Hash{9}, FirstTime: 7, LastTime: 7, ID: id, Number: 3, Items: 1}
	object := seal(t, h, nil, []byte("plain"), archive.SealOptions{})
	golden(t, "merged.v1.golden", append([]byte(k.String()+"\n"), object...))
	if got, err := archive.ParseKey(k.String()); err != nil || got != k {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := archive.DecodeHeader(k, int64(len(object)), object); err != nil {
		t.Error(err)
	}
	k.Number = 2
	if _, err := archive.DecodeHeader(k, int64(len(object)), object); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("under another key: %v", err)
	}
	for _, s := range []string{"merged/000000", "merged/3", "merged/0000003", "merged/", "merged"} {
		if _, err := archive.ParseKey(archive.KindPrefix(timeline, archive.KindManifest) + "00000000000000000012/" + s); !errors.Is(err, archive.ErrKey) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestKeys: keys are those of a store, parse to what they were, and none is
// another's path prefix or differs from it in case only.
func TestKeys(t *testing.T) {
	for i, k := range keys() {
		s := k.String()
		if err := objects.CheckKey(s); err != nil {
			t.Error(err)
		}
		if got, err := archive.ParseKey(s); got != k || err != nil {
			t.Errorf("%s became %+v, %v", s, got, err)
		}
		if k.Kind >= archive.KindAppend && k.Kind <= archive.KindPart && !strings.HasPrefix(s, archive.KindPrefix(k.Log, k.Kind)) {
			t.Errorf("%s does not begin with the prefix of its kind", s)
		}
		for j, other := range keys() {
			if o := other.String(); i != j && (strings.HasPrefix(o, s+"/") || strings.EqualFold(o, s)) {
				t.Errorf("%s and %s are in each other's way", s, o)
			}
		}
	}
	appends := []string{}
	for _, k := range keys() {
		if k.Kind == archive.KindAppend {
			appends = append(appends, k.String())
		}
	}
	if !slices.IsSorted(appends) {
		t.Errorf("keys do not sort as their LSNs: %q", appends)
	}
}

func TestKeysRefused(t *testing.T) {
	log := archive.LogPrefix(timeline)
	for _, s := range []string{
		"", "format", "FORMAT/", "logs", "logs/", log, log + "stop", log + "start/", log + "append", log + "append/",
		log + "append/1", log + "append/00000000000000000000", log + "append/000000000000000000001",
		log + "append/99999999999999999999", log + "append/+0000000000000000001", log + "append/0000000000000000000x",
		log + "pack/00000000000000000002-00000000000000000001", log + "pack/00000000000000000002",
		log + "snap/00000000000000000002", log + "snap/00000000000000000002/part/" + id.String(),
		log + "snap/00000000000000000002/part/" + id.String() + "-1", log + "snap/00000000000000000002/part/" + id.String() + "-1000000",
		log + "snap/00000000000000000002/manifest/", strings.ToUpper(log) + "START", "logs/" + strings.ToUpper(timeline.String()) + "/start",
		"logs/" + uuid.Nil.String() + "/start", "logs/{" + timeline.String() + "}/start", "blobs/" + uuid.Nil.String(), "blobs/" + id.String() + "x",
		"pins/" + id.String(), "pins/1-" + id.String(), "pins/-000000000001-" + id.String(), "pins/10000000000000-" + id.String(),
		"probe/0000000000001-" + id.String(), strings.Repeat("x", 1<<20),
	} {
		k, err := archive.ParseKey(s)
		if !errors.Is(err, archive.ErrKey) || len(err.Error()) > 1000 {
			t.Errorf("%.100q is %+v, %.200v", s, k, err)
		}
	}
	for _, k := range keys() {
		for what, spoil := range map[string]func(k *archive.Key){
			"kind":   func(k *archive.Key) { k.Kind += 100 },
			"last":   func(k *archive.Key) { k.Last = 1 },
			"number": func(k *archive.Key) { k.Number = 1_000_000 },
			"expiry": func(k *archive.Key) { k.Expires = -1 },
			"log": func(k *archive.Key) {
				k.Log[0]++
				if k.Log[0] != 1 {
					k.Log = wal.TimelineID{}
				}
			},
		} {
			bad := k
			spoil(&bad)
			if err := bad.Check(); !errors.Is(err, archive.ErrKey) {
				t.Errorf("%s with a wrong %s: %v", k, what, err)
			}
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, k := range keys() {
		f.Add(k.String())
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := archive.ParseKey(s)
		if err != nil {
			if !errors.Is(err, archive.ErrKey) {
				t.Fatal(err)
			}
			return
		}
		if k.String() != s || k.Check() != nil || objects.CheckKey(s) != nil {
			t.Fatalf("%q is %+v, which is %q", s, k, k)
		}
	})
}

// fuzzObject: whatever is decoded has one encoding. The checksum is set right
// in half of the inputs, so that what is behind it is reached.
func fuzzObject(f *testing.F, encode func(b []byte) ([]byte, error), seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, sum bool) {
		if n := len(b) - 4; sum && n >= 0 {
			crc := objects.Checksum(0, b[:n])
			b = append(bytes.Clone(b[:n]), byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24))
		}
		again, err := encode(b)
		switch {
		case err == nil && !bytes.Equal(again, b):
			t.Fatalf("%x became %x", b, again)
		case err != nil && !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion):
			t.Fatal(err)
		}
	})
}

func FuzzDecodeFormat(f *testing.F) {
	fuzzObject(f, func(b []byte) ([]byte, error) {
		v, err := archive.DecodeFormat(b)
		return archive.EncodeFormat(v), err
	}, archive.EncodeFormat(format))
}

func FuzzDecodeStart(f *testing.F) {
	var seeds [][]byte
	for _, s := range starts() {
		seeds = append(seeds, archive.EncodeStart(s))
	}
	fuzzObject(f, func(b []byte) ([]byte, error) {
		v, err := archive.DecodeStart(timeline, b)
		return archive.EncodeStart(v), err
	}, seeds...)
}
