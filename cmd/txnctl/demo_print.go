package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/quire-db/quire/internal/demo"
)

// printStep says what a step did, in figures; every line has less than 80 columns, but
// for long names.
func printStep(w io.Writer, head style, name string, r *demo.Report) {
	switch name {
	case demo.StepImport:
		printImport(w, head, r)
	case demo.StepCommit:
		printCommit(w, head, r.Commit)
	case demo.StepRecover:
		printRecover(w, head, r.Recover)
	case demo.StepProve:
		printProve(w, head, r)
	case demo.StepVerify:
		printVerify(w, head, r.Verify)
	case demo.StepBackup:
		printBackup(w, head, r.Backup)
	case demo.StepAccident:
		printAccident(w, head, r.Accident)
	case demo.StepRestore:
		printRestore(w, head, r)
	case demo.StepCompare:
		printCompare(w, head, r)
	}
}

// step prints the first line of a step, then what belongs to it.
func step(w io.Writer, head style, number int, name string, seconds float64, first string, more ...string) {
	fmt.Fprintf(w, "%-2d %s %6s  %s\n", number, head.paint(fmt.Sprintf("%-8s", name)), took(seconds), first)
	for _, line := range more {
		fmt.Fprintf(w, "%20s%s\n", "", line)
	}
}

func took(seconds float64) string {
	switch {
	case seconds == 0: // a moment
		return ""
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	}
	return fmt.Sprintf("%.1f s", seconds)
}

func printImport(w io.Writer, name style, r *demo.Report) {
	i := r.Import
	step(w, name, 1, "import", i.Seconds,
		fmt.Sprintf("%s, %s, from %s", counted(i.Files, "file"), bytesText(int64(i.Bytes)), r.Source),
		fmt.Sprintf("each a volume: %s in %s",
			counted(int(i.Pages), "page"), counted(i.Transactions, "transaction")))
}

func printCommit(w io.Writer, name style, c demo.CommitStep) {
	step(w, name, 2, "commit", c.Seconds,
		fmt.Sprintf("%s acknowledged, %s a second,",
			counted(c.Acknowledged, "transaction"), grouped(uint64(float64(c.Acknowledged)/c.Seconds))),
		fmt.Sprintf("by process %d to %s; each changes 1 to 9", c.PID, counted(c.Writers, "writer")),
		"pages of 1 to 3 volumes, and is synced before that")
	step(w, name, 3, "kill", 0, fmt.Sprintf("SIGKILL with %s in flight (%s)", counted(c.InFlight, "transaction"), c.Signal))
}

func printRecover(w io.Writer, name style, r demo.RecoverStep) {
	more := []string{
		fmt.Sprintf("%s behind the checkpoint at LSN %s", counted(r.Replayed, "transaction"), grouped(r.Checkpoint)),
		fmt.Sprintf("were applied again, %s of log; %s not known to", bytesText(int64(r.Bytes)), grouped(uint64(r.Rewritten))),
		"be synced were written anew",
	}
	if r.CutBytes > 0 {
		more = append(more, fmt.Sprintf("a torn end of %s was cut and kept aside:", counted(int(r.CutBytes), "byte")), r.CutReason)
	}
	step(w, name, 4, "recover", r.Seconds, fmt.Sprintf("the store is open again at LSN %s", grouped(r.Last)), more...)
}

func printProve(w io.Writer, name style, r *demo.Report) {
	p := r.Prove
	step(w, name, 5, "prove", p.Seconds,
		fmt.Sprintf("%s of %s acknowledged transactions are there;", grouped(uint64(p.Acknowledged)), grouped(uint64(r.Commit.Acknowledged))),
		fmt.Sprintf("of the %s in flight %d made it whole, %d left no trace", grouped(uint64(r.Commit.InFlight)), p.Unheard, p.Absent),
		fmt.Sprintf("%s of %s are byte for byte", counted(int(p.Pages), "page"), counted(p.Volumes, "volume")),
		fmt.Sprintf("what those commits say, %s of them written since", grouped(uint64(p.Changed))),
		"the import; there is no other volume")
}

