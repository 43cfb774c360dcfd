package txn_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/quire-db/quire/txn"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	m, rep, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", rep)
	page := func(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, 4096) }
	for i := range 20 {
		c, err := m.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("a")
			if err != nil {
				v, err = tx.CreateVolume("a", txn.VolumeOptions{})
			}
			if err != nil {
				return err
			}
			for j := range i + 1 {
				if err := v.WritePage(uint64(i*100+j), page(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(i, err)
		}
		if i == 10 {
			if err := m.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
		_ = c
	}
	check := func() {
		err = m.View(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("a")
			if err != nil {
				return err
			}
			buf := make([]byte, 4096)
			for i := range 20 {
				for j := range i + 1 {
					if err := v.ReadPage(uint64(i*100+j), buf); err != nil {
						return err
					}
					if !bytes.Equal(buf, page(i)) {
						return fmt.Errorf("page %d.%d wrong", i, j)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check()
	t.Logf("%+v", m.Stats())
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m, rep, err = txn.Open(dir, txn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", rep)
		check()
		if err := m.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		check()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
