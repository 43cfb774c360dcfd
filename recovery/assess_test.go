package recovery_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

func assess(t *testing.T, dir string) *recovery.Loss {
	t.Helper()
	before := fingerprint(t, dir)
	l, err := recovery.Assess(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
	must(t, err)
	if fingerprint(t, dir) != before {
		t.Fatal("assessing changed the directory")
	}
	return l
}

// lists reports whether a page of a volume or tag is among what is lost.
func lists(l *recovery.Loss, name, ref string, page uint64) bool {
	for _, d := range l.Lost {
		if d.Name == name && string(d.Ref) == ref && d.First <= page && page < d.First+d.Pages {
			return true
		}
	}
	return false
}

// A bit is flipped at a time: what can be read of the newest state is what Assess does
// not list, page by page, and it says so when that is less than there was.
func TestAssessNamesWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, o := range []txn.Options{{}, {InlineBytes: 1}} {
		dir, b := build(t, 31, o)
		b.mixed()
		b.close()
		last := assess(t, dir)
		if last.Extent() != recovery.LostNothing || last.Opens != nil || !last.Verified.Clean {
			t.Fatalf("of a sound store: %+v", last)
		}
		met := map[recovery.Extent]int{}
		for _, f := range sample(regions(t, dir), 10, rand.New(rand.NewPCG(3, 4))) {
			f.apply(t, dir)
			l, err := recovery.Assess(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
			if errors.Is(err, wal.ErrVersion) { // it says that a newer program wrote it
				f.apply(t, dir)
				continue
			}
			must(t, err)
			met[l.Extent()]++
			if l.Verified.Clean {
				t.Fatalf("%+v is not found", f)
			}
			if l.Opens == nil && l.Catalogue == nil {
				must(t, readable(t, dir, b.now, l))
			}
			f.apply(t, dir)
		}
		t.Log(met)
		for e := recovery.LostNothing; e <= recovery.LostAll; e++ {
			if met[e] == 0 && e != recovery.LostNothing {
				t.Errorf("no bit lost %v", e)
			}
		}
	}
}

// readable compares what a view reads with what is listed as lost.
func readable(t *testing.T, dir string, want oracle, l *recovery.Loss) error {
	v, err := recovery.View(vfs.OS(), dir, 0)
	if err != nil {
		return err
	}
	defer v.Close()
	for vol, err := range v.Snapshot().Volumes() {
		if err != nil {
			return err
		}
		buf := make([]byte, vol.Attrs.PageSize)
		for no := range want[vol.Attrs.Name].pages {
			if err := vol.Read(no, buf); (err != nil) != lists(l, vol.Attrs.Name, "", no) {
				t.Errorf("page %d of %s: %v, and the list is %+v", no, vol.Attrs.Name, err, l.Lost)
			}
		}
	}
	return nil
}

// spoil flips a bit of what lies at a page of the newest state.
func spoil(t *testing.T, dir, name, tag string, page uint64) {
	t.Helper()
	v, err := recovery.View(vfs.OS(), dir, 0)
	must(t, err)
	id, _, err := v.Snapshot().VolumeID(name)
	must(t, err)
	var vol pagestore.Volume
	if tag == "" {
		vol, _, err = v.Snapshot().Volume(id)
	} else {
		vol, _, err = v.Snapshot().Tag(wal.Ref{Volume: id, Name: wal.RefName(tag)})
	}
	must(t, err)
	image := make([]byte, vol.Attrs.PageSize)
	must(t, vol.Read(page, image))
	must(t, v.Close())
	flipIn(t, filepath.Join(dir, "heap"), image)
}

func TestAssessTellsHistoryFromState(t *testing.T) {
	t.Parallel()
	dir, b := build(t, 32, txn.Options{})
	b.create("book", 4096)
	for range 12 {
		b.write("book", 30, 400)
	}
	b.tag("book", "first edition")
	tagged := b.now["book"].tags["first edition"].pages
	b.discard("book", len(tagged))
	b.write("book", 40, 400)
	b.checkpoint()
	b.close()
	var old, now uint64
	for old = range tagged {
		break
	}
	for now = range b.now["book"].pages {
		break
	}
	spoil(t, dir, "book", "first edition", old)
	l := assess(t, dir)
	if l.Extent() != recovery.LostHistory || len(l.Lost) != 1 || !lists(l, "book", "first edition", old) || l.Opens != nil {
		t.Errorf("%+v", l)
	}
	spoil(t, dir, "book", "", now)
	if l = assess(t, dir); l.Extent() != recovery.LostState || len(l.Lost) != 2 || !lists(l, "book", "", now) || l.Volumes != 1 {
		t.Errorf("%+v", l)
	}
	must(t, os.Remove(filepath.Join(dir, "heap", heapName(1))))
	l = assess(t, dir)
	if l.Extent() != recovery.LostState || !errors.Is(l.Opens, wal.ErrCorrupt) {
		t.Errorf("without a heap file: %+v", l)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "heap")))
	if l = assess(t, dir); l.Extent() != recovery.LostState || l.Catalogue == nil {
		t.Errorf("without the heap: %+v", l)
	}
	must(t, os.Remove(filepath.Join(dir, "MANIFEST")))
	if l = assess(t, dir); l.Extent() != recovery.LostAll || l.Unread == nil {
		t.Errorf("without the manifest: %+v", l)
	}
}

