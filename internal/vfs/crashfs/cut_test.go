package crashfs_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quire-db/quire/internal/vfs/crashfs"
)

func TestDurableStays(t *testing.T) {
	r := newRig(t)
	f := r.synced("/a", "durable")
	r.ok(r.Mkdir("/d"))
	r.ok(r.SyncDir("/"))
	g, err := r.Create("/d/b")
	r.ok(err)
	r.write(g, "deep", 0)
	r.ok(g.Sync())
	r.ok(r.SyncDir("/d"))
	durable := r.Ops()
	r.write(f, "more", 7)
	r.create("/c", "new")
	r.write(f, "yet more", 11)
	for k := durable; k <= r.Ops(); k++ {
		for _, m := range models() {
			image := r.Cut(k, m)
			if got := text(t, image, "/a"); !strings.HasPrefix(got, "durable") {
				t.Fatalf("%v at %d: /a holds %q", m, k, got)
			}
			if got := text(t, image, "/d/b"); got != "deep" {
				t.Fatalf("%v at %d: /d/b holds %q", m, k, got)
			}
		}
	}
}

// TestUnsyncedIsAtStake: each way to lose unsynced data shows up.
func TestUnsyncedIsAtStake(t *testing.T) {
	const sector = crashfs.SectorSize
	old, fresh := strings.Repeat("o", 2*sector), strings.Repeat("n", 2*sector)
	r := newRig(t)
	r.synced("/stale", strings.Repeat("s", 2*sector))
	f := r.synced("/f", old)
	r.write(f, fresh, 0)
	see := func(image *crashfs.FS) string {
		var kinds []string
		for s := range slices.Chunk([]byte(text(t, image, "/f")), sector) {
			switch {
			case bytes.Equal(s, []byte(old[:sector])):
				kinds = append(kinds, "old")
			case bytes.Equal(s, []byte(fresh[:sector])):
				kinds = append(kinds, "new")
			case s[0] == 's':
				kinds = append(kinds, "stale")
			case s[0] == 0 && s[1] == 0:
				kinds = append(kinds, "zero")
			default:
				kinds = append(kinds, "garbage")
			}
		}
		return strings.Join(kinds, " ")
	}
	for _, model := range []func(uint64) crashfs.Model{crashfs.Random, crashfs.MetadataOrdered} {
		seen := r.outcomes(model, see)
		for _, want := range []string{"old old", "new new", "old new", "new old"} {
			if seen[want] == 0 {
				t.Errorf("no cut left %q: %v", want, seen)
			}
		}
		for _, kind := range []string{"zero", "stale", "garbage"} {
			if !slices.ContainsFunc(slices.Collect(keys(seen)), func(s string) bool { return strings.Contains(s, kind) }) {
				t.Errorf("no cut left a sector of kind %q: %v", kind, seen)
			}
		}
	}
	if got := see(r.Cut(r.Ops(), crashfs.Posix)); got != "old old" {
		t.Errorf("posix left %q", got)
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestPowersafeOverwrite: an unsynced append does not endanger durable bytes of
// the same sector, in any model.
func TestPowersafeOverwrite(t *testing.T) {
	r := newRig(t)
	f := r.synced("/f", "durable")
	for i := range 5 {
		r.write(f, strings.Repeat("x", 300), int64(7+300*i))
	}
	for _, m := range models() {
		if got := text(t, r.Cut(r.Ops(), m), "/f"); !strings.HasPrefix(got, "durable") {
			t.Fatalf("%v: %q", m, got)
		}
	}
}

// TestLengthIsAtStake: an append can leave any of the lengths it went through,
// and a truncation may not have happened.
func TestLengthIsAtStake(t *testing.T) {
	r := newRig(t)
	f := r.synced("/f", "1234")
	r.write(f, "5678", 4)
	r.ok(f.Truncate(2))
	seen := r.outcomes(crashfs.Random, func(image *crashfs.FS) string { return fmt.Sprint(len(text(t, image, "/f"))) })
	for _, want := range []string{"4", "8", "2"} {
		if seen[want] == 0 {
			t.Errorf("no cut left %s bytes: %v", want, seen)
		}
	}
}

// TestNames: what the models do to names that no SyncDir made durable.
func TestNames(t *testing.T) {
	r := newRig(t)
	r.ok(r.SyncDir("/"))
	for _, name := range []string{"/a", "/b", "/c"} {
		_, err := r.Create(name)
		r.ok(err)
	}
	see := func(image *crashfs.FS) string { return names(t, image) }
	for model, want := range map[crashfs.Model]string{crashfs.Posix: "", crashfs.Ordered: "a b c", crashfs.KillOnly: "a b c"} {
		if got := see(r.Cut(r.Ops(), model)); got != want {
			t.Errorf("%v left %q, want %q", model, got, want)
		}
	}
	ordered := r.outcomes(crashfs.MetadataOrdered, see)
	for got := range ordered {
		if !strings.HasPrefix("a b c", got) {
			t.Errorf("metadata-ordered left %q", got)
		}
	}
	if len(ordered) != 4 {
		t.Errorf("metadata-ordered left %v, want each prefix", ordered)
	}
	if seen := r.outcomes(crashfs.Random, see); len(seen) != 8 {
		t.Errorf("random left %v, want each subset", seen)
	}
}

// TestRenameIsAtomic: a file replaced by rename has the old or the new content,
// and never none, in all models, when the new one was synced first; and the new
// one does not keep its old name.
func TestRenameIsAtomic(t *testing.T) {
	r := newRig(t)
	r.synced("/f", "old")
	from := r.Ops()
	f := r.create("/f.tmp", "new")
	r.ok(f.Sync())
	r.ok(r.Rename("/f.tmp", "/f"))
	r.ok(r.SyncDir("/"))
	seen := make(map[string]int)
	for k := from; k <= r.Ops(); k++ {
		for _, m := range models() {
			image := r.Cut(k, m)
			got := text(t, image, "/f")
			seen[got]++
			if got != "old" && got != "new" || got == "new" && names(t, image) != "f" || k == r.Ops() && got != "new" {
				t.Fatalf("%v at %d: /f holds %q beside %q", m, k, got, names(t, image))
			}
		}
	}
	if seen["old"] == 0 || seen["new"] == 0 {
		t.Errorf("outcomes: %v", seen)
	}
}

// TestRemovedComesBack: a removal that no SyncDir made durable.
func TestRemovedComesBack(t *testing.T) {
	r := newRig(t)
	r.synced("/f", "text")
	r.ok(r.Remove("/f"))
	if got := text(t, r.Cut(r.Ops(), crashfs.Posix), "/f"); got != "text" {
		t.Errorf("posix left %q", got)
	}
	r.ok(r.SyncDir("/"))
	for _, m := range models() {
		if got := text(t, r.Cut(r.Ops(), m), "/f"); got != "-" {
			t.Errorf("%v left %q", m, got)
		}
	}
}

// TestSyncWritesTheJournal: of an ext4 when the file is new or longer, not when
// it was overwritten in place.
func TestSyncWritesTheJournal(t *testing.T) {
	r := newRig(t)
	f := r.synced("/f", "text")
	r.create("/before", "")
	see := func(image *crashfs.FS) string { return names(t, image) }
	r.write(f, "TEXT", 0)
	r.ok(f.Sync())
	if seen := r.outcomes(crashfs.MetadataOrdered, see); len(seen) != 2 {
		t.Errorf("after a sync of old space: %v, want /before in some", seen)
	}
	g, err := r.Create("/g")
	r.ok(err)
	r.ok(g.Sync())
	if seen := r.outcomes(crashfs.MetadataOrdered, see); seen["before f g"] != seeds {
		t.Errorf("after a sync of a new, empty file: %v, want /before in all", seen)
	}
	r.create("/later", "")
	r.write(f, "longer", 0)
	r.ok(f.Sync())
	if seen := r.outcomes(crashfs.MetadataOrdered, see); seen["before f g later"] != seeds {
		t.Errorf("after a sync of a longer file: %v, want /later in all", seen)
	}
}

// TestKillKeepsWhatIsAtStake: a kill loses nothing; a power cut after it can
// still lose what was never synced.
func TestKillKeepsWhatIsAtStake(t *testing.T) {
	r := newRig(t)
	f := r.synced("/f", "old")
	r.write(f, "new", 0)
	r.create("/g", "")
	killed := rig{t, r.Cut(r.Ops(), crashfs.KillOnly)}
	if killed.Ops() != r.Ops() || text(t, killed.FS, "/f") != "new" || names(t, killed.FS) != "f g" {
		t.Errorf("after the kill: %d operations, %q, %s", killed.Ops(), text(t, killed.FS, "/f"), names(t, killed.FS))
	}
	cut := killed.Cut(killed.Ops(), crashfs.Posix)
	if text(t, cut, "/f") != "old" || names(t, cut) != "f" {
		t.Errorf("after kill and power cut: %q, %s", text(t, cut, "/f"), names(t, cut))
	}
	reopened, err := killed.Open("/f")
	r.ok(err)
	r.ok(reopened.Sync())
	if got := text(t, killed.Cut(killed.Ops(), crashfs.Posix), "/f"); got != "new" {
		t.Errorf("after kill, sync and power cut: %q", got)
	}
}

func TestCutIsDeterministic(t *testing.T) {
	run := func() []string {
		r := newRig(t)
		f := r.synced("/f", strings.Repeat("o", 3000))
		for i := range 20 {
			r.write(f, strings.Repeat("n", 600), int64(i*400))
			r.create(fmt.Sprintf("/f%d", i), "x")
		}
		var list []string
		for k := range r.Ops() + 1 {
			for _, m := range []crashfs.Model{crashfs.Random(7), crashfs.MetadataOrdered(7)} {
				image := r.Cut(k, m)
				list = append(list, names(t, image), text(t, image, "/f"))
			}
		}
		return list
	}
	if !slices.Equal(run(), run()) {
		t.Error("the same workload and seed left different disks")
	}
}

// TestImagesAreApart: writing to an image, of any operation, changes no other
// disk.
func TestImagesAreApart(t *testing.T) {
	r := newRig(t)
	f := r.synced("/f", "text")
	first := r.Ops()
	r.write(f, "TEXT", 0)
	r.create("/g", "")
	for k := first; k <= r.Ops(); k++ {
		for _, m := range models()[:5] {
			image := rig{t, r.Cut(k, m)}
			f, err := image.Open("/f")
			r.ok(err)
			image.write(f, "more than there was", 0)
			image.create("/h", "")
			r.ok(image.Remove("/f"))
		}
	}
	for _, disk := range []*crashfs.FS{r.FS, r.Cut(r.Ops(), crashfs.Ordered)} {
		if text(t, disk, "/f") != "TEXT" || names(t, disk) != "f g" {
			t.Errorf("the disk holds %q, %s", text(t, disk, "/f"), names(t, disk))
		}
	}
	if got := text(t, r.Cut(first, crashfs.Ordered), "/f"); got != "text" {
		t.Errorf("the disk held %q", got)
	}
}

func TestLocksFallWithTheProcess(t *testing.T) {
	r := newRig(t)
	_, err := r.Lock("/LOCK", "first")
	r.ok(err)
	image := r.Cut(r.Ops(), crashfs.KillOnly)
	release, err := image.Lock("/LOCK", "second")
	r.ok(err)
	r.ok(release())
}
