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

func (f *file) writeOut(off, n int64) error {
	const flags = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return f.do("write out", func() error { return unix.SyncFileRange(f.fd, off, n, flags) })
}
