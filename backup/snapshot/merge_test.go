package snapshot_test

import (
	"errors"
	"io/fs"
	"testing"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

// merge merges in a directory of its own, which must be gone behind it.
func merge(t testing.TB, store objects.Store, at, base wal.Position, o snapshot.MergeOptions) (*snapshot.Manifest, error) {
	t.Helper()
	disk := crashfs.New()
	o.Disk, o.Dir, o.PartBytes, o.CacheBytes = disk, "/scratch", 256<<10, 256<<10
	o.Pin, o.Retry = pins.Options{Sleep: objectstest.NoRenewal}, impatient
	m, err := snapshot.Merge(ctx, store, at, base, o)
	if _, e := disk.Lstat(o.Dir); !errors.Is(e, fs.ErrNotExist) {
		t.Errorf("the directory is left: %v", e)
	}
	return m, err
}

// chained is a world with a chain of four, none of them chosen.
func chained(t testing.TB, seed uint64, n int, seal archive.SealOptions) *world {
	w := newWorld(t, seed)
	w.Live(3 * n)
	base := w.take(wal.Position{}, seal)
	for range 3 {
		w.Live(n)
		base = w.take(base.Position, seal)
	}
	return w
}

// delete deletes a snapshot: its manifest first.
func (w *world) delete(m *snapshot.Manifest) {
	w.T.Helper()
	must(w.T, w.Archive.Delete(ctx, m.Key().String()))
	for i := range m.Parts {
		must(w.T, w.Archive.Delete(ctx, m.PartKey(i).String()))
	}
}

// TestMerge: a merged snapshot becomes what it was, without those between, on any earlier one
// or none, and merged again; increments on it go on from it.
func TestMerge(t *testing.T) {
	t.Parallel()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	for seed, seal := range []archive.SealOptions{{}, {Recipients: []age.Recipient{id.Recipient()}}} {
		w := chained(t, 20+uint64(seed), 20, seal)
		last := w.taken[3]
		o := snapshot.MergeOptions{Seal: seal, Identities: []age.Identity{id}}
		w.Live(5)
		next := w.take(last.Position, seal)

		m, err := merge(t, w.Archive, last.Position, w.taken[1].Position, o)
		must(t, err)
		if m.Digest != last.Digest || m.Base != w.taken[1].Position || m.Plain() > last.Plain()+w.taken[2].Plain() {
			t.Errorf("%+v is no merged %+v", m, last)
		}
		if again, err := merge(t, w.Archive, last.Position, last.Base, o); err != nil || again.Merged != 0 {
			t.Errorf("on the base that it has: %+v, %v", again, err)
		}
		w.delete(last)
		w.delete(w.taken[2])
		for _, of := range []*snapshot.Manifest{last, next} {
			dir, err := load(t, w.Archive, of.Position, id)
			must(t, err)
			w.same(dir, of)
		}
		whole, err := merge(t, w.Archive, last.Position, wal.Position{}, o)
		must(t, err)
		if !whole.Whole() || whole.Merged != 2 {
			t.Errorf("%+v", whole)
		}
		w.delete(m)
		w.delete(w.taken[1])
		w.delete(w.taken[0])
		dir, err := load(t, w.Archive, next.Position, id)
		must(t, err)
		w.same(dir, next)
		list, err := snapshot.List(ctx, w.Archive, last.Position.Timeline)
		must(t, err)
		if len(list) != 2 || list[1].Position() != last.Position || list[1].Number != 2 {
			t.Errorf("%+v", list)
		}
		if len(seal.Recipients) == 0 {
			continue
		}
		o.Identities = nil
		if _, err := merge(t, w.Archive, next.Position, wal.Position{}, o); !errors.Is(err, archive.ErrLocked) {
			t.Errorf("without the key: %v", err)
		}
	}
}

// TestMergeRefuses: bases that are none, and a directory that is there.
func TestMergeRefuses(t *testing.T) {
	t.Parallel()
	w := chained(t, 25, 10, archive.SealOptions{})
	for _, base := range []wal.Position{w.taken[2].Position, w.taken[1].Position, {LSN: 1, Timeline: w.taken[0].Position.Timeline, Hash: wal.Hash{1}}} {
		if _, err := merge(t, w.Archive, w.taken[1].Position, base, snapshot.MergeOptions{}); !errors.Is(err, snapshot.ErrBase) {
			t.Errorf("on %v: %v", base, err)
		}
	}
	o := snapshot.MergeOptions{Dir: t.TempDir()}
	if _, err := snapshot.Merge(ctx, w.Archive, w.taken[3].Position, wal.Position{}, o); !errors.Is(err, fs.ErrExist) {
		t.Errorf("into a directory that is there: %v", err)
	}
}

// TestMergeCutOff: cut off at each call, the snapshot is what it was, and can be merged.
func TestMergeCutOff(t *testing.T) {
	t.Parallel()
	w := chained(t, 26, 3, archive.SealOptions{})
	last := w.taken[3]
	counted := objectstest.Count(w.Archive)
	m, err := merge(t, counted, last.Position, wal.Position{}, snapshot.MergeOptions{})
	must(t, err)
	w.delete(m)
	calls := counted.Log()
	if len(calls) > 100 {
		t.Fatalf("%d calls", len(calls))
	}
	for n := range calls {
		how := []objectstest.How{objectstest.Stop, objectstest.LoseAnswer, objectstest.Fail, objectstest.LoseCall}[n%4]
		cut := objectstest.Count(w.Archive)
		cut.At(n, how)
		_, failed := merge(t, cut, last.Position, wal.Position{}, snapshot.MergeOptions{Retry: impatient})
		m, err := merge(t, w.Archive, last.Position, wal.Position{}, snapshot.MergeOptions{})
		if err != nil && !errors.Is(err, snapshot.ErrTaken) {
			t.Fatalf("behind call %d (%s), %d: %v, and then %v", n, calls[n], how, failed, err)
		}
		if n%10 == 0 {
			dir, err := load(t, w.Archive, last.Position)
			must(t, err)
			w.same(dir, last)
		}
		if m != nil {
			w.delete(m)
		}
	}
}

// TestMergedAmongDamage: as long as one of the manifests at a position is whole, the snapshot
// can be read: whether it is the one as it was taken that is damaged, or one that was merged,
// or one that is a copy of another.
func TestMergedAmongDamage(t *testing.T) {
	t.Parallel()
	w := chained(t, 27, 3, archive.SealOptions{})
	last := w.taken[3]
	m, err := merge(t, w.Archive, last.Position, wal.Position{}, snapshot.MergeOptions{})
	must(t, err)
	taken, merged, again := last.Key().String(), m.Key().String(), m.Key()
	again.Number++
	sound := map[string][]byte{taken: objectstest.Bytes(t, w.Archive, taken), merged: objectstest.Bytes(t, w.Archive, merged)}
	for what, there := range map[string]map[string][]byte{
		"copied":                   {taken: nil, again.String(): sound[merged]},
		"damaged as it was taken":  {taken: flipped(sound[taken], 100)},
		"damaged as it was merged": {merged: flipped(sound[merged], 100)},
		"damaged above":            {taken: nil, again.String(): []byte("damage")},
		"none":                     {taken: nil, merged: flipped(sound[merged], 100)},
	} {
		for key, b := range there {
			objectstest.Replace(t, w.Archive, key, b)
		}
		dir, err := load(t, w.Archive, last.Position)
		switch {
		case what == "none" && !errors.Is(err, wal.ErrCorrupt):
			t.Errorf("%s: %v", what, err)
		case what != "none" && err != nil:
			t.Errorf("%s: %v", what, err)
		case err == nil:
			w.same(dir, last)
		}
		for key := range there {
			objectstest.Replace(t, w.Archive, key, sound[key])
		}
	}
}
