package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/quire-db/quire/internal/vfs"
)

// NewestManifest is the highest manifest sequence that a valid frame of a
// generation names, and the LSN of that frame; zero when there is none. It is
// for generations that the manifest does not name.
func NewestManifest(fsys vfs.FS, dir string, id GenID) (seq uint64, lsn LSN, err error) {
	f, err := fsys.OpenRead(filepath.Join(dir, id.Path()))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil // a crash while it was made, or removed
	}
	if err != nil {
		return 0, 0, fmt.Errorf("wal: look at generation %s: %w", id, err)
	}
	defer f.Close()
	buf := make([]byte, maxAhead)
	for off := int64(0); ; {
		n, err := f.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return 0, 0, fmt.Errorf("wal: look at generation %s: %w", id, err)
		}
		found := eachFrame(buf[:n], id, func(f Frame) error {
			if f.Manifest > seq {
				seq, lsn = f.Manifest, f.LSN
			}
			return nil
		})
		if err == io.EOF || found != nil {
			return seq, lsn, found
		}
		off += int64(n - frameHeader + 1)
	}
}
