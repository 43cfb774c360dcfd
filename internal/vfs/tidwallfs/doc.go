// Package tidwallfs puts a vfs.FS beneath github.com/tidwall/wal, for tests.
//
// The library calls the os package directly. A test can therefore not see what
// a power cut would do to its files, unless the library is built from other
// sources. This package makes those sources at test time: Generate copies the
// library from the module cache, turns its 20 uses of os and io/ioutil that
// reach the disk into calls of a package variable, and writes a module file
// that replaces the library by the copy. The repository holds no line of the
// library, and what is tested is the library in every other respect.
//
// # Use
//
// A test that needs the library on a crashing disk skips itself when it runs in
// an ordinary build:
//
//	if !tidwallfs.Hooked {
//		t.Skip("run by TestHooked")
//	}
//	disk := crashfs.New()
//	defer tidwallfs.Mount("/store", disk)()
//
// and one test of the package, in the ordinary build, runs the others in the
// hooked one:
//
//	cmd, err := tidwallfs.Command(moduleDir, t.TempDir(), "-run", "Crash", "./wal")
//	...
//	out, err := cmd.CombinedOutput()
//
// which is the same as
//
//	go test -modfile=DIR/crash.mod -tags crashfs -run Crash ./wal
//
// TestHooked of this package is an example, and also the proof that the hook
// works: an unsynced record of the raw library is lost in a power cut.
//
// # Guarantees
//
// Generate fails when the library uses the disk in a way that it does not know,
// or not exactly as often as version 1.2.1 does: an update of the library
// cannot silently unhook a call.
//
// In the hooked build paths below a mounted prefix go to the mounted disk, by
// their full names; all others go to the operating system, so that every test
// runs in both builds. Disks with different prefixes can be used at once, by
// parallel tests too. The library makes its path absolute, so prefixes are
// absolute.
//
// # Design
//
// The library wants a file with an offset of its own, and MkdirAll, ReadFile
// and RemoveAll: adapter.go makes them from the methods of vfs.FS. Its Sync is
// an fsync on a real disk and File.Sync (fdatasync) here; a crashing disk does
// not tell the two apart. The library never syncs a directory, and neither does
// the adapter.
//
// Rejected: `go build -overlay` does not reach files in the module cache;
// LD_PRELOAD does not reach Go's system calls; a FUSE file system is a thousand
// times slower and needs root.
//
// # Files
//
// Generate writes DIR/wal/{wal.go,hook.go,go.mod}, DIR/crash.mod and
// DIR/crash.sum. The module's own go.mod and go.sum are only read.
package tidwallfs
