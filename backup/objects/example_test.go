package objects_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/quire-db/quire/backup/objects"
)

func Example() {
	dir, err := os.MkdirTemp("", "archive")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	store, err := objects.Open(ctx, "file://"+dir, objects.Known(objects.DirOptions{}))
	if err != nil {
		log.Fatal(err)
	}
	if err := objects.Probe(ctx, store, time.Now()); err != nil {
		log.Fatal(err)
	}

	if err := store.Put(ctx, "logs/a/start", objects.Bytes([]byte("at LSN 1"))); err != nil {
		log.Fatal(err)
	}
	err = store.Put(ctx, "logs/a/start", objects.Bytes([]byte("at LSN 7")))
	fmt.Println("refused:", errors.Is(err, objects.ErrExists))

	r, size, err := store.Get(ctx, "logs/a/start", 3, -1)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	part, err := io.ReadAll(r)
	fmt.Printf("%q of %d bytes, %v\n", part, size, err)

	for item, err := range store.List(ctx, "logs/") {
		fmt.Println(item.Key, item.Size, err)
	}
	fmt.Println(store.Delete(ctx, "logs/a/start"))
	// Output:
	// refused: true
	// "LSN 1" of 8 bytes, <nil>
	// logs/a/start 8 <nil>
	// <nil>
}
