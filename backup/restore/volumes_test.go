package restore_test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// holding is what the volumes of a store hold, and its tags.
func holding(t testing.TB, dir string) (all []restore.Kept) {
	t.Helper()
	v, err := recovery.View(vfs.OS(), dir, 0)
	must(t, err)
	defer func() { must(t, v.Close()) }()
	for vol, err := range v.Snapshot().Volumes() {
		must(t, err)
		k := restore.Kept{ID: vol.ID, Name: vol.Attrs.Name, Refs: []restore.KeptRef{{State: vol.State()}}}
		for tag, err := range v.Snapshot().Tags(vol.ID) {
			must(t, err)
			k.Refs = append(k.Refs, restore.KeptRef{Ref: tag.Ref, State: tag.State()})
		}
		all = append(all, k)
	}
	return all
}

func sameKept(a, b restore.Kept) bool {
	return a.ID == b.ID && a.Name == b.Name && slices.Equal(a.Refs, b.Refs)
}

// wellStored fails unless a store is sound, and takes writes.
func wellStored(t testing.TB, disk vfs.FS, dir string) {
	t.Helper()
	verifytest.CleanFS(t, disk, dir)
	m, _, err := txn.Open(dir, txn.Options{FS: disk})
	must(t, err)
	_, err = m.Update(ctx, func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("a new one", txn.VolumeOptions{})
		return err
	})
	must(t, errors.Join(err, m.Close()))
}

// The volumes that are named, by name or UUID, as they were at the target, with their
// tags and forks, and no others.
func TestRestoreVolumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 31)
	w.history()
	tags := 0
	for i, lsn := range slices.Sorted(maps.Keys(w.states)) {
		if i%8 != 3 {
			continue
		}
		dir, whole, err := w.restore(restore.Target{LSN: lsn}, restore.Options{Follower: true})
		must(t, err)
		all := holding(t, dir)
		var names []string
		var want []restore.Kept
		for j, k := range all {
			tags += len(k.Refs) - 1
			if w.R.IntN(2) == 0 || j == 0 {
				want = append(want, k)
				names = append(names, []string{k.Name, k.ID.String()}[w.R.IntN(2)])
			}
		}
		if len(names) == 0 {
			continue
		}
		w.R.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		part, got, err := w.restore(restore.Target{LSN: lsn}, restore.Options{Volumes: append(names, names[0])})
		must(t, err)
		if !slices.EqualFunc(holding(t, part), want, sameKept) || !slices.EqualFunc(got.Kept, want, sameKept) {
			t.Fatalf("LSN %d: the store holds %v, it is said %v, want %v", lsn, holding(t, part), got.Kept, want)
		}
		if got.Position != whole.Position || got.Of != whole.Volumes || got.Volumes != uint64(len(want)) || got.Began.LSN <= lsn {
			t.Errorf("%+v, the whole restore is %+v", got, whole)
		}
		wellStored(t, vfs.OS(), part)
		if left := names0(t, part); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	}
	if tags == 0 {
		t.Error("there were no tags")
	}
}

// names0 are those beside a directory that begin with its name.
func names0(t testing.TB, dir string) []string {
	return names(t, filepath.Dir(dir), filepath.Base(dir)+".")
}

// slotsOf is how many slots a store's checkpoint reaches.
func slotsOf(t testing.TB, dir string) uint64 {
	t.Helper()
	v, err := recovery.View(vfs.OS(), dir, 0)
	must(t, err)
	defer v.Close()
	return v.Facts().Used.Len()
}

