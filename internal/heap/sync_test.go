package heap_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// slowFS has syncs that say when they begin, then wait for their outcome.
type slowFS struct {
	*crashfs.FS
	begun   chan bool
	outcome chan error
}

type slowFile struct {
	vfs.File
	fs *slowFS
}

func (s *slowFS) Create(name string) (vfs.File, error) {
	f, err := s.FS.Create(name)
	return &slowFile{f, s}, err
}

func (f *slowFile) Sync() error {
	f.fs.begun <- true
	if err := <-f.fs.outcome; err != nil {
		return err
	}
	return f.File.Sync()
}

// A Sync that finds its writes covered by one under way waits for that, and
// shares its fate.
func TestSyncsDoNotOvertake(t *testing.T) {
	for _, fate := range []error{nil, syscall.EIO} {
		disk := &slowFS{crashfs.New(), make(chan bool, 1), make(chan error, 1)}
		disk.outcome <- nil // of the new file's header
		h := open(t, small(disk), nil)
		got, err := h.Alloc(12, 2, 0)
		must(t, err)
		<-disk.begun
		must(t, h.Write(got[0].First, content(got[0].First, 12, 1)))

		results := make(chan error, 2)
		go func() { results <- h.Sync() }()
		<-disk.begun
		go func() { results <- h.Sync() }()
		select {
		case err := <-results:
			t.Fatalf("a sync returned %v while the disk was still at work", err)
		case <-time.After(20 * time.Millisecond):
		}
		disk.outcome <- fate
		for range 2 {
			if err := <-results; errors.Is(err, heap.ErrPoisoned) != (fate != nil) {
				t.Errorf("the disk said %v, a sync returned %v", fate, err)
			}
		}
	}
}
