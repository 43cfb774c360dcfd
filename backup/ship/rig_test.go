package ship_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

var background = context.Background()

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func dir(t testing.TB, location string) objects.Store {
	t.Helper()
	d, err := objects.OpenDir(location, objects.DirOptions{})
	ok(t, err)
	return d
}

var impatient = objectstest.Impatient(3)

// small makes many objects of few entries: every third entry of the histories
// below goes to blobs.
var small = ship.Options{MaxBytes: 6000, InlineBytes: 4000, BlobBytes: 3000, MarkEvery: 3, Interval: time.Hour, Retry: impatient}

// source is what a store yields.
func source(made []archivetest.Made) ship.Source {
	return ship.Func(func(context.Context) (ship.Entry, error) {
		if len(made) == 0 {
			return ship.Entry{}, io.EOF
		}
		m := made[0]
		made = made[1:]
		return ship.Entry{Entry: m.Entry, Images: m.Images()}, nil
	})
}

// historyOf is where a store with these entries stands.
func historyOf(made []archivetest.Made) (h ship.History) {
	for i, m := range made {
		if i+1 == len(made) || made[i+1].Entry.Timeline != m.Entry.Timeline {
			h = append(h, m.Position())
		}
	}
	return h
}

// run archives entries from where the archive ends, as a store that has these
// would.
func run(ctx context.Context, s objects.Store, made []archivetest.Made, o ship.Options) (*ship.Archiver, error) {
	return runFrom(ctx, s, made, 0, o)
}

// runFrom does so, as a store whose log begins with entry from, counted from 0.
func runFrom(ctx context.Context, s objects.Store, made []archivetest.Made, from int, o ship.Options) (*ship.Archiver, error) {
	o.History = func(context.Context) (ship.History, error) { return historyOf(made), nil }
	a, err := ship.Open(ctx, s, historyOf(made), o)
	if err != nil {
		return nil, err
	}
	rest := made[from:]
	for len(rest) > 0 && rest[0].Entry.First <= a.Position().LSN {
		rest = rest[1:]
	}
	return a, a.Run(ctx, source(rest))
}

func shipped(t testing.TB, s objects.Store, made []archivetest.Made, o ship.Options) *ship.Archiver {
	t.Helper()
	a, err := run(background, s, made, o)
	ok(t, err)
	st := a.Status()
	if last := made[len(made)-1].Position(); st.Shipped != last || st.LagEntries != 0 || st.LagBytes != 0 {
		t.Fatalf("shipped up to %v of %v: %+v", st.Shipped, last, st)
	}
	return a
}

// lived is a history of two timelines with n entries each.
func lived(n int) []archivetest.Made {
	h := archivetest.New(1)
	var made []archivetest.Made
	for range 2 {
		made = append(made, h.Begin())
		for i := 1; i < n; i++ {
			made = append(made, h.Write(uint64(i%5), []int{1, 3, 9}[i%3]))
		}
	}
	return made
}

// read reads entries and compares them; err is what ended the reading.
func read(t testing.TB, s objects.Store, made []archivetest.Made, from, to wal.LSN, o ship.ReadOptions) (n int, err error) {
	t.Helper()
	o.Retry = impatient
	r, err := ship.OpenReader(background, s, o)
	if err != nil {
		return 0, err
	}
	last := made[len(made)-1].Entry.Timeline
	for item, err := range r.Entries(background, last, from, to) {
		if err != nil {
			return n, err
		}
		at := from + wal.LSN(n) - made[0].Entry.First
		if int(at) >= len(made) {
			t.Fatalf("entry %d was read, which there is not", item.Entry.First)
		}
		if err := item.Verify(); err != nil {
			return n, err
		}
		if item.Position() != made[at].Position() {
			t.Fatalf("entry %d is %v, want %v", at, item.Position(), made[at].Position())
		}
		made[at].Compare(t, item.Entry, item.Images)
		n++
	}
	return n, nil
}

// whole reads all, and verifies that nothing is wrong but what may be.
func whole(t testing.TB, s objects.Store, made []archivetest.Made, may ...ship.ProblemKind) *ship.Report {
	t.Helper()
	n, err := read(t, s, made, made[0].Entry.First, 0, ship.ReadOptions{})
	if err != nil || n != len(made) {
		t.Fatalf("%d of %d entries, %v", n, len(made), err)
	}
	r := verify(t, s)
	for _, p := range r.Problems {
		if !slices.Contains(may, p.Kind) {
			t.Fatal(p)
		}
	}
	return r
}

func verify(t testing.TB, s objects.Store, o ...ship.ReadOptions) *ship.Report {
	t.Helper()
	o = append(o, ship.ReadOptions{})
	o[0].Retry = impatient
	r, err := ship.Verify(background, s, o[0])
	ok(t, err)
	return r
}

// keysOf are the keys of a store.
func keysOf(t testing.TB, s objects.Store, kinds ...archive.Kind) (keys []archive.Key) {
	t.Helper()
	for item, err := range s.List(background, "") {
		ok(t, err)
		k, err := archive.ParseKey(item.Key)
		ok(t, err)
		if len(kinds) == 0 || slices.Contains(kinds, k.Kind) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b archive.Key) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	return keys
}

func bytesOf(t testing.TB, s objects.Store, k archive.Key) []byte {
	t.Helper()
	return objectstest.Bytes(t, s, k.String())
}
