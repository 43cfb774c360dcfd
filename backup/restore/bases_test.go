package restore_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// replicate brings a follower up to a store's state, with a checkpoint now and then.
func (w *world) replicate(f *txn.Manager, from wal.LSN) {
	w.T.Helper()
	head := w.M.Stats().Head
	_, err := w.M.Wait(ctx, head, txn.Ack{Applied: true})
	must(w.T, err)
	tail, err := recovery.OpenTail(vfs.OS(), w.Dir, from+1)
	must(w.T, err)
	defer tail.Close()
	for lsn := from; lsn < head.LSN; {
		rec, images, err := tail.Next()
		if err == io.EOF {
			continue
		}
		must(w.T, err)
		c, err := f.Apply(ctx, rec.Entry, images)
		must(w.T, err)
		lsn = c.Position.LSN
		if w.R.IntN(4) == 0 {
			_, err = f.Wait(ctx, c.Position, txn.Ack{Applied: true})
			must(w.T, errors.Join(err, f.Checkpoint(ctx)))
		}
	}
	_, err = f.Wait(ctx, head, txn.Ack{Applied: true})
	must(w.T, err)
}

// snapshotOf takes a snapshot of another store of the history.
func (w *world) snapshotOf(other *txn.Manager, whole bool) {
	w.T.Helper()
	own := w.M
	defer func() { w.M = own }()
	w.M = other
	w.Snapshot(whole)
}

// update commits a transaction and remembers what the store holds then.
func (w *world) update(f func(tx *txn.Tx) error) {
	w.T.Helper()
	_, err := w.M.Update(ctx, f)
	must(w.T, err)
	w.note()
}

// A tip that one store had swept when a tag named it anew, and another had not.
func TestBaseWithoutTheTipThatIsTaggedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7)
	for i := range 120 {
		w.update(func(tx *txn.Tx) error {
			v, err := tx.CreateVolume(fmt.Sprint("v", i), txn.VolumeOptions{PageSize: 512})
			return errors.Join(err, v.Truncate(uint64(i)))
		})
	}
	tag := func(tx *txn.Tx) error {
		v, err := tx.Volume("v60")
		return errors.Join(err, tx.SetTag(v, "t", v))
	}
	w.update(tag)
	must(t, w.M.Checkpoint(ctx))
	w.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v60")
		return errors.Join(err, tx.DeleteTag(v, "t"))
	})
	other := filepath.Join(t.TempDir(), "follower")
	f, _, err := txn.Open(other, txn.Options{Create: true, Follower: true, CheckpointEvery: -1})
	must(t, err)
	defer f.Close()
	w.replicate(f, 0)
	must(t, f.Checkpoint(ctx))
	w.Ship()
	w.snapshotOf(f, true)
	w.update(tag)
	w.Ship()
	w.Snapshot(false)
	got, r, err := w.restore(restore.Target{}, restore.Options{Follower: true})
	must(t, err)
	w.holds(got, r)
}

// An increment follows from what another store of the history took: what the two had
// swept, and when, is not the same.
func TestBasesOfAnotherStore(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		w := newWorld(t, 100+seed)
		other := filepath.Join(t.TempDir(), "follower")
		f, _, err := txn.Open(other, txn.Options{Create: true, Follower: true, CheckpointEvery: -1})
		must(t, err)
		var at wal.LSN
		for i := range 6 {
			w.live(10 + w.R.IntN(20))
			if w.R.IntN(2) == 0 {
				must(t, w.M.Checkpoint(ctx))
			}
			w.replicate(f, at)
			at = w.M.Stats().Head.LSN
			w.Ship()
			if i%2 == 1 {
				w.snapshotOf(f, false)
			} else {
				w.Snapshot(i == 0)
			}
			got := filepath.Join(t.TempDir(), fmt.Sprint("restored", i))
			r, err := txn.Restore(ctx, w.Archive, got, restore.Target{LSN: at}, restore.Options{Follower: true}, txn.Options{})
			if err != nil {
				t.Fatalf("seed %d, snapshot %d: %v", seed, i, err)
			}
			w.holds(got, r)
		}
		must(t, f.Close())
	}
}
