package retain_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/retain"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

// scratch merges on a disk in memory.
func scratch() *retain.Merge {
	return &retain.Merge{Dir: "/", Disk: crashfs.New(), CacheBytes: 256 << 10}
}

// reasons are why snapshots stay, by LSN.
func reasons(p *retain.Planned) (all []string) {
	for _, s := range p.Snapshots {
		all = append(all, s.Keep...)
	}
	return all
}

// TestMergedPrune: what stays only because others are increments on it is merged into them:
// each is what it was, the archive is no larger, and the store goes on in it.
func TestMergedPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 70)
	w.days(7)
	policy := retain.Policy{Last: 2}
	plain := w.copy()
	without, err := retain.Run(ctx, plain, policy, w.options())
	must(t, err)
	if !slices.Contains(reasons(without), retain.ReasonBase) {
		t.Fatalf("nothing is there to merge: %+v", without.Snapshots)
	}
	o := w.options()
	o.Merge = scratch()
	p := w.pruneWith(policy, o)
	if len(p.Merged) == 0 {
		t.Fatalf("nothing was merged: %+v", p.Snapshots)
	}
	w.keeps(p)
	after := w.prune(policy)
	if after.Gone.Objects != 0 || after.All.Bytes > without.All.Bytes-without.Gone.Bytes {
		t.Errorf("%+v is left, without merging %+v", after.All, without.All)
	}
	if bases := len(reasons(after)) - 2; bases > 1 {
		t.Errorf("%d are left for others: %+v", bases, after.Snapshots)
	}
	for range 4 { // what was merged is merged again
		w.days(1)
		o.Merge = scratch()
		w.keeps(w.pruneWith(policy, o))
	}
}

// TestMergeNeedsKeys: what is encrypted is merged for those who are named, and else stays as
// it is, which is said.
func TestMergeNeedsKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 71)
	w.encrypt()
	w.days(5)
	o := w.options()
	o.Merge = scratch()
	p := w.pruneWith(retain.Policy{Last: 1}, o)
	if len(p.Merged) != 0 || len(p.Problems) != 1 || !errors.Is(p.Problems[0], retain.ErrNotMerged) {
		t.Errorf("%+v", p)
	}
	o.Merge.Seal = w.seal
	if p = w.pruneWith(retain.Policy{Last: 1}, o); len(p.Merged) != 1 {
		t.Errorf("%+v", p)
	}
	w.keeps(p)
	for _, key := range w.keys() {
		if k, _ := archive.ParseKey(key); k.Kind == archive.KindManifest || k.Kind == archive.KindPart {
			if h, err := archive.ReadHeader(ctx, w.Archive, k); err != nil || h.Encryption != archive.EncryptionAge {
				t.Errorf("%s is not encrypted: %v", key, err)
			}
		}
	}
}

// TestMergedPruneCutOff: cut off at each call all that is promised is there, and the next run
// finishes.
func TestMergedPruneCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 72)
	w.days(4)
	policy := retain.Policy{Last: 1}
	run := func(w *world) (*retain.Planned, error) {
		o := w.options()
		o.Merge = scratch()
		return retain.Run(ctx, w.Archive, policy, o)
	}
	counted := objectstest.Count(w.copy())
	promised, err := run(w.at(counted))
	must(t, err)
	if len(promised.Merged) != 1 {
		t.Fatalf("%+v", promised)
	}
	for n := 0; n < len(counted.Log())-1; n += 3 {
		cut := objectstest.Count(w.copy())
		cut.At(n, objectstest.Stop)
		if _, err := run(w.at(cut)); err == nil {
			t.Fatalf("call %d (%s) was cut off", n, counted.Log()[n])
		}
		now := w.in(cut.Store)
		now.sound(ship.Leftover)
		if n%4 == 0 {
			now.keeps(promised, ship.Leftover)
		}
		_, err := run(now)
		must(t, err)
		now.whole()
		if left := len(keysOf(t, now.Archive)); left != len(keysOf(t, counted.Store)) {
			t.Errorf("behind call %d (%s) %d objects are left", n, counted.Log()[n], left)
		}
	}
}

// TestMergedTwice: while a snapshot is there as it was taken and merged as well, nothing is
// wrong with the archive.
func TestMergedTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 72)
	w.days(3)
	planned := w.prune(retain.Policy{Last: 10})
	at := planned.Snapshots[len(planned.Snapshots)-1].Position
	m, err := snapshot.Merge(ctx, w.Archive, at, wal.Position{}, snapshot.MergeOptions{Dir: "/merged", Disk: crashfs.New(), Retry: impatient})
	must(t, err)
	if m.Merged != 1 {
		t.Fatalf("%+v", m)
	}
	rep, err := ship.Verify(ctx, w.Archive, ship.ReadOptions{Retry: impatient})
	must(t, err)
	if len(rep.Problems) > 0 {
		t.Errorf("%v", rep.Problems)
	}
}

// TestManifestsThatShareParts: of two manifests that name the same parts one goes, and the
// parts stay with the other.
func TestManifestsThatShareParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 36)
	w.days(2)
	list, err := snapshot.List(ctx, w.Archive, w.M.Stats().Head.Timeline)
	must(t, err)
	key := archive.Key{Kind: archive.KindManifest, Log: list[0].Log, First: list[0].First}
	r, size, err := w.Archive.Get(ctx, key.String(), 0, -1)
	must(t, err)
	o, err := archive.Open(key, r, size, nil)
	must(t, err)
	plain, err := o.ReadAll(1 << 20)
	must(t, err)
	h := o.Header
	o.Close()
	must(t, r.Close())
	h.Number, key.Number = 1, 1
	sealed, _, err := archive.Seal(h, nil, plain, archive.SealOptions{})
	must(t, err)
	must(t, w.Archive.Put(ctx, key.String(), objects.Bytes(sealed)))
	w.keeps(w.prune(retain.Policy{Last: 2}))
}

// TestMergedWithoutTheKey: what is there as it was taken stays as long as nobody can say whether
// the merged one is whole.
func TestMergedWithoutTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 37)
	w.encrypt()
	w.days(3)
	list, err := snapshot.List(ctx, w.Archive, w.M.Stats().Head.Timeline)
	must(t, err)
	with := w.options()
	at := list[0].Position()
	m, err := snapshot.Merge(ctx, w.Archive, at, wal.Position{}, snapshot.MergeOptions{Dir: "/scratch", Disk: crashfs.New(), Identities: w.ids, Seal: w.seal, Pin: with.Pin})
	must(t, err)
	if m.Merged == 0 {
		t.Fatal("the newest is a whole one")
	}
	must(t, w.Archive.Delete(ctx, m.PartKey(0).String()))
	o := with
	o.Identities = nil
	_, err = retain.Run(ctx, w.Archive, retain.Policy{Last: 1}, o)
	must(t, err)
	w.point(at.Timeline, at.LSN)
	p := w.prune(retain.Policy{Last: 1}) // with the key it is known which of them is whole
	w.keeps(p)
}
