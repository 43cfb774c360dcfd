//go:build linux || darwin

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// listBatch is how many names EachEntry reads at a time.
const listBatch = 256

// OSLinker is OS as a Linker.
func OSLinker() Linker { return disk{} }

func (disk) Link(from, to string) error { return os.Link(from, to) }

func (disk) EachEntry(name string, each func(Entry) bool) error {
	dir, err := openDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.ReadDir(listBatch)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if more, err := eachOf(names, each); !more || err != nil {
			return err
		}
	}
}

func eachOf(names []fs.DirEntry, each func(Entry) bool) (more bool, err error) {
	for _, n := range names {
		info, err := n.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was read
		}
		if err != nil {
			return false, err
		}
		if !each(entryOf(info)) {
			return false, nil
		}
	}
	return true, nil
}
