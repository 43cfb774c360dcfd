package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
)

// recoveryOutput is what recovery status prints.
type recoveryOutput struct {
	Open          bool       `json:"open" doc:"whether a process has the store open; then the rest is of a moment"`
	ClosedCleanly bool       `json:"closed_cleanly" doc:"then nothing is to be recovered"`
	Checkpoint    uint64     `json:"checkpoint" doc:"LSN where replay begins"`
	Last          uint64     `json:"last" doc:"LSN of the last valid entry"`
	Replay        uint64     `json:"replay" doc:"entries to apply again"`
	Durable       uint64     `json:"durable" doc:"LSN up to which the log is known to be synced"`
	Rewrite       uint64     `json:"rewrite" doc:"entries not known to be synced, to be written anew"`
	Cut           *cutOutput `json:"cut" doc:"torn tail to be cut; null when there is none"`
	TornManifest  int64      `json:"torn_manifest" doc:"bytes of a manifest record that was never acknowledged"`
	Unnamed       int        `json:"unnamed" doc:"log files of no state, to be removed"`
	Copied        bool       `json:"copied" doc:"it lies elsewhere than where it was last opened: opening a writer begins a timeline"`
}

func newRecoveryStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what opening the store would do",
		Long: `Show what opening the store would do: which entries it would apply again, and
what of the log's end it would cut. Nothing is changed.`,
		Example: `  txnctl recovery status`,
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return a.recoveryStatus() },
	}
}

func (a *app) recoveryStatus() error {
	return a.withView(0, func(v *recovery.Viewed) error {
		_, held, err := recovery.LockHolder(a.fs, a.dir)
		if err != nil {
			return err
		}
		o := recoveryOf(v.Findings())
		o.Open = held
		return a.print(o, func(w io.Writer) { o.text(w, a.bold) })
	})
}

func recoveryOf(f *recovery.Findings) recoveryOutput {
	checkpoint, last := f.Facts.Checkpoint.LSN, f.Scan.Last
	durable := max(f.Scan.Durable.LSN, checkpoint)
	return recoveryOutput{
		ClosedCleanly: f.Facts.Clean != 0, Copied: f.Copied, Checkpoint: uint64(checkpoint), Last: uint64(last), Replay: uint64(last - checkpoint),
		Durable: uint64(durable), Rewrite: uint64(last - durable), Cut: cutOf(f.Scan.Cut),
		TornManifest: f.Manifest.TornBytes, Unnamed: len(f.Unnamed),
	}
}

func (o recoveryOutput) text(w io.Writer, name style) {
	printFacts(w, name,
		fact{"state", o.state()},
		fact{"copy", copyText(o.Copied)},
		fact{"checkpoint", lsnText(o.Checkpoint)},
		fact{"to replay", o.replay()},
		fact{"not known synced", count(o.Rewrite, "entry")},
		fact{"torn tail", o.Cut.String()},
		fact{"torn manifest", bytesText(o.TornManifest)},
		fact{"unnamed log files", fmt.Sprint(o.Unnamed)},
	)
}

func (o recoveryOutput) state() string {
	switch {
	case o.Open:
		return "open: this is what would be done if its process were killed now"
	case o.ClosedCleanly:
		return "closed cleanly"
	}
	return "not closed cleanly; opening recovers it"
}

func (o recoveryOutput) replay() string {
	if o.Replay == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s, LSN %d to %d", count(o.Replay, "entry"), o.Checkpoint+1, o.Last)
}
