package snapshot_test

import (
	"errors"
	"testing"

	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

func TestProve(t *testing.T) {
	m := snapshot.Manifest{Volumes: 2, Digest: wal.PageHash{1}}
	must(t, m.Prove(2, wal.PageHash{1}))
	for _, err := range []error{m.Prove(1, wal.PageHash{1}), m.Prove(2, wal.PageHash{2})} {
		if !errors.Is(err, wal.ErrCorrupt) {
			t.Error(err)
		}
	}
}
