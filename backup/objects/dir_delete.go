package objects

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/quire-db/quire/internal/vfs"
)

// Delete implements Store.
func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := d.remove(ctx, key); err != nil {
		return d.fail("delete", key, err)
	}
	return nil
}

func (d *Dir) remove(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.failed.Load() {
		return ErrFailed
	}
	if err := d.unlink(d.path(key)); err != nil {
		return err
	}
	// Also when it was not there: who removed it may have died before doing so.
	err := d.syncDir(filepath.Dir(d.path(key)))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), vfs.IsNotDirectory(err):
		return d.absent(nil)
	}
	return because(ErrUnknown, err)
}

// unlink looks first: removing an empty directory would pull it from beneath
// a Put that knows it to be durable.
func (d *Dir) unlink(name string) error {
	e, err := d.disk.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || vfs.IsNotDirectory(err) {
		return d.absent(nil)
	}
	if err != nil {
		return err
	}
	if !e.Mode.IsRegular() {
		return because(ErrForeign, vfs.ErrNotRegular)
	}
	err = d.disk.Remove(name)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case vfs.IsRefusal(err):
		return err
	}
	return because(ErrUnknown, err)
}
