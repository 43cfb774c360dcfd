package backup_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/backup"
	"github.com/quire-db/quire/wal"
)

var update = flag.Bool("update", false, "write the golden file; only for a new version of the format")

var goldenID = wal.VolumeID{1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}

func TestLengthGolden(t *testing.T) {
	name := filepath.Join("testdata", "length.v1.golden")
	got := backup.EncodeLength(goldenID, 1<<40+12345)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("encoded as\n%x, the golden file has\n%x", got, want)
	}
	id, length, ok, err := backup.DecodeLength(want)
	if id != goldenID || length != 1<<40+12345 || !ok || err != nil {
		t.Fatal(id, length, ok, err)
	}
}

func TestLengthRefused(t *testing.T) {
	for what, change := range map[string]func([]byte) []byte{
		"short":           func(b []byte) []byte { return b[:511] },
		"magic":           func(b []byte) []byte { b[0]++; return b },
		"reserved byte":   func(b []byte) []byte { b[6] = 1; return b },
		"no volume":       func(b []byte) []byte { clear(b[8:24]); return b },
		"negative length": func(b []byte) []byte { b[31] = 0x80; return b },
		"trailing byte":   func(b []byte) []byte { b[511] = 1; return b },
	} {
		if _, _, ok, err := backup.DecodeLength(change(backup.EncodeLength(goldenID, 1))); ok || err == nil {
			t.Errorf("%s: %v, %v", what, ok, err)
		}
	}
	newer := backup.EncodeLength(goldenID, 1)
	newer[4] = 2
	if _, _, _, err := backup.DecodeLength(newer); !errors.Is(err, wal.ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
	if _, _, ok, err := backup.DecodeLength(make([]byte, 512)); ok || err != nil {
		t.Errorf("zeros: %v, %v", ok, err)
	}
}

func FuzzDecodeLength(f *testing.F) {
	f.Add(backup.EncodeLength(goldenID, 1<<62))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, length, ok, err := backup.DecodeLength(b)
		if ok && err == nil && !bytes.Equal(backup.EncodeLength(id, length), b) {
			t.Fatalf("%x is not the only encoding of %v, %d", b, id, length)
		}
	})
}

// Volumes whose records want the same page find each other's neighbours.
func TestFindLengthProbes(t *testing.T) {
	pages := map[uint64][]byte{}
	read := func(no uint64, dst []byte) error {
		clear(dst)
		copy(dst, pages[no])
		return nil
	}
	ids := make([]wal.VolumeID, 5)
	for i := range ids {
		ids[i] = wal.VolumeID{0: byte(i + 1), 8: 0xff, 9: 0xff, 10: 0xff} // the table's last page
		page, _, found, err := backup.FindLength(read, ids[i])
		if found || err != nil {
			t.Fatal(i, found, err)
		}
		pages[page] = backup.EncodeLength(ids[i], int64(i))
	}
	if len(pages) != len(ids) || pages[backup.LengthsPages-1] == nil || pages[0] == nil {
		t.Fatalf("%d pages for %d records", len(pages), len(ids))
	}
	for i, id := range ids {
		if _, length, found, err := backup.FindLength(read, id); length != int64(i) || !found || err != nil {
			t.Fatal(i, length, found, err)
		}
	}
}
