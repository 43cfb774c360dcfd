package objects_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

func TestMain(m *testing.M) {
	objectstest.Child(openDir)
	killedChild()
	goleak.VerifyTestMain(m)
}

func openDir(location string) (objects.Store, error) {
	return objects.OpenDir(location, objects.DirOptions{})
}

func TestConformance(t *testing.T) {
	objectstest.Run(t, func(t *testing.T) objects.Store {
		return must(t)(openDir(t.TempDir()))
	})
}

func TestConformanceInMemory(t *testing.T) {
	objectstest.Run(t, func(t *testing.T) objects.Store { return onDisk(t, crashfs.New(), time.Now()) })
}

func TestProcesses(t *testing.T) { objectstest.RunProcesses(t, t.TempDir(), openDir) }

// TestCountedConforms: the wrapper changes nothing while it cuts nothing off.
func TestCountedConforms(t *testing.T) {
	objectstest.Run(t, func(t *testing.T) objects.Store {
		return objectstest.Count(onDisk(t, crashfs.New(), time.Now()))
	})
}

func must(t *testing.T) func(objects.Store, error) objects.Store {
	return func(s objects.Store, err error) objects.Store {
		t.Helper()
		ok(t, err)
		return s
	}
}

// onDisk is the store in /deep/store of a disk, made if it is not there.
func onDisk(t *testing.T, disk vfs.Linker, now time.Time) *objects.Dir {
	t.Helper()
	d, err := objects.OpenDir("/deep/store", objects.DirOptions{Disk: disk, Create: true, Now: func() time.Time { return now }})
	ok(t, err)
	return d
}

var background = context.Background()

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func put(s objects.Store, key, text string) error {
	return s.Put(background, key, objects.Bytes([]byte(text)))
}

// contents is all that a store holds.
func contents(t *testing.T, s objects.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for item, err := range s.List(background, "") {
		ok(t, err)
		all[item.Key] = text(t, s, item.Key)
	}
	return all
}

func text(t *testing.T, s objects.Store, key string) string {
	t.Helper()
	r, _, err := s.Get(background, key, 0, -1)
	ok(t, err)
	b, err := io.ReadAll(r)
	ok(t, errors.Join(err, r.Close()))
	return string(b)
}

// exists reports whether the operating system has a name.
func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
