// Package verifytest lets any test that leaves a store check all of it.
//
//	defer verifytest.Clean(t, dir) // after the store is closed
package verifytest

import (
	"context"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
)

// Clean fails the test unless recovery.Verify finds nothing wrong with the
// store in dir, which nobody may have open, and every slot accounted for.
func Clean(t testing.TB, dir string) *recovery.VerifyReport {
	t.Helper()
	return CleanFS(t, vfs.OS(), dir)
}

// CleanFS is Clean on any disk.
func CleanFS(t testing.TB, fsys vfs.FS, dir string) *recovery.VerifyReport {
	t.Helper()
	rep, err := recovery.Verify(context.Background(), fsys, dir, recovery.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range rep.Problems {
		t.Errorf("verify: %v", p)
	}
	s := rep.Slots
	if sum := s.Current + s.Checkpoint + s.Log + s.Consumers + s.Free; sum != s.Total {
		t.Errorf("verify: %d slots, but these add up to %d: %+v", s.Total, sum, s)
	}
	return rep
}
