package repair

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

var (
	// ErrSound: nothing is wrong with the store. Nothing was changed.
	ErrSound = errors.New("nothing is wrong with the store")
	// ErrBusy: another repair is at work there.
	ErrBusy = errors.New("another repair is at work there")
	// ErrLeft: a store that was repaired, and did not get its name, lies beside one that
	// is sound. Nothing was changed.
	ErrLeft = errors.New("the store is sound, and beside it lies a repaired one whose repair did not come to its end")
	// ErrDiverged: the archive is of another history than the store. Nothing was changed.
	ErrDiverged = errors.New("the archive is of another history than the store")
	// ErrHistory: nothing says which history of the archive is the store's.
	ErrHistory = errors.New("the archive has no log that is known to be the store's")
)

// Range of entries.
type Range struct{ First, Last wal.LSN }

// LossError says what is lost for good. It is a restore.ErrRefused. Nothing was changed.
type LossError struct {
	At     wal.Position // the last position that can be had
	Time   time.Time    // of its entry
	Lost   []Range      // that were durable; one at most
	Known  []recovery.LostEntry
	Unread error // why it cannot be told how far the store went; nil when it can
	Why    []error
	Loss   *recovery.Loss // of the damaged store by itself
}

func (e *LossError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "repair: LSN %d (%s) is the last that can be had", e.At.LSN, e.Time.UTC().Format(time.RFC3339Nano))
	for _, r := range e.Lost {
		fmt.Fprintf(&b, "; entries %d to %d were durable and are lost", r.First, r.Last)
	}
	if e.Unread != nil {
		fmt.Fprintf(&b, "; whether there were more cannot be told: %v", e.Unread)
	}
	b.WriteString("; nothing was changed: accept the loss, and the store goes on from there on a new timeline, or find an archive that has more")
	return b.String()
}

// Unwrap makes it a restore.ErrRefused.
func (e *LossError) Unwrap() []error { return append([]error{restore.ErrRefused}, e.Why...) }
