package txn_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/txn"
)

// A service that archives its log while it runs, and what is restored of it.
func ExampleArchiveOptions() {
	dir, err := os.MkdirTemp("", "quire")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	url := "file://" + filepath.Join(dir, "archive") // or s3://bucket/prefix, with s3store.Schemes
	archive, err := objects.Open(ctx, url, objects.Known(objects.DirOptions{Create: true}))
	if err != nil {
		log.Fatal(err)
	}
	m, _, err := txn.Open(filepath.Join(dir, "store"), txn.Options{Create: true, Archive: txn.ArchiveOptions{Store: archive}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = m.Update(ctx, func(tx *txn.Tx) error { // which waits for no archive
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
	if err := m.Close(); err != nil { // what is durable is shipped
		log.Fatal(err)
	}
	st := m.Stats().Archive
	fmt.Printf("%v, LSN %d is archived, %d entries behind\n", st.State, st.Shipped.LSN, st.LagEntries)

	got, err := txn.Restore(ctx, archive, filepath.Join(dir, "new"), restore.Target{}, restore.Options{}, txn.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("LSN %d was restored, with %d volume\n", got.Position.LSN, got.Volumes)
	// Output:
	// closed, LSN 2 is archived, 0 entries behind
	// LSN 2 was restored, with 1 volume
}