func printVerify(w io.Writer, name style, v demo.VerifyStep) {
	step(w, name, 6, "verify", v.Seconds, "closed, and checked from end to end; nothing is wrong",
		fmt.Sprintf("%s, %s,", counted(int(v.Entries), "log record"), counted(int(v.Nodes), "tree node")),
		fmt.Sprintf("%s, %s, and the manifest", counted(int(v.Pages), "page image"), counted(int(v.Slots), "slot")))
}

func printBackup(w io.Writer, name style, b demo.BackupStep) {
	step(w, name, 7, "backup", b.Seconds, fmt.Sprintf("of the living store, while %s commit: a snapshot", counted(b.Writers, "writer")),
		fmt.Sprintf("at LSN %s, %s of %s,", grouped(b.LSN), counted(int(b.Pages), "page"), counted(int(b.Volumes), "volume")),
		fmt.Sprintf("%s in %s, %s meanwhile; and", bytesText(b.Bytes), counted(b.Parts, "object"), counted(b.Meanwhile, "commit")),
		"every entry of the log, as soon as it is durable")
}

func printAccident(w io.Writer, name style, a demo.AccidentStep) {
	behind := fmt.Sprintf("%s behind it", counted(a.After, "commit"))
	if a.Refused > 0 {
		behind += fmt.Sprintf(", %s refused for want of it", grouped(uint64(a.Refused)))
	}
	step(w, name, 8, "accident", a.Seconds, "somebody deletes a volume:", printable(a.Volume),
		fmt.Sprintf("%s gone, by a commit like any other, LSN %s,", counted(int(a.Pages), "page"), grouped(a.LSN)),
		fmt.Sprintf("at %s (the clock runs fast here);", clockText(a.Time)), behind)
}

func printRestore(w io.Writer, name style, r *demo.Report) {
	s := r.Restore
	step(w, name, 9, "restore", s.Seconds, "to one second before that:",
		fmt.Sprintf("%s, which is LSN %s", clockText(s.Target), grouped(s.LSN)),
		fmt.Sprintf("made of the snapshot and %s of the log;", counted(int(s.Entries), "commit")),
		fmt.Sprintf("without the %s of that last second", counted(s.Lost, "commit")))
}

func printCompare(w io.Writer, name style, r *demo.Report) {
	c := r.Compare
	step(w, name, 10, "prove", c.Seconds, "sums of all volumes, as the store had them at that LSN",
		fmt.Sprintf("and as they were restored (LSN %s):", grouped(r.Restore.LSN)),
		c.Digest, c.Restored+"  equal",
		fmt.Sprintf("%s of %s are byte for byte", counted(int(c.Pages), "page"), counted(c.Volumes, "volume")),
		"what files and commits say; the one deleted is back")
}

func printProof(w io.Writer, head style, r *demo.Report, dir string, kept bool) {
	fmt.Fprintf(w, "\n%s in %s: every acknowledged commit survived the kill, and nothing else\ndid; and what was deleted by accident came back, as of one second before.\n",
		head.paint("Proven"), took(r.Seconds))
	if kept {
		fmt.Fprintln(w, strings.Join([]string{
			"", "Left for you to look at:",
			"  txnctl log --dir " + dir + "/store",
			"  txnctl recovery verify --dir " + dir + "/store",
			"  txnctl backup verify " + archiveURL(dir),
			"  txnctl ls --dir " + dir + "/restored",
			"  " + dir + "/acks",
			"      LSN, transaction, writer and number of each acknowledgement",
		}, "\n"))
	}
}

// archiveURL is of the demo's archive.
func archiveURL(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return "file://" + dir + "/archive"
}

// clockText is a time to a hundredth of a second.
func clockText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.00Z") }
