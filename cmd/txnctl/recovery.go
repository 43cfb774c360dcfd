package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/wal"
)

func newRecoveryCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "recovery",
		Short: "See and check how the store comes back after a crash, and repair it",
		Long: `See and check how the store comes back after a crash. Opening a store recovers
it; no command has to be run for that. Damage is another thing: verify finds it, and
repair says what is lost by it and puts it right from an archive.`,
		Example: `  txnctl recovery status     # what opening would do
  txnctl recovery verify     # check every byte in use
  txnctl recovery replay     # try the replay in memory
  txnctl recovery repair     # what damage has cost; with --from URL it is repaired`,
	}, newRecoveryStatusCommand(a), newRecoveryVerifyCommand(a), newRecoveryReplayCommand(a), newRecoveryRepairCommand(a))
}

// cutOutput is a torn tail of the log.
type cutOutput struct {
	File    string `json:"file" doc:"of the log, below the store's directory"`
	Offset  int64  `json:"offset" doc:"where in the file it begins, in bytes"`
	LSN     uint64 `json:"lsn" doc:"that has no valid record"`
	Bytes   int64  `json:"bytes" doc:"of all of it"`
	Entries int    `json:"entries" doc:"that it may have held; none was acknowledged"`
	Reason  string `json:"reason" doc:"what is wrong there"`
}

func cutOf(c *wal.Cut) *cutOutput {
	if c == nil {
		return nil
	}
	return &cutOutput{"wal/" + c.Gen.Path(), c.Offset, uint64(c.LSN), c.Bytes, c.Entries, c.Reason}
}

func (c *cutOutput) String() string {
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("%s at byte %d of %s, nothing in it was acknowledged: %s", bytesText(c.Bytes), c.Offset, c.File, c.Reason)
}
