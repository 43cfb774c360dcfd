package main

import (
	"strings"
	"testing"
)

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5 << 30: "5.0 GiB", 1<<63 - 1: "8192.0 PiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	if got := count(1, "entry") + count(2, "entry") + count(0, "page"); got != "1 entry2 entries0 pages" {
		t.Error(got)
	}
}

func TestRunsText(t *testing.T) {
	var runs [][2]uint64
	for _, page := range []uint64{0, 1, 2, 7, 9, 10} {
		runs = addToRuns(runs, page)
	}
	if got := runsText(runs); got != "6 pages: 0-2, 7, 9-10" {
		t.Error(got)
	}
	for page := uint64(20); page < 60; page += 2 {
		runs = addToRuns(runs, page)
	}
	if got := runsText(runs); !strings.HasSuffix(got, "36, and 11 more runs (--json has all)") {
		t.Error(got)
	}
}

// What others wrote into names and messages cannot move the cursor.
func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{"plain Ünïcode": "plain Ünïcode", "a\x1b[2Jb": `"a\x1b[2Jb"`, "two\nlines": `"two\nlines"`, `"`: `"\""`} {
		if got := printable(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}
