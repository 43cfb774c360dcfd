package objects

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quire-db/quire/internal/vfs"
)

// DirOptions of a Dir. The zero value is the default.
type DirOptions struct {
	Disk   vfs.Linker       // the operating system's when nil
	Create bool             // makes the directory, and those above it, if it is not there
	Now    func() time.Time // time.Now when nil
}

// Dir is the Store that is a directory. The package documentation has the
// steps of its calls. It holds no file open between them and needs no Close.
type Dir struct {
	disk vfs.Linker
	root string // absolute and clean
	id   string // the root's FileID
	now  func() time.Time

	sweep  sync.Once
	failed atomic.Bool // a directory could not be synced

	mu    sync.Mutex
	known map[string]bool // directories whose names are durable, by path; mu
}

// putDir is where objects are until they are whole. No key begins with a dot.
const putDir = ".put"

// OpenDir opens the store in a directory. It changes nothing unless Create
// asks for it.
func OpenDir(path string, opts DirOptions) (*Dir, error) {
	d := &Dir{disk: opts.Disk, now: opts.Now, root: filepath.Clean(path), known: map[string]bool{}}
	if d.disk == nil {
		d.disk = vfs.OSLinker()
	}
	if d.now == nil {
		d.now = time.Now
	}
	if err := d.open(opts.Create); err != nil {
		return nil, d.fail("open", "", err)
	}
	return d, nil
}

func (d *Dir) open(create bool) error {
	if !filepath.IsAbs(d.root) {
		return fmt.Errorf("%w: the path is not absolute", fs.ErrInvalid)
	}
	if create {
		if err := d.create(); err != nil {
			return err
		}
	}
	e, err := d.disk.Lstat(d.self())
	if err != nil {
		return err
	}
	if !e.Mode.IsDir() {
		return because(ErrForeign, errors.New("it is no directory"))
	}
	d.id, err = d.disk.FileID(d.self())
	return err
}

// self names the root itself even where it is a symbolic link to a directory.
func (d *Dir) self() string { return d.root + "/." }

// present returns nil if the root is the directory that was opened. Nothing
// found, or made, below a mount point that was unmounted counts.
func (d *Dir) present() error {
	id, err := d.disk.FileID(d.self())
	if err == nil && id != d.id {
		err = errors.New("the directory is not the one that was opened: is it mounted?")
	}
	return err
}

func (d *Dir) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

// String is the directory's URL.
func (d *Dir) String() string { return (&url.URL{Scheme: "file", Path: d.root}).String() }

func (d *Dir) fail(call, key string, err error) error {
	return &Error{Call: call, Store: d.String(), Key: key, Err: err}
}
