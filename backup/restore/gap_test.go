package restore_test

import (
	"errors"
	"strings"
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
	w.ship()
	last := w.m.Stats().Head.LSN
	w.live(12)
	w.snapshot(true)
	snap := w.snaps[0].LSN
	w.live(8)
	w.shipFrom(snap - 2)
	w.live(3)
	w.ship()
	head := w.m.Stats().Head.LSN
	for _, lsn := range []wal.LSN{1, last, last + 1, last + 5, snap - 1, snap, snap + 1, snap + 9, head} {
		s := w.states[lsn]
		for _, target := range []restore.Target{{LSN: lsn}, {Time: s.time}} {
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
			if !errors.As(err, &refused) || !errors.As(err, &gap) || gap.First != last+1 || gap.Last != snap || gap.Next != w.snaps[0] {
				t.Fatalf("%v: %v", target, err)
			}
			if refused.Before.LSN != last || len(refused.After) != 1 || refused.After[0] != w.snaps[0] {
				t.Errorf("%v: before it %v, behind it %v", target, refused.Before, refused.After)
			}
		}
	}
	must(t, w.store.Delete(ctx, firstKey(t, w, "/manifest")))
	if _, _, err := w.restore(restore.Target{}, restore.Options{}); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("without the snapshot behind the gap: %v", err)
	}
}

// firstKey is the first key of the archive's logs that has a text in it.
func firstKey(t testing.TB, w *world, text string) (first string) {
	t.Helper()
	for item, err := range w.store.List(ctx, "logs/") {
		must(t, err)
		if strings.Contains(item.Key, text) && (first == "" || item.Key < first) {
			first = item.Key
		}
	}
	return first
}
