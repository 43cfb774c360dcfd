package crashfs

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/quire-db/quire/internal/vfs"
)

// FS is a disk in memory. Relative names are taken from its root, which always
// exists.
type FS struct {
	mu    sync.RWMutex
	log   []Op    // every counted operation; all below: mu
	nodes []*node // by id; nil for what an image does not reach
	limit int     // the last operation before the crash
	fault Fault
	locks map[id]bool
	// commits are the operations that wrote the journal of names, ascending:
	// read by MetadataOrdered only.
	commits []int
}

// New returns an empty disk.
func New() *FS { return &FS{nodes: []*node{newNode(true, 0)}, limit: math.MaxInt} }

// Ops is the number of operations counted so far.
func (f *FS) Ops() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.log)
}

// Log returns the operations counted so far; operation k is at index k-1.
func (f *FS) Log() []Op {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Clip(f.log)
}

// CrashAfter makes every call after operation k fail with ErrCrashed. With k
// at most Ops the crash is now.
func (f *FS) CrashAfter(k int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = k
}

// Inject replaces the fault; nil is none.
func (f *FS) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// step lets o happen or returns why not. A counted one needs mu for writing,
// and has its index from here on.
func (f *FS) step(o Op) error {
	if len(f.log) >= f.limit {
		return ErrCrashed
	}
	o.Index = len(f.log)
	if o.Kind.Counted() {
		o.Index++
		f.log = append(f.log, o)
	}
	if f.fault != nil {
		return f.fault(o)
	}
	return nil
}

// change carries out an operation on names.
func (f *FS) change(kind Kind, name string, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wrap(kind, name, f.changeLocked(kind, name, do))
}

func (f *FS) changeLocked(kind Kind, name string, do func() error) error {
	if err := f.step(Op{Kind: kind, Name: name}); err != nil {
		return err
	}
	return do()
}

func wrap(kind Kind, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: string(kind), Path: name, Err: err}
}

