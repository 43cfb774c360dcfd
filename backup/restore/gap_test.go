package restore_test

import (
	"errors"
	"testing"

	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// Entries that were never archived: what is before them is restored without them, what
// is behind from the snapshot that the archive went on with, and what is within is
// refused, by LSN and by time, with both neighbours.
func TestRestoreAroundAGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 16)
	w.live(8)
	w.Ship()
	last := w.M.Stats().Head.LSN
	w.live(12)
	w.Snapshot(true)
	snap := w.Snaps[0].LSN
	w.live(8)
	must(t, w.ShipFrom(snap-2))
	w.live(3)
	w.Ship()
	head := w.M.Stats().Head.LSN
	for _, lsn := range []wal.LSN{1, last, last + 1, last + 5, snap - 1, snap, snap + 1, snap + 9, head} {
		s := w.states[lsn]
		for _, target := range []restore.Target{{LSN: lsn}, {Time: s.Time()}} {
			dir, got, err := w.restore(target, restore.Options{Follower: true})
			if lsn <= last || lsn >= snap {
				must(t, err)
				w.holds(dir, got)
				if got.Position.LSN != lsn {
					t.Errorf("%v is LSN %d, want %d", target, got.Position.LSN, lsn)
				}
				continue
			}
			var refused *restore.RefusedError
			var gap *ship.GapError
			if !errors.As(err, &refused) || !errors.As(err, &gap) || gap.First != last+1 || gap.Last != snap || gap.Next != w.Snaps[0] {
				t.Fatalf("%v: %v", target, err)
			}
			if refused.Before.LSN != last || len(refused.After) != 1 || refused.After[0] != w.Snaps[0] {
				t.Errorf("%v: before it %v, behind it %v", target, refused.Before, refused.After)
			}
		}
	}
	must(t, w.Archive.Delete(ctx, w.keys("/manifest")[0]))
	if _, _, err := w.restore(restore.Target{}, restore.Options{}); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("without the snapshot behind the gap: %v", err)
	}
}
