package vfs_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/vfstest"
)

// TestMain is the other process of a test when asked to be.
func TestMain(m *testing.M) {
	if name := os.Getenv("QUIRE_TEST_SHORT"); name != "" {
		shortWrite(name)
		os.Exit(0)
	}
	if name := os.Getenv("QUIRE_TEST_LOCK"); name != "" {
		_, err := vfs.OS().Lock(name, "child")
		if err != nil {
			os.Stdout.WriteString(err.Error())
			os.Exit(0)
		}
		os.Stdout.WriteString("locked\n")
		io.Copy(io.Discard, os.Stdin) // until killed
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() })
}

func TestOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	file, link, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	must(t, os.WriteFile(file, []byte("text"), 0o600))
	must(t, os.Symlink(file, link))
	must(t, syscall.Mkfifo(fifo, 0o600))
	for _, name := range []string{link, fifo, dir, os.DevNull} {
		for what, open := range map[string]func(string) (vfs.File, error){"Open": vfs.OS().Open, "OpenRead": vfs.OS().OpenRead} {
			if _, err := open(name); !errors.Is(err, vfs.ErrNotRegular) {
				t.Errorf("%s(%s) is %v, want ErrNotRegular", what, name, err)
			}
		}
		if _, err := vfs.OS().Lock(name, "me"); !errors.Is(err, vfs.ErrNotRegular) {
			t.Errorf("Lock(%s) is %v, want ErrNotRegular", name, err)
		}
	}
	if _, err := vfs.OS().ReadDir(fifo); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("ReadDir of a FIFO is %v", err)
	}
	if err := vfs.OS().SyncDir(fifo); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("SyncDir of a FIFO is %v", err)
	}
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	f, err := vfs.OS().Create(filepath.Join(dir, "f"))
	must(t, err)
	defer f.Close()
	must(t, vfs.OS().Mkdir(filepath.Join(dir, "d")))
	for name, want := range map[string]os.FileMode{"f": 0o600, "d": 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("mode of %s is %o, want %o", name, info.Mode().Perm(), want)
		}
	}
}

// TestLockOfAnotherProcess: the second process is told who holds the lock, and
// the lock falls with a process that is killed.
func TestLockOfAnotherProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "QUIRE_TEST_LOCK="+name)
	stdin, err := child.StdinPipe()
	must(t, err)
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	if said, err := io.ReadAll(io.LimitReader(stdout, int64(len("locked\n")))); string(said) != "locked\n" {
		t.Fatalf("child: %q, %v", said, err)
	}
	_, err = vfs.OS().Lock(name, "parent")
	if err == nil || !strings.HasSuffix(err.Error(), "is locked by child") {
		t.Errorf("lock held by the child: %v", err)
	}
	must(t, child.Process.Kill())
	child.Wait()
	release, err := vfs.OS().Lock(name, "parent")
	must(t, err)
	must(t, release())
}

// shortWrite writes 10 bytes where the kernel lets 6 through.
func shortWrite(name string) {
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 6, Max: 6}
	f, err := vfs.OS().Create(name)
	if err = errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)); err != nil {
		fmt.Print(err)
		return
	}
	n, err := f.WriteAt([]byte("0123456789"), 0)
	fmt.Print(n, " ", errors.Is(err, syscall.EFBIG))
}

// TestShortWrite: a short write is an error that says how much was written.
func TestShortWrite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "QUIRE_TEST_SHORT="+name)
	said, err := child.CombinedOutput()
	must(t, err)
	if string(said) != "6 true" {
		t.Errorf("child: %s; want 6 true", said)
	}
	if data, err := os.ReadFile(name); string(data) != "012345" {
		t.Errorf("file holds %q, %v", data, err)
	}
}

// TestRefusalsCloseTheirDescriptors counts what is open before and after.
func TestRefusalsCloseTheirDescriptors(t *testing.T) {
	dir := t.TempDir()
	fifo, name := filepath.Join(dir, "fifo"), filepath.Join(dir, "LOCK")
	must(t, syscall.Mkfifo(fifo, 0o600))
	release, err := vfs.OS().Lock(name, "me")
	must(t, err)
	defer release()
	before := openDescriptors(t)
	for range 50 {
		for _, err := range []error{second(vfs.OS().Open(fifo)), second(vfs.OS().Lock(name, "")), second(vfs.OS().Lock(fifo, ""))} {
			if err == nil {
				t.Fatal("not refused")
			}
		}
	}
	if after := openDescriptors(t); after > before+10 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func second[T any](_ T, err error) error { return err }

func openDescriptors(t *testing.T) int {
	list, err := os.ReadDir("/dev/fd")
	must(t, err)
	return len(list)
}

func TestOwnerIsMadePrintable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	release, err := vfs.OS().Lock(name, "evil \x1b[31m\nname"+strings.Repeat("x", 10_000))
	must(t, err)
	defer release()
	var locked *vfs.LockedError
	if _, err := vfs.OS().Lock(name, ""); !errors.As(err, &locked) {
		t.Fatal(err)
	}
	if !strings.HasPrefix(locked.Owner, "evil [31mname") || len(locked.Owner) > 512 {
		t.Errorf("owner is %q", locked.Owner)
	}
}

// TestCloseWaits: a read that races Close returns this file's bytes or
// fs.ErrClosed, never those of a file that got the descriptor's number.
func TestCloseWaits(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"mine": "m", "other": "o"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for range 300 {
		f, err := vfs.OS().OpenRead(filepath.Join(dir, "mine"))
		must(t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				buf := make([]byte, 1)
				for {
					if _, err := f.ReadAt(buf, 0); errors.Is(err, os.ErrClosed) {
						return
					} else if err != nil || buf[0] != 'm' {
						t.Errorf("read %q: %v", buf, err)
						return
					}
				}
			})
		}
		must(t, f.Close())
		other, err := vfs.OS().OpenRead(filepath.Join(dir, "other"))
		must(t, err)
		wg.Wait()
		must(t, other.Close())
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkReadAt is four readers a core of one file in the page cache. The
// floor is pread alone.
func BenchmarkReadAt(b *testing.B) {
	name := filepath.Join(b.TempDir(), "f")
	must(b, os.WriteFile(name, make([]byte, 64<<20), 0o600))
	ours, err := vfs.OS().OpenRead(name)
	must(b, err)
	defer ours.Close()
	theirs, err := os.Open(name)
	must(b, err)
	defer theirs.Close()
	fd := int(theirs.Fd())
	pread := func(p []byte, off int64) (int, error) { return syscall.Pread(fd, p, off) }
	for _, c := range []struct {
		name string
		read func([]byte, int64) (int, error)
	}{{"vfs", ours.ReadAt}, {"os.File", theirs.ReadAt}, {"pread", pread}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(4096)
			b.ReportAllocs()
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, 4096)
				for i := 0; pb.Next(); i++ {
					if _, err := c.read(buf, int64(i%16384)*4096); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
