package ship_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// takeSnapshot puts what ship sees of a snapshot behind an entry.
func takeSnapshot(t testing.TB, s objects.Store, m archivetest.Made) {
	t.Helper()
	e := m.Entry
	h := archive.Header{
		Kind: archive.KindManifest, Log: e.Timeline, Epoch: e.Epoch, First: e.Last, Last: e.Last, Hash: m.Hash,
		FirstTime: e.Time, LastTime: e.Time, ID: uuid.UUID{1, 6: 0x40, 8: 0x80}, // of no parts
	}
	b, _, err := archive.Seal(h, nil, []byte("a manifest"), archive.SealOptions{})
	ok(t, err)
	key := archive.Key{Kind: archive.KindManifest, Log: e.Timeline, First: e.Last}
	ok(t, s.Put(background, key.String(), objects.Bytes(b)))
}

// behindGap reads an archive that has entries 1 to last and those behind at, and
// what Verify says of it. A second run may have brought in some that the log still
// had, from a third LSN on.
func behindGap(t testing.TB, s objects.Store, made []archivetest.Made, last, at wal.LSN, had ...wal.LSN) {
	t.Helper()
	skipped := verify(t, s).Skipped
	if n := len(skipped); len(had) > 0 && n > 0 && skipped[n-1].Last+1 >= had[0] {
		at = skipped[n-1].Last
	}
	for from := wal.LSN(1); from <= wal.LSN(len(made)); from++ {
		var gap *ship.GapError
		n, err := read(t, s, made, from, 0, ship.ReadOptions{})
		switch {
		case from > at:
			if err != nil || n != len(made)-int(from)+1 {
				t.Fatalf("from %d on: %d entries, %v", from, n, err)
			}
		case !errors.As(err, &gap) || gap.First != max(from, last+1) || n != max(0, int(last-from)+1):
			t.Fatalf("from %d on: %d entries, %v", from, n, err)
		}
	}
	r := verify(t, s)
	for _, p := range r.Problems {
		if p.Kind < ship.Leftover {
			t.Fatal(p)
		}
	}
	for _, g := range r.Ranges {
		if g.First <= last && g.Last > last || g.First > last && g.First <= at {
			t.Fatalf("%d to %d can be read, %d to %d are missing", g.First, g.Last, last+1, at)
		}
	}
	if n := len(r.Skipped); n == 0 || r.Skipped[0].First != last+1 || r.Skipped[n-1].Last > at {
		t.Fatalf("%+v was skipped, want %d to %d", r.Skipped, last+1, at)
	}
}

// TestSkip: wherever the archive ends, the log begins and there is a snapshot, on
// whichever timelines, the archive goes on behind the first snapshot that covers
// what is missing, and stays as it was when there is none.
func TestSkip(t *testing.T) {
	const n = 5
	made := lived(n)
	for last := range 2*n - 1 {
		for from := last + 1; from < 2*n; from++ {
			s := memory(t)
			if last > 0 {
				_, err := run(background, s, made[:last], small)
				ok(t, err)
			} else { // a start, and nothing behind it
				_, err := run(background, s, made[:1], small)
				ok(t, err)
				for _, k := range keysOf(t, s, archive.KindAppend, archive.KindMark) {
					ok(t, s.Delete(background, k.String()))
				}
			}
			before := keysOf(t, s)
			_, err := runFrom(background, s, made, from, small)
			if from == last {
				ok(t, err)
				continue
			}
			var gap *ship.GapError
			if !errors.As(err, &gap) || !gap.Stream || len(keysOf(t, s)) != len(before) {
				t.Fatalf("%d are archived, the log begins with %d, no snapshot: %v", last, from+1, err)
			}
			for at := 2*n - 1; at >= from; at-- { // each time with one that is nearer
				takeSnapshot(t, s, made[at-1])
			}
			if from > 1 {
				takeSnapshot(t, s, made[from-2]) // which is too old
			}
			shippedFrom(t, s, made, from)
			behindGap(t, s, made, wal.LSN(last), wal.LSN(from))
			shippedFrom(t, s, made, 2*n-1) // nothing more is skipped
			behindGap(t, s, made, wal.LSN(last), wal.LSN(from))
		}
	}
}

func shippedFrom(t testing.TB, s objects.Store, made []archivetest.Made, from int) *ship.Archiver {
	t.Helper()
	a, err := runFrom(background, s, made, from, small)
	ok(t, err)
	if st := a.Status(); st.Shipped != made[len(made)-1].Position() {
		t.Fatalf("shipped up to %v of %v: %+v", st.Shipped, made[len(made)-1].Position(), st)
	}
	return a
}

// TestSkipToALaterSnapshot: what lies between the log's beginning and the
// snapshot could not be restored, and is left out.
func TestSkipToALaterSnapshot(t *testing.T) {
	made := lived(7)
	for at := 4; at < 14; at++ {
		s := memory(t)
		_, err := run(background, s, made[:2], small)
		ok(t, err)
		takeSnapshot(t, s, made[at-1])
		a := shippedFrom(t, s, made, 4)
		behindGap(t, s, made, 2, wal.LSN(at))
		if st := a.Status(); st.Skipped == 0 {
			t.Errorf("%+v", st)
		}
	}
}

