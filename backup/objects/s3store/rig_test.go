package s3store_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"go.uber.org/goleak"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/objects/s3store"
)

func TestMain(m *testing.M) {
	objectstest.Child(openLocation)
	goleak.VerifyTestMain(m)
}

func openLocation(location string) (objects.Store, error) {
	return objects.Open(background, location, s3store.Schemes(s3store.Options{}))
}

var background = context.Background()

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is checks for an error and that it is one of a store.
func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || !errors.As(err, new(*objects.Error)) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

// isPlain checks that an error says that nothing was changed.
func isPlain(t *testing.T, err error) {
	t.Helper()
	for _, sentinel := range []error{objects.ErrExists, objects.ErrUnknown, objects.ErrNotFound, objects.ErrChecksum, objects.ErrUnfit} {
		if err == nil || errors.Is(err, sentinel) || !errors.As(err, new(*objects.Error)) {
			t.Fatalf("error is %v", err)
		}
	}
}

func put(s objects.Store, key, text string) error {
	return s.Put(background, key, objects.Bytes([]byte(text)))
}

// text is what an object holds, from off on, or the error in the way.
func text(s objects.Store, key string, off, n int64) (string, error) {
	r, _, err := s.Get(background, key, off, n)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func holds(t *testing.T, s objects.Store, key, want string) {
	t.Helper()
	if got, err := text(s, key, 0, -1); got != want || err != nil {
		t.Errorf("%s holds %q, %v, want %q", key, got, err, want)
	}
}

func keys(t *testing.T, s objects.Store, prefix string) (all []string) {
	t.Helper()
	for item, err := range s.List(background, prefix) {
		ok(t, err)
		all = append(all, item.Key)
	}
	return all
}
