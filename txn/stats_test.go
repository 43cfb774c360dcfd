package txn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
)

// Stats answer while the disk hangs: that is when somebody asks.
func TestStatsWaitForNoDisk(t *testing.T) {
	ctx := context.Background()
	commit := func(r *rig) error {
		_, err := r.Update(ctx, func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			for no := uint64(0); no < 64 && err == nil; no++ {
				err = v.WritePage(no, pageOf(no+2))
			}
			return err
		})
		return err
	}
	checkpoint := func(r *rig) error { return r.Checkpoint(ctx) }
	for _, c := range []struct {
		part, op string
		act      func(*rig) error
	}{
		{"/wal/", "sync", commit}, {"/heap/", "write", commit}, {"/heap/", "sync", commit},
		{"MANIFEST", "write", checkpoint}, {"MANIFEST", "sync", checkpoint}, {"/heap/", "write", checkpoint},
	} {
		t.Run(c.op+" of "+c.part, func(t *testing.T) {
			r := newRig(t, txn.Options{CheckpointEvery: -1})
			r.volume("v", 64)
			entered, letGo := r.hold(c.part, c.op)
			acted := make(chan error, 1)
			go func() { acted <- c.act(r) }()
			select {
			case <-entered:
			case <-time.After(time.Minute):
				t.Fatal("the disk was not asked")
			}
			answered := make(chan txn.Stats, 1)
			go func() { answered <- r.Stats() }()
			select {
			case s := <-answered:
				if s.Published == 0 || s.Pages.ManifestSeq == 0 {
					t.Errorf("they say %+v", s)
				}
			case <-time.After(time.Minute):
				t.Error("no answer while the disk hangs")
			}
			letGo()
			if err := <-acted; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}
