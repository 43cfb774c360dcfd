package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// promoteOutput is what promote prints.
type promoteOutput struct {
	LSN      uint64 `json:"lsn" doc:"of the entry that begins the new timeline"`
	Timeline string `json:"timeline" doc:"UUID of the new timeline"`
	Hash     string `json:"hash" doc:"of that entry"`
	Parent   string `json:"parent" doc:"UUID of the timeline that it goes on from, at the LSN before; empty when an interrupted promotion was completed"`
}

func newPromoteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "promote",
		Short: "Make a follower a writer, on a new timeline",
		Long: `Make the follower in the store's directory a writer. It goes on from its last entry
on a timeline of its own; other followers that stand there can follow it. What
the old writer committed beyond is not in it, and its later entries are refused
wherever the new timeline is followed. So stop the old writer first, and follow what
can still be read of it.`,
		Example: `  txnctl --dir /srv/store follow /srv/second --once   # what can still be had
  txnctl --dir /srv/second promote`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.promote(c.Context()) },
	}
}

func (a *app) promote(ctx context.Context) error {
	return a.withStore(txn.Options{}, func(m *txn.Manager, rep *recovery.Report) error {
		before := m.Stats().Head
		if rep.Began == recovery.ReasonPromotion { // one that had been interrupted
			return a.promoted(before, "")
		}
		pos, err := m.Promote(ctx)
		if errors.Is(err, txn.ErrNotFollower) {
			return errors.New("the store is a writer already, nothing was changed")
		}
		if err != nil {
			return err
		}
		return a.promoted(pos, before.Timeline.String())
	})
}

func (a *app) promoted(pos wal.Position, parent string) error {
	o := promoteOutput{uint64(pos.LSN), pos.Timeline.String(), pos.Hash.String(), parent}
	return a.print(o, func(w io.Writer) {
		fmt.Fprintf(w, "Promoted: a writer from LSN %d on, on timeline %s.\n", o.LSN, o.Timeline)
	})
}
