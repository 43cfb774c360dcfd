package ship_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// real is a store and what an archiver asks of it.
type real struct {
	*txn.Manager
	t       testing.TB
	dir     string
	parents ship.History // ends of timelines before its own
	r       *rand.Rand
}

func openReal(t testing.TB, o txn.Options, parents ...wal.Position) *real {
	t.Helper()
	s := &real{t: t, dir: filepath.Join(t.TempDir(), "store"), parents: parents, r: rand.New(rand.NewPCG(1, 2))}
	o.Create = true
	m, _, err := txn.Open(s.dir, o)
	ok(t, err)
	s.Manager = m
	t.Cleanup(func() {
		ok(t, m.Close())
		verifytest.Clean(t, s.dir)
	})
	return s
}

// write commits pages of a volume, in an order of its own.
func (s *real) write(volume string, pages int) wal.Position {
	s.t.Helper()
	c, err := s.Update(background, func(tx *txn.Tx) error {
		v, err := tx.Volume(volume)
		if errors.Is(err, txn.ErrNoVolume) {
			v, err = tx.CreateVolume(volume, txn.VolumeOptions{PageSize: 512})
		}
		page := make([]byte, 512)
		for _, no := range s.r.Perm(pages) {
			for i := range page[:100] {
				page[i] = byte(s.r.Uint32())
			}
			if err == nil {
				err = v.WritePage(uint64(no), page)
			}
		}
		return err
	})
	ok(s.t, err)
	return c.Position
}

// history is where the store stands: what is durable of it.
func (s *real) history(context.Context) (ship.History, error) {
	return append(s.parents[:len(s.parents):len(s.parents)], s.Stats().Head), nil
}

// watch yields the store's entries up to one.
func (s *real) watch(after, to wal.Position) (ship.Source, func()) {
	return ship.Pull(background, func(ctx context.Context) iter.Seq2[ship.Entry, error] {
		return entries(ctx, s.Manager, after, to)
	})
}

// archive ships what the store has up to a position.
func (s *real) archive(to objects.Store, end wal.Position) {
	s.t.Helper()
	history, err := s.history(background)
	ok(s.t, err)
	o := ship.Options{MaxBytes: 64 << 10, InlineBytes: 100 << 10, BlobBytes: 300 << 10, History: s.history, Retry: impatient}
	a, err := ship.Open(background, to, history, o)
	ok(s.t, err)
	if a.Position().LSN < end.LSN {
		src, stop := s.watch(a.Position(), end)
		defer stop()
		ok(s.t, a.Run(background, src))
	}
	if got := a.Status().Shipped; got != end {
		s.t.Fatalf("shipped up to %v, the store is at %v", got, end)
	}
}

// restore applies everything that leads to a timeline to a new follower.
func restore(t testing.TB, from objects.Store, timeline wal.TimelineID) *real {
	t.Helper()
	f := openReal(t, txn.Options{Follower: true})
	r, err := ship.OpenReader(background, from, ship.ReadOptions{})
	ok(t, err)
	var last txn.Applied
	for item, err := range r.Entries(background, timeline, 1, 0) {
		ok(t, err)
		last, err = f.Apply(background, item.Entry, item.Images)
		ok(t, err)
	}
	_, err = f.Wait(background, last.Position, txn.Ack{Applied: true})
	ok(t, err)
	return f
}