// TestSkipBeforeTheStream: who knows where the stream begins need not wait for its first
// entry.
func TestSkipBeforeTheStream(t *testing.T) {
	made := lived(7)
	for at := 4; at < 14; at++ {
		for begin := 3; begin <= at; begin++ {
			s := memory(t)
			_, err := run(background, s, made[:2], small)
			ok(t, err)
			o := small
			o.History = func(context.Context) (ship.History, error) { return historyOf(made), nil }
			a, err := ship.Open(background, s, historyOf(made), o)
			ok(t, err)
			is(t, a.Behind(background, made[begin-1].Position()), ship.ErrGap)
			takeSnapshot(t, s, made[at-1])
			ok(t, a.Behind(background, made[begin-1].Position()))
			if st := a.Status(); begin == at && st.Shipped != made[at-1].Position() {
				t.Errorf("%+v", st)
			}
			ok(t, a.Run(background, source(made[begin:])))
			behindGap(t, s, made, 2, wal.LSN(at))
		}
	}
}

// gapped is an archive that ends before what the log still has, and a snapshot.
func gapped(t testing.TB, s objects.Store, made []archivetest.Made) {
	_, err := run(background, s, made[:2], small)
	ok(t, err)
	takeSnapshot(t, s, made[len(made)/2+2])
}

// TestSkipCutOff cuts every call off; and kills the archiver at every call.
func TestSkipCutOff(t *testing.T) {
	const entries, from = 6, 4
	made := lived(entries)
	at := wal.LSN(len(made)/2 + 3)
	whole := memory(t)
	gapped(t, whole, made)
	counted := objectstest.Count(whole)
	_, err := runFrom(background, counted, made, from, small)
	ok(t, err)
	for n, call := range counted.Log() {
		for _, how := range []objectstest.How{objectstest.Fail, objectstest.LoseAnswer, objectstest.LoseCall, objectstest.Stop} {
			s := memory(t)
			gapped(t, s, made)
			cut := objectstest.Count(s)
			cut.At(n, how)
			_, err := runFrom(background, cut, made, from, small)
			if (how == objectstest.Stop) != (err != nil) {
				t.Fatalf("call %d (%s), %d: %v", n, call, how, err)
			}
			shippedFrom(t, s, made, from)
			behindGap(t, s, made, 2, at, from+1)
		}
		if n%3 != 0 {
			continue // processes take longer
		}
		location := t.TempDir()
		gapped(t, dir(t, location), made)
		err := commandFrom(location, n, objectstest.KillAfter, small.MaxBytes, entries, from).Run()
		if !objectstest.Killed(err) {
			t.Fatalf("call %d: the process ended by %v", n, err)
		}
		shippedFrom(t, dir(t, location), made, from)
		behindGap(t, dir(t, location), made, 2, at, from+1)
	}
}

// TestSkipAtOnce: archivers that have the entries contend with those that have not.
// Whoever wins, the archive has one history, and every entry in it is read or known
// to be missing.
func TestSkipAtOnce(t *testing.T) {
	made := lived(8)
	for range 10 {
		s := memory(t)
		gapped(t, s, made)
		together(t, s, made, func(i int) int { return i % 3 * 2 })
		checkNoFork(t, s)
		r := verify(t, s)
		if !r.Sound() {
			t.Fatal(r.Problems)
		}
		n := 0
		for _, ranges := range [][]ship.Range{r.Ranges, r.Skipped} {
			for _, g := range ranges {
				n += int(g.Last-g.First) + 1
			}
		}
		if n != len(made) {
			t.Fatalf("%d entries in %+v and %+v", n, r.Ranges, r.Skipped)
		}
	}
}

// TestSkipOfACopy: a copy of the store, on the same timeline, never gets an entry of
// another history into the archive behind or before a skip.
func TestSkipOfACopy(t *testing.T) {
	a, b := copies(5, 9)
	for _, copyFirst := range []bool{false, true} {
		s := memory(t)
		_, err := run(background, s, a[:3], small)
		ok(t, err)
		takeSnapshot(t, s, a[7])
		own := func() error { _, err := runFrom(background, s, a, 7, small); return err }
		other := func() error { _, err := run(background, s, b, small); return err }
		if copyFirst {
			ok(t, other())
			is(t, own(), ship.ErrDiverged)
			whole(t, s, b)
			continue
		}
		ok(t, own())
		is(t, other(), ship.ErrDiverged)
		_, err = runFrom(background, s, b, 7, small)
		is(t, err, ship.ErrDiverged)
		behindGap(t, s, a, 3, 8)
	}
}

