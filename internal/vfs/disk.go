//go:build linux || darwin

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// OS is the operating system's disk. Files are made with mode 0600 and
// directories with 0700.
func OS() FS { return disk{} }

type disk struct{}

func (disk) Create(name string) (File, error) {
	return openFile(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

func (disk) Open(name string) (File, error)     { return openFile(name, unix.O_RDWR) }
func (disk) OpenRead(name string) (File, error) { return openFile(name, unix.O_RDONLY) }

func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Remove(name string) error     { return os.Remove(name) }
func (disk) Mkdir(name string) error      { return os.Mkdir(name, 0o700) }

func (disk) ReadDir(name string) ([]Entry, error) {
	dir, err := openDir(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	list := make([]Entry, 0, len(names))
	for _, n := range names {
		info, err := n.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		list = append(list, entryOf(info))
	}
	return list, nil
}

func (disk) Lstat(name string) (Entry, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return Entry{}, err
	}
	return entryOf(info), nil
}

func (disk) SyncDir(name string) error {
	dir, err := openDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// openDir opens a directory and nothing else: a FIFO in its place is an error,
// not a wait for a writer.
func openDir(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
}

func entryOf(info fs.FileInfo) Entry {
	e := Entry{Name: info.Name(), Mode: info.Mode().Type()}
	if e.Mode.IsRegular() {
		e.Size = info.Size()
	}
	return e
}
