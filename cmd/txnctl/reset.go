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

// resetOutput is what reset prints.
type resetOutput struct {
	Volume    string `json:"volume" doc:"name of the volume"`
	ID        string `json:"id" doc:"UUID of the volume"`
	To        uint64 `json:"to" doc:"LSN whose state it has again"`
	LSN       uint64 `json:"lsn" doc:"of the transaction; of the newest entry when nothing differed"`
	Txn       string `json:"txn" doc:"UUID of the transaction; empty when nothing differed"`
	Changed   bool   `json:"changed" doc:"whether anything differed and was committed"`
	Written   uint64 `json:"written" doc:"pages written"`
	Discarded uint64 `json:"discarded" doc:"pages made absent"`
	Pages     uint64 `json:"pages" doc:"size of the volume afterwards"`
}

// resetter is one run of reset.
type resetter struct {
	*app
	name    string
	to      lsnFlag
	message string
}

func newResetCommand(a *app) *cobra.Command {
	r := &resetter{app: a}
	c := &cobra.Command{
		Use:   "reset VOLUME --to LSN",
		Short: "Make a volume what it was after an entry",
		Long: `Make VOLUME read as it did after the entry --to, in one transaction: all of it
or, on any error, nothing. Only pages that differ are written (see diff), and
what the volume is now stays in the log: a reset can be reset.

The store has the states from its last checkpoint on (see status). A volume that
was deleted since, or did not exist then, is an error. Its name stays.`,
		Example: `  txnctl diff notes --from 7 --stat   # what would be undone
  txnctl reset notes --to 7`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeOnlyVolume,
		RunE: func(c *cobra.Command, args []string) error {
			if r.name = args[0]; r.to == 0 {
				return usagef("--to LSN says which state it shall be")
			}
			return r.run(c.Context())
		},
	}
	c.Flags().Var(&r.to, "to", "the state after the entry with this `LSN`")
	c.Flags().StringVar(&r.message, "message", "", "write `TEXT` into the entry, for those who read the log (default \"reset to LSN\")")
	return c
}

func (r *resetter) run(ctx context.Context) error {
	var out resetOutput
	// Without checkpoints nothing reuses the space of the state that is read.
	o := txn.Options{MaxTxBytes: importBytes, CheckpointEvery: -1}
	err := r.withStore(o, func(m *txn.Manager, _ *recovery.Report) error {
		return r.withView(wal.LSN(r.to), func(view *recovery.Viewed) (err error) {
			out, err = r.commit(ctx, m, view)
			return overtaken(view, err)
		})
	})
	if err != nil {
		return err
	}
	return r.print(out, out.text)
}

// commit is the transaction. The store is locked by us, so it stays as the view
// shows it.
func (r *resetter) commit(ctx context.Context, m *txn.Manager, view *recovery.Viewed) (out resetOutput, err error) {
	then := view.Snapshot()
	now, err := view.At(0)
	if err != nil {
		return out, err
	}
	present, err := findVolume(now, r.name)
	if err != nil {
		return out, err
	}
	target, ok, err := then.Volume(present.ID)
	if err == nil && !ok {
		err = fmt.Errorf("volume %q was not there at LSN %d; nothing was written", present.Attrs.Name, then.LSN())
	}
	if err != nil {
		return out, err
	}
	if r.message == "" {
		r.message = fmt.Sprintf("reset to LSN %d", wal.LSN(r.to))
	}
	tx, err := m.Begin(ctx, txn.TxOptions{Timeout: importTimeout, Message: r.message})
	if err != nil {
		return out, err
	}
	defer tx.Rollback()
	out = resetOutput{Volume: present.Attrs.Name, ID: present.ID.String(), To: uint64(r.to), Pages: target.Tree.Pages()}
	if err := r.stage(ctx, tx, present, target, &out); err != nil {
		return out, err
	}
	length, err := backup.Length(then, target)
	if err != nil {
		return out, err
	}
	v, err := tx.Volume(present.Attrs.Name)
	if err != nil {
		return out, err
	}
	if err := keepLength(tx, v, length); err != nil {
		return out, err
	}
	c, err := tx.Commit(ctx)
	if out.LSN, out.Changed = uint64(c.Position.LSN), !c.Empty; out.Changed {
		out.Txn = c.Txn.String()
	}
	return out, err
}

// stage writes what differs.
func (r *resetter) stage(ctx context.Context, tx *txn.Tx, present, target pagestore.Volume, out *resetOutput) error {
	v, err := tx.Volume(present.Attrs.Name)
	if err != nil {
		return err
	}
	size := int64(v.PageSize())
	bar := r.progress("reset "+present.Attrs.Name, size*int64(max(present.Tree.Pages(), target.Tree.Pages())))
	defer bar.end()
	page := make([]byte, v.PageSize())
	for c, err := range present.Diff(target, 0, wal.MaxPages) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		bar.at(size * int64(c.Page))
		if c.B.Addr == 0 {
			out.Discarded++
			err = v.DiscardPage(c.Page)
		} else if err = target.Read(c.Page, page); err == nil {
			out.Written++
			err = v.WritePage(c.Page, page)
		}
		if err != nil {
			return err
		}
	}
	if present.Tree.Pages() == target.Tree.Pages() {
		return nil
	}
	return v.Truncate(target.Tree.Pages())
}

func (o resetOutput) text(w io.Writer) {
	if !o.Changed {
		fmt.Fprintf(w, "Nothing differs: %s is as it was after LSN %d.\n", printable(o.Volume), o.To)
		return
	}
	fmt.Fprintf(w, "Committed as LSN %d: %s is as it was after LSN %d; %d of %s written, %d made absent.\n",
		o.LSN, printable(o.Volume), o.To, o.Written, count(o.Pages, "page"), o.Discarded)
}
