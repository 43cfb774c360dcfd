package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A tree is coloured on a terminal, and no line is wider than that.
func TestGraphFitsTheTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("LC_ALL", "C.UTF-8")
	os.Unsetenv("NO_COLOR")
	const columns = 50
	dir := filepath.Join(t.TempDir(), "store")
	show := func(args ...string) string {
		t.Helper()
		out, errs := openTerminal(t), openTerminal(t)
		if err := unix.IoctlSetWinsize(int(out.tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
			t.Fatal(err)
		}
		if code := newApp(strings.NewReader("x"), out.tty, errs.tty).run(context.Background(), append(args, "--dir", dir)); code != 0 {
			t.Fatalf("%v: exit code %d\n%s", args, code, errs.text())
		}
		return out.text()
	}
	show("init")
	show("import", strings.Repeat("long name ", 20)+"end", "-")
	tree := show("graph")
	if !strings.Contains(tree, "\x1b[1mlong") {
		t.Errorf("no colour in %q", tree)
	}
	plain := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(tree, "")
	for line := range strings.Lines(plain) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n > columns {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if !strings.Contains(plain, "●") || !strings.Contains(plain, "end") {
		t.Errorf("shown is %q", plain)
	}
}