// TestSkipPassesOverACopysSnapshot, and a damaged one.
func TestSkipPassesOverACopysSnapshot(t *testing.T) {
	a, b := copies(5, 9)
	s := memory(t)
	_, err := run(background, s, a[:3], small)
	ok(t, err)
	takeSnapshot(t, s, b[6])
	takeSnapshot(t, s, b[8])
	_, err = runFrom(background, s, a, 7, small)
	is(t, err, ship.ErrDiverged)
	damaged := archive.Key{Kind: archive.KindManifest, Log: a[0].Entry.Timeline, First: 10}
	ok(t, s.Put(background, damaged.String(), objects.Bytes([]byte("no manifest"))))
	takeSnapshot(t, s, a[10])
	for _, from := range []int{6, 7, 9} {
		_, err = runFrom(background, s, a, from, small)
		ok(t, err)
	}
	if r := verify(t, s); len(r.Skipped) != 1 || r.Skipped[0].Last != 11 {
		t.Errorf("%+v", r.Skipped)
	}
}

// TestSkipIsNotPacked: packs end before it and begin behind it.
func TestSkipIsNotPacked(t *testing.T) {
	made, s := lived(20)[:20], memory(t)
	_, err := run(background, s, made[:7], small)
	ok(t, err)
	takeSnapshot(t, s, made[11])
	shippedFrom(t, s, made, 10)
	for range 2 {
		_, err = ship.Pack(background, s, made[0].Entry.Timeline, ship.PackOptions{MinAppends: 2, MinPacks: 2})
		ok(t, err)
		behindGap(t, s, made, 7, 12)
	}
	if packs := keysOf(t, s, archive.KindPack); len(packs) != 2 || packs[0].Last != 7 || packs[1].First != 13 {
		t.Errorf("%v", packs)
	}
	shippedFrom(t, s, made, 19)
	behindGap(t, s, made, 7, 12)
}

// TestStaleSkip: one that a writer which stalled has put below a floor, and did
// not take back, is a leftover; the archive goes on where it ends.
func TestStaleSkip(t *testing.T) {
	made, s := lived(20)[:20], memory(t)
	_, err := run(background, s, made[:5], small)
	ok(t, err)
	takeSnapshot(t, s, made[11])
	late, err := ship.Open(background, s, historyOf(made), small)
	ok(t, err)
	_, err = run(background, s, made[:9], small)
	ok(t, err)
	_, err = ship.Pack(background, s, made[0].Entry.Timeline, ship.PackOptions{MinAppends: 2})
	ok(t, err)
	is(t, late.Run(background, source(made[10:])), nil) // the head is found anew
	if r := verify(t, s); !r.Sound() || len(r.Skipped) != 1 || r.Skipped[0].First != 10 {
		t.Fatalf("%+v %v", r.Skipped, r.Problems)
	}
	// What one that stalled before its put leaves when it is killed behind it.
	stale, _, err := archive.Seal(archive.Header{
		Kind: archive.KindSkip, Log: made[0].Entry.Timeline, Epoch: 1, First: 6, Last: 12, Before: made[4].Hash, Hash: made[11].Hash,
		FirstTime: 5, LastTime: 5,
	}, nil, nil, archive.SealOptions{})
	ok(t, err)
	key := archive.Key{Kind: archive.KindAppend, Log: made[0].Entry.Timeline, First: 6}
	ok(t, s.Put(background, key.String(), objects.Bytes(stale)))
	behindGap(t, s, made, 9, 12)
	r := verify(t, s)
	if !slices.ContainsFunc(r.Problems, func(p ship.Problem) bool { return p.Key == key.String() && p.Kind == ship.Leftover }) {
		t.Errorf("%v", r.Problems)
	}
	// And where it is the highest append.
	for _, k := range keysOf(t, s, archive.KindAppend, archive.KindMark) {
		if k.First > 6 {
			ok(t, s.Delete(background, k.String()))
		}
	}
	shippedFrom(t, s, made, 0)
	whole(t, s, made, ship.Leftover)
}

// TestEverySingleFileOfASkip is TestEverySingleFile for an archive with a gap.
func TestEverySingleFileOfASkip(t *testing.T) {
	secret, err := age.GenerateX25519Identity()
	ok(t, err)
	made, s, o := lived(5), memory(t), small
	o.Seal = archive.SealOptions{Recipients: []age.Recipient{secret.Recipient()}}
	_, err = run(background, s, made[:2], o)
	ok(t, err)
	takeSnapshot(t, s, made[6])
	_, err = runFrom(background, s, made, 4, o)
	ok(t, err)
	f := filesOf(t, s)
	ids := []age.Identity{secret}
	for what, changed := range damages(f) {
		if strings.HasPrefix(what, "delete ") && strings.HasSuffix(what, "/manifest") {
			continue // snapshots may be deleted: what can be restored is not told here
		}
		s := f.with(t, changed)
		found(t, what, verify(t, s, ship.ReadOptions{Identities: ids}), changed)
		found(t, what+" (without the key)", verify(t, s), changed)
		for n := wal.LSN(3); n < 8; n++ {
			if got, err := read(t, s, made, n, n, ship.ReadOptions{Identities: ids}); got != 0 || err == nil {
				t.Errorf("%s: entry %d: %d, %v", what, n, got, err)
			}
		}
	}
}
