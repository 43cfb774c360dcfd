package quarantine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

var update = flag.Bool("update", false, "write golden files anew")

func sample() []byte {
	b := encodeLedgerHeader(wal.TxnID{1, 2, 3})
	b = append(b, encodeLedgerRecord(12, []heap.Extent{{First: heap.MakeSlot(1, 7), Count: 256}, {First: heap.MakeSlot(2, 0), Count: 1}})...)
	return append(b, encodeLedgerRecord(9, []heap.Extent{{First: heap.MakeSlot(3, 8), Count: 16}})...)
}

func TestGoldenLedger(t *testing.T) {
	const file = "testdata/ledger-v1.hex"
	if *update {
		if err := os.WriteFile(file, []byte(hex.EncodeToString(sample())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || !bytes.Equal(golden, sample()) {
		t.Errorf("a ledger is not encoded as version 1: %v", err)
	}
	txn, extents, size, err := decodeLedger(bytes.NewReader(golden))
	if txn != (wal.TxnID{1, 2, 3}) || extents != 3 || size != 257*4096+16*512 || err != nil {
		t.Errorf("decoded %v, %d extents, %d bytes, %v", txn, extents, size, err)
	}
}

// A torn ledger counts as far as its records are whole.
func TestTornLedger(t *testing.T) {
	whole := sample()
	last := 0
	for n := range len(whole) {
		_, extents, _, err := decodeLedger(bytes.NewReader(whole[:n]))
		if n < ledgerHeader != errors.Is(err, errLedger) || extents < last {
			t.Fatalf("%d bytes: %d extents, %v", n, extents, err)
		}
		last = extents
	}
	for bit := range len(whole) * 8 {
		whole[bit/8] ^= 1 << (bit % 8)
		if _, extents, _, err := decodeLedger(bytes.NewReader(whole)); err == nil && extents == 3 {
			t.Fatalf("flipped bit %d was not seen", bit)
		}
		whole[bit/8] ^= 1 << (bit % 8)
	}
}

func FuzzDecodeLedger(f *testing.F) {
	f.Add(sample())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, extents, size, _ := decodeLedger(bytes.NewReader(b))
		if extents*ledgerExtent > len(b) || size < 0 {
			t.Errorf("%d extents of %d bytes in a ledger of %d bytes", extents, size, len(b))
		}
	})
}
