package archive_test

import (
	"bytes"
	"fmt"
	"io"
	"log"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
)

// An object of entries: made, looked at without a key, and read with it.
func Example() {
	secret, err := age.GenerateX25519Identity()
	if err != nil {
		log.Fatal(err)
	}
	history := archivetest.New(1)
	made := []archivetest.Made{history.Begin(), history.Write(0, 2), history.Write(1, 3)}

	var plain []byte
	for _, m := range made {
		frame, err := archive.NewFrame(m.Entry, m.Images())
		if err != nil {
			log.Fatal(err)
		}
		if plain, err = frame.Append(plain); err != nil {
			log.Fatal(err)
		}
	}
	options := archive.SealOptions{Recipients: []age.Recipient{secret.Recipient()}}
	object, h, err := archive.Seal(headerOf(archive.KindAppend, made), nil, plain, options)
	if err != nil {
		log.Fatal(err)
	}
	key := archive.Key{Kind: archive.KindAppend, Log: h.Log, First: h.First}

	seen, _, err := archive.Check(key, bytes.NewReader(object), int64(len(object)))
	fmt.Println("without the key:", seen.First, "to", seen.Last, seen.Compression, seen.Encryption, err)

	o, err := archive.Open(key, bytes.NewReader(object), int64(len(object)), []age.Identity{secret})
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()
	entries, err := archive.NewEntries(o, nil) // no payload is in blobs
	if err != nil {
		log.Fatal(err)
	}
	for {
		item, err := entries.Next()
		if err == io.EOF {
			break // all of it was verified
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(item.Entry.First, item.Entry.Kind)
	}
	// Output:
	// without the key: 1 to 3 zstd age <nil>
	// 1 begin-timeline
	// 2 transaction
	// 3 transaction
}
