package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// Replica is the store while it is made.
type Replica interface {
	restore.Replica
	// Keep makes the store keep its log from here on, for a consumer of that name.
	Keep(ctx context.Context, consumer string) error
}

// Options of Run.
type Options struct {
	Disk vfs.FS // the operating system's when nil
	// Open opens the store in a directory as a follower that drops no consumer, or
	// makes an empty one.
	Open       func(dir string, make bool) (Replica, error)
	Identities []age.Identity
	Retry      objects.RetryOptions // of what is read of the archive; Tries are 5 when zero
	AcceptLoss bool                 // go on without what cannot be had, on a new timeline
	DryRun     bool                 // read and verify all that is needed, and make nothing
	Now        func() time.Time
	// Progress, when there is one, hears of what was done.
	Progress func(Progress)
}

// Progress of a repair.
type Progress struct {
	Step     string // "verify", "load", "follow" or "prove"
	LSN      wal.LSN
	Done, Of int64 // bytes, but for "follow"
}

// Repaired is what Run made, and the proof.
type Repaired struct {
	Loss     *recovery.Loss // of the damaged store by itself; nil when only the switch was finished
	Finished bool           // a run before had done all but the switch
	Damaged  string         // where the damaged store is now; empty after a dry run
	Position wal.Position   // of the last entry that was had
	Time     time.Time      // of that entry
	Base     wal.Position   // of the snapshot; zero when there is none: the log goes back to the first entry, or all is of Checkpoint
	// Checkpoint is the damaged store's own, when the log could not lead there: what it
	// has that is younger than Base was read from it. Zero else.
	Checkpoint wal.Position
	Archived   uint64     // entries applied that the archive had
	Own        uint64     // entries applied from the damaged store's own log
	Passed     []error    // what of the archive or the log could not be used
	LogFrom    wal.LSN    // with which the log begins
	OldFrom    wal.LSN    // with which it began in the damaged store
	Lost       *LossError // what was given up; nil when nothing was
	Volumes    uint64
	Digest     wal.PageHash // of all refs and states
	Compared   wal.LSN      // where the damaged store's catalogue said the same digest; 0 when it could not be asked
	Role       manifest.Role
	Began      wal.Position // the entry that begins a new timeline; zero when none does
	Dropped    []Dropped
}

// Dropped is a consumer that could not be carried over.
type Dropped struct {
	Name  string
	Acked wal.Position
	Why   string
}

