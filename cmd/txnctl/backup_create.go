package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// createOutput is what backup create prints.
type createOutput struct {
	URL      string `json:"url" doc:"of the archive"`
	LSN      uint64 `json:"lsn" doc:"whose state the snapshot is"`
	Timeline string `json:"timeline" doc:"UUID of its timeline"`
	Hash     string `json:"hash" doc:"of that entry"`
	Time     string `json:"time" doc:"of that entry, RFC 3339, UTC"`
	Base     uint64 `json:"base" doc:"LSN of the snapshot that it is an increment on; 0 when it is whole"`
	Taken    bool   `json:"taken" doc:"it was taken now; false: the archive had it"`
	Parts    int    `json:"parts" doc:"objects that hold it"`
	Bytes    int64  `json:"bytes" doc:"of these"`
	Volumes  uint64 `json:"volumes" doc:"in it"`
	Digest   string `json:"digest" doc:"of all volumes, tags and states in it"`
	Shipped  uint64 `json:"shipped" doc:"LSN up to which the archive has the log; 0 when it has none of it"`
}

// creator is one run of backup create.
type creator struct {
	*app
	keys
	full bool

	ship  *shipment
	noted bool // that entries are missing
}

func newBackupCreateCommand(a *app) *cobra.Command {
	cr := &creator{app: a}
	c := &cobra.Command{
		Use:   "create URL",
		Short: "Put a snapshot of the store into an archive",
		Long: `Put a snapshot of the newest state that is durable into the archive at URL, which
is made if there is none; and before that, the entries of the log that it has not got.
The store is read beside the service that writes it, without a lock. If that service
overtakes it five times, it gives up: try at a quieter moment.

The first snapshot is whole. Later ones are increments on an earlier one of this
timeline that can be read: they hold what has changed since. On which is chosen so that
a restore never needs more than about as many snapshots as LSNs have binary digits, and
seldom more than a few. Its entry is compared with the log in the archive, which the
store's own goes on from; where that is gone or locked, it is assumed that the timeline
has one history. With --full it is whole, and so later ones need none before it.

A snapshot that the archive has already is a success, too. When entries are missing
between archive and log, it is taken all the same, and said which.`,
		Example: `  txnctl backup create file:///srv/archive
  txnctl backup create file:///srv/archive --full
  txnctl backup create file:///srv/archive --recipient age1...`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeURL,
		RunE:              func(c *cobra.Command, args []string) error { return cr.run(c.Context(), args[0]) },
	}
	c.Flags().BoolVar(&cr.full, "full", false, "make it whole, not an increment")
	cr.recipientFlag(c)
	cr.identityFlag(c)
	return c
}

func (c *creator) run(ctx context.Context, url string) error {
	var o createOutput
	err := errOvertaken
	for try := 0; try < exportTries && errors.Is(err, errOvertaken); try++ {
		o, err = c.try(ctx, url)
	}
	if err != nil {
		return err
	}
	return c.print(o, o.text)
}

// try begins anew: an archiver that stopped is of no use any more.
func (c *creator) try(ctx context.Context, url string) (o createOutput, err error) {
	if c.ship, err = c.newShipment(ctx, url, &c.keys, objects.DefaultTries); err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, c.ship.close()) }()
	at, err := c.log(ctx)
	if err != nil {
		return o, err
	}
	v, err := recovery.View(c.fs, c.ship.dir, at)
	if errors.Is(err, wal.ErrCompacted) {
		return o, errOvertaken
	}
	if err != nil {
		return o, ofStore(err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	o, err = c.snapshot(ctx, v)
	return o, overtaken(v, err)
}

// log ships the log, and returns up to where it is durable. A log that does not
// reach back to where the archive ends is no reason not to keep the state of now.
func (c *creator) log(ctx context.Context) (wal.LSN, error) {
	err := c.ship.once(ctx)
	var lost *lostError
	switch {
	case err == nil:
		return c.ship.tail.Durable(), nil
	case !errors.As(err, &lost):
		return 0, err
	case !c.noted:
		c.note("Note: %s, and no longer in the store's log: what they did cannot be restored step by step. Behind the snapshot the archive goes on with the log.", missingText(lost.first, lost.last))
		c.noted = true
	}
	return c.ship.durable, nil
}

func (c *creator) snapshot(ctx context.Context, v *recovery.Viewed) (o createOutput, err error) {
	snap := v.Snapshot()
	if err := c.start(ctx, v); err != nil {
		return o, err
	}
	bar, done := c.progress("snapshot", unknownTotal), int64(0)
	defer bar.end()
	m, err := snapshot.Take(ctx, c.ship.store, snap, snapshot.Options{
		Increment: !c.full, Identities: c.ship.ids, Passed: func(err error) { c.note("Note: %v", err) },
		PageSize: v.Facts().Options.PageSize, Seal: c.ship.seal,
		Progress: func(n uint64) { done += int64(n); bar.at(done) },
	})
	if errors.Is(err, snapshot.ErrTaken) {
		return c.has(ctx, snap.Head.Position)
	}
	if err != nil {
		return o, err
	}
	return c.output(m, true), nil
}

// start makes sure that the snapshot's log has a start in the archive: it has none
// when a checkpoint has let go of all entries.
func (c *creator) start(ctx context.Context, v *recovery.Viewed) error {
	head := v.Snapshot().Head
	key := archive.Key{Kind: archive.KindStart, Log: head.Timeline}
	if there, err := archive.Has(ctx, c.ship.store, key); there || err != nil {
		return err
	}
	s := archive.Start{Timeline: head.Timeline, Epoch: head.Epoch, First: head.LSN + 1, Before: head.Hash}
	err := c.ship.store.Put(ctx, key.String(), objects.Bytes(archive.EncodeStart(s)))
	if errors.Is(err, objects.ErrExists) {
		return nil // another one at work
	}
	return err
}

// has describes the snapshot that is there already.
func (c *creator) has(ctx context.Context, at wal.Position) (createOutput, error) {
	m, err := snapshot.Read(ctx, c.ship.store, at, c.ship.ids)
	if errors.Is(err, archive.ErrLocked) {
		m, err = &snapshot.Manifest{Position: at}, nil
	}
	if err != nil {
		return createOutput{}, err
	}
	return c.output(m, false), nil
}

func (c *creator) output(m *snapshot.Manifest, taken bool) createOutput {
	return createOutput{
		URL: c.ship.url, LSN: uint64(m.Position.LSN), Timeline: m.Position.Timeline.String(), Hash: m.Position.Hash.String(), Time: jsonTime(m.Time),
		Base: uint64(m.Base.LSN), Taken: taken, Parts: len(m.Parts), Bytes: m.Stored(), Volumes: m.Volumes, Digest: m.Digest.String(),
		Shipped: uint64(c.ship.archiver.Status().Shipped.LSN),
	}
}

func (o createOutput) text(w io.Writer) {
	if !o.Taken {
		fmt.Fprintf(w, "It is there already: the snapshot at LSN %d in %s.\n", o.LSN, o.URL)
		return
	}
	fmt.Fprintf(w, "Snapshot at LSN %d in %s: %s, %s in %s, %s.\n", o.LSN, o.URL, kindText(o.Base), bytesText(o.Bytes), count(o.Parts, "part"), count(o.Volumes, "volume"))
}

// kindText says what a snapshot is by its base.
func kindText(base uint64) string {
	if base == 0 {
		return "whole"
	}
	return fmt.Sprintf("increment on LSN %d", base)
}
