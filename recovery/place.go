package recovery

import (
	"github.com/quire-db/quire/internal/vfs"
)

// # Copies
//
// Two directories that both claim to be one store would write two histories
// under one name. So the manifest keeps the place of the store (manifest.Node): what
// the disk calls its directory, by inode number and time of birth. Renaming the
// directory, a reboot, another mount point or device number leave that alone; no copy
// has it, whether made by cp, rsync, tar, or a backup that was put back elsewhere.
//
//	the manifest's place   the directory's   is
//	none, or the same      any               the store
//	another                known             suspected to be a copy
//	another                not known         the store: this disk does not tell
//
// What is suspected becomes a store of its own when it is opened: with a new UUID,
// and, if it is a writer, a begin-timeline entry with the reason "copy" before
// anything else is written. That is harmless where the suspicion is wrong, a
// directory moved to another disk: followers and consumers of the store cross to
// the new timeline, since it begins where they stand. It is
// what names the divergence where it is right, for whoever has more of the other
// copy than both share: ErrDiverged at followers, watchers and consumers. The
// second copy that a follower meets is of a stale epoch or another history.
//
// Not suspected: clones of a whole disk or virtual machine, and older files put
// back into the same directory. They are found out where positions meet. On
// file systems that keep no time of birth, a copy might be given the inode number of a
// directory that is gone; on those that invent inode numbers (some FUSE ones) every
// opening begins a timeline.

// fileIDer is a disk that tells a directory from its copies.
type fileIDer interface {
	FileID(name string) (string, error)
}

// placeOf is what the disk calls the store's directory; empty when it does not
// tell.
func placeOf(fsys vfs.FS, dir string) string {
	disk, ok := fsys.(fileIDer)
	if !ok {
		return ""
	}
	id, err := disk.FileID(dir)
	if err != nil {
		return ""
	}
	return id
}

// locate compares the store's directory with the one that the manifest knows.
func (f *Findings) locate(fsys vfs.FS, dir string) {
	f.place = placeOf(fsys, dir)
	f.Copied = f.place != "" && f.Facts.Node.Place != "" && f.place != f.Facts.Node.Place
}
