package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// repairer is one run of recovery repair.
type repairer struct {
	*app
	keys
	from            string
	acceptLoss, dry bool
}

func newRecoveryRepairCommand(a *app) *cobra.Command {
	r := &repairer{app: a}
	c := &cobra.Command{
		Use:   "repair [DIR]",
		Short: "Say what is lost of a damaged store, or repair it from an archive",
		Long: `Say what of the damaged store in DIR (default --dir) is lost: which pages of which
volumes and tags, which entries of the log, and whether the store still opens. Not one
byte is changed, and exit code 3 says that something is wrong.

With --from the store is repaired from the archive at URL. A new store is built beside
the damaged one: of a snapshot, the entries of the archive, and those that only the
store's own log has. It is verified, and its digest compared with the damaged store's
where that can be read. Then it takes the name DIR; the damaged one is kept as
DIR.damaged-TIME, byte for byte, and is yours to delete. The disk needs room for both.

A repaired store ends where the damaged one did, on the same timeline: consumers and
followers go on. If entries are lost that nobody has, or nobody can tell since the
MANIFEST is gone, it is refused with exit code 6, and the output names them;
--accept-loss goes on without them, on a new timeline.

A run that was interrupted is finished by the next one.`,
		Example: `  txnctl recovery repair /srv/store
  txnctl recovery repair /srv/store --from file:///srv/archive --dry-run
  txnctl recovery repair /srv/store --from s3://bucket/archive --identity key.txt
  txnctl recovery repair /srv/store --json | jq '.pages[]'`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.dir = args[0]
			}
			return r.run(c.Context())
		},
	}
	c.Flags().StringVar(&r.from, "from", "", "repair it from the archive at `URL`")
	c.Flags().BoolVar(&r.acceptLoss, "accept-loss", false, "go on without what cannot be had, on a new timeline")
	c.Flags().BoolVar(&r.dry, "dry-run", false, "read and verify all that is needed, and make nothing")
	_ = c.RegisterFlagCompletionFunc("from", completeURL)
	r.identityFlag(c)
	return c
}

func (r *repairer) run(ctx context.Context) error {
	dir, err := r.storeDir()
	if err != nil {
		return err
	}
	if r.from == "" {
		if r.acceptLoss || r.dry || len(r.files) > 0 {
			return usagef("--accept-loss, --dry-run and --identity are for repairs: from which archive? Name it with --from")
		}
		return r.assess(ctx, dir)
	}
	return r.repair(ctx, dir)
}

// assess says what is lost.
func (r *repairer) assess(ctx context.Context, dir string) error {
	bar := r.progress("verify", 1)
	loss, err := recovery.Assess(ctx, r.fs, dir, recovery.VerifyOptions{Progress: bar.of})
	bar.end()
	if err != nil {
		return r.noStore(dir, err)
	}
	o := newRepairOutput(dir)
	o.assessed(loss)
	return r.show(o, loss.Verified.Clean)
}

// show prints the output, which says all that is to be said.
func (r *repairer) show(o *repairOutput, fine bool) error {
	if err := r.print(o, func(w io.Writer) { o.text(w, r.bold, r.red) }); err != nil {
		return err
	}
	if !fine {
		return errProblems
	}
	return nil
}

// errLost ends recovery repair, whose output says what is lost for good.
var errLost = fmt.Errorf("%w: %w", errReported, restore.ErrRefused)

func (r *repairer) repair(ctx context.Context, dir string) error {
	store, _, err := r.findArchive(ctx, r.from, &r.keys)
	if err != nil {
		return err
	}
	ids, err := r.identities()
	if err != nil {
		return err
	}
	bars := &repairBars{app: r.app}
	got, err := txn.Repair(ctx, store, dir, repair.Options{Identities: ids, AcceptLoss: r.acceptLoss, DryRun: r.dry, Progress: bars.show}, txn.Options{FS: r.fs})
	bars.end()
	o := newRepairOutput(dir)
	var lost *repair.LossError
	switch {
	case errors.Is(err, repair.ErrSound):
		o.Clean, o.Opens = true, true
		return r.show(o, true)
	case errors.As(err, &lost):
		o.assessed(lost.Loss)
		o.Gone = goneOf(lost)
		if e := r.show(o, true); e != nil {
			return e
		}
		return errLost
	case err != nil:
		return r.noStore(dir, err)
	}
	if got.Loss != nil {
		o.assessed(got.Loss)
	}
	o.Repaired, o.Gone = repairedOf(r.from, r.dry, got), goneOf(got.Lost)
	return r.show(o, true)
}

// repairBars shows how far a repair is.
type repairBars struct {
	*app
	step string
	bar  *progress
}

func (b *repairBars) show(p repair.Progress) {
	if b.step != p.Step {
		b.end()
		names := map[string]string{"verify": "verify", "load": "snapshot", "follow": "entries", "prove": "verify the new store"}
		b.step, b.bar = p.Step, b.newProgress("repair: "+names[p.Step], 1, p.Step != "follow")
	}
	if p.Of == 0 { // of entries: where they end is known at the end only
		p.Done, p.Of = int64(p.LSN), int64(p.LSN)+1
	}
	b.bar.of(p.Done, p.Of)
}

func (b *repairBars) end() {
	if b.bar != nil {
		b.bar.end()
	}
}
