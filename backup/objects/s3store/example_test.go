package s3store_test

import (
	"context"
	"fmt"
	"log"
	"maps"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/s3store"
)

func Example() {
	schemes := objects.Known(objects.DirOptions{})
	maps.Copy(schemes, s3store.Schemes(s3store.Options{}))

	// Opening asks nothing of the server: objects.Probe, which comes next, does.
	store, err := objects.Open(context.Background(), "s3://archives/quire/?region=eu-central-1", schemes)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store)

	_, err = objects.Open(context.Background(), "s3://me:password@archives", schemes)
	fmt.Println(err)
	// Output:
	// s3://archives/quire?region=eu-central-1
	// s3store: the URL is no s3://bucket/prefix?endpoint=URL&region=NAME&path-style=BOOL: it has a user: credentials belong in the AWS environment or a profile, never in a URL
}