// TestRealStore archives a store with small, large and indexed transactions,
// from its watchers; a follower made of the archive stands where the store does, which
// verifies every state and sum on the way; promoted, it goes on in the same archive.
func TestRealStore(t *testing.T) {
	s, to := openReal(t, txn.Options{}), memory(t)
	var end wal.Position
	for i, pages := range []int{1, 20, 300, 5, 5000, 1, 1, 40} {
		end = s.write([]string{"a", "b"}[i%2], pages)
		if i%3 == 2 {
			s.archive(to, end)
			ok(t, s.Checkpoint(background))
		}
	}
	s.archive(to, end)
	if len(keysOf(t, to, archive.KindBlob)) < 3 {
		t.Errorf("it has %v", keysOf(t, to))
	}

	f := restore(t, to, end.Timeline)
	if f.Stats().Head != end {
		t.Fatalf("restored %v, the store is at %v", f.Stats().Head, end)
	}
	f.parents = ship.History{end}
	_, err := f.Promote(background)
	ok(t, err)
	end = f.write("a", 7)
	f.archive(to, end)
	if again := restore(t, to, end.Timeline); again.Stats().Head != end {
		t.Fatalf("restored %v, the store is at %v", again.Stats().Head, end)
	}
	// The old store goes on meanwhile, on its own timeline.
	old := s.write("b", 3)
	s.archive(to, old)
	if again := restore(t, to, old.Timeline); again.Stats().Head != old {
		t.Fatalf("restored %v, the store is at %v", again.Stats().Head, old)
	}
	if r := verify(t, to); len(r.Problems) > 0 || len(r.Ranges) != 2 {
		t.Fatalf("%+v", r)
	}
}

// TestRealStoreBeginsAgain cuts an archiver off at each of its first calls: the next
// one finds a position that the store's watchers take.
func TestRealStoreBeginsAgain(t *testing.T) {
	s := openReal(t, txn.Options{})
	end := s.write("a", 3)
	for n := range 8 {
		to := memory(t)
		cut := objectstest.Count(to)
		cut.At(n, objectstest.Stop)
		a, err := ship.Open(background, cut, ship.History{end}, small)
		if err == nil {
			src, stop := s.watch(a.Position(), end)
			err = a.Run(background, src)
			stop()
		}
		is(t, err, objectstest.ErrCut)
		s.archive(to, end)
		if r := verify(t, to); !r.Sound() || r.Ranges[0].Last != end.LSN {
			t.Errorf("call %d: %+v", n, r)
		}
	}
}

// TestTail archives the log of a store that another process might have open, as
// txnctl does, and finds every entry as the log has it, byte for byte.
func TestTail(t *testing.T) {
	s, to := openReal(t, txn.Options{}), memory(t)
	var end wal.Position
	for i := range 30 {
		end = s.write("a", 1+i*7%50)
	}
	_, err := s.Wait(background, end, txn.Ack{Applied: true})
	ok(t, err)
	a, err := ship.Open(background, to, nil, small)
	ok(t, err)
	tail, last := openTail(t, s.dir), wal.LSN(0)
	live := ship.Poll(func() (ship.Entry, error) {
		rec, body, err := tail.Next()
		if err != nil {
			return ship.Entry{}, err
		}
		last = rec.LSN
		return ship.Entry{Entry: rec.Entry, Images: body}, nil
	}, time.Millisecond)
	ok(t, a.Run(background, ship.Func(func(ctx context.Context) (ship.Entry, error) {
		if last == end.LSN {
			return ship.Entry{}, io.EOF
		}
		return live.Next(ctx)
	})))

	again := openTail(t, s.dir)
	r, err := ship.OpenReader(background, to, ship.ReadOptions{})
	ok(t, err)
	n := 0
	for item, err := range r.Entries(background, end.Timeline, 1, 0) {
		ok(t, err)
		rec, _, err := again.Next()
		ok(t, err)
		got, err := wal.AppendEntry(nil, item.Entry)
		ok(t, err)
		want, err := wal.AppendEntry(nil, rec.Entry)
		ok(t, err)
		if !bytes.Equal(got, want) {
			t.Fatalf("entry %d has other bytes in the archive", rec.LSN)
		}
		n++
	}
	if n < 31 {
		t.Errorf("%d entries", n)
	}
}

func openTail(t testing.TB, dir string) *recovery.Tail {
	t.Helper()
	tail, err := recovery.OpenTail(vfs.OS(), dir, 1)
	ok(t, err)
	t.Cleanup(func() { ok(t, tail.Close()) })
	return tail
}
