package heap

import (
	"errors"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// Promise 6: a file whose sync has failed is never synced again, whatever is
// written to it meanwhile.
func TestFailedSyncIsNotRetried(t *testing.T) {
	disk := crashfs.New()
	h, err := Open(Options{FS: disk, Dir: "heap", Store: uuid.UUID{1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.Alloc(12, 1, 0); err != nil {
		t.Fatal(err)
	}
	f := h.file(1)
	disk.Inject(crashfs.FailKind(syscall.EIO, crashfs.Sync))
	first := f.sync()
	disk.Inject(nil)
	if err := f.writeAt(make([]byte, 4096), headerBytes); err != nil { // one that was under way
		t.Fatal(err)
	}
	if second := f.sync(); !errors.Is(first, syscall.EIO) || second != first {
		t.Errorf("a sync failed with %v, the next returned %v", first, second)
	}
}
