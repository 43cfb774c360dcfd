package heap_test

import (
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// slowFS has syncs that wait for a token, which is the sync's error.
type slowFS struct {
	*crashfs.FS
	tokens chan error
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
	if err := <-f.fs.tokens; err != nil {
		return err
	}
	return f.File.Sync()
}

// A Sync that finds its writes covered by one under way waits for that, and
// shares its fate.
func TestSyncsDoNotOvertake(t *testing.T) {
	for _, fate := range []error{nil, syscall.EIO} {
		synctest.Test(t, func(t *testing.T) {
			disk := &slowFS{crashfs.New(), make(chan error, 1)}
			disk.tokens <- nil // of the new file's header
			h := open(t, small(disk), nil)
			got, err := h.Alloc(12, 2, 0)
			must(t, err)
			must(t, h.Write(got[0].First, content(got[0].First, 12, 1)))

			var mu sync.Mutex
			var results []error
			for range 2 {
				go func() {
					err := h.Sync()
					mu.Lock()
					defer mu.Unlock()
					results = append(results, err)
				}()
				synctest.Wait()
			}
			if len(results) != 0 {
				t.Fatalf("a sync returned %v while the disk was still at work", results)
			}
			disk.tokens <- fate
			synctest.Wait()
			if len(results) != 2 {
				t.Fatalf("%d syncs returned of 2", len(results))
			}
			for _, err := range results {
				if errors.Is(err, heap.ErrPoisoned) != (fate != nil) {
					t.Errorf("the disk said %v, a sync returned %v", fate, err)
				}
			}
		})
	}
}
