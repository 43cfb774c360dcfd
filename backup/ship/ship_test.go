package ship_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// TestShipAndRead: what is shipped is read, every entry from every LSN to some, in
// every form of sealing, across timelines and blobs.
func TestShipAndRead(t *testing.T) {
	secret, err := age.GenerateX25519Identity()
	ok(t, err)
	made := lived(10)
	for name, seal := range map[string]archive.SealOptions{
		"plain": {Uncompressed: true}, "zstd": {}, "age": {Recipients: []age.Recipient{secret.Recipient()}},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := memory(t), small
			o.Seal = seal
			shipped(t, s, made, o)
			if len(keysOf(t, s, archive.KindBlob)) == 0 || len(keysOf(t, s, archive.KindAppend)) < 6 || len(keysOf(t, s, archive.KindMark)) != 2 {
				t.Fatalf("it has %v", keysOf(t, s))
			}
			ro := ship.ReadOptions{Identities: []age.Identity{secret}}
			for from := 1; from <= len(made); from++ {
				for _, to := range []int{0, from, min(from+7, len(made)), len(made)} {
					want := to - from + 1
					if to == 0 {
						want = len(made) - from + 1
					}
					if n, err := read(t, s, made, wal.LSN(from), wal.LSN(to), ro); n != want || err != nil {
						t.Fatalf("from %d to %d: %d entries, %v", from, to, n, err)
					}
				}
			}
			r := verify(t, s, ro)
			if len(r.Problems) > 0 || r.Entries != uint64(len(made)) || len(r.Ranges) != 2 || r.Ranges[1].Last != made[len(made)-1].Entry.Last {
				t.Fatalf("%+v", r)
			}
			if first, last := r.Ranges[0], r.Ranges[1]; first.FirstTime != made[0].Entry.Time || last.LastTime != made[len(made)-1].Entry.Time || first.Last+1 != last.First {
				t.Fatalf("%+v", r.Ranges)
			}
		})
	}
}

// TestLocked: without the key everything but the entries is verified.
func TestLocked(t *testing.T) {
	secret, err := age.GenerateX25519Identity()
	ok(t, err)
	s, o := memory(t), small
	o.Seal.Recipients = []age.Recipient{secret.Recipient()}
	made := lived(10)
	shipped(t, s, made, o)
	r := verify(t, s)
	if len(r.Problems) > 0 || r.Entries != 0 || r.Locked == 0 || len(r.Ranges) != 2 {
		t.Fatalf("%+v", r)
	}
	_, err = read(t, s, made, 1, 0, ship.ReadOptions{})
	is(t, err, archive.ErrLocked)
	// A blob that is gone is missed, since appends name theirs in the clear.
	gone := keysOf(t, s, archive.KindBlob)[0]
	ok(t, s.Delete(background, gone.String()))
	if r := verify(t, s); r.Sound() || r.Problems[0].Key != gone.String() || r.Problems[0].Kind != ship.Missing {
		t.Fatalf("%+v", r)
	}
}

// TestResume archives in pieces of every size, each by a new archiver.
func TestResume(t *testing.T) {
	made := lived(8)
	for step := 1; step <= 6; step++ {
		s := memory(t)
		for n := step; ; n += step {
			n = min(n, len(made))
			a := shipped(t, s, made[:n], small)
			if a.Status().Archive != verify(t, s).Archive {
				t.Error("another archive's UUID")
			}
			if n == len(made) {
				break
			}
		}
		whole(t, s, made)
		shipped(t, s, made, small) // nothing more to do
	}
}

// TestFromTheBeginning: a stream that begins before the archive's end is passed
// over as far as it is there.
func TestFromTheBeginning(t *testing.T) {
	s, made := memory(t), lived(8)
	shipped(t, s, made[:11], small)
	a, err := ship.Open(background, s, historyOf(made), small)
	ok(t, err)
	if a.Position() != made[10].Position() {
		t.Fatalf("it goes on behind %v", a.Position())
	}
	ok(t, a.Run(background, source(made)))
	whole(t, s, made)
}

