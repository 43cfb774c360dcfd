//go:build crashfs

package txn_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
	"github.com/quire-db/quire/txn"
)

// TestHookedSyncEvery: buffered commits that never cease are synced all the
// same. Each write of a group waits until the next group has a member, so that
// the flusher always finds one. Run by TestAppendFails.
func TestHookedSyncEvery(t *testing.T) {
	const most = 200
	disk := crashfs.New()
	library := &faulty{FS: disk} // only the flusher writes through it
	defer tidwallfs.Mount("/overdue", library)()
	if err := errors.Join(disk.Mkdir("/overdue"), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64 // a millisecond later at each look
	r := &rig{t: t, dir: "/overdue/store", opts: txn.Options{
		FS: disk, Create: true, SyncEvery: 20 * time.Millisecond, CheckpointEvery: -1,
		Now: func() time.Time { return time.UnixMilli(clock.Add(1)) },
	}}
	r.open()
	defer r.Close()
	r.update(func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{PageSize: 512})
		return errors.Join(err, v.Truncate(most+1))
	})
	before := r.Stats().Durable

	var commits sync.WaitGroup
	var n atomic.Int64
	commit := func() {
		no := uint64(n.Add(1))
		commits.Go(func() {
			_, err := r.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
				v, err := tx.Volume("v")
				if err != nil {
					return err
				}
				return v.WritePage(no, pageOf(no)[:512])
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	synced := make(chan struct{})
	var once sync.Once
	var inTime bool
	library.fail(func(op, name string) error {
		if op != "write" {
			return nil
		}
		if r.Stats().Durable > before || n.Load() >= most {
			once.Do(func() {
				inTime = r.Stats().Durable > before
				close(synced)
			})
			return nil
		}
		sequenced := r.Stats().PayloadBytes
		for commit(); r.Stats().PayloadBytes == sequenced; {
			time.Sleep(10 * time.Microsecond)
		}
		return nil
	})
	commit()
	<-synced
	if !inTime {
		t.Errorf("%d commits behind each other, and none is durable", n.Load())
	}
	commits.Wait()
}