// Wherever a byte of one record is wrong, all others are whole, and known to be.
func TestSalvageLosesOneRecord(t *testing.T) {
	t.Parallel()
	dir, b := build(t, 34, txn.Options{CheckpointEvery: -1})
	b.create("book", 512)
	for range 12 {
		b.write("book", 2, 100)
	}
	b.close()
	found, err := recovery.Examine(vfs.OS(), dir)
	must(t, err)
	rng := rand.New(rand.NewPCG(7, 7))
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(dir, "wal"), found.Facts.Generations, 1, found.Scan.Last) {
		must(t, err)
		for _, at := range []int64{0, 1, 2, 2 + rng.Int64N(116), 118 + rng.Int64N(rec.Length-118), rec.Length - 1} {
			f := flip{file: filepath.Join("wal", rec.Gen.Path()), off: rec.Offset + at, bit: uint(rng.IntN(8))}
			f.apply(t, dir)
			own, err := recovery.OpenSalvage(vfs.OS(), dir)
			if f.apply(t, dir); errors.Is(err, wal.ErrVersion) {
				continue
			}
			must(t, err)
			whole := map[wal.LSN]bool{}
			for _, r := range own.Runs() {
				for lsn := r.First; lsn <= r.Last; lsn++ {
					whole[lsn] = true
				}
			}
			if whole[rec.LSN] || len(whole) != int(found.Scan.Last)-1 || len(own.Remains.Bad) != 1 || own.Durable != found.Scan.Last {
				t.Fatalf("byte %d of record %d: %+v, durable %d", at, rec.LSN, own.Remains, own.Durable)
			}
			must(t, own.Close())
		}
	}
}

// An entry in the middle of the log is damaged: that one is named, and what is behind it
// in the log is lost to the state, though it is whole.
func TestAssessNamesEntries(t *testing.T) {
	t.Parallel()
	dir, b := build(t, 33, txn.Options{CheckpointEvery: -1})
	b.create("book", 512)
	for range 20 {
		b.write("book", 2, 100)
	}
	b.close()
	gens, err := filepath.Glob(filepath.Join(dir, "wal", "*", "*"))
	must(t, err)
	found, err := recovery.Examine(vfs.OS(), dir)
	must(t, err)
	var where *wal.Record
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(dir, "wal"), found.Facts.Generations, 1, 11) {
		must(t, err)
		where = rec
	}
	flip{file: filepath.Join("wal", where.Gen.Path()), off: where.Offset + where.Length - 5}.apply(t, dir)
	l := assess(t, dir)
	if len(l.Log) != 1 || l.Log[0].First != 11 || l.Log[0].Last != 11 || l.At != 10 || l.Durable != 22 || l.Extent() != recovery.LostState || l.Opens == nil {
		t.Errorf("%+v, in %v", l, gens)
	}
	own, err := recovery.OpenSalvage(vfs.OS(), dir)
	must(t, err)
	defer own.Close()
	known, err := own.Known(context.Background(), 11, 22, 100)
	if must(t, err); len(known) != 11 || known[0].LSN != 12 || known[10].LSN != 22 || known[0].Time == 0 {
		t.Errorf("known of what is lost: %+v", known)
	}
	last := wal.LSN(11)
	for e, err := range own.Entries(context.Background(), wal.Position{LSN: 11, Hash: b.hashBefore(own, 12)}) {
		must(t, err)
		last = e.LSN
	}
	if last != 22 {
		t.Errorf("salvaged up to %d", last)
	}
}

// hashBefore is the hash that a run's first entry names.
func (b *builder) hashBefore(s *recovery.Salvage, first wal.LSN) wal.Hash {
	for _, r := range s.Runs() {
		if r.First == first {
			return r.Before
		}
	}
	b.t.Fatalf("no run begins with %d: %+v", first, s.Runs())
	return wal.Hash{}
}