// TestBeginsLate: an archive may begin in the middle of a history, which is a gap
// for whoever asks for more.
func TestBeginsLate(t *testing.T) {
	s, made := memory(t), lived(8)
	a, err := ship.Open(background, s, historyOf(made), small)
	ok(t, err)
	ok(t, a.Run(background, source(made[11:])))
	if n, err := read(t, s, made[11:], 12, 0, ship.ReadOptions{}); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if r := verify(t, s); len(r.Problems) > 0 || r.Ranges[0].First != 12 {
		t.Fatalf("%+v", r)
	}
	_, err = read(t, s, made, 11, 0, ship.ReadOptions{})
	var gap *ship.GapError
	if !errors.As(err, &gap) || gap.First != 11 || gap.Last != 11 || gap.Stream {
		t.Fatal(err)
	}
	start, err := archive.DecodeStart(made[11].Entry.Timeline, bytesOf(t, s, archive.Key{Kind: archive.KindStart, Log: made[11].Entry.Timeline}))
	if err != nil || start.Parent != made[7].Position() {
		t.Fatalf("%+v, %v", start, err)
	}
}

// TestStreamGap: a stream that does not go on where the archive ends is refused by
// the LSNs that are missing.
func TestStreamGap(t *testing.T) {
	s, made := memory(t), lived(8)
	shipped(t, s, made[:5], small)
	a, err := ship.Open(background, s, historyOf(made), small)
	ok(t, err)
	err = a.Run(background, source(made[7:]))
	var gap *ship.GapError
	if !errors.As(err, &gap) || !errors.Is(err, ship.ErrGap) || gap.First != 6 || gap.Last != 7 || !gap.Stream {
		t.Fatal(err)
	}
	if st := a.Status(); !st.Failing || st.LastError == "" || st.Shipped != made[4].Position() {
		t.Fatalf("%+v", st)
	}
	whole(t, s, made[:5])
}

// TestAtOnce: what comes when nothing was put for an interval waits for nothing; what comes
// next waits for others.
func TestAtOnce(t *testing.T) {
	s, made := memory(t), lived(4)
	now := time.Now()
	o := small
	o.MaxBytes, o.InlineBytes, o.Interval, o.Now = 1<<20, 1<<20, time.Hour, func() time.Time { return now }
	a, err := ship.Open(background, s, nil, o)
	ok(t, err)
	now = now.Add(time.Hour)
	src := source(made[:4])
	err = a.Run(background, ship.Func(func(ctx context.Context) (ship.Entry, error) {
		e, err := src.Next(ctx)
		if want := made[0].Position(); err == nil && e.Last > 1 && a.Status().Shipped != want {
			t.Errorf("before LSN %d: %+v, want %v", e.Last, a.Status(), want)
		}
		return e, err
	}))
	ok(t, err)
	if n := len(keysOf(t, s, archive.KindAppend)); n != 2 {
		t.Errorf("%d appends", n)
	}
	whole(t, s, made[:4])
}

// TestInterval: an entry does not wait for others for long.
func TestInterval(t *testing.T) {
	s, made := memory(t), lived(4)
	o := small
	o.MaxBytes, o.Interval = 1<<20, time.Millisecond
	a, err := ship.Open(background, s, nil, o)
	ok(t, err)
	ctx, cancel := context.WithCancel(background)
	src, rest := source(made[:3]), made[3:]
	ended := make(chan error)
	go func() {
		ended <- a.Run(ctx, ship.Func(func(ctx context.Context) (ship.Entry, error) {
			e, err := src.Next(ctx)
			if err == io.EOF { // a store at rest
				<-ctx.Done()
				err = ctx.Err()
			}
			return e, err
		}))
	}()
	for end := time.Now().Add(time.Minute); a.Status().Shipped != made[2].Position(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", a.Status())
		}
	}
	cancel()
	is(t, <-ended, context.Canceled)
	_ = rest
	whole(t, s, made[:3], ship.Unmarked)
}

// TestPull and TestPoll: the two ways in which stores yield entries.
func TestPull(t *testing.T) {
	s, made := memory(t), lived(8)
	src, stop := ship.Pull(background, func(context.Context) iter.Seq2[ship.Entry, error] {
		return func(yield func(ship.Entry, error) bool) {
			for _, m := range made {
				if !yield(ship.Entry{Entry: m.Entry, Images: m.Images()}, nil) {
					return
				}
			}
		}
	})
	a, err := ship.Open(background, s, nil, small)
	ok(t, err)
	ok(t, a.Run(background, src))
	whole(t, s, made)
	stop()
	if _, err := src.Next(background); err != io.EOF {
		t.Error(err)
	}

	broken := errors.New("the log")
	src, stop = ship.Pull(background, func(ctx context.Context) iter.Seq2[ship.Entry, error] {
		return func(yield func(ship.Entry, error) bool) {
			_ = yield(ship.Entry{Entry: made[0].Entry}, nil) && yield(ship.Entry{}, broken)
		}
	})
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err = src.Next(ctx) // perhaps the entry was there
	if err != nil {
		is(t, err, context.Canceled)
		_, err = src.Next(background)
		ok(t, err)
	}
	for range 2 {
		_, err = src.Next(background)
		is(t, err, broken)
	}
	stop()

	src, stop = ship.Pull(background, func(ctx context.Context) iter.Seq2[ship.Entry, error] {
		return func(yield func(ship.Entry, error) bool) {
			<-ctx.Done()
			yield(ship.Entry{}, ctx.Err())
		}
	})
	ctx, cancel = context.WithTimeout(background, time.Millisecond)
	defer cancel()
	_, err = src.Next(ctx)
	is(t, err, context.DeadlineExceeded)
	stop()
	if _, err = src.Next(background); err == nil {
		t.Error("a source that was stopped yields entries")
	}
}

