package vfs

import "golang.org/x/sys/unix"

// syncData writes contents and length, not the times: fdatasync spares the
// journal commit when a file on written space is overwritten.
func syncData(fd int) error { return unix.Fdatasync(fd) }

// startSync begins write-out of all dirty pages. Its errors are the next
// fdatasync's to report.
func (f *file) startSync() {
	if f.uses.begin() {
		defer f.uses.end()
		_ = unix.SyncFileRange(f.fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
}
