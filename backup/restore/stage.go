package restore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// staged is where the store is made. It is beside dir, and so on its disk.
func (r *restoring) staged() string { return filepath.Clean(r.dir) + ".restoring" }

// scratch is where the whole store is made that volumes are to be taken out of.
func (r *restoring) scratch() string { return r.staged() + ".whole" }

// whole is where the whole store is made.
func (r *restoring) whole() string {
	if len(r.o.Volumes) > 0 {
		return r.scratch()
	}
	return r.staged()
}

// vacant refuses a directory that has something in it, and one that has no name which
// another can take the place of.
func (r *restoring) vacant() error {
	if err := vfs.Replaceable(r.dir); err != nil {
		return err
	}
	e, err := r.o.Disk.Lstat(r.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !e.Mode.IsDir():
		return fmt.Errorf("%w: it is no directory", ErrNotEmpty)
	}
	entries, err := r.o.Disk.ReadDir(r.dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%w: %s is in it; restore into a new one", ErrNotEmpty, entries[0].Name)
	}
	return err
}

// stage makes the staging directories, or empties those that a run left which did not
// come to its end.
func (r *restoring) stage() error {
	if err := r.lock(); err != nil {
		return err
	}
	err := r.vacant() // still: another restore may have come to its end
	if err == nil {
		err = vfs.RemoveAll(r.o.Disk, r.scratch())
	}
	if err == nil {
		err = r.emptied(r.staged())
	}
	if err == nil && r.whole() != r.staged() {
		err = r.emptied(r.whole())
	}
	if err != nil {
		return errors.Join(err, r.release())
	}
	return nil
}

// emptied makes a directory, or removes what is in it.
func (r *restoring) emptied(dir string) error {
	err := r.o.Disk.Mkdir(dir)
	if errors.Is(err, fs.ErrExist) {
		err = vfs.Clear(r.o.Disk, dir)
	}
	return err
}

// lock keeps other restores out.
func (r *restoring) lock() error {
	release, err := vfs.LockPassing(r.o.Disk, r.staged()+".lock", "restore "+uuid.NewString())
	var locked *vfs.LockedError
	if errors.As(err, &locked) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	r.release = release
	return err
}

// discard removes the staging directories.
func (r *restoring) discard() error {
	return errors.Join(vfs.RemoveAll(r.o.Disk, r.scratch()), vfs.RemoveAll(r.o.Disk, r.staged()), r.release())
}

// switchTo makes the store be in dir.
func (r *restoring) switchTo() error {
	disk := r.o.Disk
	err := disk.SyncDir(r.staged())
	if err == nil {
		err = disk.Remove(r.dir) // empty: what has something in it is not removed
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = disk.Rename(r.staged(), r.dir)
	}
	if err != nil {
		return errors.Join(err, r.discard())
	}
	if err = disk.SyncDir(filepath.Dir(filepath.Clean(r.dir))); err != nil {
		err = fmt.Errorf("the store is there, whole and proven, but its name may not outlast a power cut: sync the directory above it: %w", err)
	}
	return errors.Join(err, r.release())
}

// load makes a page store of the snapshots.
func (r *restoring) load() error {
	if len(r.chain) == 0 {
		return nil
	}
	first := r.chain[0] // increments may be of later timelines
	l, err := r.newLoader(r.whole(), first.Head(), first.PageSize)
	if err != nil {
		return err
	}
	for _, m := range r.chain {
		if err := r.loadOne(l, m); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	return l.Finish()
}

// newLoader makes a store in a directory, a follower of the timeline at head, to be
// loaded with what that is.
func (r *restoring) newLoader(dir string, head pagestore.Head, pageSize uint32) (*pagestore.Loader, error) {
	return snapshot.NewLoader(pagestore.Options{FS: r.o.Disk, Dir: dir, CacheBytes: r.o.CacheBytes}, head,
		manifest.Options{Created: r.o.Now().UnixNano(), PageSize: pageSize, HeapFileBytes: manifest.DefaultHeapFileBytes})
}

func (r *restoring) loadOne(l *pagestore.Loader, m *snapshot.Manifest) error {
	err := m.Load(r.ctx, r.store, l, r.o.Identities, func(in io.Reader) io.Reader {
		return &counted{r: r, in: in, step: "load", lsn: m.Position.LSN, of: m.Plain()}
	})
	if err == nil {
		r.took(m)
	}
	return err
}

// counted tells how much of a snapshot was read.
type counted struct {
	r        *restoring
	in       io.Reader
	step     string
	lsn      wal.LSN
	done, of int64
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.in.Read(p)
	c.done += int64(n)
	c.r.progress(Progress{Step: c.step, LSN: c.lsn, Done: c.done, Of: c.of})
	return n, err
}
