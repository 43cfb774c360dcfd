package objectstest

import (
	"errors"
	"slices"
	"testing"

	"github.com/quire-db/quire/backup/objects"
)

// Bytes is an object.
func Bytes(t testing.TB, s objects.Store, key string) []byte {
	t.Helper()
	return []byte(read(t, s, key))
}

// Keys are those with a prefix, in order.
func Keys(t testing.TB, s objects.Store, prefix string) (keys []string) {
	t.Helper()
	for item, err := range s.List(background, prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, item.Key)
	}
	slices.Sort(keys)
	if n := len(keys); len(slices.Compact(slices.Clone(keys))) != n {
		t.Fatalf("some key is listed twice: %v", keys)
	}
	return keys
}

// Replace puts an object in the place of another one, or of none; nil deletes it.
func Replace(t testing.TB, s objects.Store, key string, b []byte) {
	t.Helper()
	err := s.Delete(background, key)
	if b != nil {
		err = errors.Join(err, s.Put(background, key, objects.Bytes(b)))
	}
	if err != nil {
		t.Fatal(err)
	}
}
