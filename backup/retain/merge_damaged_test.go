package retain_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/retain"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

// TestMergeOfWhatIsDamaged: what cannot be merged stays as it is, and is told; all else is
// pruned.
func TestMergeOfWhatIsDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 74)
	w.days(7)
	policy := retain.Policy{Last: 2}
	o := w.options()
	o.Merge = scratch()
	plan, err := retain.Plan(ctx, w.Archive, policy, o)
	must(t, err)
	if len(plan.Merged) == 0 {
		t.Fatalf("nothing is there to merge: %+v", plan.Snapshots)
	}
	at := plan.Merged[0].At
	m, err := snapshot.Read(ctx, w.Archive, at, w.ids)
	must(t, err)
	key := m.PartKey(len(m.Parts) - 1)
	b := objectstest.Bytes(t, w.Archive, key.String())
	b[len(b)-1] ^= 1
	objectstest.Replace(t, w.Archive, key.String(), b)

	got, err := retain.Run(ctx, w.Archive, policy, o)
	must(t, err)
	if !got.Done || got.Gone.Objects == 0 {
		t.Errorf("nothing was pruned: %+v", got.Gone)
	}
	if slices.ContainsFunc(got.Merged, func(m retain.Merged) bool { return m.At == at }) {
		t.Error("it counts as merged")
	}
	if !slices.ContainsFunc(got.Problems, func(err error) bool { return errors.Is(err, wal.ErrCorrupt) }) {
		t.Errorf("that is not told: %v", got.Problems)
	}
	_, err = snapshot.Chain(ctx, w.Archive, at, w.ids)
	must(t, err)
}
