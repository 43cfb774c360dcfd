//go:build disks

package disks

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is a file system of its own in a file, on a loop device.
type disk struct {
	t       *testing.T
	image   string
	dir     string // where it is mounted
	options string
}

// newDisk makes a file system of so many bytes and mounts it.
func newDisk(t *testing.T, kind string, bytes int64, options string) *disk {
	t.Helper()
	top := t.TempDir()
	d := &disk{t: t, image: filepath.Join(top, "image"), dir: filepath.Join(top, "mnt"), options: options}
	must(t, os.WriteFile(d.image, nil, 0o600))
	must(t, os.Truncate(d.image, bytes))
	must(t, os.Mkdir(d.dir, 0o700))
	if kind == "ext4" {
		d.run("mkfs.ext4", "-q", "-F", "-m", "0", d.image)
	} else {
		d.run("mkfs."+kind, "-q", "-f", d.image)
	}
	d.mount()
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) }) // what is open still falls with the process
	return d
}

func (d *disk) run(name string, args ...string) string {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (d *disk) mount() {
	d.t.Helper()
	d.run("mount", "-o", "loop"+d.options, d.image, d.dir)
}

// unmount waits for descriptors that a poisoned store leaves to the collector
// (see package wal).
func (d *disk) unmount() {
	d.t.Helper()
	var err error
	for began := time.Now(); time.Since(began) < patience; time.Sleep(5 * time.Millisecond) {
		if err = unix.Unmount(d.dir, 0); err != unix.EBUSY {
			break
		}
		runtime.GC()
	}
	if err != nil {
		d.t.Fatalf("unmount %s: %v", d.dir, err)
	}
}

// cycle unmounts and mounts: what is there then is on the disk.
func (d *disk) cycle() {
	d.t.Helper()
	d.unmount()
	d.mount()
}

// shutdown ends the file system at once, as a power cut does: neither data nor
// journal is written any more, and every write and sync fails. What was synced
// is there when it is mounted again.
func (d *disk) shutdown() {
	d.t.Helper()
	const shutdown, noLogFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN
	f, err := os.Open(d.dir)
	must(d.t, err)
	defer f.Close()
	flag := uint32(noLogFlush)
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flag))); no != 0 {
		d.t.Fatalf("shutdown of %s: %v", d.dir, no)
	}
}

// breaks makes ext4 find an error: it lets nobody write any more.
func (d *disk) breaks() {
	d.t.Helper()
	device := filepath.Base(d.run("findmnt", "-n", "-o", "SOURCE", d.dir))
	must(d.t, os.WriteFile("/sys/fs/ext4/"+device+"/trigger_fs_error", []byte("1"), 0))
}

// remount changes how it is mounted: ro or rw.
func (d *disk) remount(how string) {
	d.t.Helper()
	d.run("mount", "-o", "remount,"+how, d.dir)
}

// leave fills the disk until no more than so many bytes are left, and returns
// what makes room again. The store goes on beside it and takes space too.
func (d *disk) leave(bytes int64) (room func()) {
	d.t.Helper()
	name := filepath.Join(d.dir, "filler")
	f, err := os.Create(name)
	must(d.t, err)
	defer f.Close()
	for size, fill := int64(0), int64(1); fill > 0; size += fill {
		var st syscall.Statfs_t
		must(d.t, syscall.Statfs(d.dir, &st))
		fill = int64(st.Bavail)*st.Bsize - bytes
		if fill <= 0 {
			break
		}
		if err := unix.Fallocate(int(f.Fd()), 0, size, fill); err != nil && !errors.Is(err, syscall.ENOSPC) {
			d.t.Fatal(err)
		}
	}
	return func() { must(d.t, os.Remove(name)) }
}
