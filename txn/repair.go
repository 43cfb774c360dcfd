package txn

import (
	"context"
	"math"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/repair"
)

// Repair makes a store that takes the place of the damaged one in dir, of an archive and
// what of the damaged one's log is whole: see package repair, whose errors it has. opts
// are those with which the new store is opened while it is made; Create, Follower and
// ConsumerLagBytes are Repair's, and nothing is archived.
func Repair(ctx context.Context, archive objects.Store, dir string, o repair.Options, opts Options) (*repair.Repaired, error) {
	o.Disk, opts.Archive = opts.FS, ArchiveOptions{}
	o.Open = func(dir string, make bool) (repair.Replica, error) {
		opts.Create, opts.Follower, opts.ConsumerLagBytes = make, true, math.MaxInt64
		m, _, err := Open(dir, opts)
		if err != nil {
			return nil, err
		}
		return &replica{m: m}, nil
	}
	return repair.Run(ctx, archive, dir, o)
}

// Keep implements repair.Replica.
func (r *replica) Keep(ctx context.Context, consumer string) error {
	_, err := r.m.Consumer(ctx, consumer)
	return err
}
