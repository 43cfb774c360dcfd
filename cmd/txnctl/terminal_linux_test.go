package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal.
type terminal struct {
	tty   *os.File
	ended chan struct{}

	mu   sync.Mutex
	seen []byte // of what was written to tty
}

func (t *terminal) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, b...)
	return len(b), nil
}

func (t *terminal) soFar() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.seen)
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	ptm, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here:", err)
	}
	if err := unix.IoctlSetPointerInt(int(ptm.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptm.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{tty: tty, ended: make(chan struct{})}
	go func() {
		_, _ = io.Copy(term, ptm) // ends with EIO when the last tty is closed
		ptm.Close()
		close(term.ended)
	}()
	return term
}

// text is all that was shown.
func (t *terminal) text() string {
	t.tty.Close()
	<-t.ended
	return t.soFar()
}

// slow gives a progress bar something to show.
type slow struct{ left int }

func (s *slow) Read(b []byte) (int, error) {
	if s.left--; s.left < 0 {
		return 0, io.EOF
	}
	time.Sleep(150 * time.Millisecond)
	return copy(b, strings.Repeat("x", len(b))), nil
}

// A person sees progress and colours; a pipe gets neither.
func TestTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	os.Unsetenv("NO_COLOR")
	dir := filepath.Join(t.TempDir(), "store")
	show := func(in io.Reader, args ...string) (stdout, stderr string) {
		t.Helper()
		out, errs := openTerminal(t), openTerminal(t)
		code := newApp(in, out.tty, errs.tty).run(context.Background(), append(args, "--dir", dir))
		stdout, stderr = out.text(), errs.text()
		if code != 0 {
			t.Fatalf("%v: exit code %d\n%s", args, code, stderr)
		}
		return stdout, stderr
	}
	show(nil, "init")
	stdout, stderr := show(&slow{4}, "import", "notes", "-")
	if !strings.Contains(stderr, "import notes") {
		t.Errorf("no progress in %q", stderr)
	}
	if !strings.HasPrefix(stdout, "Committed as LSN 2: notes, 16.0 KiB") {
		t.Errorf("shown is %q", stdout)
	}
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	show(nil, "backup", "create", url)
	if stdout, stderr = show(nil, "restore", url, filepath.Join(t.TempDir(), "new")); !strings.Contains(stdout, "\x1b[1mverdict") || !strings.Contains(stderr, "restore: snapshot") {
		t.Errorf("shown is %q and %q", stdout, stderr)
	}
	show(nil, "backup", "verify", url, "--restore")
	if stdout, _ = show(nil, "ls"); !strings.Contains(stdout, "\x1b[1mNAME") {
		t.Errorf("no colour in %q", stdout)
	}
	t.Setenv("NO_COLOR", "1")
	if stdout, stderr = show(nil, "ls"); strings.Contains(stdout+stderr, "\x1b[") {
		t.Errorf("NO_COLOR, and colour in %q", stdout+stderr)
	}
}

func TestPipe(t *testing.T) {
	dir, url := filepath.Join(t.TempDir(), "store"), "file://"+filepath.Join(t.TempDir(), "archive")
	for _, args := range [][]string{
		{"init"}, {"import", "notes", "-"}, {"ls"}, {"status"}, {"log"}, {"recovery", "verify"},
		{"backup", "create", url}, {"backup", "archive", url, "--once"}, {"backup", "ls", url}, {"backup", "verify", url}, {"restore", url, dir + "2"},
	} {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		if code := newApp(&slow{2}, out, out).run(context.Background(), append(args, "--dir", dir)); code != 0 {
			t.Errorf("%v: exit code %d", args, code)
		}
		b, err := os.ReadFile(out.Name())
		if err != nil || strings.ContainsAny(string(b), "\x1b\r") {
			t.Errorf("%v: %q %v", args, b, err)
		}
		out.Close()
	}
}

// The wheel of a wait turns by itself, and is gone at the end.
func TestWait(t *testing.T) {
	errs := openTerminal(t)
	wait := newApp(nil, os.Stdout, errs.tty).wait("open the store")
	turned := func() bool { return strings.Count(errs.soFar(), "open the store") >= 2 }
	for began := time.Now(); !turned() && time.Since(began) < time.Minute; {
		time.Sleep(progressEvery)
	}
	wait.end()
	if text := errs.text(); !turned() || !strings.HasSuffix(strings.TrimRight(text, " "), "\r") {
		t.Errorf("shown is %q", text)
	}
}

// A bar may learn its total at the first step.
func TestLateTotal(t *testing.T) {
	errs := openTerminal(t)
	bar := newApp(nil, os.Stdout, errs.tty).progress("verify", 1)
	for done := int64(25); done < 100; done += 25 {
		bar.of(done, 100)
		time.Sleep(2 * progressEvery)
	}
	bar.end()
	if text := errs.text(); !strings.Contains(text, "verify  50%") {
		t.Errorf("shown is %q", text)
	}
}
