package ship

import (
	"errors"
	"fmt"

	"github.com/quire-db/quire/wal"
)

// What an error of this package is about. All of them stop an archiver, and
// leave archive and store as they were.
var (
	// ErrDiverged: the archive holds another history than the store.
	ErrDiverged = errors.New("the archive holds another history")
	// ErrAhead: the archive has entries of the store's own timeline that the
	// store has not got.
	ErrAhead = errors.New("the archive is ahead of the store on the store's own timeline")
	// ErrGap: entries are missing.
	ErrGap = errors.New("entries are missing")
	// ErrStalled: entries were put below a floor, and taken back.
	ErrStalled = errors.New("the entries are older than what the archive may have deleted")
)

// DivergedError names the two positions that cannot be of one history. They
// are of one LSN, or the store's is that of an entry that does not follow the archive's.
type DivergedError struct {
	Key     string       // of the object that was compared, or of the entry's log
	Store   wal.Position // of the store that is archived
	Archive wal.Position
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("ship: %v: the store is at %v, the archive (%s) at %v; nothing was changed, and nothing more is shipped: give one of the two stores another archive, or a timeline of its own",
		ErrDiverged, e.Store, e.Key, e.Archive)
}

// Is makes every DivergedError an ErrDiverged.
func (e *DivergedError) Is(target error) bool { return target == ErrDiverged }

// AheadError says how far a store was rolled back.
type AheadError struct {
	Store   wal.Position // its newest durable entry
	Archive wal.Position // the archive's newest
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("ship: %v: the store ends at %v, the archive at %v: the store was rolled back, or is a copy; nothing was changed: begin a new timeline before the next write",
		ErrAhead, e.Store, e.Archive)
}

// Is makes every AheadError an ErrAhead.
func (e *AheadError) Is(target error) bool { return target == ErrAhead }

// GapError names entries that are missing: from the stream that is archived,
// or from an archive that is read.
type GapError struct {
	Timeline    wal.TimelineID // in whose log they belong
	First, Last wal.LSN
	Stream      bool // they are missing from the stream
	// Next, unless it is zero, says that they were never archived, and were skipped: the log
	// goes on behind it, where there was a snapshot. States in the gap cannot be
	// restored.
	Next wal.Position
}

func (e *GapError) Error() string {
	if e.Next.LSN != 0 {
		return fmt.Sprintf("ship: %v: %d to %d of timeline %s were never archived, and no state between them can be restored; the log goes on behind LSN %d; nothing that needs them was returned",
			ErrGap, e.First, e.Last, e.Timeline, e.Next.LSN)
	}
	where, next := "the archive", "nothing that needs them was returned"
	if e.Stream {
		where, next = "the stream of entries", "nothing was put: the archive can only go on where it ends, or behind a snapshot that covers them: take one"
	}
	return fmt.Sprintf("ship: %v: %d to %d of timeline %s are not in %s; %s", ErrGap, e.First, e.Last, e.Timeline, where, next)
}

// Is makes every GapError an ErrGap.
func (e *GapError) Is(target error) bool { return target == ErrGap }

// StalledError says what a writer that had stalled tried to bring back.
type StalledError struct {
	Timeline wal.TimelineID
	First    wal.LSN // that it put, and deleted again
	Floor    wal.LSN // below which entries may be gone
	Left     error   // why the object could not be deleted; nil when it was
}

func (e *StalledError) Error() string {
	s := fmt.Sprintf("ship: %v: entry %d of timeline %s was put, the floor is %d; ", ErrStalled, e.First, e.Timeline, e.Floor)
	if e.Left != nil {
		return s + fmt.Sprintf("it could not be deleted again, which does no harm: %v; open the archiver anew", e.Left)
	}
	return s + "it was deleted again: open the archiver anew, and it goes on where the archive ends"
}

// Is makes every StalledError an ErrStalled.
func (e *StalledError) Is(target error) bool { return target == ErrStalled }

// Unwrap is why the object was left.
func (e *StalledError) Unwrap() error { return e.Left }
