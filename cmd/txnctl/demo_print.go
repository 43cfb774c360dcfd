package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/quire-db/quire/internal/demo"
)

// printStep says what a step did, in figures.
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
	}
}

// step prints the first line of a step, then what belongs to it.
func step(w io.Writer, head style, number int, name string, seconds float64, first string, more ...string) {
	fmt.Fprintf(w, "%d  %s %6s  %s\n", number, head.paint(fmt.Sprintf("%-8s", name)), took(seconds), first)
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
		fmt.Sprintf("each a volume: %s in %s, one a directory",
			counted(int(i.Pages), "page"), counted(i.Transactions, "transaction")))
}

func printCommit(w io.Writer, name style, c demo.CommitStep) {
	step(w, name, 2, "commit", c.Seconds,
		fmt.Sprintf("process %d, %s: %s acknowledged, %s a second",
			c.PID, counted(c.Writers, "writer"), counted(c.Acknowledged, "transaction"), grouped(uint64(float64(c.Acknowledged)/c.Seconds))),
		"each changes 1 to 9 pages in 1 to 3 volumes and is synced before it is acknowledged")
	step(w, name, 3, "kill", 0,
		fmt.Sprintf("SIGKILL to process %d with %s in flight (%s)", c.PID, counted(c.InFlight, "transaction"), c.Signal))
}

func printRecover(w io.Writer, name style, r demo.RecoverStep) {
	more := []string{fmt.Sprintf("%s behind the checkpoint at LSN %s applied again, %s of log; %s not known to be synced written anew",
		counted(r.Replayed, "transaction"), grouped(r.Checkpoint), bytesText(int64(r.Bytes)), grouped(uint64(r.Rewritten)))}
	if r.CutBytes > 0 {
		more = append(more, fmt.Sprintf("a torn end of %s was cut and kept aside: %s", counted(int(r.CutBytes), "byte"), r.CutReason))
	}
	step(w, name, 4, "recover", r.Seconds, fmt.Sprintf("the store is open again at LSN %s", grouped(r.Last)), more...)
}

func printProve(w io.Writer, name style, r *demo.Report) {
	p := r.Prove
	more := []string{
		fmt.Sprintf("of the %s in flight, %d made it whole and %d left no trace", counted(r.Commit.InFlight, "transaction"), p.Unheard, p.Absent),
		fmt.Sprintf("%s of %s are byte for byte what those commits say,",
			counted(int(p.Pages), "page"), counted(p.Volumes, "volume")),
		fmt.Sprintf("%s of them written since the import; there is no other volume", grouped(uint64(p.Changed))),
	}
	step(w, name, 5, "prove", p.Seconds, fmt.Sprintf("%s of %s acknowledged transactions are there, at their LSNs",
		grouped(uint64(p.Acknowledged)), grouped(uint64(r.Commit.Acknowledged))), more...)
}

func printVerify(w io.Writer, name style, v demo.VerifyStep) {
	step(w, name, 6, "verify", v.Seconds, "closed, and checked from end to end; nothing is wrong",
		fmt.Sprintf("%s, %s, %s, %s, and the manifest", counted(int(v.Entries), "log record"),
			counted(int(v.Nodes), "tree node"), counted(int(v.Pages), "page image"), counted(int(v.Slots), "slot")))
}

func printProof(w io.Writer, head style, r *demo.Report, dir string, kept bool) {
	fmt.Fprintf(w, "\n%s in %s: every acknowledged commit survived the kill, and nothing else did.\n", head.paint("Proven"), took(r.Seconds))
	if kept {
		fmt.Fprintln(w, strings.Join([]string{
			"", "Left for you to look at:",
			"  txnctl log --dir " + dir + "/store",
			"  txnctl recovery verify --dir " + dir + "/store",
			"  " + dir + "/acks    LSN, transaction, writer and number of each acknowledgement",
		}, "\n"))
	}
}
