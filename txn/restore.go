package txn

import (
	"context"
	"io"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/wal"
)

// Restore makes a store in dir, which is not there or empty, of an archive: see
// package restore, whose errors it has. opts are those with which the store is opened
// while it is made; Create and Follower are Restore's, and nothing is archived.
func Restore(ctx context.Context, archive objects.Store, dir string, t restore.Target, o restore.Options, opts Options) (*restore.Restored, error) {
	o.Disk, opts.Archive = opts.FS, ArchiveOptions{}
	o.Open = func(dir string, make bool) (restore.Replica, error) {
		opts.Create, opts.Follower = make, true
		m, _, err := Open(dir, opts)
		return &replica{m: m}, err
	}
	return restore.Run(ctx, archive, dir, t, o)
}

// replica is a store that is being restored.
type replica struct {
	m  *Manager
	at wal.Position
}

func (r *replica) Apply(ctx context.Context, e *wal.Entry, images io.ReaderAt) error {
	got, err := r.m.Apply(ctx, e, images)
	r.at = got.Position
	return err
}

// Settle makes a checkpoint too, so that what was restored opens at once.
func (r *replica) Settle(ctx context.Context) (wal.Position, error) {
	if r.at.LSN != 0 {
		if _, err := r.m.Wait(ctx, r.at, Ack{Applied: true}); err != nil {
			return wal.Position{}, err
		}
	}
	if err := r.m.Checkpoint(ctx); err != nil {
		return wal.Position{}, err
	}
	return r.m.Stats().Head, nil
}

func (r *replica) Digest() (volumes uint64, digest wal.PageHash, err error) {
	snap := r.m.store.Acquire()
	defer r.m.store.Release(snap)
	return snap.Digest()
}

func (r *replica) Promote(ctx context.Context, above uint64) (wal.Position, error) {
	return r.m.PromoteAbove(ctx, above)
}

func (r *replica) Acquire() (s *pagestore.Snapshot, release func()) {
	s = r.m.store.Acquire()
	return s, func() { r.m.release(s) }
}

func (r *replica) PageSize() uint32 { return r.m.store.Facts().Options.PageSize }

func (r *replica) Delete(ctx context.Context, volumes []string) error {
	_, err := r.m.Update(ctx, func(tx *Tx) error {
		for _, name := range volumes {
			if err := tx.DeleteVolume(name); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func (r *replica) Close() error { return r.m.Close() }
