package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
)

// verifyOutput is what recovery verify prints.
type verifyOutput struct {
	Clean         bool            `json:"clean" doc:"no problem was found"`
	Problems      []problemOutput `json:"problems" doc:"what was found, up to 1000"`
	More          int             `json:"more" doc:"problems beyond those"`
	ClosedCleanly bool            `json:"closed_cleanly" doc:"false: the next opening recovers the store, which is no problem"`
	Checkpoint    uint64          `json:"checkpoint" doc:"LSN of the last checkpoint"`
	Durable       uint64          `json:"durable" doc:"LSN up to which every damage is a problem"`
	Last          uint64          `json:"last" doc:"LSN of the last entry"`
	Cut           *cutOutput      `json:"cut" doc:"torn tail that opening will cut; null when there is none"`
	Leftovers     []string        `json:"leftovers" doc:"files of no state that opening will remove"`
	Entries       uint64          `json:"entries" doc:"of the log, verified"`
	LogBytes      int64           `json:"log_bytes" doc:"verified"`
	Volumes       uint64          `json:"volumes" doc:"verified"`
	Nodes         uint64          `json:"nodes" doc:"of the trees, verified"`
	Pages         uint64          `json:"pages" doc:"verified"`
	Slots         slotsOutput     `json:"slots" doc:"what the slots of the heap are there for"`
	Copied        bool            `json:"copied" doc:"it lies elsewhere than where it was last opened, which is no problem"`
}

// problemOutput is something that is not as it must be.
type problemOutput struct {
	File   string `json:"file" doc:"below the store's directory"`
	Offset int64  `json:"offset" doc:"byte in the file; -1 when all of it is meant, or it cannot be told"`
	LSN    uint64 `json:"lsn" doc:"of the entry concerned; 0 when none is"`
	Reason string `json:"reason" doc:"what is wrong"`
}

// slotsOutput says what the slots of the heap are there for.
type slotsOutput struct {
	Total      uint64 `json:"total" doc:"all of them"`
	Current    uint64 `json:"current" doc:"reached by the newest state"`
	Checkpoint uint64 `json:"checkpoint" doc:"reached by the checkpoint only; the next one frees them"`
	Log        uint64 `json:"log" doc:"named by the log only; the next checkpoint frees them"`
	Consumers  uint64 `json:"consumers" doc:"named by older log only, which consumers have still to read"`
	Free       uint64 `json:"free" doc:"free"`
	Leaked     uint64 `json:"leaked" doc:"reached by nothing and not free: a problem"`
}

func newRecoveryVerifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check every byte in use",
		Long: `Check every byte in use: manifest, the log and its chain of hashes, every node
and page, sums recomputed, every slot of the heap reached, held back for a
reason, or free. Not one byte is changed. The store must not be open.

Exit code 3 says that something is wrong, and the output what and where. What a
kill or a power cut leaves is not wrong: opening puts it right.`,
		Example: `  txnctl recovery verify
  txnctl recovery verify --json | jq '.problems[]'`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.recoveryVerify(c.Context()) },
	}
}

func (a *app) recoveryVerify(ctx context.Context) error {
	dir, err := a.storeDir()
	if err != nil {
		return err
	}
	bar := a.progress("verify", 1) // the total comes with the first step
	rep, err := recovery.Verify(ctx, a.fs, dir, recovery.VerifyOptions{Progress: bar.of})
	bar.end()
	if err != nil {
		return a.noStore(dir, err)
	}
	o := verifyOf(rep)
	if err := a.print(o, func(w io.Writer) { o.text(w, a.bold, a.red) }); err != nil {
		return err
	}
	if !o.Clean {
		return errProblems
	}
	return nil
}

func verifyOf(r *recovery.VerifyReport) verifyOutput {
	o := verifyOutput{
		Clean: r.Clean, Problems: []problemOutput{}, More: r.More, ClosedCleanly: r.ClosedCleanly, Copied: r.Copied,
		Checkpoint: uint64(r.Checkpoint), Durable: uint64(r.Durable), Last: uint64(r.Last), Cut: cutOf(r.Cut),
		Leftovers: append([]string{}, r.Leftovers...), Entries: r.Entries, LogBytes: r.LogBytes,
		Volumes: r.Volumes, Nodes: r.Nodes, Pages: r.Pages, Slots: slotsOutput(r.Slots),
	}
	for _, p := range r.Problems {
		o.Problems = append(o.Problems, problemOutput{p.File, p.Offset, uint64(p.LSN), p.Reason})
	}
	return o
}

func (o verifyOutput) text(w io.Writer, name, bad style) {
	s := o.Slots
	printFacts(w, name,
		fact{"verdict", o.verdict(bad)},
		fact{"log", fmt.Sprintf("%s in %s, the last is LSN %d", count(o.Entries, "entry"), bytesText(o.LogBytes), o.Last)},
		fact{"checkpoint", lsnText(o.Checkpoint)},
		fact{"trees", fmt.Sprintf("%s, %s, %s", count(o.Volumes, "volume"), count(o.Nodes, "node"), count(o.Pages, "page"))},
		fact{"slots", fmt.Sprintf("%d: %d current, %d of the checkpoint, %d of the log, %d for consumers, %d free", s.Total, s.Current, s.Checkpoint, s.Log, s.Consumers, s.Free)},
		fact{"left by a crash", o.left()},
		fact{"copy", copyText(o.Copied)},
	)
	for _, p := range o.Problems {
		fmt.Fprintf(w, "  %s %s\n", bad.paint(p.where()+":"), p.Reason)
	}
	if o.More > 0 {
		fmt.Fprintf(w, "  and %d more\n", o.More)
	}
}

func (o verifyOutput) verdict(bad style) string {
	if o.Clean {
		return "all is well"
	}
	return bad.paint(count(len(o.Problems)+o.More, "problem")) + ", listed below; nothing was changed"
}

// left is empty when the store was closed cleanly.
func (o verifyOutput) left() string {
	switch {
	case o.ClosedCleanly:
		return ""
	case o.Cut != nil:
		return "torn tail of " + o.Cut.String()
	}
	return fmt.Sprintf("it was not closed cleanly; opening applies %s again", count(o.Last-o.Checkpoint, "entry"))
}

func (p problemOutput) where() string {
	s := p.File
	if p.Offset >= 0 {
		s += fmt.Sprintf(" at byte %d", p.Offset)
	}
	if p.LSN != 0 {
		s += fmt.Sprintf(" (LSN %d)", p.LSN)
	}
	return s
}
