package ship_test

import (
	"context"
	"errors"
	"testing"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// copies are two histories that share their first n entries.
func copies(n, more int) (a, b []archivetest.Made) {
	h := archivetest.New(1)
	a = append(a, h.Begin())
	for i := 1; i < n; i++ {
		a = append(a, h.Write(uint64(i), 2))
	}
	b = append(b, a...)
	other := h.Fork(2)
	for i := range more {
		a, b = append(a, h.Write(uint64(i), 2)), append(b, other.Write(uint64(i), 2))
	}
	return a, b
}

// TestDiverged: of a store and its copy, which go on on one timeline, one is
// archived; the other stops, naming both positions, wherever it is found out.
func TestDiverged(t *testing.T) {
	a, b := copies(5, 9)
	for _, sizes := range [][2]int64{{6000, 6000}, {2000, 6000}, {6000, 2000}, {1 << 20, 1 << 20}, {1 << 20, 2000}} {
		s := memory(t)
		o := small
		o.MaxBytes = sizes[0]
		shipped(t, s, a, o)
		o.MaxBytes = sizes[1]
		// As long as the archive, longer, shorter; from the common entries on, or anew.
		for _, other := range [][]archivetest.Made{b, b[:10], b[:6]} {
			_, err := run(background, s, other, o)
			if len(other) < len(b) && sizes[0] > 1<<19 {
				is(t, err, ship.ErrDiverged) // found within the object
				continue
			}
			var diverged *ship.DivergedError
			if !errors.As(err, &diverged) || !errors.Is(err, ship.ErrDiverged) || diverged.Store.Hash == diverged.Archive.Hash {
				t.Fatalf("%d entries: %v", len(other), err)
			}
		}
		archiver, err := ship.Open(background, s, nil, o)
		ok(t, err)
		is(t, archiver.Run(background, source(b)), ship.ErrDiverged)
		whole(t, s, a)
	}
}

// TestDivergedBeforehand: an archiver that was at work when another history was put.
func TestDivergedBeforehand(t *testing.T) {
	a, b := copies(5, 9)
	s := memory(t)
	shipped(t, s, a[:5], small)
	late, err := ship.Open(background, s, historyOf(b), small)
	ok(t, err)
	shipped(t, s, a, small)
	err = late.Run(background, source(b[5:]))
	var diverged *ship.DivergedError
	if !errors.As(err, &diverged) || diverged.Archive.LSN != diverged.Store.LSN {
		t.Fatal(err)
	}
	whole(t, s, a)
}

// TestHistoryUnknown: an archiver that is not told where its store stands
// finds out from the stream, wherever that begins.
func TestHistoryUnknown(t *testing.T) {
	a, b := copies(5, 9)
	for from := range len(a) {
		s := memory(t)
		shipped(t, s, a[:8], small)
		for made, want := range map[*archivetest.Made]error{&a[from]: nil, &b[from]: ship.ErrDiverged} {
			stream := a[from:]
			if made == &b[from] {
				stream = b[from:]
			}
			if from > 8 {
				want = ship.ErrGap
			}
			archiver, err := ship.Open(background, s, nil, small)
			ok(t, err)
			if err := archiver.Run(background, source(stream)); !errors.Is(err, want) {
				t.Errorf("from entry %d on: %v, want %v", from+1, err, want)
			}
			if from <= 8 && want == nil {
				whole(t, s, a)
				s = memory(t)
				shipped(t, s, a[:8], small)
			}
		}
	}
}

// TestStranger: a store whose history has nothing to do with the archive.
func TestStranger(t *testing.T) {
	a := lived(4)
	s := memory(t)
	shipped(t, s, a, small)
	h := archivetest.New(9)
	other := []archivetest.Made{h.Begin(), h.Write(0, 1)}
	before := keysOf(t, s)
	_, err := run(background, s, other, small)
	is(t, err, ship.ErrDiverged)
	if len(keysOf(t, s)) != len(before) {
		t.Error("something was put")
	}
}

// TestAhead: a store that was rolled back finds the archive ahead of it, before
// anything is shipped; after it wrote other entries, too; and goes on on a new
// timeline.
func TestAhead(t *testing.T) {
	made := lived(10)[:10]
	for _, size := range []int64{2000, 6000, 1 << 20} {
		s := memory(t)
		o := small
		o.MaxBytes = size
		shipped(t, s, made, o)
		_, err := run(background, s, made[:6], o)
		var ahead *ship.AheadError
		if !errors.As(err, &ahead) || !errors.Is(err, ship.ErrAhead) || ahead.Store != made[5].Position() || ahead.Archive != made[9].Position() {
			t.Fatal(err)
		}
		whole(t, s, made)

		// What it does next, having been told.
		h := archivetest.New(1)
		for _, n := range []int{0, 3, 9, 1, 3, 9} {
			if n == 0 {
				h.Begin()
				continue
			}
			h.Write(uint64(h.Head.LSN)%5, n)
		}
		if h.Head != made[5].Position() {
			t.Fatal("the test's history is another")
		}
		rolled := append([]archivetest.Made{}, made[:6]...)
		rolled = append(rolled, h.Begin(), h.Write(0, 3), h.Write(1, 9))
		shipped(t, s, rolled, o)
		whole(t, s, rolled)
		if n, err := read(t, s, made, 1, 0, ship.ReadOptions{}); n != len(made) || err != nil {
			t.Fatal("the old timeline: ", n, err)
		}
	}
}

// TestAheadWhileRunning: a store that is rolled back beneath an archiver, or is
// a copy of one that is further.
func TestAheadWhileRunning(t *testing.T) {
	made := lived(10)[:10]
	s := memory(t)
	o := small
	o.History = func(context.Context) (ship.History, error) { return historyOf(made[:6]), nil }
	a, err := ship.Open(background, s, historyOf(made[:6]), o)
	ok(t, err)
	big := small
	big.MaxBytes = 1 << 20
	shipped(t, s, made, big)
	is(t, a.Run(background, source(made[:6])), ship.ErrAhead)
	whole(t, s, made)
}

// TestTwins: two archivers of one store at different speeds take turns, and
// neither puts what the other has.
func TestTwins(t *testing.T) {
	made := lived(10)
	s := memory(t)
	o := small
	o.History = func(context.Context) (ship.History, error) { return historyOf(made), nil }
	var twins [2]*ship.Archiver
	for i := range twins {
		var err error
		twins[i], err = ship.Open(background, s, nil, o)
		ok(t, err)
		o.MaxBytes *= 3
	}
	for n := 1; n <= len(made); n++ {
		ok(t, twins[n%2].Run(background, source(made[:n])))
	}
	for _, a := range twins {
		ok(t, a.Run(background, source(made)))
		if st := a.Status(); st.Shipped != made[len(made)-1].Position() || st.Adopted == 0 {
			t.Errorf("%+v", st)
		}
	}
	whole(t, s, made, ship.Leftover)
}

// TestStalled: an append that comes back below a floor is deleted again.
func TestStalled(t *testing.T) {
	made := lived(10)[:10]
	s := memory(t)
	stalled, err := ship.Open(background, s, historyOf(made[:1]), small)
	ok(t, err)
	shipped(t, s, made, small)
	log := made[0].Entry.Timeline
	floor := archive.Key{Kind: archive.KindFloor, Log: log, First: 8}
	ok(t, s.Put(background, floor.String(), objects.Bytes(archive.EncodeNote(floor))))
	for _, k := range keysOf(t, s, archive.KindAppend) {
		if k.First < 8 {
			ok(t, s.Delete(background, k.String()))
		}
	}
	left := keysOf(t, s, archive.KindAppend)
	err = stalled.Run(background, source(made))
	var e *ship.StalledError
	if !errors.As(err, &e) || !errors.Is(err, ship.ErrStalled) || e.First != 1 || e.Floor != 8 || e.Left != nil {
		t.Fatal(err)
	}
	if now := keysOf(t, s, archive.KindAppend); len(now) != len(left) {
		t.Errorf("%v became %v", left, now)
	}
	first := left[0].First
	if n, err := read(t, s, made[first-1:], first, 0, ship.ReadOptions{}); n != len(made)-int(first)+1 || err != nil {
		t.Error(n, err)
	}
	// Opened anew it goes on at the end.
	shipped(t, s, made, small)
	_, err = read(t, s, made, 1, 0, ship.ReadOptions{})
	is(t, err, ship.ErrGap)
}

// TestEndIsMissed: the newest objects being gone is found out by the mark.
func TestEndIsMissed(t *testing.T) {
	made := lived(10)
	s := memory(t)
	shipped(t, s, made, small)
	appends := keysOf(t, s, archive.KindAppend)
	last := appends[0]
	for _, k := range appends {
		if k.First > last.First {
			last = k
		}
	}
	ok(t, s.Delete(background, last.String()))
	_, err := read(t, s, made, 1, 0, ship.ReadOptions{})
	var gap *ship.GapError
	if !errors.As(err, &gap) || gap.First != last.First || gap.Last != wal.LSN(len(made)) {
		t.Fatal(err)
	}
	if n, err := read(t, s, made, 1, last.First-1, ship.ReadOptions{}); n != int(last.First)-1 || err != nil {
		t.Fatal(n, err)
	}
	r := verify(t, s)
	if r.Sound() || !errors.As(r.Problems[0].Err, &gap) || gap.Last != wal.LSN(len(made)) || r.Problems[0].Key != last.String() {
		t.Fatalf("%+v", r)
	}
}

// TestTrimmed: a log whose first entries were let go of is sound, as long as it
// says so; that it does not have them is a gap for who asks.
func TestTrimmed(t *testing.T) {
	made := lived(10)[:10]
	s := memory(t)
	shipped(t, s, made, small)
	var first wal.LSN // that is kept
	for _, k := range keysOf(t, s, archive.KindAppend) {
		if k.First <= 6 {
			first = k.First
		}
	}
	notes := []archive.Key{{Kind: archive.KindFloor, Log: made[0].Entry.Timeline, First: first}, {Kind: archive.KindTrim, Log: made[0].Entry.Timeline, First: first}}
	for _, k := range notes {
		ok(t, s.Put(background, k.String(), objects.Bytes(archive.EncodeNote(k))))
	}
	for _, k := range keysOf(t, s, archive.KindAppend) {
		if k.First < first {
			ok(t, s.Delete(background, k.String()))
		}
	}
	if r := verify(t, s); !r.Sound() || r.Ranges[0].First != first || r.Ranges[0].Last != 10 {
		t.Fatalf("%+v", r)
	}
	shipped(t, s, made, small)
	_, err := read(t, s, made, first-1, 0, ship.ReadOptions{})
	var gap *ship.GapError
	if !errors.As(err, &gap) || gap.Last != first-1 {
		t.Fatal(err)
	}
	for _, k := range notes {
		ok(t, s.Delete(background, k.String()))
		if r := verify(t, s); r.Sound() {
			t.Errorf("without %s: %v", k, r.Problems)
		}
		ok(t, s.Put(background, k.String(), objects.Bytes(archive.EncodeNote(k))))
	}
}
