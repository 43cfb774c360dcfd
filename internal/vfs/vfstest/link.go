package vfstest

import (
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
)

// RunLinker checks the implementation of vfs.Linker that setup returns, with
// an empty directory of it to work in, anew for each check. What it has of
// vfs.FS is checked by Run.
func RunLinker(t *testing.T, setup func(t *testing.T) (disk vfs.Linker, dir string)) {
	checks := []struct {
		name  string
		check func(s *suite, disk vfs.Linker)
	}{
		{"LinkIsASecondName", linkIsASecondName},
		{"LinkReplacesNothing", linkReplacesNothing},
		{"OneLinkWins", oneLinkWins},
		{"EachEntryShowsAll", eachEntryShowsAll},
		{"EachEntryEnds", eachEntryEnds},
		{"EachEntryBesideChanges", eachEntryBesideChanges},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			disk, dir := setup(t)
			c.check(&suite{t, disk, dir}, disk)
		})
	}
}

func linkIsASecondName(s *suite, disk vfs.Linker) {
	f := s.create("a", "text")
	s.ok(disk.Mkdir(s.path("d")))
	s.ok(disk.Link(s.path("a"), s.path("d/b")))
	s.holds(s.open("d/b"), "text")
	one, err := disk.FileID(s.path("a"))
	s.ok(err)
	two, err := disk.FileID(s.path("d/b"))
	s.ok(err)
	if one != two {
		s.Errorf("one file is %q and %q", one, two)
	}
	_, err = f.WriteAt([]byte("T"), 0)
	s.ok(err)
	s.ok(disk.Remove(s.path("a")))
	s.holds(s.open("d/b"), "Text")
}

func linkReplacesNothing(s *suite, disk vfs.Linker) {
	s.create("a", "a")
	s.create("b", "b")
	s.ok(disk.Mkdir(s.path("d")))
	for _, c := range []struct {
		from, to string
		want     error
	}{
		{"a", "b", fs.ErrExist},
		{"a", "a", fs.ErrExist},
		{"a", "d", fs.ErrExist},
		{"none", "x", fs.ErrNotExist},
		{"a", "none/x", fs.ErrNotExist},
		{"a", "b/x", syscall.ENOTDIR},
		{"d", "x", fs.ErrPermission},
	} {
		err := disk.Link(s.path(c.from), s.path(c.to))
		s.is(err, c.want)
		if !vfs.IsRefusal(err) {
			s.Errorf("after %v it would be unknown whether there is a link", err)
		}
		if c.want == syscall.ENOTDIR && !vfs.IsNotDirectory(err) {
			s.Errorf("%v is not known for what it is", err)
		}
	}
	s.holds(s.open("b"), "b")
}

func oneLinkWins(s *suite, disk vfs.Linker) {
	const racers = 16
	for i := range racers {
		s.create(fmt.Sprint("from", i), fmt.Sprint(i))
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	winner := make([]bool, racers)
	for i := range racers {
		wg.Go(func() {
			if err := disk.Link(s.path(fmt.Sprint("from", i)), s.path("to")); err == nil {
				won.Add(1)
				winner[i] = true
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		s.Fatalf("%d links of one name succeeded", won.Load())
	}
	for i, is := range winner {
		if is {
			s.holds(s.open("to"), fmt.Sprint(i))
		}
	}
}

const manyEntries = 700 // more than are read at a time

func eachEntryShowsAll(s *suite, disk vfs.Linker) {
	s.ok(disk.Mkdir(s.path("d")))
	for i := range manyEntries {
		f, err := disk.Create(s.path(fmt.Sprint(i)))
		s.ok(err)
		_, err = f.WriteAt(make([]byte, i), 0)
		s.ok(err)
		s.ok(f.Close())
	}
	seen := map[string]vfs.Entry{}
	s.ok(disk.EachEntry(s.dir, func(e vfs.Entry) bool {
		if _, again := seen[e.Name]; again {
			s.Errorf("%s is shown twice", e.Name)
		}
		seen[e.Name] = e
		return true
	}))
	if len(seen) != manyEntries+1 || !seen["d"].Mode.IsDir() {
		s.Errorf("%d names are shown, d as %+v", len(seen), seen["d"])
	}
	for i := range manyEntries {
		if e := seen[fmt.Sprint(i)]; e.Size != int64(i) || !e.Mode.IsRegular() {
			s.Errorf("%d is shown as %+v", i, e)
		}
	}
}

func eachEntryEnds(s *suite, disk vfs.Linker) {
	s.create("a", "")
	s.create("b", "")
	shown := 0
	s.ok(disk.EachEntry(s.dir, func(vfs.Entry) bool { shown++; return false }))
	if shown != 1 {
		s.Errorf("%d names after the first was enough", shown)
	}
	all := func(vfs.Entry) bool { return true }
	s.is(disk.EachEntry(s.path("none"), all), fs.ErrNotExist)
	s.is(disk.EachEntry(s.path("a"), all), syscall.ENOTDIR)
}

// eachEntryBesideChanges removes every name as it is shown: the others are
// shown nevertheless.
func eachEntryBesideChanges(s *suite, disk vfs.Linker) {
	for i := range manyEntries {
		f, err := disk.Create(s.path(fmt.Sprint(i)))
		s.ok(err)
		s.ok(f.Close())
	}
	shown := 0
	s.ok(disk.EachEntry(s.dir, func(e vfs.Entry) bool {
		shown++
		s.ok(disk.Remove(s.path(e.Name)))
		return true
	}))
	if shown != manyEntries {
		s.Errorf("%d of %d names are shown", shown, manyEntries)
	}
}
