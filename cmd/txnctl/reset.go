package main

import (
	"context"
	"fmt"
	"io"
	"strings"

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
	Tag       string `json:"tag" doc:"VOLUME@TAG that it was reset to; empty when it was an LSN"`
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
	to      string
	lsn     wal.LSN // that --to says; 0 for a tag
	message string
}

func newResetCommand(a *app) *cobra.Command {
	r := &resetter{app: a}
	c := &cobra.Command{
		Use:   "reset VOLUME --to STATE",
		Short: "Make a volume what it was once",
		Long: `Make VOLUME read as STATE does, in one transaction: all of it or, on any error,
nothing. STATE is an LSN, for what the volume was after that entry; @TAG for what
a tag of it points to; or VOLUME@TAG. Only pages that differ are written (see
diff), and what the volume is now stays in the log: a reset can be reset.

The store has the states from its last checkpoint on (see status), and those of
tags. A volume that was deleted since, or did not exist then, is an error. Its name
stays.`,
		Example: `  txnctl diff notes --from 7 --stat   # what would be undone
  txnctl reset notes --to 7
  txnctl reset notes --to @v1`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeOnlyVolume,
		RunE: func(c *cobra.Command, args []string) error {
			if r.name = args[0]; r.to == "" {
				return usagef("--to STATE says which state it shall be: an LSN, @TAG or VOLUME@TAG")
			}
			if strings.HasPrefix(r.to, "@") {
				r.to = r.name + r.to
			}
			if !strings.Contains(r.to, "@") {
				var err error
				if r.lsn, err = parseLSN(r.to); err != nil {
					return err
				}
			}
			return r.run(c.Context())
		},
	}
	c.Flags().StringVar(&r.to, "to", "", "the `STATE` that it shall be: an LSN, @TAG or VOLUME@TAG")
	c.Flags().StringVar(&r.message, "message", "", "write `TEXT` into the entry, for readers of the log (default \"reset to STATE\")")
	return c
}

func (r *resetter) run(ctx context.Context) error {
	var out resetOutput
	// Without checkpoints nothing reuses the space of the state that is read.
	o := txn.Options{MaxTxBytes: importBytes, CheckpointEvery: -1}
	err := r.withStore(o, func(m *txn.Manager, _ *recovery.Report) error {
		return r.withView(r.lsn, func(view *recovery.Viewed) (err error) {
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
	target, err := r.target(then, present)
	if err != nil {
		return out, err
	}
	out = resetOutput{Volume: present.Attrs.Name, ID: present.ID.String(), To: uint64(stateLSN(then, target)), Pages: target.Tree.Pages()}
	if target.Ref != "" {
		out.Tag = label(target)
	}
	if r.message == "" {
		r.message = "reset to " + out.state()
	}
	tx, err := m.Begin(ctx, txn.TxOptions{Timeout: importTimeout, Message: r.message})
	if err != nil {
		return out, err
	}
	defer tx.Rollback()
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

// target is the state that the volume shall be.
func (r *resetter) target(then *pagestore.Snapshot, present pagestore.Volume) (pagestore.Volume, error) {
	if r.lsn == 0 {
		return findVolume(then, r.to)
	}
	v, ok, err := then.Volume(present.ID)
	if err == nil && !ok {
		err = fmt.Errorf("volume %q was not there at LSN %d; nothing was written", present.Attrs.Name, then.LSN())
	}
	return v, err
}

func (o resetOutput) state() string {
	if o.Tag != "" {
		return o.Tag
	}
	return fmt.Sprintf("LSN %d", o.To)
}

// was says which state it is again.
func (o resetOutput) was() string {
	if o.Tag != "" {
		return "as " + printable(o.Tag)
	}
	return fmt.Sprintf("as it was after LSN %d", o.To)
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
		fmt.Fprintf(w, "Nothing differs: %s is %s.\n", printable(o.Volume), o.was())
		return
	}
	fmt.Fprintf(w, "Committed as LSN %d: %s is %s; %d of %s written, %d made absent.\n",
		o.LSN, printable(o.Volume), o.was(), o.Written, count(o.Pages, "page"), o.Discarded)
}
