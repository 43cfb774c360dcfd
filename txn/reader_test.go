package txn_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/quire-db/quire/txn"
)

// A reader sees its snapshot through any number of commits, checkpoints and
// retired log generations, in which its pages lay, and leaves nothing behind.
func TestReaderOutlivesTheLog(t *testing.T) {
	ctx := context.Background()
	m, _, err := txn.Open(t.TempDir(), txn.Options{Create: true, GenerationBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	write := func(round uint64) {
		t.Helper()
		for no := range uint64(40) {
			if _, err := m.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
				v, err := tx.Volume("v")
				if err != nil {
					if v, err = tx.CreateVolume("v", txn.VolumeOptions{}); err != nil {
						return err
					}
				}
				return v.WritePage(no, stamp(round, no))
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(1)
	tx, err := m.Begin(ctx, txn.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	check := func() {
		t.Helper()
		v, err := tx.Volume("v")
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, v.PageSize())
		for no := range uint64(40) {
			if err := v.ReadPage(no, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, stamp(1, no)) {
				t.Fatalf("page %d is of round %d, the reader began in round 1", no, binary.LittleEndian.Uint64(got))
			}
		}
	}
	for round := uint64(2); m.Stats().Pages.RetiredLogs == 0; round++ {
		write(round)
		if round%10 == 0 {
			if err := m.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
			check()
		}
		if round > 500 {
			t.Fatal("no log generation was retired")
		}
	}
	check()
	limbo := m.Stats().Pages.LimboSlots
	if limbo == 0 {
		t.Error("nothing is kept for the reader")
	}
	tx.Rollback()
	write(1000)
	if err := m.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats().Pages; s.RetiredLogs != 0 {
		t.Errorf("%d retired log generations are kept for nobody", s.RetiredLogs)
	}
}

func stamp(round, no uint64) []byte {
	b := make([]byte, 4096)
	for i := 0; i < len(b); i += 16 {
		binary.LittleEndian.PutUint64(b[i:], round)
		binary.LittleEndian.PutUint64(b[i+8:], no)
	}
	return b
}
