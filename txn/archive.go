package txn

import (
	"fmt"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// # Archiving
//
// With Options.Archive the manager keeps an archive of its log (package ship): each
// entry, with its images, as soon as it is durable. One goroutine does it, which no commit,
// checkpoint or reader waits for. A consumer, ArchiveConsumer, keeps what is not in the
// archive yet, through restarts and crashes; it acknowledges only what is durable there.
//
//	store, err := objects.Open(ctx, "file:///srv/archive", schemes)
//	m, rep, err := txn.Open(dir, txn.Options{Archive: txn.ArchiveOptions{Store: store}})
//	_, err = m.Backup(ctx, store, snapshot.Options{Increment: true})  // now and then: restores begin with it
//	st := m.Stats().Archive
//
// Open compares the archive with the store before it returns, for ArchiveOptions.OpenTimeout
// at most, so that a store which was rolled back is found out before its next write:
//
//	state      holds                                        left by
//	unchecked  the place was not reached; log is kept       reached: archiving, or stopped
//	archiving  the archive is of this history               a gap; something that stops it; Close
//	gap        what the archive lacks is gone: the          a snapshot is there: archiving
//	           consumer was dropped, or the archive lost it
//	stopped    ArchiveStats.Err says why; commits go on      opening the store anew
//	follower   its writer archives                          Promote: unchecked
//	closed     Close returned                               -
//
//  1. The archive ahead of the store on the store's timeline: the store was rolled back, or
//     is a copy. It is said loudly, and a timeline is begun, with the reason
//     recovery.ReasonRolledBack, behind the last entry that there is: the archive keeps
//     both. If entries were written before the place could be reached, that is
//     ship.ErrDiverged: it is stopped. Then keep the old history in the archive it has, and
//     open the store with another, empty one; or restore from the archive what it has
//     beyond, if that is what is wanted.
//  2. A consumer that lags beyond Options.ConsumerLagBytes is dropped, loudly, like all.
//     When the place can be reached again the consumer is made anew, and the entries that
//     are still there are shipped. Are some gone, then a whole snapshot is taken, and the
//     archive goes on behind it, with a skip for what it never got (ArchiveStats.Skipped). The
//     same is done when the archive lost its newest entries, and for a new archive of
//     a store whose log does not reach back to LSN 1 any more.
//  3. Whatever the place says that may pass is tried again for ever, with a wait that
//     doubles up to Ship.Retry.Most. What does not pass (another history, damage of the
//     archive, a place that is unfit) stops it, with an error in the log and in Stats.
//  4. Close has what is durable shipped, and the end marked, for ArchiveOptions.CloseTimeout
//     at most; the rest is shipped when the store is opened again.
//
// A store that begins timelines while its archive cannot be reached, and whose
// consumer is dropped, may lose the entries that tell how they follow from what is
// archived: then it is stopped by ship.ErrDiverged, too. With Ship.Seal.Recipients give
// Ship.Identities as well: without them histories are compared at the ends of objects only.

// ArchiveConsumer is the name of the consumer that keeps what is not archived yet.
const ArchiveConsumer = "quire-archive"

// ArchiveOptions have a manager archive its log; without a Store it does not.
type ArchiveOptions struct {
	// Store is the place, opened. The manager does not close it.
	Store objects.Store
	// Ship says how: encryption, sizes, how long entries gather (Interval), what is
	// waited between tries. History and Now are the manager's; Retry.Tries bounds single
	// calls only, which are made again all the same.
	Ship ship.Options
	// OpenTimeout is how long Open waits at most until the place was reached and
	// compared: 10 s when zero, not at all when negative.
	OpenTimeout time.Duration
	// CloseTimeout is how long Close has what is durable shipped: 10 s when zero, not at
	// all when negative. A place that was not reached yet is not waited for.
	CloseTimeout time.Duration
	// AckEvery is how often at most the consumer acknowledges, at the cost of a synced
	// write: 1 s when zero.
	AckEvery time.Duration
	// PackEvery is how often what was appended is merged into packs (ship.Pack): 10
	// minutes when zero, never when negative. What is encrypted is packed if Ship.Identities
	// open it.
	PackEvery time.Duration
}

func (o ArchiveOptions) withDefaults(now func() time.Time) (ArchiveOptions, error) {
	if o.Store == nil {
		return o, nil
	}
	for v, d := range map[*time.Duration]time.Duration{&o.OpenTimeout: 10 * time.Second, &o.CloseTimeout: 10 * time.Second, &o.AckEvery: time.Second} {
		if *v == 0 {
			*v = d
		}
	}
	o.Ship.Now = now
	if o.AckEvery < 0 {
		return o, fmt.Errorf("txn: options: Archive.AckEvery is %v", o.AckEvery)
	}
	if err := o.Ship.Check(); err != nil {
		return o, fmt.Errorf("txn: options: Archive: %w", err)
	}
	return o, nil
}

// ArchiveState says how archiving stands: see the table at the top of archive.go.
type ArchiveState uint8

// States of archiving.
const (
	ArchiveNone ArchiveState = iota // there is no Options.Archive
	ArchiveUnchecked
	ArchiveRunning
	ArchiveGap
	ArchiveStopped
	ArchiveFollower
	ArchiveClosed
)

func (s ArchiveState) String() string {
	names := [...]string{"none", "unchecked", "archiving", "gap", "stopped", "follower", "closed"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprint(uint8(s))
}

// ArchiveStats is how archiving stands.
type ArchiveStats struct {
	State ArchiveState
	URL   string // of the place, without secrets

	Shipped    wal.Position  // the archive has all entries up to it, but for those skipped
	Acked      wal.Position  // up to here the store keeps nothing for the archive
	LagEntries uint64        // durable, and not in the archive
	LagBytes   uint64        // that are kept on the disk for the archive, above the last checkpoint's need
	Lag        time.Duration // since the first of these entries came; 0: there are none
	Skipped    uint64        // entries that the archive went on without, since opening

	LastSuccess time.Time // entries were put, or found to be there
	LastError   string    // of a call of the place, or what stopped it
	LastErrorAt time.Time
	Failing     bool // since LastSuccess

	// Err is why archiving has stopped: ship.ErrDiverged, wal.ErrCorrupt, objects.ErrUnfit and
	// such; nil while it has not.
	Err error
	// Dropped is a *DroppedError when the consumer lagged too far behind, since opening; nil
	// if it never did.
	Dropped error
	// RolledBack says how far the archive was ahead when the store was opened; nil if
	// it was not.
	RolledBack *ship.AheadError
}
