package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Replica is the store while it is made: one opened as a follower.
type Replica interface {
	// Apply applies the next entry, with its body.
	Apply(ctx context.Context, e *wal.Entry, images io.ReaderAt) error
	// Settle makes what was applied durable, and returns where the store is.
	Settle(ctx context.Context) (wal.Position, error)
	// Digest is that of pagestore.Snapshot.
	Digest() (volumes uint64, digest wal.PageHash, err error)
	// Promote makes it a writer, and returns the entry that begins its timeline, whose
	// epoch is above its parent's and one that is given.
	Promote(ctx context.Context, above uint64) (wal.Position, error)
	// Acquire is what the store holds now, until release.
	Acquire() (s *pagestore.Snapshot, release func())
	// PageSize of volumes that name none, a fact of the store.
	PageSize() uint32
	// Delete deletes volumes by name, in one transaction of the writer that it was promoted to.
	Delete(ctx context.Context, volumes []string) error
	Close() error
}

// Options of Run.
type Options struct {
	Disk vfs.FS // the operating system's when nil
	// Open opens the store in a directory as a follower, or makes an empty one.
	Open       func(dir string, make bool) (Replica, error)
	Identities []age.Identity
	Retry      objects.RetryOptions // of calls of the archive's store; Tries are 5 when zero
	Follower   bool                 // leave it a follower
	// Volumes, when there are any, are all that the store is to hold: by their names in
	// the state restored, or UUIDs. Those of Along come too, if they are there.
	Volumes, Along []string
	CacheBytes     int64 // of memory for trees while snapshots are loaded; 0 is 64 MiB
	DryRun         bool  // read and verify all that is needed, and make nothing
	Now            func() time.Time
	// Progress, when there is one, hears of what was done.
	Progress func(Progress)
	// Pin says how the archive is pinned meanwhile.
	Pin pins.Options
}

// Progress of a restore.
type Progress struct {
	Step     string // "load", "follow", or "extract" when volumes are named
	LSN      wal.LSN
	Done, Of int64 // bytes of snapshots, when Step is "load"; Done of volumes, when it is "extract"
}

// Restored is what Run made, and the proof that it is what was archived.
type Restored struct {
	Target    Target
	Position  wal.Position // of the last entry restored
	Time      time.Time    // of that entry
	Snapshots []wal.Position
	Passed    []error // why newer snapshots could not be used; the log was, instead
	Entries   uint64  // applied behind the last snapshot
	Volumes   uint64
	Digest    wal.PageHash // of all refs and states
	Began     wal.Position // the entry that begins the new timeline; zero for a follower
	Objects   int          // snapshots' parts and manifests that were read
	Bytes     int64        // of them
	Unpinned  error        // why the archive could not be pinned; nil when it was

	Kept    []Kept // the volumes that were named, by name, proven equal to what they are in the whole state
	Of      uint64 // volumes in the whole state, when some were named
	Scratch int64  // after a dry run: about how many bytes the whole state takes while they are restored
}

// Run restores a state into dir, which is not there or empty. Errors: RefusedError,
// ErrAmbiguous, ErrNotEmpty, ErrBusy, objects.ErrNotFound when there is no archive,
// archive.ErrLocked, wal.ErrCorrupt with the key of the object that is damaged, those of
// disk and store. dir is as it was after each of them, but for those that say that the
// store is there.
func Run(ctx context.Context, store objects.Store, dir string, t Target, o Options) (*Restored, error) {
	o.Pin.Holder = "restore"
	pin, unpinned := pins.Hold(ctx, store, o.Pin) // before anything is listed
	defer func() { _ = pin.Release(ctx) }()       // else it ends by itself
	r, err := begin(ctx, store, dir, t, o)
	if err == nil {
		r.unpinned = unpinned
		err = r.run()
	}
	if err != nil {
		return nil, fmt.Errorf("restore: %s of %s to %s: %w", t, store, dir, err)
	}
	r.got.Passed, r.got.Unpinned = r.passed, r.unpinned
	return &r.got, nil
}

// restoring is one run.
type restoring struct {
	ctx      context.Context
	store    objects.Store
	logs     *ship.Reader
	dir      string
	o        Options
	target   Target
	all      []archive.Header // snapshots of the history that leads to the timeline, the newest first
	list     []archive.Header // of these, what could still be used
	chain    []*snapshot.Manifest
	passed   []error // why newer ones could not be used
	unpinned error   // why there is no pin
	replica  Replica
	wanted   *wanted
	kept     []Kept       // volumes that are restored when some were named
	release  func() error // ends the lock of restores
	got      Restored
}

