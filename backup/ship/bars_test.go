package ship_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

// files are the objects of an archive by their keys.
type files map[string][]byte

func filesOf(t testing.TB, s objects.Store) files {
	f := files{}
	for _, k := range keysOf(t, s) {
		f[k.String()] = bytesOf(t, s, k)
	}
	return f
}

// with is a store of the files, but for some changed: nil for those that are gone.
func (f files) with(t testing.TB, changed files) objects.Store {
	t.Helper()
	disk := crashfs.New()
	s, err := objects.OpenDir("/store", objects.DirOptions{Disk: disk, Create: true})
	ok(t, err)
	all := maps.Clone(f)
	maps.Copy(all, changed)
	for key, b := range all {
		if b != nil {
			ok(t, s.Put(background, key, objects.Bytes(b)))
		}
	}
	return s
}

// damages are all ways to spoil single files of an archive, by what they are called.
func damages(f files) map[string]files {
	all := map[string]files{}
	keys := make([]string, 0, len(f))
	for key := range f {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i, key := range keys {
		b := f[key]
		all["delete "+key] = files{key: nil}
		for _, n := range []int{0, 1, len(b) / 2, len(b) - 1} {
			all[fmt.Sprint("truncate ", key, " to ", n)] = files{key: b[:n:n]}
		}
		all["lengthen "+key] = files{key: append(bytes.Clone(b), 0)}
		for at := 0; at < len(b); at += 1 + len(b)/8 {
			flipped := bytes.Clone(b)
			flipped[at] ^= 1 << (at % 8)
			all[fmt.Sprint("flip ", key, " at ", at)] = files{key: flipped}
		}
		for _, other := range keys[i+1:] {
			all["swap "+key+" and "+other] = files{key: f[other], other: b}
		}
		for _, other := range elsewhere(key) {
			if f[other] == nil {
				all["copy "+key+" to "+other] = files{other: b}
			}
		}
	}
	return all
}

// elsewhere are other keys of an archive, of all kinds.
func elsewhere(key string) (keys []string) {
	k, err := archive.ParseKey(key)
	if err != nil {
		return nil
	}
	log := k.Log
	if log == (wal.TimelineID{}) {
		log = wal.TimelineID{7: 9}
	}
	id := [16]byte{3: 3}
	for _, k := range []archive.Key{
		{Kind: archive.KindStart, Log: wal.TimelineID{1: 1}}, {Kind: archive.KindAppend, Log: log, First: 2}, {Kind: archive.KindAppend, Log: log, First: 1000},
		{Kind: archive.KindPack, Log: log, First: 1, Last: 2}, {Kind: archive.KindFloor, Log: log, First: 3}, {Kind: archive.KindMark, Log: log, First: 2},
		{Kind: archive.KindManifest, Log: log, First: 2}, {Kind: archive.KindPart, Log: log, First: 2, ID: id}, {Kind: archive.KindBlob, ID: id},
	} {
		keys = append(keys, k.String())
	}
	return append(keys, "stranger")
}

// TestEverySingleFile deletes, cuts, lengthens, flips, swaps and copies each file of an
// archive, one at a time: Verify finds every one, with the key and without, and names the
// file; what is read is right, or reading refuses.
func TestEverySingleFile(t *testing.T) {
	secret, err := age.GenerateX25519Identity()
	ok(t, err)
	for name, seal := range map[string]archive.SealOptions{"zstd": {}, "age": {Recipients: []age.Recipient{secret.Recipient()}}} {
		t.Run(name, func(t *testing.T) {
			made, s, o := lived(5), memory(t), small
			o.Seal = seal
			shipped(t, s, made, o)
			f := filesOf(t, s)
			ids := []age.Identity{secret}
			for what, changed := range damages(f) {
				s := f.with(t, changed)
				everyReading(t, what, s, made, ids)
				found(t, what, verify(t, s, ship.ReadOptions{Identities: ids}), changed)
				found(t, what+" (without the key)", verify(t, s), changed)
			}
		})
	}
}

func found(t *testing.T, what string, r *ship.Report, changed files) {
	t.Helper()
	named := slices.ContainsFunc(r.Problems, func(p ship.Problem) bool {
		if _, is := changed[p.Key]; is {
			return true
		}
		var gap *ship.GapError // of a pack's entries: that it was a pack is unknown
		return errors.As(p.Err, &gap) && slices.ContainsFunc(slices.Collect(maps.Keys(changed)), func(key string) bool {
			k, err := archive.ParseKey(key)
			return err == nil && k.Kind == archive.KindPack && k.Log == gap.Timeline && k.First == gap.First && k.Last == gap.Last
		})
	})
	mark := strings.HasPrefix(what, "delete ") && strings.Contains(what, "/mark/")
	if len(r.Problems) == 0 || !named || r.Sound() != mark {
		t.Errorf("%s: sound %v, %v", what, r.Sound(), r.Problems)
	}
}

// everyReading reads all entries, and some alone: what is read is right, or refused.
func everyReading(t *testing.T, what string, s objects.Store, made []archivetest.Made, ids []age.Identity) {
	t.Helper()
	o := ship.ReadOptions{Identities: ids}
	all, err := read(t, s, made, 1, 0, o)
	if err == nil && all != len(made) {
		t.Errorf("%s: %d of %d entries were read without an error", what, all, len(made))
	}
	for n := 0; n < len(made); n += 3 {
		alone, err := read(t, s, made, wal.LSN(n+1), wal.LSN(n+1), o)
		if (alone == 1) != (err == nil) || alone > 1 {
			t.Errorf("%s: entry %d: %d entries, %v", what, n+1, alone, err)
		}
	}
}

// TestRestIsRead: what needs nothing of what is damaged can still be read.
func TestRestIsRead(t *testing.T) {
	made, s := lived(8), memory(t)
	shipped(t, s, made, small)
	f := filesOf(t, s)
	first := f.with(t, files{archive.Key{Kind: archive.KindStart, Log: made[0].Entry.Timeline}.String(): nil})
	for n := wal.LSN(1); n <= wal.LSN(len(made)); n++ {
		if _, err := read(t, first, made, n, 0, ship.ReadOptions{}); (err != nil) != (n < 9) {
			t.Errorf("without the first log's start: from %d on: %v", n, err)
		}
	}
	for _, k := range keysOf(t, s, archive.KindAppend) {
		h, err := archive.DecodeHeader(k, int64(len(f[k.String()])), f[k.String()])
		ok(t, err)
		damaged := f.with(t, files{k.String(): nil})
		for n := wal.LSN(1); n <= wal.LSN(len(made)); n++ {
			needs := h.First <= n && n <= h.Last && h.Log == made[n-1].Entry.Timeline
			if _, err := read(t, damaged, made, n, n, ship.ReadOptions{}); (err != nil) != needs {
				t.Errorf("without %s: entry %d: %v", k, n, err)
			}
		}
	}
}

// TestFilesOfADirectory: strange files in the directory are reported or nobody's, never
// read as objects.
func TestFilesOfADirectory(t *testing.T) {
	location, made := t.TempDir(), lived(4)
	shipped(t, dir(t, location), made, small)
	ok(t, os.WriteFile(filepath.Join(location, "notes.txt"), []byte("mine"), 0o600))
	r := verify(t, dir(t, location))
	if len(r.Problems) != 1 || r.Problems[0].Kind != ship.Foreign || r.Problems[0].Key != "notes.txt" || r.Sound() {
		t.Errorf("%+v", r.Problems)
	}
	if n, err := read(t, dir(t, location), made, 1, 0, ship.ReadOptions{}); n != len(made) || err != nil {
		t.Error(n, err)
	}
}

// TestMixedArchives puts an object of a copy's archive, valid by itself, in the place
// of one: what is read across it fails where the histories do not meet, and Verify names
// it or its neighbour.
func TestMixedArchives(t *testing.T) {
	a, b := copies(5, 9)
	own, other := memory(t), memory(t)
	o := small
	o.MaxBytes = 2500
	shipped(t, own, a, o)
	shipped(t, other, b, o)
	f, strange := filesOf(t, own), filesOf(t, other)
	mixed := 0
	for key, theirs := range strange {
		k, err := archive.ParseKey(key)
		ok(t, err)
		if k.Kind != archive.KindAppend || k.First < 6 || f[key] == nil {
			continue
		}
		mixed++
		s := f.with(t, files{key: theirs})
		r, err := ship.OpenReader(background, s, ship.ReadOptions{Retry: impatient})
		ok(t, err)
		n := 0
		for _, e := range r.Entries(background, a[0].Entry.Timeline, 1, 0) {
			if err = e; e == nil {
				n++
			}
		}
		h, e := archive.DecodeHeader(k, int64(len(theirs)), theirs)
		ok(t, e)
		if last := wal.LSN(len(a)); n == len(a) && h.Last < last || h.Last < last && err == nil {
			t.Errorf("%s: %d entries were read, %v", key, n, err)
		}
		if rep := verify(t, s); h.Last < wal.LSN(len(a)) && rep.Sound() {
			t.Errorf("%s: %v", key, rep.Problems)
		}
	}
	if mixed < 3 {
		t.Errorf("%d objects were mixed", mixed)
	}
}
