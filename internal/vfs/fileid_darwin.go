package vfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// FileID tells the file or directory that has a name from all others of its
// file system, also later ones, by its inode number and time of birth. It
// stays the same when the file is renamed or changed, and when the disk is mounted
// elsewhere or numbered anew; a copy of the file has another one.
func (disk) FileID(name string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return "", pathError("lstat", name, err)
	}
	return fmt.Sprintf("inode %d of %d.%09d", st.Ino, st.Btim.Sec, st.Btim.Nsec), nil
}
