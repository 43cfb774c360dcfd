package bench

import (
	"sync/atomic"

	"github.com/quire-db/quire/internal/vfs"
)

// Counter is a disk that counts the syncs asked of it.
type Counter struct {
	vfs.FS
	syncs atomic.Uint64
}

// Syncs of files and directories so far.
func (c *Counter) Syncs() uint64 { return c.syncs.Load() }

func (c *Counter) Create(name string) (vfs.File, error) { return c.wrap(c.FS.Create(name)) }
func (c *Counter) Open(name string) (vfs.File, error)   { return c.wrap(c.FS.Open(name)) }

func (c *Counter) SyncDir(name string) error {
	c.syncs.Add(1)
	return c.FS.SyncDir(name)
}

func (c *Counter) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &countedFile{f, &c.syncs}, nil
}

type countedFile struct {
	vfs.File
	syncs *atomic.Uint64
}

func (f *countedFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}

// Unwrap implements vfs.Wrapper: a write-out begun early is no sync.
func (f *countedFile) Unwrap() vfs.File { return f.File }