// One small volume beside large ones takes no more space than it needs, and what a fork
// shares with a volume that is left out stays.
func TestRestoreVolumesSpace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 32)
	fill := func(name string, pages int, b byte) {
		w.update(func(tx *txn.Tx) error {
			v, err := tx.Volume(name)
			if errors.Is(err, txn.ErrNoVolume) {
				v, err = tx.CreateVolume(name, txn.VolumeOptions{})
			}
			if err != nil {
				return err
			}
			page := make([]byte, v.PageSize())
			for i := range pages {
				page[0], page[1], page[2] = b, byte(i), byte(i>>8)
				if err := v.WritePage(uint64(i), page); err != nil {
					return err
				}
			}
			return nil
		})
	}
	fill("large", 3000, 1)
	fill("base", 40, 2)
	w.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("base")
		if err != nil {
			return err
		}
		_, err = tx.Fork("fork", v)
		return err
	})
	fill("base", 40, 3)
	fill("fork", 10, 4)
	for i := range 600 { // more than one transaction deletes
		if i%200 == 0 {
			w.update(func(tx *txn.Tx) error {
				for j := range 200 {
					if _, err := tx.CreateVolume(fmt.Sprint("many", i+j), txn.VolumeOptions{PageSize: 512}); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	w.Ship()
	w.Snapshot(true)
	whole, _, err := w.restore(restore.Target{}, restore.Options{Follower: true})
	must(t, err)
	dir, got, err := w.restore(restore.Target{}, restore.Options{Volumes: []string{"fork"}})
	must(t, err)
	if large, small := slotsOf(t, whole), slotsOf(t, dir); large < 3000 || small > 100 || got.Of != 603 {
		t.Errorf("%d slots of %d, %d volumes", small, large, got.Of)
	}
	if refs := got.Kept[0].Refs; len(refs) != 2 || refs[1].Ref != txn.OriginTag {
		t.Errorf("the fork has %v", refs)
	}
	wellStored(t, vfs.OS(), dir)
	_, dry, err := w.restore(restore.Target{}, restore.Options{Volumes: []string{"fork"}, DryRun: true})
	must(t, err)
	if dry.Scratch < 12<<20 || dry.Scratch > 14<<20 {
		t.Errorf("a rehearsal speaks of %d bytes", dry.Scratch)
	}
}

// A name that is not there at the target is refused: what took it away is named, and what
// is like it. A follower has all volumes.
func TestRestoreNoVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 33)
	create := func(names ...string) {
		w.update(func(tx *txn.Tx) error {
			for _, name := range names {
				if _, err := tx.CreateVolume(name, txn.VolumeOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	create("mail", "notes", "Notes", "n0tes", "app.sql", "old", "x")
	w.Ship()
	w.Snapshot(true)
	var id wal.VolumeID
	w.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("mail")
		if err == nil {
			id = v.ID()
			err = tx.DeleteVolume("mail")
		}
		return errors.Join(err, tx.RenameVolume("old", "new"))
	})
	at := w.M.Stats().Head.LSN
	w.Ship()
	for name, want := range map[string][]string{
		"mail":           {fmt.Sprintf(`at LSN %d there is no volume "mail": LSN %d deleted it; nothing was changed`, at, at)},
		id.String():      {fmt.Sprintf("LSN %d deleted it", at)},
		"old":            {fmt.Sprintf(`LSN %d renamed it to "new"`, at)},
		"note":           {`there is ["Notes" "n0tes" "notes"]`},
		"APP":            {`there is ["app.sql"]`},
		"something else": {`no volume "something else"; nothing was changed`},
		"":               {`no volume ""`},
	} {
		dir, _, err := w.restore(restore.Target{}, restore.Options{Volumes: []string{"notes", name}})
		var none *restore.NoVolumeError
		if !errors.As(err, &none) || !errors.Is(err, restore.ErrRefused) || none.Name != name {
			t.Fatalf("%q: %v", name, err)
		}
		for _, says := range want {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if left := names(t, filepath.Dir(dir), ""); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	}
	for _, name := range []string{"mail", "old", id.String()} {
		_, got, err := w.restore(restore.Target{LSN: at - 1}, restore.Options{Volumes: []string{name}})
		must(t, err)
		if len(got.Kept) != 1 {
			t.Errorf("before that: %+v", got.Kept)
		}
	}
	if _, _, err := w.restore(restore.Target{}, restore.Options{Volumes: []string{"notes"}, Follower: true}); err == nil {
		t.Error("a follower without some volumes")
	}
}
