package quarantine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// A ledger, <transaction UUID>.stage, says what one stage holds in the heap. It
// is never synced and nothing depends on it: slots that no record names are
// free after a crash anyway, and the ledger only tells how many those were.
// Integers are little-endian. A header, then records:
//
//	offset  size  field
//	     0     4  magic "QSTG"
//	     4     2  version, 1
//	     6     2  zero
//	     8    16  transaction UUID
//	    24     4  CRC32C of the bytes before
//
//	     0     4  number n of extents, 1 to maxLedgerExtents
//	     4     4  class of their slots, 9 to 16
//	     8   12n  extents: first slot u64, count u32 up to heap.MaxIndex
//	 8+12n     4  CRC32C of the bytes before
//
// A ledger is valid if and only if its header has this magic, version and CRC;
// of its records those count that lie before the first that is cut short, out
// of the bounds, or fails its CRC. A greater version is wal.ErrVersion. Another
// layout takes the next version number.
const (
	ledgerMagic      = "QSTG"
	ledgerVersion    = 1
	ledgerHeader     = 28
	ledgerExtent     = 12
	maxLedgerExtents = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sealCRC(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func validCRC(b []byte) bool {
	n := len(b) - 4
	return crc32.Checksum(b[:n], castagnoli) == binary.LittleEndian.Uint32(b[n:])
}

func encodeLedgerHeader(txn wal.TxnID) []byte {
	b := append([]byte(ledgerMagic), ledgerVersion, 0, 0, 0)
	return sealCRC(append(b, txn[:]...))
}

// encodeLedgerRecord takes 1 to maxLedgerExtents extents.
func encodeLedgerRecord(class heap.Class, extents []heap.Extent) []byte {
	b := make([]byte, 0, 12+ledgerExtent*len(extents))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(extents)))
	b = binary.LittleEndian.AppendUint32(b, uint32(class))
	for _, e := range extents {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.First))
		b = binary.LittleEndian.AppendUint32(b, e.Count)
	}
	return sealCRC(b)
}

// errLedger says that a file is not a ledger, or a torn one.
var errLedger = errors.New("not a whole ledger header")

// decodeLedger reads a ledger and adds up its records. Errors wrap errLedger,
// wal.ErrVersion, or are the reader's.
func decodeLedger(r io.Reader) (txn wal.TxnID, extents int, bytes int64, err error) {
	b := make([]byte, ledgerHeader)
	if _, err := io.ReadFull(r, b); err != nil {
		return txn, 0, 0, ledgerEnd(err)
	}
	if string(b[:4]) != ledgerMagic {
		return txn, 0, 0, errLedger
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v > ledgerVersion {
		return txn, 0, 0, fmt.Errorf("ledger version %d, this program knows up to %d: %w", v, ledgerVersion, wal.ErrVersion)
	}
	copy(txn[:], b[8:])
	if string(b) != string(encodeLedgerHeader(txn)) {
		return wal.TxnID{}, 0, 0, errLedger
	}
	for {
		n, size, err := decodeLedgerRecord(r)
		if err != nil || n == 0 {
			return txn, extents, bytes, err
		}
		extents, bytes = extents+n, min(bytes+size, 1<<62)
	}
}

// decodeLedgerRecord reads one record; n is 0 when there is no valid one.
func decodeLedgerRecord(r io.Reader) (n int, bytes int64, err error) {
	b := make([]byte, 8)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, 0, tornEnd(err)
	}
	count, class := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if count == 0 || count > maxLedgerExtents || class < uint32(heap.MinClass) || class > uint32(heap.MaxClass) {
		return 0, 0, nil
	}
	b = append(b, make([]byte, ledgerExtent*count+4)...)
	if _, err := io.ReadFull(r, b[8:]); err != nil {
		return 0, 0, tornEnd(err)
	}
	if !validCRC(b) {
		return 0, 0, nil
	}
	for at := 8; at < len(b)-4; at += ledgerExtent {
		n := binary.LittleEndian.Uint32(b[at+8:])
		if n > heap.MaxIndex {
			return 0, 0, nil
		}
		bytes += int64(n) << class
	}
	return int(count), bytes, nil
}

func tornEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func ledgerEnd(err error) error {
	if tornEnd(err) == nil {
		return errLedger
	}
	return err
}
