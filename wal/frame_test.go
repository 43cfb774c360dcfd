package wal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

const testGen GenID = 0xA1B2C3D4E5F60718

// goldenFrames are whole frames. What they carry is no entry: to a frame it is
// bytes.
func goldenFrames() map[string][]byte {
	extents := []Extent{{0x1122334455, 65536}, {7, 512}}
	payload := append(appendExtents([]byte("the entry"), extents), "inline"...)
	entry := Frame{
		Kind: FrameEntry, Exempt: true, Gen: testGen, Timeline: uid(1), LSN: 9, GroupFirst: 8, Manifest: 3, Prev: Hash{8},
		entryBytes: 9, extents: 2, inlineBytes: 6, payloadSum: crc32.Checksum(payload, castagnoli),
	}
	mark := Frame{Kind: FrameMark, Gen: testGen, Timeline: uid(1), LSN: 9, Manifest: 3, Prev: Hash{9}}
	return map[string][]byte{"entry": encodeFrame(entry, 7, payload), "mark": encodeFrame(mark, 9, nil)}
}

func encodeFrame(f Frame, durable LSN, payload []byte) []byte {
	b := append(make([]byte, frameHeader), payload...)
	f.put(b)
	sealFrame(b, durable)
	return b
}

func TestGoldenFrames(t *testing.T) {
	for name, b := range goldenFrames() {
		file := filepath.Join("testdata", "frame", "v1", name+".hex")
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(b); got != string(bytes.TrimSpace(want)) {
			t.Errorf("%s: encodes as\n%s", file, got)
		}
		f, err := decodeFrame(b, testGen)
		if err != nil || f.LSN != 9 || f.Manifest != 3 || f.Timeline != uid(1) {
			t.Errorf("%s: %+v, %v", file, f, err)
		}
		if entry, extents, inline, err := f.payload(b); err != nil || name == "entry" &&
			(string(entry) != "the entry" || string(inline) != "inline" || decodeExtents(extents)[0].Slot != 0x1122334455) {
			t.Errorf("%s: %q %x %q, %v", file, entry, extents, inline, err)
		}
	}
}

// TestFrameRules breaks one rule of the header at a time, with a CRC that fits.
func TestFrameRules(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		frame, what string
		change      func(b []byte)
	}{
		{"entry", "magic", func(b []byte) { b[0] = 'X' }},
		{"entry", "version 0", func(b []byte) { b[4] = 0 }},
		{"entry", "kind", func(b []byte) { b[5] = 3 }},
		{"entry", "flags", func(b []byte) { b[6] = 3 }},
		{"entry", "nonce", func(b []byte) { b[8]++ }},
		{"entry", "LSN zero", func(b []byte) { le.PutUint64(b[32:], 0) }},
		{"entry", "group behind the entry", func(b []byte) { le.PutUint64(b[40:], 10) }},
		{"entry", "mark in the group", func(b []byte) { le.PutUint64(b[48:], 8) }},
		{"entry", "no entry", func(b []byte) { le.PutUint32(b[96:], 0) }},
		{"entry", "entry too large", func(b []byte) { le.PutUint32(b[96:], MaxRecord) }},
		{"entry", "lengths that overflow", func(b []byte) { le.PutUint32(b[100:], 1<<32-1) }},
		{"mark", "flags", func(b []byte) { b[6] = 1 }},
		{"mark", "group", func(b []byte) { b[40] = 1 }},
		{"mark", "durable above the log", func(b []byte) { b[48] = 10 }},
		{"mark", "lengths", func(b []byte) { b[96] = 1 }},
		{"mark", "payload CRC", func(b []byte) { b[108] = 1 }},
	} {
		b := goldenFrames()[c.frame]
		c.change(b)
		sealFrame(b, LSN(le.Uint64(b[48:])))
		if f, err := decodeFrame(b, testGen); !errors.As(err, new(badFrame)) {
			t.Errorf("%s, %s: %+v, %v", c.frame, c.what, f, err)
		}
	}
	b := goldenFrames()["mark"]
	b[4] = 2
	sealFrame(b, 9)
	if _, err := decodeFrame(b, testGen); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, b := range goldenFrames() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := decodeFrame(b, testGen)
		if err != nil {
			return
		}
		again := make([]byte, frameHeader)
		fr.put(again)
		sealFrame(again, fr.Durable)
		if !bytes.Equal(again, b[:frameHeader]) {
			t.Errorf("decodes %x, encodes %x", b[:frameHeader], again)
		}
		if fr.size() > MaxRecord {
			t.Errorf("%d bytes", fr.size())
		}
		if entry, extents, inline, err := fr.payload(b); err == nil && len(entry)+len(extents)+len(inline)+frameHeader != len(b) {
			t.Errorf("%d + %d + %d bytes of %d", len(entry), len(extents), len(inline), len(b))
		}
	})
}

// FuzzEachFrame: a header is found wherever it lies.
func FuzzEachFrame(f *testing.F) {
	f.Add([]byte("QFRM"), []byte{0x18, 7, 0xF6})
	f.Add([]byte{0x18, 0x07, 0xF6, 0xE5, 0xD4, 0xC3, 0xB2}, []byte(nil))
	f.Fuzz(func(t *testing.T, before, behind []byte) {
		b := append(append(bytes.Clone(before), goldenFrames()["mark"]...), behind...)
		found := 0
		err := eachFrame(b, testGen, func(fr Frame) error {
			if fr.LSN == 9 {
				found++
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrVersion) || err == nil && found == 0 {
			t.Errorf("found %d, %v", found, err)
		}
	})
}

// FuzzScan: whatever a generation's file holds, there is an answer.
func FuzzScan(f *testing.F) {
	r := newRig(f)
	r.commit(2, Body{})
	r.commit(1, inline(30))
	whole := r.trim()
	f.Add(uint16(0), []byte(nil))
	f.Add(uint16(400), []byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, at uint16, patch []byte) {
		r.t = t
		b := append(bytes.Clone(whole), make([]byte, int(at)+len(patch))...)
		copy(b[at:], patch)
		r.must(os.WriteFile(r.path(0), b, 0o600))
		res, err := r.scan()
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatal(err)
		}
		if err == nil && res.Last > 0 && res.Hash != r.placed[res.Last-1].Hash {
			t.Fatalf("%+v", res)
		}
	})
}

func TestGenIDText(t *testing.T) {
	if id, err := ParseGenID(testGen.String()); err != nil || id != testGen {
		t.Errorf("%v, %v", id, err)
	}
	for _, s := range []string{"", "0000000000000000", "a1b2c3d4e5f6071", "A1B2C3D4E5F60718", "a1b2c3d4e5f607180", "+1b2c3d4e5f60718", " 1b2c3d4e5f60718"} {
		if id, err := ParseGenID(s); err == nil {
			t.Errorf("%q is %v", s, id)
		}
	}
}
