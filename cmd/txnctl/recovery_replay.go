package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// replayOutput is what recovery replay prints.
type replayOutput struct {
	Applied    bool       `json:"applied" doc:"true: the store was opened and recovered; false: tried in memory, nothing was changed"`
	Checkpoint uint64     `json:"checkpoint" doc:"LSN where replay began"`
	Last       uint64     `json:"last" doc:"LSN where it ended"`
	Replayed   uint64     `json:"replayed" doc:"entries applied again"`
	Cut        *cutOutput `json:"cut" doc:"torn tail of the log, cut when applied is true; null when there is none"`
	Seconds    float64    `json:"seconds" doc:"that it took"`
}

func newRecoveryReplayCommand(a *app) *cobra.Command {
	var really bool
	c := &cobra.Command{
		Use:   "replay",
		Short: "Replay the log behind the checkpoint, in memory or for good",
		Long: `Replay the log behind the checkpoint as opening would, checking every entry's
states before and after. By default that is in memory only: it shows what
opening would do, changes nothing, and works beside a running service. With
--apply the store is opened, recovered for good and closed cleanly.`,
		Example: `  txnctl recovery replay
  txnctl recovery replay --apply`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.recoveryReplay(really) },
	}
	c.Flags().BoolVar(&really, "apply", false, "open the store and recover it for good")
	return c
}

func (a *app) recoveryReplay(really bool) error {
	replay := a.tryReplay
	if really {
		replay = a.applyReplay
	}
	o, err := replay()
	if err != nil {
		return err
	}
	return a.print(o, func(w io.Writer) { o.text(w) })
}

// tryReplay replays in memory.
func (a *app) tryReplay() (o replayOutput, err error) {
	wait := a.wait("replay")
	defer wait.end()
	began := time.Now()
	err = a.withView(0, func(v *recovery.Viewed) error {
		r := recoveryOf(v.Findings())
		o = replayOutput{false, r.Checkpoint, r.Last, r.Replay, r.Cut, time.Since(began).Seconds()}
		return nil
	})
	return o, err
}

// applyReplay opens the store, which recovers it.
func (a *app) applyReplay() (o replayOutput, err error) {
	err = a.withStore(txn.Options{}, func(_ *txn.Manager, rep *recovery.Report) error {
		o = replayOutput{true, uint64(rep.Checkpoint), uint64(rep.Last), uint64(rep.Replayed), cutOf(rep.Cut), rep.Took.Seconds()}
		return nil
	})
	return o, err
}

func (o replayOutput) text(w io.Writer) {
	did, cut := "Would replay", "Would cut"
	if o.Applied {
		did, cut = "Replayed", "Cut"
	}
	fmt.Fprintf(w, "%s %s behind the checkpoint (%s), up to LSN %d, in %.3f s.\n", did, count(o.Replayed, "entry"), lsnText(o.Checkpoint), o.Last, o.Seconds)
	if o.Cut != nil {
		fmt.Fprintf(w, "%s a torn tail of %s.\n", cut, o.Cut)
	}
	if !o.Applied {
		fmt.Fprintln(w, "That was tried in memory, nothing was changed. With --apply it is done for good.")
	}
}
