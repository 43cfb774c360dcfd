package objects

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/quire-db/quire/internal/vfs"
)

// maxKnown bounds how many directories a Dir remembers as durable; those it
// forgets cost a sync of the one above them once more.
const maxKnown = 4096

// create makes the root and what is above it. It may be there: whoever made it
// may have died before it was durable.
func (d *Dir) create() error {
	err := d.makeDurable(d.root)
	if err == nil || !vfs.IsRefusal(err) {
		return err
	}
	// The parent of a directory that others made for us may be closed to us.
	if _, found := d.disk.Lstat(d.self()); found == nil {
		return nil
	}
	return err
}

// makeDurable makes a directory and those above it that are not there.
func (d *Dir) makeDurable(dir string) error {
	err := d.disk.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		if err := d.makeDurable(filepath.Dir(dir)); err != nil {
			return err
		}
		err = d.disk.Mkdir(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.disk.SyncDir(filepath.Dir(dir))
}

// ensure makes a directory below the root, and those above it, and makes their
// names durable: also of those that are there, since the process that made
// them may have died in between.
func (d *Dir) ensure(dir string) error {
	if dir == d.root {
		return d.present()
	}
	if d.isKnown(dir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := d.ensure(parent); err != nil {
		return err
	}
	if err := d.disk.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := d.syncDir(parent); err != nil {
		return err
	}
	d.learn(dir)
	return nil
}

// syncDir makes the names in a directory durable. After a failure that may have
// lost some the Dir writes no more: a later sync that succeeds proves nothing.
func (d *Dir) syncDir(dir string) error {
	err := d.disk.SyncDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !vfs.IsNotDirectory(err) {
		d.failed.Store(true)
	}
	return err
}

func (d *Dir) isKnown(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[dir]
}

func (d *Dir) learn(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= maxKnown {
		clear(d.known)
	}
	d.known[dir] = true
}

// forget is for when a directory was removed by somebody else.
func (d *Dir) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.known)
}
