package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// followOutput is where a follower stands, as follow prints it.
type followOutput struct {
	Dir      string `json:"dir" doc:"directory of the follower"`
	Applied  uint64 `json:"applied" doc:"entries applied since the line before"`
	LSN      uint64 `json:"lsn" doc:"of the follower's last entry, which is durable"`
	Timeline string `json:"timeline" doc:"UUID of its timeline"`
	Hash     string `json:"hash" doc:"of that entry"`
	Source   uint64 `json:"source" doc:"LSN up to which the source was known to be durable"`
}

// followRun is one run of follow.
type followRun struct {
	*app
	to     string
	once   bool
	demote bool

	m       *txn.Manager
	tail    *recovery.Tail
	at      wal.Position // of the follower's last entry
	applied uint64       // since something was printed
}

func newFollowCommand(a *app) *cobra.Command {
	f := &followRun{app: a}
	c := &cobra.Command{
		Use:   "follow DIR",
		Short: "Keep a second directory up as a follower of the store",
		Long: `Keep the store in DIR up as a follower: it gets every entry of the store that
--dir names, with the same LSNs and hashes, once the entry is on the disk there. DIR is
made if it does not exist. The store is read beside the service that writes it;
DIR is open while this runs, and can be read beside it, too.

It goes on until it is interrupted, and where it stood when it is started again.
Nothing is ever left out: what does not continue what DIR has, a gap or another
history, ends it and changes nothing.

A checkpoint of the store lets go of older entries. A follower that is new, or has
fallen back behind that, cannot be made or go on from the log alone: it needs a
copy of the store to begin with. A service that has followers keeps the log for
them with a consumer.`,
		Example: `  txnctl follow /srv/second            # until it is interrupted
  txnctl follow /srv/second --once     # up to what there is now
  txnctl --dir /srv/second promote     # when the first one is lost`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeDirectory,
		RunE: func(c *cobra.Command, args []string) error {
			f.to = args[0]
			return f.run(c.Context())
		},
	}
	c.Flags().BoolVar(&f.once, "once", false, "end when all that is durable now was applied")
	c.Flags().BoolVar(&f.demote, "demote", false, "DIR may be a writer's store: it becomes a follower")
	return c
}

// completeDirectory completes an argument that is a directory.
func completeDirectory(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func (f *followRun) run(ctx context.Context) (err error) {
	dir, err := f.storeDir()
	if err != nil {
		return err
	}
	if !f.hasStore(dir) {
		return f.noStore(dir, fs.ErrNotExist)
	}
	if err := f.open(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.tail.Close(), f.m.Close()) }()
	return f.follow(ctx)
}

// open opens the follower and the log behind where it stands. A new one is not
// made before the log is known to reach back to the beginning.
func (f *followRun) open(dir string) (err error) {
	facts, _, err := manifest.Load(f.fs, f.to)
	made := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case made && sameStore(f.app, dir, f.to):
		return usagef("%s is the store that is to be followed", f.to)
	case made && facts.Node.Role == manifest.Writer && !f.demote:
		return fmt.Errorf("the store in %s is a writer and no follower; --demote makes it one, if it has the same history", f.to)
	case !made:
		if f.tail, err = f.openTail(dir, 1); err != nil {
			return err
		}
	}
	m, rep, err := txn.Open(f.to, txn.Options{FS: f.fs, Follower: true, Create: !made})
	if err != nil {
		if f.tail != nil {
			err = errors.Join(err, f.tail.Close())
		}
		return err
	}
	f.noteRecovery(rep)
	f.m, f.at = m, m.Stats().Head
	if f.tail == nil {
		if f.tail, err = f.resume(dir); err != nil {
			return errors.Join(err, m.Close())
		}
	}
	return nil
}

// sameStore reports whether two names are of one directory.
func sameStore(a *app, x, y string) bool {
	disk, ok := a.fs.(interface{ FileID(string) (string, error) })
	if !ok {
		return filepath.Clean(x) == filepath.Clean(y)
	}
	idX, errX := disk.FileID(x)
	idY, errY := disk.FileID(y)
	return errX == nil && errY == nil && idX == idY && a.sameManifest(x, y)
}

