package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup/objects"
)

// archiveOutput is how far backup archive has come.
type archiveOutput struct {
	URL     string `json:"url" doc:"of the archive"`
	Shipped uint64 `json:"shipped" doc:"LSN up to which the archive has the log, durably; 0: none of it yet"`
	Entries uint64 `json:"entries" doc:"shipped since the line before"`
	Objects uint64 `json:"objects" doc:"put since the command began"`
	Bytes   uint64 `json:"bytes" doc:"of these"`
	Durable uint64 `json:"durable" doc:"LSN up to which the store was known to be durable"`
	Retries uint64 `json:"retries" doc:"calls of the place that failed and were repeated, since the command began"`
}

// archiverRun is one run of backup archive.
type archiverRun struct {
	*app
	keys
	once bool

	ship    *shipment
	told    uint64 // LSN that was printed
	printed bool   // there was a line
}

func newBackupArchiveCommand(a *app) *cobra.Command {
	r := &archiverRun{app: a}
	c := &cobra.Command{
		Use:   "archive URL",
		Short: "Put every entry of the log into an archive as it becomes durable",
		Long: `Put the entries of the store's log, with their pages, into the archive at URL as
they become durable, until it is interrupted; with --once up to what is durable now.
The archive is made if there is none. The log is read beside the service that writes it,
without a lock, so that service does not wait for it, either: if a checkpoint lets go of
entries before they are shipped, it ends, and says which ones are missing; when there
is a snapshot behind them (txnctl backup create), it goes on from that. A consumer of
the service keeps the log.

It goes on where the archive ends, whoever brought it there; any number of these may
run. While the place cannot be reached it tries again, for as long as it takes (with
--once, five times).

Entries alone are enough when they begin with LSN 1. Else a restore needs a snapshot,
too: txnctl backup create.`,
		Example: `  txnctl backup archive file:///srv/archive          # until it is interrupted
  txnctl backup archive file:///srv/archive --once   # from cron
  txnctl backup archive file:///srv/archive --json | jq .shipped`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeURL,
		RunE:              func(c *cobra.Command, args []string) error { return r.run(c.Context(), args[0]) },
	}
	c.Flags().BoolVar(&r.once, "once", false, "end when all that is durable now is in the archive")
	r.recipientFlag(c)
	r.identityFlag(c)
	return c
}

func (r *archiverRun) run(ctx context.Context, url string) (err error) {
	tries := 0
	if r.once {
		tries = objects.DefaultTries
	}
	if r.ship, err = r.newShipment(ctx, url, &r.keys, tries); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.ship.close()) }()
	if r.ship.before == 0 && r.ship.begin > 1 {
		r.note("The log begins with LSN %d: to restore, a snapshot is needed, too (txnctl backup create %s).", r.ship.begin, url)
	}
	r.told = uint64(r.ship.before)
	if r.once {
		err = r.ship.once(ctx)
	} else {
		err = r.ship.follow(ctx, func() error { return r.tell(false) })
	}
	if err != nil {
		return err
	}
	return r.tell(!r.printed)
}

// tell prints how far it is, if that has changed.
func (r *archiverRun) tell(always bool) error {
	s := r.ship.archiver.Status()
	now := uint64(s.Shipped.LSN)
	if now == r.told && !always {
		return nil
	}
	o := archiveOutput{
		URL: r.ship.url, Shipped: now, Entries: now - min(now, r.told), Objects: s.Objects, Bytes: s.Bytes,
		Durable: uint64(r.ship.tail.Durable()), Retries: s.Retries,
	}
	if r.told == 0 && r.ship.begin > 1 && now > 0 {
		o.Entries = now - uint64(r.ship.begin) + 1
	}
	r.told, r.printed = now, true
	return r.print(o, o.text)
}

func (o archiveOutput) text(w io.Writer) {
	if o.Entries == 0 {
		fmt.Fprintf(w, "Nothing to ship: %s has the log up to LSN %d, the store is durable up to %d.\n", o.URL, o.Shipped, o.Durable)
		return
	}
	fmt.Fprintf(w, "Shipped %s: %s has the log up to LSN %d, the store is durable up to %d.\n", count(o.Entries, "entry"), o.URL, o.Shipped, o.Durable)
}
