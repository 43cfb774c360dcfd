package repair_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// files are the regular ones of a store.
func files(t testing.TB, dir string) (names []string) {
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && path != recovery.LockName {
			names = append(names, path)
		}
		return err
	}))
	return names
}

// damages are what is done to a file. Where they begin is where something lies.
var damages = map[string]func(b []byte) []byte{
	"flipped":   func(b []byte) []byte { b[min(len(b)-1, 5000)] ^= 8; return b },
	"flipped 2": func(b []byte) []byte { b[len(b)/3] ^= 1; return b },
	"zeros":     func(b []byte) []byte { clear(b[min(len(b), 4096):min(len(b), 65536)]); return b },
	"all zeros": func(b []byte) []byte { clear(b); return b },
	"cut":       func(b []byte) []byte { return b[:len(b)/3] },
	"empty":     func(b []byte) []byte { return b[:0] },
	"deleted":   func([]byte) []byte { return nil },
}

func damage(t testing.TB, file string, how func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	if b = how(b); b == nil {
		must(t, os.Remove(file))
		return
	}
	must(t, os.WriteFile(file, b, 0o600))
}

// Each file of a store is damaged in each way. What the archive has makes it what it was, at
// its last entry and on its timeline; only without the manifest, which alone says how far
// the store had come, that has to be accepted, and a timeline is begun.
func TestRepairEveryDamage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	consumer := w.history()
	must(t, w.M.Close())
	sound, repaired, compared := 0, 0, 0
	for i, file := range files(t, w.Dir) {
		for j, name := range slices.Sorted(maps.Keys(damages)) {
			if (i+j)%4 != 0 && os.Getenv("MUTANTS") == "" {
				continue // .ci/run does all
			}
			how := damages[name]
			dir := w.copy()
			damage(t, filepath.Join(dir, file), how)
			was := fingerprint(t, dir)
			got, err := w.repair(dir, repair.Options{})
			if errors.Is(err, repair.ErrSound) {
				sound++
				continue
			}
			var lost *repair.LossError
			lostManifest := file == "MANIFEST"
			if errors.As(err, &lost) && lostManifest {
				if lost.At.LSN != w.last() || lost.Unread == nil || len(lost.Lost) != 0 || fingerprint(t, dir) != was || len(beside(t, dir)) != 0 {
					t.Fatalf("%s %s: %+v", file, name, lost)
				}
				got, err = w.repair(dir, repair.Options{AcceptLoss: true})
			}
			if err != nil {
				t.Fatalf("%s %s: %v", file, name, err)
			}
			if got.Position.LSN != w.last() || (got.Began.LSN != 0) != lostManifest || fingerprint(t, got.Damaged) != was || len(beside(t, dir)) != 1 {
				t.Fatalf("%s %s: %+v, beside it %v", file, name, got, beside(t, dir))
			}
			if !lostManifest && (len(got.Dropped) != 0 || got.LogFrom > got.OldFrom || got.LogFrom > consumer.LSN+1) {
				t.Fatalf("%s %s: the log begins with %d instead of %d; %v", file, name, got.LogFrom, got.OldFrom, got.Dropped)
			}
			if got.Compared != 0 {
				compared++
			}
			if facts, _, err := manifest.Load(disk, dir); err != nil || !lostManifest && (len(facts.Consumers) != 1 || facts.Consumers[0].Name != "mirror" || facts.Consumers[0].Acked != consumer) {
				t.Fatalf("%s %s: %v, consumers %+v", file, name, err, facts.Consumers)
			}
			w.holds(dir, got)
			repaired++
		}
	}
	t.Logf("%d repaired, %d of them compared with their catalogue, %d were sound", repaired, compared, sound)
	if repaired < 8 || compared < 3 {
		t.Error("that proves little")
	}
}

// flipRecord flips a bit of an entry in the log.
func flipRecord(t testing.TB, dir string, lsn wal.LSN) {
	t.Helper()
	found, err := recovery.Examine(disk, dir)
	must(t, err)
	for rec, err := range wal.Records(disk, filepath.Join(dir, "wal"), found.Facts.Generations, lsn, lsn) {
		must(t, err)
		damage(t, filepath.Join(dir, "wal", rec.Gen.Path()), func(b []byte) []byte { b[rec.Offset+40] ^= 1; return b })
	}
}

// The archive stops before the store did: what is behind comes from the store's own log, and
// where that is damaged, what is lost is named.
func TestRepairWhatTheArchiveLacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.history()
	w.inLog()
	shipped := w.last()
	w.live(9)
	must(t, w.M.Close())
	last := w.last()

	dir := w.copy()
	damage(t, filepath.Join(dir, "heap", "00000001"), damages["all zeros"])
	got := w.repaired(dir)
	if got.Own == 0 || got.Began.LSN != 0 {
		t.Fatalf("%+v", got)
	}

	for _, at := range []wal.LSN{shipped + 1, last - 3, last} {
		dir := w.copy()
		flipRecord(t, dir, at)
		was := fingerprint(t, dir)
		var lost *repair.LossError
		if _, err := w.repair(dir, repair.Options{}); !errors.As(err, &lost) {
			t.Fatal(err)
		}
		if lost.At.LSN != at-1 || len(lost.Lost) != 1 || lost.Lost[0] != (repair.Range{First: at, Last: last}) || len(lost.Known) != int(last-at) || lost.Unread != nil {
			t.Fatalf("at %d: %+v", at, lost)
		}
		for _, k := range lost.Known {
			if k.Time == 0 || k.Txn == (wal.TxnID{}) {
				t.Fatalf("%+v", k)
			}
		}
		if fingerprint(t, dir) != was || len(beside(t, dir)) != 0 {
			t.Fatal("a refusal changed something", beside(t, dir))
		}
		got, err := w.repair(dir, repair.Options{AcceptLoss: true})
		must(t, err)
		if got.Position.LSN != at-1 || got.Began.LSN != at || got.Lost == nil {
			t.Fatalf("%+v", got)
		}
		w.holds(dir, got)
	}
}

