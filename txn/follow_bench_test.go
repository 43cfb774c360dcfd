package txn_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// commitAll has writers commit n synced transactions of one page of 4 KiB
// at random among 10,000, as fast as they can, and returns how long that took.
func (r *rig) commitAll(writers, n int) time.Duration {
	r.t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	began := time.Now()
	for w := range writers {
		wg.Go(func() {
			for no := uint64(w); left.Add(-1) >= 0; no = no*6364136223846793005 + 1442695040888963407 {
				if _, err := r.Update(context.Background(), func(tx *txn.Tx) error { return put(tx, "v", no>>32%10_000, no) }); err != nil {
					r.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// keepUp applies what a writer does, as it becomes durable, up to an LSN, and
// returns when that is durable and visible here.
func (r *rig) keepUp(w *rig, to wal.LSN) error {
	ctx := context.Background()
	for e, err := range w.Watch(ctx, txn.WatchOptions{After: r.Stats().Head}) {
		if err != nil {
			return err
		}
		images, err := e.Images()
		if err != nil {
			return err
		}
		if _, err := r.Apply(ctx, e.Entry, images); err != nil {
			return err
		}
		if e.Position.LSN >= to {
			_, err := r.Wait(ctx, e.Position, txn.Ack{Applied: true})
			return err
		}
	}
	return nil
}

// BenchmarkFollower commits as fast as a writer can, first without and then
// with a follower on the same machine and disk: how many entries a second the
// follower has durable, all the time until it has the last one, and its share of
// what the writer did alone. The bar is 0.5. Then a new follower catches up with the
// writer, which rests.
func BenchmarkFollower(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			solo, w, f := newRig(b, txn.Options{}), newRig(b, txn.Options{}), newFollower(b, txn.Options{})
			for _, r := range []*rig{solo, w} {
				r.volume("v", 1)
			}
			f.follow(w)
			b.ResetTimer()
			alone := solo.commitAll(writers, b.N)
			to := w.Stats().Published + wal.LSN(b.N)
			done := make(chan error, 1)
			began := time.Now()
			go func() { done <- f.keepUp(w, to) }()
			writer := w.commitAll(writers, b.N)
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			took := time.Since(began)
			b.StopTimer()
			late := newFollower(b, txn.Options{})
			began = time.Now()
			if err := late.keepUp(w, to); err != nil {
				b.Fatal(err)
			}
			catchUp := time.Since(began)
			rate := func(d time.Duration) float64 { return float64(b.N) / d.Seconds() }
			b.ReportMetric(rate(alone), "solo/s")
			b.ReportMetric(rate(writer), "writer/s")
			b.ReportMetric(rate(took), "follower/s")
			b.ReportMetric(rate(took)/rate(alone), "of-solo")
			b.ReportMetric(rate(catchUp), "catch-up/s")
			s := f.Stats()
			b.ReportMetric(float64(s.Commits)/float64(s.Groups), "entries/group")
		})
	}
}
