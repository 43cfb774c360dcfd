package restore_test

import (
	"errors"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/backuptest"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// goOn makes a commit in a store that was restored, and ships it.
func (w *world) goOn(dir string, got *restore.Restored) {
	w.T.Helper()
	s := &backuptest.Store{T: w.T, Dir: dir, Archive: w.Archive, Begun: got.Position}
	s.Open()
	_, err := s.M.Update(ctx, func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("new of "+filepath.Base(dir), txn.VolumeOptions{})
		return err
	})
	must(w.T, err)
	s.Ship()
	must(w.T, s.M.Close())
}

// What is restored later is of a higher epoch, whatever point of the history it was
// restored to: the newest state of the archive is that of the last restore that went on.
func TestRestoredAgainIsNewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 21)
	w.live(6)
	w.Ship()
	w.Snapshot(true)
	w.live(6)
	w.Ship()
	old := w.M.Stats().Head.Timeline
	for _, lsn := range slices.Backward(slices.Sorted(maps.Keys(w.states))[2:5]) {
		dir, got, err := w.restore(restore.Target{Timeline: old, LSN: lsn}, restore.Options{})
		must(t, err)
		w.goOn(dir, got)
		_, newest, err := w.restore(restore.Target{}, restore.Options{Follower: true})
		must(t, err)
		if newest.Position.Timeline != got.Began.Timeline || newest.Position.LSN != got.Began.LSN+1 {
			t.Errorf("after a restore to LSN %d that began %v, the newest state is %v", lsn, got.Began, newest.Position)
		}
		// Another log's damage is no reason not to restore this one.
		start := archive.Key{Kind: archive.KindStart, Log: got.Began.Timeline}.String()
		b := objectstest.Bytes(t, w.Archive, start)
		objectstest.Replace(t, w.Archive, start, []byte("damaged"))
		if _, _, err := w.restore(restore.Target{}, restore.Options{}); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("with a damaged log, whose it might be: %v", err)
		}
		_, _, err = w.restore(restore.Target{Timeline: old, LSN: lsn}, restore.Options{})
		must(t, err)
		objectstest.Replace(t, w.Archive, start, b)
	}
}

// Two restores that cannot know of each other tie: the next one asks which is meant, and
// takes what it is told.
func TestRestoredAtOnceIsAmbiguous(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 22)
	w.live(6)
	w.Ship()
	dirA, a, err := w.restore(restore.Target{}, restore.Options{})
	must(t, err)
	dirB, b, err := w.restore(restore.Target{}, restore.Options{})
	must(t, err)
	w.goOn(dirA, a)
	w.goOn(dirB, b)
	_, _, err = w.restore(restore.Target{}, restore.Options{})
	var ambiguous *restore.AmbiguousError
	if !errors.As(err, &ambiguous) || !errors.Is(err, restore.ErrAmbiguous) || len(ambiguous.Starts) != 2 {
		t.Fatalf("two timelines of one epoch: %v", err)
	}
	for _, r := range []*restore.Restored{a, b} {
		if !strings.Contains(err.Error(), r.Began.Timeline.String()) {
			t.Errorf("%v is not named: %v", r.Began, err)
		}
		_, got, err := w.restore(restore.Target{Timeline: r.Began.Timeline}, restore.Options{})
		must(t, err)
		if got.Position.LSN != r.Began.LSN+1 {
			t.Errorf("%v", got.Position)
		}
	}
}

// There is an end of epochs, and it is said.
func TestNoEpochAbove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 23)
	w.live(2)
	w.Ship()
	dir, _, err := w.restore(restore.Target{}, restore.Options{Follower: true})
	must(t, err)
	m, _, err := txn.Open(dir, txn.Options{})
	must(t, err)
	if _, err := m.PromoteAbove(ctx, math.MaxUint64); err == nil || m.Role() != txn.RoleFollower {
		t.Errorf("above all epochs: %v, it is a %v", err, m.Role())
	}
	_, err = m.PromoteAbove(ctx, 41)
	must(t, errors.Join(err, m.Close()))
	v, err := recovery.View(vfs.OS(), dir, 0)
	must(t, err)
	defer v.Close()
	if epoch := v.Snapshot().Head.Epoch; epoch != 42 {
		t.Errorf("above epoch 41 is %d", epoch)
	}
}
