package restore

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// Target is the state that is wanted. The zero value is the newest.
type Target struct {
	// Timeline whose log leads there. Zero: that of the highest epoch; when there
	// are several, AmbiguousError.
	Timeline wal.TimelineID
	LSN      wal.LSN   // of its last entry; 0: the newest
	Time     time.Time // no entry is younger; zero: no bound
}

func (t Target) String() string {
	switch {
	case t.LSN != 0:
		return fmt.Sprintf("LSN %d", t.LSN)
	case !t.Time.IsZero():
		return t.Time.UTC().Format(time.RFC3339Nano)
	}
	return "the newest state"
}

// wants reports whether an entry belongs to the state.
func (t Target) wants(e *wal.Entry) bool {
	return (t.LSN == 0 || e.Last <= t.LSN) && (t.Time.IsZero() || e.Time <= t.Time.UnixNano())
}

var (
	// ErrRefused: the archive does not have what leads to the target.
	ErrRefused = errors.New("cannot be restored to that point")
	// ErrAmbiguous: several timelines could be meant.
	ErrAmbiguous = errors.New("more than one timeline is as new: say which")
	// ErrNotEmpty: something is where the store is to be.
	ErrNotEmpty = errors.New("the directory is not empty")
	// ErrBusy: another restore writes there.
	ErrBusy = errors.New("another restore is at work there")
)

// AmbiguousError names the timelines that share the highest epoch: what was restored, or
// promoted, without knowing of each other. Which one is meant, only their owner knows.
type AmbiguousError struct {
	Starts []archive.Start // by timeline
}

func (e *AmbiguousError) Error() string {
	var list []string
	for _, s := range e.Starts {
		list = append(list, fmt.Sprintf("%s, which begins with LSN %d", s.Timeline, s.First))
	}
	return fmt.Sprintf("restore: %v; of epoch %d are %s; nothing was changed", ErrAmbiguous, e.Starts[0].Epoch, strings.Join(list, ", and "))
}

// Is makes every AmbiguousError an ErrAmbiguous.
func (e *AmbiguousError) Is(target error) bool { return target == ErrAmbiguous }

// RefusedError says why a target cannot be restored, and what can. dir is as it
// was.
type RefusedError struct {
	Target    Target
	Why       error          // what is missing: a *ship.GapError as a rule
	Before    wal.Position   // the newest point before that can be restored; zero when there is none
	Time      time.Time      // of its entry
	After     []wal.Position // behind the target, the nearest first: the log's first entry, snapshots
	AfterTime time.Time      // of the nearest of these
	Passed    []error        // why snapshots that would have led there could not be used
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("restore: %v: %s: %v; nothing was changed", ErrRefused, e.Target, e.Why)
	if e.Before.LSN != 0 {
		text += fmt.Sprintf("; the nearest point before is LSN %d (%s)", e.Before.LSN, e.Time.UTC().Format(time.RFC3339Nano))
	}
	if len(e.After) > 0 {
		text += fmt.Sprintf("; the nearest behind is LSN %d (%s)", e.After[0].LSN, e.AfterTime.UTC().Format(time.RFC3339Nano))
	}
	if len(e.Passed) > 0 {
		text += fmt.Sprintf("; %d snapshots could not be used: %v", len(e.Passed), errors.Join(e.Passed...))
	}
	return text
}

// Unwrap makes it ErrRefused, and what is missing.
func (e *RefusedError) Unwrap() []error { return []error{ErrRefused, e.Why} }

// NoVolumeError says that a volume is not in the state that was to be restored, which
// cannot be restored with it, then. dir is as it was.
type NoVolumeError struct {
	Name string       // as it was asked for
	At   wal.Position // of the state
	Gone string       // what deleted or renamed it before, if that was met on the way
	Near []string     // names of volumes that are there and are like it, up to 5
}

func (e *NoVolumeError) Error() string {
	text := fmt.Sprintf("restore: %v: at LSN %d there is no volume %q", ErrRefused, e.At.LSN, e.Name)
	if e.Gone != "" {
		text += ": " + e.Gone
	}
	if len(e.Near) > 0 {
		text += fmt.Sprintf("; there is %q", e.Near)
	}
	return text + "; nothing was changed"
}

// Is makes every NoVolumeError an ErrRefused.
func (e *NoVolumeError) Is(target error) bool { return target == ErrRefused }

// missing reports whether an error is one of an archive that lacks something.
func missing(err error) bool { return errors.Is(err, ship.ErrGap) }
