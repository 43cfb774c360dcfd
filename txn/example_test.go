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

// A client that numbers its requests may send one again: it commits once.
func ExampleManager_UpdateWith() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "quire")
	defer os.RemoveAll(dir)
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	request := txn.TxOptions{Actor: m.NewActor(), Seq: 1, RequestDigest: []byte("make inbox")}
	for range 2 { // the first answer got lost
		c, err := m.UpdateWith(ctx, request, func(tx *txn.Tx) error {
			fmt.Println("running")
			_, err := tx.CreateVolume("inbox", txn.VolumeOptions{})
			return err
		})
		fmt.Println("LSN", c.Position.LSN, "repeated", c.Repeated, err)
	}
	o, err := m.Outcome(ctx, txn.OutcomeKey{Actor: request.Actor, Seq: 2})
	fmt.Println("the next request is", o.Status, err)
	// Output:
	// running
	// LSN 2 repeated false <nil>
	// LSN 2 repeated true <nil>
	// the next request is not committed <nil>
}
