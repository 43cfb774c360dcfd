// Package vfs is the only code of Quire that touches the disk.
//
// FS is the disk and File an open file of it: what Quire needs and nothing
// else. OS is the operating system's. Package crashfs has one in memory that
// can be cut off at any operation, package tidwallfs puts either beneath the
// log library, and package vfstest checks an implementation.
//
// # Use
//
//	disk := vfs.OS()
//	release, err := disk.Lock("/srv/store/LOCK", "pid 4711 on host")
//	f, err := disk.Create("/srv/store/MANIFEST.new")
//	_, err = f.WriteAt(data, 0)
//	err = f.Sync()                                           // the data is durable
//	err = disk.Rename("/srv/store/MANIFEST.new", "/srv/store/MANIFEST")
//	err = disk.SyncDir("/srv/store")                         // and now its name
//
// A new directory needs SyncDir of its parent before anything in it is durable.
//
// Linker is a disk for directories that several processes write: Link gives a
// name to one of them only.
//
// # Guarantees
//
// Only regular files are opened: a link, FIFO, device, socket or directory in a
// file's place is ErrNotRegular at once, never a hang, and a link is never
// followed in the last part of a name. A FIFO in a directory's place is ENOTDIR.
//
// A read or write is whole, or an error that says how much was done; signals do
// not cut it short. At the end of a file a read is io.EOF.
//
// A call that races Close acts on its own file or is fs.ErrClosed: Close waits
// for calls under way, so the descriptor's number cannot pass to another file
// beneath one. Close says nothing about what was not synced.
//
// A lock excludes all other processes of this machine, and other users in this
// process, for as long as the process lives or until it is released. A child
// process does not keep it. Who is refused is told the holder's words, at most
// 512 bytes and printable.
//
// Errors are *fs.PathError around the system's error number, so errors.Is finds
// fs.ErrNotExist, fs.ErrExist, syscall.ENOSPC and the like; a refused lock is a
// *LockedError.
//
// # Assumptions
//
// Of the disk: what Sync and SyncDir reported is durable; a rename within a
// directory happens or does not; bytes next to those being written stay as they
// are in a power cut (powersafe overwrite). Nothing is assumed of the order in
// which unsynced writes and names reach the disk, nor of their tearing. After a
// failed Sync the kernel may drop what was written and call it clean; a later
// Sync then succeeds and means nothing, so callers stop at the first failure
// (promise 6).
//
// Of the caller: every File is closed once; nothing closes it by itself. The
// directory belongs to one user who does not exchange path parts beneath a
// running process, and does not delete a lock file that is held: who locks the
// new file of the same name is not refused.
//
// # Design
//
// Files are bare descriptors with pread and pwrite: positions belong to the
// caller. They are opened O_NOFOLLOW and O_NONBLOCK and looked at with fstat
// before use. Two atomic additions a call keep Close out (uses.go);
// BenchmarkReadAt compares that with os.File and with pread alone. Sync is
// fdatasync on Linux, which spares a journal commit when written space is
// overwritten, and F_FULLFSYNC on macOS; there is no version for other systems,
// and the package does not build there.
//
// The lock is flock, with a table of what this process holds beside it, since
// file systems that make flock of record locks do not tell two descriptors of a
// process apart.
//
// Rejected: mmap (a read error is SIGBUS); O_DIRECT (alignment everywhere, for
// reads that the page cache serves); an interface for tests to reach into the
// real disk: crashfs stands in its place instead.
//
// # Files
//
// Files are made with mode 0600, directories with 0700. The package writes no
// file of its own but the owner's text in a lock file.
package vfs
