package txn_test

import (
	"context"
	"testing"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// BenchmarkWatch reads entries of one page from the log.
func BenchmarkWatch(b *testing.B) {
	r := newRig(b, txn.Options{})
	r.volume("v", 1)
	const entries = 1000
	for i := range uint64(entries) {
		if _, err := r.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error { return put(tx, "v", 0, i) }); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := r.Wait(context.Background(), r.Stats().Head, txn.Ack{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n > 0 {
			n--
			continue // b.Loop counts entries, not runs
		}
		for e, err := range r.Watch(context.Background(), txn.WatchOptions{}) {
			if err != nil {
				b.Fatal(err)
			}
			if n++; e.Position.LSN == entries {
				break
			}
		}
	}
}

// BenchmarkCommitBesideWatchers commits one buffered page with watchers that
// keep up beside it; compare 0 with the others.
func BenchmarkCommitBesideWatchers(b *testing.B) {
	for name, n := range map[string]int{"0": 0, "1": 1, "8": 8} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, txn.Options{})
			r.volume("v", 1)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for range n {
				w := r.watch(txn.WatchOptions{After: r.Stats().Head})
				go func() {
					for range w.events {
					}
				}()
				defer func() { w.stop(); <-w.done; close(w.events) }()
			}
			for b.Loop() {
				if _, err := r.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error { return put(tx, "v", 0, 1) }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWait waits for what is reached already.
func BenchmarkWait(b *testing.B) {
	r := newRig(b, txn.Options{})
	r.volume("v", 1)
	var list [64]wal.Position
	for i := range list {
		r.put("v", 0, uint64(i))
		list[i] = r.Stats().Head
	}
	i := 0
	for b.Loop() {
		if _, err := r.Wait(context.Background(), list[i%len(list)], txn.Ack{Applied: true}); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
