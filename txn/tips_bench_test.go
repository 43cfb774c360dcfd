package txn_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/quire-db/quire/txn"
)

// BenchmarkFork forks a volume, and what a tag of it points to, in buffered
// commits: it must cost the same whatever the volume holds.
func BenchmarkFork(b *testing.B) {
	for _, tag := range []string{"", "v1"} {
		for _, pages := range []int{1, 1_000_000} {
			b.Run(fmt.Sprintf("tag=%s/pages=%d", tag, pages), func(b *testing.B) {
				m := storeOf(b, 1, pages)
				tagVolume(b, m, "v1")
				n := 0
				b.ReportAllocs()
				for b.Loop() {
					n++
					_, err := m.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
						from, err := tx.Volume("v0")
						if err == nil && tag != "" {
							from, err = tx.At("v0", tag)
						}
						if err != nil {
							return err
						}
						_, err = tx.Fork(fmt.Sprint("fork", n), from)
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkTag sets a tag again where it is.
func BenchmarkTag(b *testing.B) {
	for _, pages := range []int{1, 1_000_000} {
		b.Run(fmt.Sprintf("pages=%d", pages), func(b *testing.B) {
			m := storeOf(b, 1, pages)
			for b.Loop() {
				tagVolume(b, m, "latest")
			}
		})
	}
}

func tagVolume(b *testing.B, m *txn.Manager, tag string) {
	_, err := m.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error {
		v, err := tx.Volume("v0")
		if err != nil {
			return err
		}
		return tx.SetTag(v, tag, v)
	})
	if err != nil {
		b.Fatal(err)
	}
}