func TestPoll(t *testing.T) {
	made, asked := lived(2), 0
	next := func() (ship.Entry, error) {
		if asked++; asked%3 != 0 {
			return ship.Entry{}, io.EOF
		}
		return ship.Entry{Entry: made[asked/3-1].Entry}, nil
	}
	src := ship.Poll(next, time.Microsecond)
	for i := range 3 {
		e, err := src.Next(background)
		if err != nil || e.First != made[i].Entry.First {
			t.Fatal(e, err)
		}
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := ship.Poll(next, time.Hour).Next(ctx)
	is(t, err, context.Canceled)
}

// TestCopiedWithNewDates: an archive is what its files hold.
func TestCopiedWithNewDates(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	made := lived(10)
	shipped(t, dir(t, from), made[:15], small)
	ok(t, os.CopyFS(to, os.DirFS(from)))
	n := time.Duration(0)
	ok(t, filepath.WalkDir(to, func(name string, _ os.DirEntry, err error) error {
		n++
		then := time.Now().Add(-n * 999 * time.Hour)
		return errors.Join(err, os.Chtimes(name, then, then))
	}))
	whole(t, dir(t, to), made[:15])
	shipped(t, dir(t, to), made, small)
	whole(t, dir(t, to), made)
}

// TestNotAnArchive: reading and verifying say what is not there, and an archive that
// has lost its FORMAT, or a log its start, is not taken for a new one.
func TestNotAnArchive(t *testing.T) {
	s, made := memory(t), lived(4)
	_, err := ship.OpenReader(background, s, ship.ReadOptions{})
	is(t, err, objects.ErrNotFound)
	if r := verify(t, s); r.Sound() || r.Problems[0].Key != archive.FormatKey {
		t.Errorf("%+v", r)
	}
	shipped(t, s, made, small)
	for _, key := range []archive.Key{{Kind: archive.KindFormat}, {Kind: archive.KindStart, Log: made[7].Entry.Timeline}} {
		b := bytesOf(t, s, key)
		ok(t, s.Delete(background, key.String()))
		_, err = run(background, s, made, small)
		is(t, err, wal.ErrCorrupt)
		ok(t, s.Put(background, key.String(), objects.Bytes(b)))
	}
	whole(t, s, made)
	r, err := ship.OpenReader(background, s, ship.ReadOptions{})
	ok(t, err)
	if logs, err := r.Logs(background); len(logs) != 2 || err != nil {
		t.Error(logs, err)
	}
	for _, err := range r.Entries(background, wal.TimelineID{9}, 1, 0) {
		is(t, err, objects.ErrNotFound)
	}
	for _, err := range r.Entries(background, made[7].Entry.Timeline, 3, 2) {
		if err == nil {
			t.Error("entries from 3 to 2 were read")
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []ship.Options{
		{MaxBytes: -1}, {MaxBytes: 1 << 40}, {Interval: -1}, {InlineBytes: -1}, {InlineBytes: 1 << 40}, {BlobBytes: -1}, {BlobBytes: 1 << 40},
		{MarkEvery: -1}, {Retry: objects.RetryOptions{First: -1}}, {Retry: objects.RetryOptions{Most: 1}}, {Retry: objects.RetryOptions{Call: -1}}, {Retry: objects.RetryOptions{Tries: -1}},
	} {
		s := memory(t)
		if _, err := ship.Open(background, s, nil, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
		if len(keysOf(t, s)) != 0 {
			t.Error("something was put")
		}
	}
	s, made := memory(t), []archivetest.Made{archivetest.New(7).Begin()}
	shipped(t, s, made, ship.Options{}) // the defaults
	whole(t, s, made)
}
