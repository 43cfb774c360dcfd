//go:build crashfs

package tidwallfs

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/tidwall/wal"
)

// Hooked reports whether the library beneath this program is the hooked one.
const Hooked = true

// The library reads wal.FS without a lock, so it is set before any test runs.
func init() { wal.FS = router{wal.FS} }

// mounts is the mount table: absolute prefixes and their disks.
var mounts = struct {
	sync.RWMutex
	disks map[string]vfs.FS
}{disks: make(map[string]vfs.FS)}

// Mount puts what the library does to prefix and below on disk, until unmount
// is called. Names reach the disk in full. It panics when prefix is not an
// absolute path, or is mounted already.
func Mount(prefix string, disk vfs.FS) (unmount func()) {
	prefix = filepath.Clean(prefix)
	if !filepath.IsAbs(prefix) {
		panic("tidwallfs: the library uses absolute paths only; cannot mount at " + prefix)
	}
	mounts.Lock()
	defer mounts.Unlock()
	if mounts.disks[prefix] != nil {
		panic("tidwallfs: something is mounted already at " + prefix)
	}
	mounts.disks[prefix] = disk
	return sync.OnceFunc(func() {
		mounts.Lock()
		defer mounts.Unlock()
		delete(mounts.disks, prefix)
	})
}

// router sends a call to the disk with the longest prefix of the path.
type router struct{ real wal.FileSystem }

func (r router) at(path string) wal.FileSystem {
	mounts.RLock()
	defer mounts.RUnlock()
	for prefix := filepath.Clean(path); ; prefix = filepath.Dir(prefix) {
		if disk := mounts.disks[prefix]; disk != nil {
			return adapter{disk}
		}
		if prefix == filepath.Dir(prefix) || !strings.HasPrefix(path, "/") {
			return r.real
		}
	}
}

func (r router) MkdirAll(path string, perm os.FileMode) error { return r.at(path).MkdirAll(path, perm) }
func (r router) ReadDir(path string) ([]os.FileInfo, error)   { return r.at(path).ReadDir(path) }
func (r router) ReadFile(name string) ([]byte, error)         { return r.at(name).ReadFile(name) }
func (r router) Remove(name string) error                     { return r.at(name).Remove(name) }
func (r router) RemoveAll(path string) error                  { return r.at(path).RemoveAll(path) }
func (r router) Rename(from, to string) error                 { return r.at(from).Rename(from, to) }

func (r router) OpenFile(name string, flag int, perm os.FileMode) (wal.File, error) {
	return r.at(name).OpenFile(name, flag, perm)
}
