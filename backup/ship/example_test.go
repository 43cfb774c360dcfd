package ship_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log"
	"os"
	"path/filepath"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// A store is archived from its watchers, the archive verified, and a follower made of it.
func Example() {
	dir, err := os.MkdirTemp("", "quire")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	m, _, err := txn.Open(filepath.Join(dir, "store"), txn.Options{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	c, err := m.Update(ctx, func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("notes", txn.VolumeOptions{})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	store, err := objects.OpenDir(filepath.Join(dir, "archive"), objects.DirOptions{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	a, err := ship.Open(ctx, store, ship.History{c.Position}, ship.Options{})
	if err != nil {
		log.Fatal(err)
	}
	src, stop := ship.Pull(ctx, func(ctx context.Context) iter.Seq2[ship.Entry, error] {
		return entries(ctx, m, a.Position(), c.Position)
	})
	defer stop()
	if err := a.Run(ctx, src); err != nil {
		log.Fatal(err)
	}
	st := a.Status()
	fmt.Println("shipped up to", st.Shipped.LSN, "and behind by", st.LagEntries)

	report, err := ship.Verify(ctx, store, ship.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sound:", report.Sound(), "with entries", report.Ranges[0].First, "to", report.Ranges[0].Last)

	f, _, err := txn.Open(filepath.Join(dir, "restored"), txn.Options{Create: true, Follower: true})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	r, err := ship.OpenReader(ctx, store, ship.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for item, err := range r.Entries(ctx, c.Position.Timeline, 1, 0) {
		if err == nil {
			_, err = f.Apply(ctx, item.Entry, item.Images)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	_, err = f.Wait(ctx, c.Position, txn.Ack{Applied: true})
	fmt.Println("restored:", f.Stats().Head == c.Position, err)
	// Output:
	// shipped up to 2 and behind by 0
	// sound: true with entries 1 to 2
	// restored: true <nil>
}

// entries are a store's from behind one position to another; without the latter
// they would go on for ever.
func entries(ctx context.Context, m *txn.Manager, after, to wal.Position) iter.Seq2[ship.Entry, error] {
	return func(yield func(ship.Entry, error) bool) {
		for e, err := range m.Watch(ctx, txn.WatchOptions{After: after}) {
			var images io.ReaderAt
			if err == nil {
				images, err = e.Images()
			}
			if err != nil {
				yield(ship.Entry{}, err)
				return
			}
			if !yield(ship.Entry{Entry: e.Entry, Images: images}, nil) || e.Position == to {
				return
			}
		}
	}
}
