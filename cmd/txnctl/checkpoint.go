package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// checkpointOutput is what checkpoint prints.
type checkpointOutput struct {
	Before uint64 `json:"before" doc:"LSN of the checkpoint before"`
	LSN    uint64 `json:"lsn" doc:"LSN of the checkpoint"`
}

func newCheckpointCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint",
		Short: "Write a checkpoint, so that the log can be let go",
		Long: `Write a checkpoint: make the pages durable without the log, which is let go up
to there, with the past states that export --at could reach. A service that has
the store open writes its own checkpoints.`,
		Example: `  txnctl checkpoint`,
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.checkpoint(c.Context()) },
	}
}

func (a *app) checkpoint(ctx context.Context) error {
	return a.withStore(txn.Options{}, func(m *txn.Manager, _ *recovery.Report) error {
		before := m.Stats().Pages.Checkpoint
		wait := a.wait("checkpoint")
		err := m.Checkpoint(ctx)
		wait.end()
		if err != nil {
			return err
		}
		o := checkpointOutput{uint64(before), uint64(m.Stats().Pages.Checkpoint)}
		return a.print(o, func(w io.Writer) {
			fmt.Fprintf(w, "Checkpoint at LSN %d; the one before: %s.\n", o.LSN, lsnText(o.Before))
		})
	})
}
