package pagestore

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/wal"
)

var update = flag.Bool("update", false, "write golden files that do not exist yet")

func sampleOutcome(digest []byte) outcomeRecord {
	return outcomeRecord{Number: 1025, Outcome: Outcome{
		Seq: 4000, Txn: wal.TxnID{1, 2}, Time: 1700000000000000000, Digest: DigestRequest(digest),
		Position: wal.Position{Timeline: wal.TimelineID{3, 4}, LSN: 70000, Hash: wal.Hash{5, 6, 31: 7}},
	}}
}

// requestRecords are one record of each kind and what decodes it; the result is
// encoded anew.
var requestRecords = map[string]struct {
	encoded []byte
	again   func([]byte) ([]byte, error)
}{
	"actor-v1.golden": {actorRecord{Last: 4000, Count: 1025, LSN: 70000}.encode(), func(b []byte) ([]byte, error) {
		a, err := decodeActor(b)
		return a.encode(), err
	}},
	"outcome-v1.golden":        {encodeOutcome(nil), againOutcome},
	"outcome-v1-digest.golden": {encodeOutcome([]byte("digest")), againOutcome},
	"outcome-v1-long.golden":   {encodeOutcome(bytes.Repeat([]byte("digest"), 20)), againOutcome},
	"actors-v1.golden": {actorsRecord{Count: MaxActors, Evicted: wal.ActorID{8, 15: 9}}.encode(), func(b []byte) ([]byte, error) {
		a, err := decodeActors(b)
		return a.encode(), err
	}},
}

func encodeOutcome(digest []byte) []byte {
	o := sampleOutcome(digest)
	return o.encode()
}

func againOutcome(b []byte) ([]byte, error) {
	o, err := decodeOutcome(b)
	return o.encode(), err
}

// Golden files of a version are never rewritten.
func TestRequestRecordsGolden(t *testing.T) {
	for name, r := range requestRecords {
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

func TestRequestRecordsRefused(t *testing.T) {
	for name, r := range requestRecords {
		newer := bytes.Clone(r.encoded)
		newer[0]++
		if _, err := r.again(newer); !errors.Is(err, wal.ErrVersion) {
			t.Errorf("%s of version 2: %v", name, err)
		}
		zeros := bytes.Clone(r.encoded)
		clear(zeros[1:])
		for what, b := range map[string][]byte{
			"short": r.encoded[:len(r.encoded)-1], "empty": {}, "long": append(bytes.Clone(r.encoded), 0), "zeros": zeros,
		} {
			if _, err := r.again(b); !errors.Is(err, wal.ErrCorrupt) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	for _, size := range []byte{7, longDigest + 1, 255} {
		b := encodeOutcome([]byte("digest"))
		b[97] = size
		if _, err := decodeOutcome(b); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("digest of %d bytes: %v", size, err)
		}
	}
}

// Digests differ by length too: 32 bytes are not the hash of more.
func TestRequestDigest(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 100)
	d := DigestRequest(long)
	for _, other := range [][]byte{nil, {0}, {0, 0}, d.bytes[:], long[:99], long[:32], long[:31]} {
		if DigestRequest(other) == d || DigestRequest(other) != DigestRequest(bytes.Clone(other)) {
			t.Errorf("digest of %d bytes", len(other))
		}
	}
}

func FuzzDecodeRequestRecord(f *testing.F) {
	for _, r := range requestRecords {
		f.Add(r.encoded)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, r := range requestRecords {
			again, err := r.again(b)
			if err != nil && !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) {
				t.Errorf("%s: %v", name, err)
			}
			// What lies behind a digest's length in the record is all of it, so
			// there is one encoding of each record.
			if err == nil && !bytes.Equal(again, b) {
				t.Errorf("%s: %x is read, and written as %x", name, b, again)
			}
		}
	})
}
