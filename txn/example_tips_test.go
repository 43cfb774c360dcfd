package txn_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/quire-db/quire/txn"
)

// A migration is tried on a fork, compared with a tag, and undone.
func ExampleTx_Fork() {
	dir, err := os.MkdirTemp("", "quire")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx := context.Background()
	step := func(f func(tx *txn.Tx) error) {
		if _, err := m.Update(ctx, f); err != nil {
			log.Fatal(err)
		}
	}
	page := make([]byte, 4096)
	step(func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("mail", txn.VolumeOptions{})
		if err != nil {
			return err
		}
		copy(page, "version 1")
		return v.WritePage(0, page)
	})
	step(func(tx *txn.Tx) error { // neither copies a page
		v, err := tx.Volume("mail")
		if err != nil {
			return err
		}
		if err := tx.SetTag(v, "before", v); err != nil {
			return err
		}
		_, err = tx.Fork("mail-migrated", v)
		return err
	})
	step(func(tx *txn.Tx) error {
		v, err := tx.Volume("mail-migrated")
		if err != nil {
			return err
		}
		copy(page, "version 2")
		return v.WritePage(0, page)
	})
	step(func(tx *txn.Tx) error {
		v, err := tx.Volume("mail-migrated")
		if err != nil {
			return err
		}
		before, err := tx.At("mail", "before")
		if err != nil {
			return err
		}
		for d, err := range txn.Diff(before, v, 0, 100) {
			if err != nil {
				return err
			}
			fmt.Println("differs: page", d.Page)
		}
		return v.Reset(before)
	})
	err = m.View(ctx, func(tx *txn.Tx) error {
		v, err := tx.Volume("mail-migrated")
		if err != nil {
			return err
		}
		err = v.ReadPage(0, page)
		fmt.Printf("%s\n", page[:9])
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// differs: page 0
	// version 1
}
