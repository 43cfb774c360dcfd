package txn_test

import (
	"fmt"
	"testing"

	"github.com/quire-db/quire/txn"
)

// Nodes of the catalogue that were changed are in memory until a checkpoint has
// written them: so many of them begin one, however little was logged. Those of
// few volumes do not.
func TestManyChangedVolumesBeginACheckpoint(t *testing.T) {
	const volumes, some = 30_000, 3000
	r := newRig(t, txn.Options{CheckpointEvery: -1, CheckpointBytes: 1 << 30, CacheBytes: 1 << 20})
	for first := 0; first < volumes; first += some {
		r.update(func(tx *txn.Tx) error {
			for i := range some {
				if _, err := tx.CreateVolume(fmt.Sprint("v", first+i), txn.VolumeOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	r.checkpoint()
	before := r.Stats().Checkpoints
	for i := range uint64(300) {
		r.put("v1", 0, i+1)
	}
	if n := r.Stats().Checkpoints - before; n != 0 {
		t.Errorf("%d checkpoints for one volume", n)
	}
	for i := 0; i < volumes; i += 40 {
		r.put(fmt.Sprint("v", i), 0, 1)
	}
	eventually(t, "a checkpoint", func() bool { return r.Stats().Checkpoints > before })
}
