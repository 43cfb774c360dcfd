package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// consumerOutput is a consumer, as consumer ls prints it.
type consumerOutput struct {
	Name     string `json:"name" doc:"of the consumer"`
	LSN      uint64 `json:"lsn" doc:"up to which it has acknowledged"`
	Timeline string `json:"timeline" doc:"UUID of the timeline of that entry"`
	Hash     string `json:"hash" doc:"SHA-256 of that entry"`
	Behind   uint64 `json:"behind" doc:"entries that it has still to acknowledge"`
	LogBytes int64  `json:"log_bytes" doc:"of files of the log that are there for it and other consumers only"`
	Dropped  bool   `json:"dropped" doc:"nothing is kept for it any more: it lagged too far behind"`
}

func newConsumerCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "consumer",
		Short: "List and drop those for whom the log is kept",
		Long: `A consumer is a named position in the log, made by a service: what lies behind
it is kept, entries and pages, until it is acknowledged.`,
	}, newConsumerLsCommand(a), newConsumerDropCommand(a))
}

func newConsumerLsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the consumers",
		Long: `List the consumers by name, also beside a running service. One that lagged too
far behind is listed as dropped until its name is.`,
		Example: `  txnctl consumer ls
  txnctl consumer ls --json | jq -r 'select(.behind > 1000) | .name'`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.consumers() },
	}
}

func (a *app) consumers() error {
	t := newTable("NAME", ">ACKNOWLEDGED LSN", ">BEHIND", ">LOG KEPT", "STATE")
	err := a.withView(0, func(v *recovery.Viewed) error {
		for _, c := range v.Facts().Consumers {
			o := consumerOf(c, v.Facts(), v.Findings().Scan.Last)
			if err := a.print(o, func(io.Writer) { t.addConsumer(o) }); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil || a.json:
	case len(t.rows) == 0:
		a.note("No consumers.")
	default:
		t.print(a.out, a.bold)
	}
	return err
}

func consumerOf(c manifest.Consumer, facts manifest.Facts, last wal.LSN) consumerOutput {
	o := consumerOutput{
		Name: c.Name, LSN: uint64(c.Acked.LSN), Timeline: c.Acked.Timeline.String(), Hash: c.Acked.Hash.String(),
		Behind: uint64(last - min(last, c.Acked.LSN)), Dropped: c.Dropped,
	}
	for _, g := range facts.Generations {
		if !c.Dropped && g.Sealed && g.Last > c.Acked.LSN && g.Last <= facts.Checkpoint.LSN {
			o.LogBytes += g.Length
		}
	}
	return o
}

func (t *table) addConsumer(o consumerOutput) {
	state := "kept for"
	if o.Dropped {
		state = "dropped"
	}
	t.add(printable(o.Name), strconv.FormatUint(o.LSN, 10), strconv.FormatUint(o.Behind, 10), bytesText(o.LogBytes), state)
}

func newConsumerDropCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "drop NAME",
		Short: "Forget a consumer",
		Long: `Forget a consumer: the next checkpoint lets go of what was kept for it alone. The
store must not be open; a service that has it open drops its consumers itself.`,
		Example:           `  txnctl consumer drop search-index && txnctl checkpoint`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeConsumer,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withStore(txn.Options{}, func(m *txn.Manager, _ *recovery.Report) error {
				if err := m.DropConsumer(args[0]); err != nil {
					return err
				}
				a.note("Dropped consumer %q; the next checkpoint frees what was kept for it.", args[0])
				return nil
			})
		},
	}
}

func (a *app) completeConsumer(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_ = a.withView(0, func(v *recovery.Viewed) error {
		for _, c := range v.Facts().Consumers {
			names = append(names, c.Name)
		}
		return nil
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
