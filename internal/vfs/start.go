package vfs

// starter is a File that can be told of a Sync that is to come.
type starter interface{ startSync() }

// StartSync lets the disk begin to write what a Sync of f will wait for, so
// that two files that are synced one after the other take little longer than
// one. It promises nothing and does nothing on disks that cannot.
func StartSync(f File) {
	if s, ok := f.(starter); ok {
		s.startSync()
	}
}
