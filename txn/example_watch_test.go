package txn_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/quire-db/quire/txn"
)

// A consumer sees each commit once it is durable, and goes on where it was.
func ExampleConsumer_Watch() {
	dir, err := os.MkdirTemp("", "quire")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	index, err := m.Consumer(ctx, "search-index")
	if err != nil {
		log.Fatal(err)
	}
	_, err = m.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("notes", txn.VolumeOptions{})
		if err != nil {
			return err
		}
		_, err = v.WriteAt([]byte("a note"), 0)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	page := make([]byte, 4096)
	for e, err := range index.Watch(ctx, txn.WatchOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		for row, err := range e.Rows(&e.Entry.Sections[0]) {
			if err == nil {
				err = e.ReadPage(row, page)
			}
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("entry %d wrote page %d: %s\n", e.Position.LSN, row.Page, page[:6])
		}
		if err := index.Ack(ctx, e.Position); err != nil { // what is before is not needed any more
			log.Fatal(err)
		}
		break
	}
	// Output: entry 2 wrote page 0: a note
}
