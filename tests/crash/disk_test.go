package crash

import (
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// store is where it lies on every disk of these tests.
const store = "/store"

// bay is a place of this process at which one disk at a time is mounted, beneath
// the library too.
type bay struct{ prefix string }

// mounted is a disk as seen from a bay.
type mounted struct {
	disk   *crashfs.FS
	prefix string
}

func (b bay) mount(disk *crashfs.FS) (fsys mounted, dir string, unmount func()) {
	fsys = mounted{disk, b.prefix}
	return fsys, b.prefix + store, tidwallfs.Mount(b.prefix, fsys)
}

func (m mounted) on(name string) string { return path.Clean("/" + strings.TrimPrefix(name, m.prefix)) }

func (m mounted) Create(name string) (vfs.File, error)   { return m.disk.Create(m.on(name)) }
func (m mounted) Open(name string) (vfs.File, error)     { return m.disk.Open(m.on(name)) }
func (m mounted) OpenRead(name string) (vfs.File, error) { return m.disk.OpenRead(m.on(name)) }
func (m mounted) Rename(from, to string) error           { return m.disk.Rename(m.on(from), m.on(to)) }
func (m mounted) Remove(name string) error               { return m.disk.Remove(m.on(name)) }
func (m mounted) Mkdir(name string) error                { return m.disk.Mkdir(m.on(name)) }
func (m mounted) SyncDir(name string) error              { return m.disk.SyncDir(m.on(name)) }

func (m mounted) ReadDir(name string) ([]vfs.Entry, error) { return m.disk.ReadDir(m.on(name)) }
func (m mounted) Lstat(name string) (vfs.Entry, error)     { return m.disk.Lstat(m.on(name)) }

func (m mounted) FileID(name string) (string, error) { return m.disk.FileID(m.on(name)) }

func (m mounted) Lock(name, owner string) (func() error, error) {
	return m.disk.Lock(m.on(name), owner)
}

func (m mounted) LockHolder(name string) (owner string, held bool, err error) {
	return m.disk.LockHolder(m.on(name))
}

// options make everything small, so that little work meets every path.
func options(fsys vfs.FS, seed uint64) txn.Options {
	return txn.Options{
		Create: true, FS: fsys, Random: newLocked(seed),
		GenerationBytes: 2 << 20, InlineBytes: 8 << 10, StageBytes: 64 << 10, CacheBytes: 64 << 10,
		CheckpointEvery: -1, SyncEvery: 2 * time.Millisecond,
	}
}

// locked is a source of random bytes for several goroutines.
type locked struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func newLocked(seed uint64) *locked {
	var s [32]byte
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return &locked{r: rand.NewChaCha8(s)}
}

func (l *locked) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// opened is a store in use on a disk.
type opened struct {
	*txn.Manager
	rep     *recovery.Report
	unmount func()
}

// openings differ in their random numbers: no nonce comes twice on a disk.
var openings atomic.Uint64

func (b bay) open(disk *crashfs.FS, change ...func(*txn.Options)) (*opened, error) {
	fsys, dir, unmount := b.mount(disk)
	o := options(fsys, openings.Add(1))
	for _, f := range change {
		f(&o)
	}
	m, rep, err := txn.Open(dir, o)
	if err != nil {
		unmount()
		return nil, err
	}
	return &opened{m, rep, unmount}, nil
}

func (o *opened) close() error {
	defer o.unmount()
	return o.Close()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
