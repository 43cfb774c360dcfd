package ship

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/quire-db/quire/wal"
)

// Report is what Verify found.
type Report struct {
	Archive  uuid.UUID // zero when FORMAT cannot be read
	Problems []Problem // leftovers and unmarked ends behind all others
	Ranges   []Range   // what can be read, of each log, ascending
	Skipped  []Range   // what was never archived, of each log, ascending: no state within can be restored

	Objects uint64 // that were read
	Bytes   uint64 // of them, those of blobs plain
	Entries uint64 // that were verified with all their images
	Locked  uint64 // objects of which only what needs no key was verified
}

// Sound reports whether nothing is wrong: leftovers, and ends that have no mark, may be
// there.
func (r *Report) Sound() bool {
	return len(r.Problems) == 0 || r.Problems[0].Kind >= Leftover // they come last
}

func (r *Report) sort() {
	harmless := func(p Problem) int { return max(0, int(p.Kind)-int(Unreadable)) }
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(harmless(a), harmless(b)), cmp.Compare(a.Key, b.Key))
	})
	for _, ranges := range [][]Range{r.Ranges, r.Skipped} {
		slices.SortFunc(ranges, func(a, b Range) int {
			return cmp.Or(cmp.Compare(a.First, b.First), bytes.Compare(a.Timeline[:], b.Timeline[:]))
		})
	}
}

// Problem is something that Verify found.
type Problem struct {
	Key  string // of the object that is concerned, or that is missing
	Kind ProblemKind
	Err  error
}

func (p Problem) String() string { return fmt.Sprintf("%s: %s: %v", p.Key, p.Kind, p.Err) }

// ProblemKind says what sort of problem one is.
type ProblemKind uint8

// Kinds of problems.
const (
	// Foreign: the key is none of an archive's of this version.
	Foreign ProblemKind = iota + 1
	// Damaged: the object is not what was put by that key.
	Damaged
	// Missing: an object is not there that must be. For entries that are gone, the
	// error is a *GapError and the key that of the first one's append.
	Missing
	// Conflict: objects of the archive have different histories.
	Conflict
	// Unreadable: the object store could not return the object.
	Unreadable
	// Leftover: nothing needs the object. It was left by something interrupted.
	Leftover
	// Unmarked: the log has no mark behind its last entry. Its writer is at work,
	// or was killed; or a mark was lost. Whether entries followed cannot be told.
	Unmarked
)

func (k ProblemKind) String() string {
	names := [...]string{"", "foreign", "damaged", "missing", "conflict", "unreadable", "leftover", "unmarked end"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprint(uint8(k))
}

// Range is a range of entries that can be read, or that was skipped: then both times
// are that of the snapshot behind which the log goes on.
type Range struct {
	Timeline            wal.TimelineID
	First, Last         wal.LSN
	FirstTime, LastTime int64 // of these entries, nanoseconds since 1970
	Before, Hash        wal.Hash
}

// maxProblems bounds a Report. What comes after is counted by the last one.
const maxProblems = 10_000
