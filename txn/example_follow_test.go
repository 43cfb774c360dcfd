package txn_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/quire-db/quire/txn"
)

// A follower gets what the writer commits, and goes on as a writer when it is
// promoted.
func ExampleManager_Apply() {
	dir, err := os.MkdirTemp("", "quire")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	writer, _, err := txn.Open(filepath.Join(dir, "first"), txn.Options{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	defer writer.Close()
	follower, _, err := txn.Open(filepath.Join(dir, "second"), txn.Options{Create: true, Follower: true})
	if err != nil {
		log.Fatal(err)
	}
	defer follower.Close()
	c, err := writer.Update(ctx, func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("notes", txn.VolumeOptions{})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range writer.Watch(ctx, txn.WatchOptions{After: follower.Stats().Head}) {
		if err != nil {
			log.Fatal(err)
		}
		images, err := e.Images()
		if err == nil {
			_, err = follower.Apply(ctx, e.Entry, images)
		}
		if err != nil {
			log.Fatal(err)
		}
		if e.Position == c.Position {
			break
		}
	}
	if _, err := follower.Wait(ctx, c.Position, txn.Ack{Applied: true}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same position:", follower.Stats().Head == c.Position)
	begins, err := follower.Promote(ctx)
	fmt.Println("a writer from LSN", begins.LSN, err)
	// Output:
	// the same position: true
	// a writer from LSN 3 <nil>
}
