package wal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
)

// A log that was closed has no file open, also of generations that were made
// ready and never begun: who closes a store may unmount its disk.
func TestCloseLetsGoOfAllFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	l, err := OpenLog(LogOptions{FS: vfs.OS(), Dir: dir, GenerationBytes: MinGenerationBytes})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		g, err := l.Prepare(0)
		switch {
		case err == nil && i == 0:
			err = l.Adopt(g)
		case err == nil && i == 1:
			err = l.Discard(g)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if name, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(name, dir) {
			t.Errorf("%s is open", name)
		}
	}
}
