//go:build crashfs

package tidwallfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/tidwall/wal"
)

// adapter gives the library what it calls from what a vfs.FS has. Modes are
// the disk's business.
type adapter struct{ disk vfs.FS }

func (a adapter) MkdirAll(path string, perm os.FileMode) error {
	err := a.disk.Mkdir(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := a.MkdirAll(filepath.Dir(path), perm); err != nil {
			return err
		}
		err = a.disk.Mkdir(path)
	}
	if e, lerr := a.disk.Lstat(path); err != nil && lerr == nil && e.Mode.IsDir() {
		return nil
	}
	return err
}

func (a adapter) OpenFile(name string, flag int, _ os.FileMode) (wal.File, error) {
	f, err := a.open(name, flag)
	if err != nil {
		return nil, err
	}
	if flag&os.O_TRUNC != 0 {
		if err := f.Truncate(0); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &file{File: f}, nil
}

func (a adapter) open(name string, flag int) (vfs.File, error) {
	if flag&os.O_CREATE != 0 {
		if f, err := a.disk.Create(name); !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
	return a.disk.Open(name)
}

func (a adapter) ReadDir(path string) ([]os.FileInfo, error) {
	entries, err := a.disk.ReadDir(path)
	list := make([]os.FileInfo, len(entries))
	for i, e := range entries {
		list[i] = info{e}
	}
	return list, err
}

func (a adapter) ReadFile(name string) ([]byte, error) {
	f, err := a.disk.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, 0, size))
}

func (a adapter) Remove(name string) error     { return a.disk.Remove(name) }
func (a adapter) Rename(from, to string) error { return a.disk.Rename(from, to) }

// RemoveAll is called for one file only, which may be gone.
func (a adapter) RemoveAll(path string) error {
	if err := a.disk.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// file has an offset of its own. The library uses it under its lock.
type file struct {
	vfs.File
	offset int64
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.offset)
	f.offset += int64(n)
	return n, err
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		size, err := f.Size()
		if err != nil {
			return 0, err
		}
		offset += size
	}
	f.offset = offset
	return offset, nil
}

// info is an entry as os.FileInfo.
type info struct{ vfs.Entry }

func (i info) Name() string       { return i.Entry.Name }
func (i info) Size() int64        { return i.Entry.Size }
func (i info) Mode() fs.FileMode  { return i.Entry.Mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.Entry.Mode.IsDir() }
func (i info) Sys() any           { return nil }
