package txn_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/quire-db/quire/txn"
)

// BenchmarkHold is the cost of a hold and its release, which does not depend on
// what the store holds.
func BenchmarkHold(b *testing.B) {
	for _, c := range []struct{ volumes, pages int }{{1, 1}, {1, 1_000_000}, {10_000, 1}} {
		b.Run(fmt.Sprintf("volumes=%d/pages=%d", c.volumes, c.pages), func(b *testing.B) {
			m := storeOf(b, c.volumes, c.pages)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				h, err := m.Hold(ctx, txn.HoldOptions{})
				if err != nil {
					b.Fatal(err)
				}
				h.Release()
			}
		})
	}
}