// Run makes a store that takes the place of the one in dir. Errors: ErrSound,
// *LossError, restore.ErrRefused when the archive has nothing to begin with,
// ErrHistory, ErrDiverged, ErrBusy, *vfs.LockedError when somebody has the store open,
// wal.ErrVersion, those of archive and disk. dir is as it was after each of them.
func Run(ctx context.Context, store objects.Store, dir string, o Options) (*Repaired, error) {
	if o.Disk == nil {
		o.Disk = vfs.OS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Retry.Tries = cmp.Or(o.Retry.Tries, objects.DefaultTries)
	tried, err := objects.Retrying(store, o.Retry)
	if err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	r := &repairing{ctx: ctx, store: tried, o: o, place: place{disk: o.Disk, dir: dir}, expect: map[wal.LSN]wal.Hash{}}
	err = r.run()
	if err = errors.Join(err, r.close(err != nil)); err != nil {
		return nil, fmt.Errorf("repair: %s from %s: %w", dir, store, err)
	}
	return &r.got, nil
}

// repairing is one run.
type repairing struct {
	ctx   context.Context
	store objects.Store
	o     Options
	place place
	logs  *ship.Reader
	own   *recovery.Salvage

	log   wal.TimelineID // of the archive, that is followed
	limit wal.LSN        // where the store's history leaves it; 0 when it does not

	replica Replica // nil in a dry run
	at      wal.Position
	begun   wal.Position         // behind which the log of the new store begins
	known   wal.LSN              // up to which the archive once went
	expect  map[wal.LSN]wal.Hash // that entries must have, as the damaged store says
	got     Repaired
}

func (r *repairing) run() error {
	var err error
	if r.logs, err = ship.OpenReader(r.ctx, r.store, ship.ReadOptions{Identities: r.o.Identities, Retry: r.o.Retry}); err != nil {
		return err
	}
	if !r.o.DryRun {
		if err := r.place.lock(); err != nil {
			return err
		}
		if finished, err := r.finish(); finished || err != nil {
			return err
		}
		if err := r.place.hold(); err != nil {
			return err
		}
	}
	for _, step := range []func() error{r.assess, r.history, r.build, r.settle, r.carry, r.prove, r.replace} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// close lets go of everything, and removes what was being made if that failed.
func (r *repairing) close(failed bool) error {
	var errs []error
	if r.replica != nil {
		errs = append(errs, r.replica.Close())
	}
	if r.own != nil {
		errs = append(errs, r.own.Close())
	}
	if failed && r.place.locked != nil {
		errs = append(errs, r.discard())
	}
	return errors.Join(append(errs, r.place.release())...)
}

// discard removes what was made of the new store.
func (r *repairing) discard() error {
	return errors.Join(vfs.RemoveAll(r.o.Disk, r.place.making()), vfs.RemoveAll(r.o.Disk, r.place.making()+".restoring"))
}

func (r *repairing) progress(p Progress) {
	if r.o.Progress != nil {
		r.o.Progress(p)
	}
}

// verifying are the options of verifying the damaged store, or the new one.
func (r *repairing) verifying(step string) recovery.VerifyOptions {
	return recovery.VerifyOptions{Locked: r.place.unlock != nil && step == "verify", Progress: func(done, total int64) { r.progress(Progress{Step: step, Done: done, Of: total}) }}
}

// assess finds out what is wrong, and what of the store's own can be used.
func (r *repairing) assess() (err error) {
	r.got.Loss, err = recovery.Assess(r.ctx, r.o.Disk, r.place.dir, r.verifying("verify"))
	switch {
	case err != nil:
		return err
	case r.got.Loss.Verified.Clean:
		return ErrSound
	}
	if r.own, err = recovery.OpenSalvage(r.o.Disk, r.place.dir); err != nil {
		return err
	}
	r.got.OldFrom, r.got.Role = r.own.First, r.own.Facts.Node.Role
	if !r.own.Trusted() {
		return nil
	}
	if c := r.own.Facts.Checkpoint; c.LSN != 0 {
		r.expect[c.LSN] = c.Hash
	}
	for _, run := range r.own.Runs() {
		if run.Last <= r.own.Durable { // else opening might cut it
			r.expect[run.First-1], r.expect[run.Last] = run.Before, run.Hash
		}
	}
	return nil
}

// judge refuses when something is lost.
func (r *repairing) judge() error {
	durable := max(r.own.Durable, r.known)
	if r.at.LSN >= durable && r.own.Trusted() || r.got.Role == manifest.Follower {
		return nil
	}
	e := &LossError{At: r.at, Time: r.got.Time, Unread: r.own.Unread, Why: r.got.Passed, Loss: r.got.Loss}
	if r.at.LSN < durable {
		e.Lost = []Range{{r.at.LSN + 1, durable}}
		var err error
		if e.Known, err = r.own.Known(r.ctx, r.at.LSN+1, durable, recovery.MaxLost); err != nil {
			return err
		}
	}
	return e
}

func timeOf(ns int64) time.Time { return time.Unix(0, ns) }

// settle makes all that was applied durable, and ends the store's making.
func (r *repairing) settle() error {
	if r.o.DryRun {
		return nil
	}
	at, err := r.replica.Settle(r.ctx)
	if err == nil && at != r.at {
		err = fmt.Errorf("the store is at %v instead of %v: it is thrown away", at, r.at)
	}
	if err == nil {
		r.got.Volumes, r.got.Digest, err = r.replica.Digest()
	}
	if err == nil && r.got.Lost != nil {
		r.got.Role = manifest.Writer
		err = r.promote()
	}
	err = errors.Join(err, r.replica.Close())
	r.replica = nil
	return err
}

// promote begins a timeline of its own, above all that the archive has.
func (r *repairing) promote() error {
	above, err := r.logs.HighestEpoch(r.ctx)
	if err == nil {
		r.got.Began, err = r.replica.Promote(r.ctx, above)
	}
	return err
}
