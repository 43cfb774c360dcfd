package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// forkOutput is what fork prints.
type forkOutput struct {
	Volume string `json:"volume" doc:"name of the new volume"`
	ID     string `json:"id" doc:"UUID of the new volume"`
	From   string `json:"from" doc:"what it begins as: a volume, or VOLUME@TAG"`
	LSN    uint64 `json:"lsn" doc:"of the transaction"`
	Txn    string `json:"txn" doc:"UUID of the transaction"`
	Tip    uint64 `json:"tip" doc:"LSN that made the state it begins as"`
	Pages  uint64 `json:"pages" doc:"size of the volume"`
}

func newForkCommand(a *app) *cobra.Command {
	var message string
	c := &cobra.Command{
		Use:   "fork SOURCE NAME",
		Short: "Make a volume that begins as another one",
		Long: `Make the volume NAME, which begins as SOURCE is: a volume, or VOLUME@TAG. No page
is copied, whatever SOURCE holds: the two share their pages until one of them
changes them. The fork's tag "origin" names what it was forked from; delete it to
detach the fork.`,
		Example: `  txnctl fork notes try              # try a migration on real data
  txnctl fork notes@v1 notes-fixed   # begin again where a tag points to
  txnctl diff notes try --stat`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeOnlyVolume,
		RunE: func(c *cobra.Command, args []string) error {
			return a.fork(c.Context(), args[0], args[1], message)
		},
	}
	c.Flags().StringVar(&message, "message", "", "write `TEXT` into the entry, for readers of the log")
	return c
}

func (a *app) fork(ctx context.Context, source, name, message string) error {
	var out forkOutput
	err := a.withStore(txn.Options{}, func(m *txn.Manager, _ *recovery.Report) error {
		return a.withBase(m, source, func(tip base) error {
			tx, err := m.Begin(ctx, txn.TxOptions{Message: message})
			if err != nil {
				return err
			}
			defer tx.Rollback()
			from, err := tip.open(tx)
			if err != nil {
				return err
			}
			id, err := tx.Fork(name, from)
			if err != nil {
				return err
			}
			if err := keepLengthOf(tx, id, int64(from.PageSize()), tip.length); err != nil {
				return err
			}
			c, err := tx.Commit(ctx)
			out = forkOutput{name, id.String(), label(tip.Volume), uint64(c.Position.LSN), c.Txn.String(), uint64(tip.Tip), tip.Tree.Pages()}
			return err
		})
	})
	if err != nil {
		return err
	}
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "Committed as LSN %d: %s begins as %s, %s; none was copied.\n", out.LSN, printable(out.Volume), printable(out.From), count(out.Pages, "page"))
	})
}

// base is a state from which a fork or a tag begins.
type base struct {
	pagestore.Volume
	length int64 // of the file in it
}

// withBase finds one in the store that m has open.
func (a *app) withBase(m *txn.Manager, arg string, f func(base) error) error {
	return a.withView(m.Stats().Head.LSN, func(view *recovery.Viewed) error {
		v, err := findVolume(view.Snapshot(), arg)
		if err != nil {
			return err
		}
		length, err := backup.Length(view.Snapshot(), v)
		if err != nil {
			return err
		}
		return f(base{v, length})
	})
}

// open opens it in a transaction.
func (b base) open(tx *txn.Tx) (*txn.Volume, error) {
	if b.Ref != "" {
		return tx.At(b.Attrs.Name, string(b.Ref))
	}
	return tx.Volume(b.Attrs.Name)
}

// keepBaseLength records the length of the file in what a tag points to.
func keepBaseLength(tx *txn.Tx, v *txn.Volume, tag string, b base) error {
	return keepLengthOf(tx, backup.LengthID(v.ID(), wal.RefName(tag)), int64(v.PageSize()), b.length)
}