// Create implements vfs.FS.
func (f *FS) Create(name string) (vfs.File, error) {
	var made id
	err := f.change(Create, name, func() (err error) {
		made, err = f.add(name, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &file{fs: f, id: made, name: name}, nil
}

// Mkdir implements vfs.FS.
func (f *FS) Mkdir(name string) error {
	return f.change(Mkdir, name, func() error {
		_, err := f.add(name, true)
		return err
	})
}

// add makes a node with a name that must be free.
func (f *FS) add(name string, dir bool) (id, error) {
	parent, base, err := f.parent(name)
	if err != nil {
		return 0, err
	}
	if _, taken := f.entries(parent)[base]; taken {
		return 0, syscall.EEXIST
	}
	f.nodes = append(f.nodes, newNode(dir, len(f.log)))
	made := id(len(f.nodes) - 1)
	f.bind(parent, change{{base, made}})
	return made, nil
}

// Open implements vfs.FS.
func (f *FS) Open(name string) (vfs.File, error) { return f.open(name, false) }

// OpenRead implements vfs.FS.
func (f *FS) OpenRead(name string) (vfs.File, error) { return f.open(name, true) }

func (f *FS) open(name string, readOnly bool) (vfs.File, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	found, err := f.look(Open, name)
	if err == nil && f.nodes[found].dir {
		err = vfs.ErrNotRegular
	}
	if err != nil {
		return nil, wrap(Open, name, err)
	}
	return &file{fs: f, id: found, name: name, readOnly: readOnly}, nil
}

// Rename implements vfs.FS.
func (f *FS) Rename(from, to string) error {
	return f.change(Rename, from, func() error {
		fromDir, fromBase, err := f.parent(from)
		if err != nil {
			return err
		}
		toDir, toBase, err := f.parent(to)
		if err != nil {
			return err
		}
		moved, ok := f.entries(fromDir)[fromBase]
		if !ok {
			return syscall.ENOENT
		}
		if old, taken := f.entries(toDir)[toBase]; taken && (f.nodes[moved].dir || f.nodes[old].dir) {
			return syscall.EEXIST
		}
		if strings.HasPrefix(path.Clean("/"+to), path.Clean("/"+from)+"/") {
			return syscall.EINVAL // into itself
		}
		f.move(fromDir, fromBase, toDir, toBase, moved)
		return nil
	})
}

func (f *FS) move(fromDir id, from string, toDir id, to string, moved id) {
	switch {
	case fromDir != toDir:
		f.bind(fromDir, change{{from, 0}})
		f.bind(toDir, change{{to, moved}})
	case from != to:
		f.bind(toDir, change{{from, 0}, {to, moved}})
	}
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	return f.change(Remove, name, func() error {
		parent, base, err := f.parent(name)
		if err != nil {
			return err
		}
		gone, ok := f.entries(parent)[base]
		if !ok {
			return syscall.ENOENT
		}
		if f.nodes[gone].dir && len(f.entries(gone)) > 0 {
			return syscall.ENOTEMPTY
		}
		f.bind(parent, change{{base, 0}})
		return nil
	})
}

// ReadDir implements vfs.FS.
func (f *FS) ReadDir(name string) ([]vfs.Entry, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	dir, err := f.look(List, name)
	if err == nil && !f.nodes[dir].dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, wrap(List, name, err)
	}
	names := f.entries(dir)
	list := make([]vfs.Entry, 0, len(names))
	for _, base := range slices.Sorted(maps.Keys(names)) {
		list = append(list, f.describe(base, names[base]))
	}
	return list, nil
}

// Lstat implements vfs.FS.
func (f *FS) Lstat(name string) (vfs.Entry, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	found, err := f.look(Read, name)
	if err != nil {
		return vfs.Entry{}, wrap(Read, name, err)
	}
	return f.describe(path.Base(name), found), nil
}

func (f *FS) describe(base string, n id) vfs.Entry {
	if f.nodes[n].dir {
		return vfs.Entry{Name: base, Mode: fs.ModeDir}
	}
	return vfs.Entry{Name: base, Size: f.nodes[n].file.last().seen.size}
}

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(name string) error {
	return f.change(SyncDir, name, func() error {
		dir, err := f.walk(name)
		if err != nil {
			return err
		}
		if !f.nodes[dir].dir {
			return syscall.ENOTDIR
		}
		f.nodes[dir].names.keep(len(f.log), f.entries(dir))
		f.commits = append(f.commits, len(f.log))
		return nil
	})
}

// Lock implements vfs.FS. The lock is no part of any image.
func (f *FS) Lock(name, owner string) (release func() error, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	locked, err := f.lockFile(name)
	if err != nil {
		return nil, wrap(Create, name, err)
	}
	h := &f.nodes[locked].file
	if f.locks[locked] {
		text := make([]byte, h.last().seen.size)
		h.last().seen.readAt(text, 0)
		return nil, &vfs.LockedError{Name: name, Owner: string(text)}
	}
	err = f.changeLocked(Write, name, func() error {
		h.add(len(f.log), content{}.write([]byte(owner), 0), span{0, int64(len(owner)), true})
		return nil
	})
	if err != nil {
		return nil, wrap(Write, name, err)
	}
	if f.locks == nil {
		f.locks = make(map[id]bool)
	}
	f.locks[locked] = true
	return sync.OnceValue(func() error { return f.unlock(locked) }), nil
}

// FileID is the disk's: a node keeps its own through renames and crashes.
func (f *FS) FileID(name string) (string, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.look(Read, name)
	if err != nil {
		return "", wrap(Read, name, err)
	}
	return fmt.Sprintf("node %d", n), nil
}

// LockHolder says who holds a lock, as the disk's does.
func (f *FS) LockHolder(name string) (owner string, held bool, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.look(Open, name)
	if err == syscall.ENOENT {
		return "", false, nil
	}
	if err != nil || !f.locks[n] {
		return "", false, wrap(Open, name, err)
	}
	text := f.nodes[n].file.last().seen
	b := make([]byte, text.size)
	text.readAt(b, 0)
	return string(b), true, nil
}

// lockFile finds the file of a lock, or makes it.
func (f *FS) lockFile(name string) (found id, err error) {
	found, err = f.look(Open, name)
	if err == syscall.ENOENT {
		err = f.changeLocked(Create, name, func() error {
			found, err = f.add(name, false)
			return err
		})
	}
	if err == nil && f.nodes[found].dir {
		err = vfs.ErrNotRegular
	}
	return found, err
}

func (f *FS) unlock(locked id) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.locks, locked)
	return nil
}

// look finds name for an operation that changes nothing.
func (f *FS) look(kind Kind, name string) (id, error) {
	if err := f.step(Op{Kind: kind, Name: name}); err != nil {
		return 0, err
	}
	return f.walk(name)
}

// walk finds name.
func (f *FS) walk(name string) (id, error) {
	var at id
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if part == "" {
			continue
		}
		if !f.nodes[at].dir {
			return 0, syscall.ENOTDIR
		}
		next, ok := f.entries(at)[part]
		if !ok {
			return 0, syscall.ENOENT
		}
		at = next
	}
	return at, nil
}

// parent finds the directory of name.
func (f *FS) parent(name string) (dir id, base string, err error) {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return 0, "", syscall.EBUSY
	}
	dir, err = f.walk(path.Dir(clean))
	if err == nil && !f.nodes[dir].dir {
		err = syscall.ENOTDIR
	}
	return dir, path.Base(clean), err
}

func (f *FS) entries(dir id) entries { return f.nodes[dir].names.last().seen }

// bind changes names of a directory as part of the operation under way.
func (f *FS) bind(dir id, c change) {
	f.nodes[dir].names.add(len(f.log), f.entries(dir).with(c), c)
}
