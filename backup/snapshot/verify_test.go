package snapshot_test

import (
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// Whoever has no key finds out that an object of a snapshot is gone: a part is missing,
// and parts without a manifest are left over.
func TestVerifyWithoutTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 11)
	w.Live(40)
	id, err := age.GenerateX25519Identity()
	must(t, err)
	m := w.take(wal.Position{}, archive.SealOptions{Recipients: []age.Recipient{id.Recipient()}})
	if len(m.Parts) < 3 {
		t.Fatalf("only %d parts", len(m.Parts))
	}
	check := func(kind ship.ProblemKind, want ...string) {
		t.Helper()
		r, err := ship.Verify(ctx, w.Archive, ship.ReadOptions{})
		must(t, err)
		var got []string
		for _, p := range r.Problems {
			if strings.Contains(p.Key, "/snap/") && p.Kind == kind {
				got = append(got, p.Key)
			} else if strings.Contains(p.Key, "/snap/") {
				t.Errorf("%v", p)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
	check(ship.Missing)
	var parts []string
	for i := range m.Parts {
		key := m.PartKey(i).String()
		parts = append(parts, key)
		b := objectstest.Bytes(t, w.Archive, key)
		must(t, w.Archive.Delete(ctx, key))
		check(ship.Missing, key)
		must(t, w.Archive.Put(ctx, key, objects.Bytes(b)))
	}
	must(t, w.Archive.Delete(ctx, m.Key().String()))
	check(ship.Leftover, parts...)
}
