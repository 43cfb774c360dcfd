package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/quire-db/quire/internal/bench"
	"github.com/quire-db/quire/internal/demo"
)

func TestSizeFlag(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "65536": 65536, "64KiB": 64 << 10, "64k": 64 << 10, "1.5GiB": 3 << 29, "2 MB": 2 << 20, "1T": 1 << 40,
	} {
		var f sizeFlag
		if err := f.Set(in); err != nil || int64(f) != want {
			t.Errorf("%q is %d, %v; want %d", in, f, err, want)
		}
		var again sizeFlag
		if err := again.Set(f.String()); err != nil || again != f {
			t.Errorf("%q prints as %q, which is %d, %v", in, f.String(), again, err)
		}
	}
	for _, in := range []string{"", "x", "-1", "0", "1e300", "NaN", "KiB", "5 apples", "9000T"} {
		f := sizeFlag(7)
		if err := f.Set(in); err == nil || f != 7 {
			t.Errorf("%q is taken for %d", in, f)
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d prints as %s, want %s", n, got, want)
		}
	}
}

func TestPrintBench(t *testing.T) {
	var b strings.Builder
	side := bench.Side{Seconds: 2, Transactions: 2000, PerSecond: 1000, BytesPerSecond: 4096000, P50: 250, P99: 3100, Max: 2.5e6, Syncs: 12345}
	printBench(&b, "", &bench.Result{Writers: 8, Pages: 1, PageSize: 4096, VolumeBytes: 256 << 20, Engine: side, Grown: side, Written: side,
		RatioGrown: 1.04, RatioWritten: 0.51, Checkpoints: 1, Rounds: make([]bench.Round, 3), Filesystem: "ext4", Device: "sda", DeviceSource: "somewhere"})
	for _, want := range []string{"8 writers x 1 random page of 4.0 KiB", "ext4 on sda", "250 us", "3.10 ms", "2.50 s", "12,345", "0.51", "1.04", "1 checkpoint "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

func TestPrintSteps(t *testing.T) {
	const digest = "0123456789abcdef0123456789abcdef"
	at := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	r := &demo.Report{
		Source: "/src", Import: demo.ImportStep{Files: 1, Bytes: 1 << 20, Pages: 1_000_000, Transactions: 10_000},
		Commit:   demo.CommitStep{PID: 4_000_000, Writers: 1024, Seconds: 2, Acknowledged: 200_000, InFlight: 1024, Signal: "signal: killed"},
		Recover:  demo.RecoverStep{Seconds: 0.5, Checkpoint: 1_000_000, Replayed: 100_000, CutBytes: 10, CutReason: "because"},
		Prove:    demo.ProveStep{Acknowledged: 200_000, Unheard: 300, Absent: 500, Pages: 1_000_000, Volumes: 100_000, Changed: 1_000_000},
		Verify:   demo.VerifyStep{Entries: 100_000, Nodes: 100_000, Pages: 100_000, Slots: 1_000_000},
		Backup:   demo.BackupStep{LSN: 100_000, Writers: 1024, Pages: 100_000, Volumes: 100_000, Parts: 100, Meanwhile: 100_000, Bytes: 1 << 29},
		Accident: demo.AccidentStep{Volume: "a/b.go", Pages: 1000, LSN: 200_000, Time: at, After: 10_000, Refused: 10_000},
		Restore:  demo.RestoreStep{Target: at.Add(-time.Second), LSN: 199_000, Entries: 99_000, Lost: 999},
		Compare:  demo.CompareStep{Digest: digest, Restored: digest, Pages: 1_000_000, Volumes: 100_000},
	}
	var b strings.Builder
	for _, s := range []string{
		demo.StepImport, demo.StepCommit, demo.StepRecover, demo.StepProve, demo.StepVerify,
		demo.StepBackup, demo.StepAccident, demo.StepRestore, demo.StepCompare,
	} {
		printStep(&b, "", s, r)
	}
	printProof(&b, "", r, "/tmp/x", true)
	for _, want := range []string{
		"1 file, 1.0 MiB", "100,000 a second", "3  kill", "500 ms", "10 bytes was cut", "200,000 of 200,000", "300 made it whole, 500 left no trace",
		"a/b.go", "2026-11-21 02:59:59.00Z, which is LSN 199,000", digest + "  equal", "10 prove", "Proven", "--dir /tmp/x/store", "verify file:///tmp/x/archive",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n-1, line)
		}
	}
}
