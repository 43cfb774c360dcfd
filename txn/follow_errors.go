package txn

import (
	"errors"
	"fmt"
	"strings"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/wal"
)

// Errors of followers.
var (
	// ErrFollower: the store is a follower, which takes its entries from another
	// one. Write there, or promote this one.
	ErrFollower = errors.New("txn: the store is a follower and begins no transaction that writes; write to the store it follows, or promote it")
	// ErrNotFollower: only followers take entries, and are promoted.
	ErrNotFollower = errors.New("the store is not a follower")
	// ErrNothingToPromote: a follower without any entry has no history to go on
	// with.
	ErrNothingToPromote = errors.New("txn: the follower has not got any entry yet; there is nothing to promote")
	// ErrGap: entries are missing between the store's last and the one applied.
	ErrGap = errors.New("entries are missing before it")
	// ErrStaleEpoch: it was written by one who had been superseded by then.
	ErrStaleEpoch = errors.New("it is of an epoch that is over: its writer was superseded")
	// ErrMissingBase: the entry changes what is not here.
	ErrMissingBase = errors.New("what it changes is not here")
	// ErrImage: a page that the entry brings does not match its hash, or cannot
	// be read.
	ErrImage = errors.New("an image of it is not what it says, or cannot be read")
)

// ApplyError says why an entry was refused. Nothing was changed, and the entry
// that comes next can be applied.
type ApplyError struct {
	LSN    wal.LSN      // of the entry
	Head   wal.Position // the last entry of this store: resume behind it
	Volume wal.VolumeID // zero when none is concerned
	Err    error        // ErrGap, ErrStaleEpoch, ErrDiverged, ErrMissingBase, ErrImage, ErrNotFollower or ErrCompacted
	Cause  error        // what it was seen by; may be nil
}

func (e *ApplyError) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "txn: apply entry %d behind entry %d (%x)", e.LSN, e.Head.LSN, e.Head.Hash[:8])
	if e.Volume != (wal.VolumeID{}) {
		fmt.Fprintf(&s, ", volume %s", e.Volume)
	}
	fmt.Fprintf(&s, ": %v", e.Err)
	if e.Cause != nil {
		fmt.Fprintf(&s, ": %v", e.Cause)
	}
	s.WriteString("; nothing was changed, ")
	s.WriteString(e.advice())
	return s.String()
}

func (e *ApplyError) advice() string {
	switch e.Err {
	case ErrGap:
		return fmt.Sprintf("go on with entry %d", e.Head.LSN+1)
	case ErrStaleEpoch:
		return "follow the writer that superseded it"
	case ErrImage:
		return "read it again from its store, or from another copy"
	case ErrNotFollower:
		return "entries are applied to followers only"
	}
	return "the two stores have different histories; begin anew from a snapshot of one of them"
}

// Unwrap gives the reason and what it rests on: an entry of a stale epoch that this store
// had another one for is ErrDiverged, too.
func (e *ApplyError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Cause}
}

// imageError is about an image of an entry, or its index.
type imageError struct {
	volume wal.VolumeID
	page   uint64
	cause  error
}

func (e *imageError) Error() string { return fmt.Sprintf("page %d: %v", e.page, e.cause) }
func (e *imageError) Unwrap() error { return e.cause }

var errHash = errors.New("its bytes do not match the hash that the entry names")

// refusal makes an error about an entry itself an *ApplyError; others stay.
func (m *Manager) refusal(e *wal.Entry, err error) error {
	refused := &ApplyError{LSN: e.First, Cause: err}
	var image *imageError
	var mismatch *apply.MismatchError
	switch {
	case errors.As(err, &image):
		refused.Volume, refused.Err = image.volume, ErrImage
	case errors.As(err, &mismatch):
		refused.Volume, refused.Err = mismatch.Volume, ErrDiverged
		if lacks(mismatch) {
			refused.Err = ErrMissingBase
		}
	default:
		return err
	}
	refused.Head = m.head()
	return refused
}

// lacks reports whether an entry does not fit because the ref value it begins
// with is not here.
func lacks(e *apply.MismatchError) bool {
	switch e.What {
	case "place":
		return e.Want == "taken"
	case "expected tip", "base", "volume", "first change of the volume":
		return true
	}
	return false
}
