package txn

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// Whoever listens before it looks misses no ring, however the two interleave.
func TestBellWakesWhoeverListened(t *testing.T) {
	var b bell
	var n, seen atomic.Int64
	const rounds = 5000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seen.Load() < rounds {
			rung, leave := b.listen()
			if now := n.Load(); now > seen.Load() {
				seen.Store(now)
			} else {
				<-rung // hangs if a ring was missed
			}
			leave()
		}
	}()
	for i := range int64(rounds) {
		n.Store(i + 1)
		b.ring()
		if i%7 == 0 {
			for seen.Load() < i { // lets it catch up, and wait
				runtime.Gosched()
			}
		}
	}
	<-done
}

// BenchmarkRing is what a group of commits pays for watchers that are not there.
func BenchmarkRing(b *testing.B) {
	var bell bell
	for b.Loop() {
		bell.ring()
	}
}
