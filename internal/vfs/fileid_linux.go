package vfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// FileID tells the file or directory that has a name from all others of its
// file system, also later ones: by its inode number, and by its time of birth where that is
// kept. It stays the same when the file is renamed or changed, and when the disk
// is mounted elsewhere or numbered anew; a copy of the file has another one.
func (disk) FileID(name string) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return "", pathError("statx", name, err)
	}
	if st.Mask&unix.STATX_BTIME == 0 {
		return fmt.Sprintf("inode %d", st.Ino), nil
	}
	return fmt.Sprintf("inode %d of %d.%09d", st.Ino, st.Btime.Sec, st.Btime.Nsec), nil
}