// sameManifest tells directories of one ID on two file systems apart.
func (a *app) sameManifest(x, y string) bool {
	fx, _, errX := manifest.Load(a.fs, x)
	fy, _, errY := manifest.Load(a.fs, y)
	return errX == nil && errY == nil && fx.Store == fy.Store
}

// resume begins with the follower's own last entry, so that another history is
// found out at once; with the one behind it when that is gone.
func (f *followRun) resume(dir string) (*recovery.Tail, error) {
	v, err := recovery.View(f.fs, dir, 0)
	if err != nil {
		return nil, err
	}
	last := v.Findings().Scan.Last
	if err := v.Close(); err != nil {
		return nil, err
	}
	if last < f.at.LSN {
		return nil, fmt.Errorf("the store ends at LSN %d, its follower is at %d: the store has lost entries, or is another; nothing was changed", last, f.at.LSN)
	}
	if f.at.LSN > 0 {
		if t, err := recovery.OpenTail(f.fs, dir, f.at.LSN); !errors.Is(err, wal.ErrCompacted) {
			return t, err
		}
	}
	return f.openTail(dir, f.at.LSN+1)
}

func (f *followRun) openTail(dir string, from wal.LSN) (*recovery.Tail, error) {
	t, err := recovery.OpenTail(f.fs, dir, from)
	if errors.Is(err, wal.ErrCompacted) {
		return nil, f.needsCopy(from, err)
	}
	return t, err
}

// needsCopy: a follower cannot go on from the log.
func (f *followRun) needsCopy(from wal.LSN, err error) error {
	return fmt.Errorf("entry %d of the store is gone: a checkpoint has let go of it; the follower in %s has to begin with a snapshot of the store: %w", from, f.to, err)
}

// follow applies entries until there are no more, or it is interrupted, which is
// a good end.
func (f *followRun) follow(ctx context.Context) error {
	bar := f.newProgress("follow", 1, false)
	defer bar.end()
	for first := true; ; first = false {
		err := f.catchUp(ctx, bar)
		if err == nil {
			err = f.settle(ctx, first && f.once)
		}
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return f.settle(context.WithoutCancel(ctx), false)
		}
		if err != nil || f.once {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(followEvery):
		}
	}
}

// catchUp applies all that is known to be durable.
func (f *followRun) catchUp(ctx context.Context, bar *progress) error {
	for ctx.Err() == nil {
		rec, images, err := f.tail.Next()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, wal.ErrCompacted) {
			return f.needsCopy(f.at.LSN+1, err)
		}
		if err != nil {
			return err
		}
		got, err := f.m.Apply(ctx, rec.Entry, images)
		if errors.Is(err, txn.ErrImage) && f.tail.Gone(rec.LSN) {
			return f.needsCopy(rec.LSN, err)
		}
		if err != nil {
			return err
		}
		if !got.Skipped {
			f.at = got.Position
			f.applied++
		}
		bar.of(int64(f.at.LSN), int64(f.tail.Durable()))
	}
	return ctx.Err()
}

// settle waits until what was applied is durable, and says so.
func (f *followRun) settle(ctx context.Context, always bool) error {
	if f.applied == 0 && !always {
		return nil
	}
	if _, err := f.m.Wait(ctx, f.at, txn.Ack{Applied: true}); err != nil {
		return err
	}
	o := followOutput{
		Dir: f.to, Applied: f.applied, LSN: uint64(f.at.LSN), Timeline: f.at.Timeline.String(), Hash: f.at.Hash.String(), Source: uint64(f.tail.Durable()),
	}
	f.applied = 0
	return f.print(o, func(w io.Writer) {
		fmt.Fprintf(w, "Applied %s; %s is at LSN %d, the store is durable up to %d.\n", count(o.Applied, "entry"), o.Dir, o.LSN, o.Source)
	})
}