// An entry in the middle is damaged in the store, and the archive stops behind it: both
// take turns.
func TestRepairTakesTurns(t *testing.T) {
	t.Parallel()
	w := backedUp(t, 3, 4)
	w.live(10)
	w.Ship()
	shipped := w.last()
	w.live(5)
	must(t, w.M.Close())
	dir := w.copy()
	flipRecord(t, dir, shipped-2)
	got := w.repaired(dir)
	if got.Own != uint64(w.last()-shipped) || got.Began.LSN != 0 {
		t.Fatalf("%+v", got)
	}
	// And the other way round: the archive lost one that the store has.
	dir = w.copy()
	must(t, os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600)) // whoever wrote that may have done more
	names, err := filepath.Glob(filepath.Join(w.Archive.String()[len("file://"):], "logs", "*", "append", "*"))
	must(t, err)
	if len(names) < 3 {
		t.Fatal(names)
	}
	must(t, os.Remove(names[len(names)-2]))
	got = w.repaired(dir)
	if got.Own == 0 || len(got.Passed) == 0 {
		t.Fatalf("%+v", got)
	}
}

// The store began a timeline which nothing of was shipped: the archive's log leads to where
// it left the one before, and its own goes on from there.
func TestRepairBehindItsOwnTimeline(t *testing.T) {
	t.Parallel()
	w := backedUp(t, 7, 6)
	w.live(4)
	w.Ship()
	to := w.last() - 1
	must(t, w.M.Close())
	w.Dir = filepath.Join(t.TempDir(), "store")
	_, err := txn.Restore(ctx, w.Archive, w.Dir, restore.Target{LSN: to}, restore.Options{}, txn.Options{FS: disk})
	must(t, err)
	delete(w.states, to+1)
	w.Open()
	w.note()
	w.live(5)
	must(t, w.M.Close())
	dir := w.copy()
	must(t, os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600))
	got := w.repaired(dir)
	if got.Began.LSN != 0 || got.Own == 0 || got.Checkpoint.LSN != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestRepairDryRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.history()
	w.inLog()
	w.live(3)
	must(t, w.M.Close())
	dir := w.copy()
	damage(t, filepath.Join(dir, "heap", "00000001"), damages["all zeros"])
	was := fingerprint(t, filepath.Dir(dir))
	got, err := w.repair(dir, repair.Options{DryRun: true})
	must(t, err)
	if got.Position.LSN != w.last() || got.Own == 0 || got.Damaged != "" || fingerprint(t, filepath.Dir(dir)) != was {
		t.Fatalf("%+v", got)
	}
	if !strings.Contains(was, "MANIFEST") {
		t.Fatal("nothing was compared")
	}
}

func TestRepairRefuses(t *testing.T) {
	t.Parallel()
	w, other := backedUp(t, 5, 6), backedUp(t, 6, 6)
	dir := w.copy()
	unlock, err := disk.Lock(filepath.Join(dir, recovery.LockName), "me")
	must(t, err)
	var locked *vfs.LockedError
	if _, err := w.repair(dir, repair.Options{}); !errors.As(err, &locked) {
		t.Error("of a store that somebody has open:", err)
	}
	must(t, unlock())
	must(t, w.M.Close())
	dir = w.copy()
	if _, err := w.repair(dir, repair.Options{}); !errors.Is(err, repair.ErrSound) {
		t.Error("of a sound store:", err)
	}
	damage(t, filepath.Join(dir, "heap", "00000001"), damages["all zeros"])
	was := fingerprint(t, dir)
	if _, err := other.repair(dir, repair.Options{}); !errors.Is(err, repair.ErrHistory) {
		t.Error("from another store's archive:", err)
	}
	if _, err := w.repair(filepath.Join(dir, "nothing"), repair.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error("of no store:", err)
	}
	if fingerprint(t, dir) != was || len(beside(t, dir)) != 0 {
		t.Error("a refusal changed something", beside(t, dir))
	}
}

// unused is a store of objects that nobody may use, not even for its name.
type unused struct {
	objects.Store
	t testing.TB
}

func (u unused) String() string {
	u.t.Error("the place of Options.Archive is used")
	return "unused"
}

// With the options that a service has, its archive among them, the new store archives
// nothing: what is begun with a loss may yet be thrown away.
func TestRepairArchivesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.history()
	must(t, w.M.Close())
	dir := w.copy()
	damage(t, filepath.Join(dir, "MANIFEST"), damages["cut"])
	o := txn.Options{FS: disk, Archive: txn.ArchiveOptions{Store: unused{t: t}}}
	got, err := txn.Repair(ctx, w.Archive, dir, repair.Options{AcceptLoss: true}, o)
	must(t, err)
	if got.Began.LSN == 0 {
		t.Errorf("it is no writer: %+v", got)
	}
}
