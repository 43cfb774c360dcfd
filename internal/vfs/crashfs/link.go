package crashfs

import (
	"syscall"

	"github.com/quire-db/quire/internal/vfs"
)

var _ vfs.Linker = (*FS)(nil)

// Link implements vfs.Linker. It changes the directory of the new name only.
func (f *FS) Link(from, to string) error {
	return f.change(Link, from, func() error {
		linked, err := f.walk(from)
		if err != nil {
			return err
		}
		if f.nodes[linked].dir {
			return syscall.EPERM
		}
		parent, base, err := f.parent(to)
		if err != nil {
			return err
		}
		if _, taken := f.entries(parent)[base]; taken {
			return syscall.EEXIST
		}
		f.bind(parent, change{{base, linked}})
		return nil
	})
}

// EachEntry implements vfs.Linker. The names are those at the call.
func (f *FS) EachEntry(name string, each func(vfs.Entry) bool) error {
	list, err := f.ReadDir(name)
	for _, e := range list {
		if !each(e) {
			break
		}
	}
	return err
}