func begin(ctx context.Context, store objects.Store, dir string, t Target, o Options) (*restoring, error) {
	if o.Disk == nil {
		o.Disk = vfs.OS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.CacheBytes = cmp.Or(o.CacheBytes, 64<<20)
	if o.Follower && len(o.Volumes) > 0 {
		return nil, errWhole
	}
	o.Retry.Tries = cmp.Or(o.Retry.Tries, objects.DefaultTries)
	store, err := objects.Retrying(store, o.Retry)
	if err != nil {
		return nil, err
	}
	logs, err := ship.OpenReader(ctx, store, ship.ReadOptions{Identities: o.Identities, Retry: o.Retry})
	if err != nil {
		return nil, err
	}
	r := &restoring{ctx: ctx, store: store, logs: logs, dir: dir, o: o, target: t, wanted: newWanted(o.Volumes), got: Restored{Target: t}}
	if !o.DryRun {
		if err := r.vacant(); err != nil {
			return nil, err
		}
	}
	return r, r.choose()
}

func (r *restoring) run() error {
	if r.o.DryRun {
		return r.rehearse()
	}
	if err := r.stage(); err != nil {
		return err
	}
	err := r.fill()
	if err != nil {
		return errors.Join(err, r.discard())
	}
	return r.switchTo()
}

// fill makes the store in the staging directory.
func (r *restoring) fill() error {
	err := r.load()
	for len(r.chain) > 0 && unusable(err) {
		if err = errors.Join(r.again(err), vfs.Clear(r.o.Disk, r.whole())); err == nil {
			err = r.load()
		}
	}
	if err != nil {
		return err
	}
	if r.replica, err = r.o.Open(r.whole(), len(r.chain) == 0); err != nil {
		return err
	}
	at, err := r.finish()
	err = errors.Join(err, r.replica.Close())
	if err == nil && len(r.o.Volumes) > 0 {
		err = r.keep(at)
	}
	return err
}

// finish brings the whole store to the target, and proves it. When volumes were named,
// a store of these is made of it, which is at the position returned.
func (r *restoring) finish() (at wal.Position, err error) {
	if err = r.follow(); err == nil {
		err = r.proveAt(r.got.Position)
	}
	if err == nil && len(r.o.Volumes) > 0 {
		snap, release := r.replica.Acquire()
		err = r.find(snap)
		release()
	}
	if err == nil && !r.o.Follower {
		err = r.promote()
	}
	if err == nil && len(r.o.Volumes) > 0 {
		at, err = r.extract(r.replica)
	}
	return at, err
}

// promote begins a timeline of its own, whose epoch is above all that the archive has:
// else it and what an earlier restore of the same state began would be of one rank.
func (r *restoring) promote() error {
	above, err := r.logs.HighestEpoch(r.ctx)
	if err == nil {
		r.got.Began, err = r.replica.Promote(r.ctx, above)
	}
	return err
}

// again gives up the snapshots that turned out to be unusable, and takes older ones.
func (r *restoring) again(err error) error {
	r.pass(err)
	r.got = Restored{Target: r.target}
	return r.next()
}

// follow applies the entries up to the target.
func (r *restoring) follow() error {
	snap, release := r.replica.Acquire()
	err := r.wanted.begin(snap)
	release()
	if err != nil {
		return err
	}
	return r.entries(func(i *archive.Item) error {
		r.wanted.entry(i.Entry)
		return r.replica.Apply(r.ctx, i.Entry, i.Images)
	})
}

// entries calls do with each entry between the snapshot and the target.
func (r *restoring) entries(do func(*archive.Item) error) error {
	at := r.got.Position
	if r.reached() {
		return nil
	}
	var behind *archive.Item // when the log begins behind the target
	for item, err := range r.logs.Entries(r.ctx, r.target.Timeline, at.LSN+1, r.target.LSN) {
		if err != nil {
			return r.refuse(err)
		}
		if at.LSN != 0 && item.Entry.Prev != at.Hash {
			return &wal.CorruptError{File: item.Position().String(), Offset: -1, LSN: item.Entry.First,
				Reason: fmt.Sprintf("it follows entry %s, what was restored ends with %s", item.Entry.Prev, at.Hash)}
		}
		if !r.target.wants(item.Entry) {
			behind = item
			break
		}
		if err := do(item); err != nil {
			return err
		}
		at = item.Position()
		r.got.Position, r.got.Time = at, time.Unix(0, item.Entry.Time)
		r.got.Entries++
		r.progress(Progress{Step: "follow", LSN: at.LSN})
		if r.reached() {
			return nil
		}
	}
	if r.target.Time.IsZero() && at.LSN < r.target.LSN {
		return &RefusedError{Target: r.target, Why: fmt.Errorf("no entry ends with LSN %d", r.target.LSN), Before: at, Time: r.got.Time, Passed: r.passed}
	}
	if r.got.Position.LSN == 0 {
		err := r.refuse(&ship.GapError{Timeline: r.target.Timeline, First: 1, Last: max(1, r.target.LSN)})
		var refused *RefusedError
		if errors.As(err, &refused) && behind != nil {
			refused.After = slices.Insert(refused.After, 0, behind.Position())
			refused.AfterTime = time.Unix(0, behind.Entry.Time)
		}
		return err
	}
	return nil
}

// reached reports whether no entry behind what was restored can belong to the target:
// times rise.
func (r *restoring) reached() bool {
	at := r.got.Position.LSN
	return at != 0 && (at == r.target.LSN || !r.target.Time.IsZero() && !r.got.Time.Before(r.target.Time))
}

func (r *restoring) progress(p Progress) {
	if r.o.Progress != nil {
		r.o.Progress(p)
	}
}

// proveAt makes sure that what is on the disk is what was to be there.
func (r *restoring) proveAt(want wal.Position) error {
	at, err := r.replica.Settle(r.ctx)
	if err != nil {
		return err
	}
	if at != want {
		return fmt.Errorf("the store is at %v instead of %v: it is thrown away", at, want)
	}
	r.got.Volumes, r.got.Digest, err = r.replica.Digest()
	return err
}

// rehearse reads all that a restore would.
func (r *restoring) rehearse() error {
	err := r.readChain()
	for len(r.chain) > 0 && unusable(err) {
		if err = r.again(err); err == nil {
			err = r.readChain()
		}
	}
	if err != nil {
		return err
	}
	return r.entries(func(i *archive.Item) error {
		r.got.Scratch += i.Size
		return nil
	})
}

// readChain reads the snapshots.
func (r *restoring) readChain() error {
	for _, m := range r.chain {
		p := snapshot.NewReader(r.ctx, r.store, m, r.o.Identities)
		_, err := io.Copy(io.Discard, p)
		p.Close()
		if err != nil {
			return err
		}
		r.took(m)
		r.got.Scratch += m.Plain()
	}
	return nil
}
