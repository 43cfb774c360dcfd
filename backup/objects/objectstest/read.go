package objectstest

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/quire-db/quire/backup/objects"
)

// Bytes is an object.
func Bytes(t testing.TB, s objects.Store, key string) []byte {
	t.Helper()
	r, _, err := s.Get(context.Background(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Keys are those with a prefix, in order.
func Keys(t testing.TB, s objects.Store, prefix string) (keys []string) {
	t.Helper()
	for item, err := range s.List(context.Background(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, item.Key)
	}
	slices.Sort(keys)
	return keys
}

// Replace puts an object in the place of another one, or of none; nil deletes it.
func Replace(t testing.TB, s objects.Store, key string, b []byte) {
	t.Helper()
	err := s.Delete(context.Background(), key)
	if b != nil {
		err = errors.Join(err, s.Put(context.Background(), key, objects.Bytes(b)))
	}
	if err != nil {
		t.Fatal(err)
	}
}
