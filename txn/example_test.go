package txn_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/quire-db/quire/txn"
)

func Example() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "quire")
	defer os.RemoveAll(dir)
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	c, err := m.Update(ctx, func(tx *txn.Tx) error { // again after every conflict
		v, err := tx.CreateVolume("greetings", txn.VolumeOptions{})
		if err == nil {
			_, err = v.WriteAt([]byte("hello, pages\n"), 0)
		}
		return err
	})
	fmt.Println("durable at LSN", c.Position.LSN, err)
	err = m.View(ctx, func(tx *txn.Tx) error { // one snapshot of everything
		v, err := tx.Volume("greetings")
		if err == nil {
			_, err = io.Copy(os.Stdout, io.NewSectionReader(v, 0, 13))
		}
		return err
	})
	fmt.Println(err)
	// Output:
	// durable at LSN 2 <nil>
	// hello, pages
	// <nil>
}
