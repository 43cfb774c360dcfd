package txn_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// place lets a rig's disk tell directories apart, as the disk beneath does.
func (f *faulty) FileID(name string) (string, error) {
	return f.FS.(interface{ FileID(string) (string, error) }).FileID(name)
}

// copyOf closes a store, copies its directory, and opens both.
func copyOf(t *testing.T, r *rig) *rig {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c := &rig{t: t, dir: filepath.Join(t.TempDir(), "copy"), opts: r.opts, disk: &faulty{FS: vfs.OS()}}
	c.opts.FS = c.disk
	if err := os.CopyFS(c.dir, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	r.open()
	c.open()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		verifytest.Clean(t, c.dir)
	})
	return c
}

// next is the first entry behind a position.
func (r *rig) next(after wal.Position) sent {
	r.t.Helper()
	return r.log(after)[0]
}

func TestTwoCopiesBothWrite(t *testing.T) {
	ctx := context.Background()
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.volume("v", 1)
	if _, err := w.Consumer(ctx, "feed"); err != nil {
		t.Fatal(err)
	}
	f.follow(w)
	g := newFollower(t, txn.Options{})
	g.follow(w)
	shared, was := w.Stats().Head, w.Stats().Pages.Store

	c := copyOf(t, w)
	if w.Stats().Head != shared || w.Stats().Pages.Store != was {
		t.Errorf("the original is another store since it was copied: %+v", w.Stats().Head)
	}
	if h := c.Stats().Head; h.LSN != shared.LSN+1 || h.Timeline == shared.Timeline || c.Stats().Pages.Store == was {
		t.Errorf("the copy stands at %v, the original at %v", h, shared)
	}
	if b := c.next(shared).entry; b.Kind != wal.KindTimeline || b.Begin.Reason != recovery.ReasonCopy || b.Begin.ParentHash != shared.Hash {
		t.Errorf("%+v, %+v", b, b.Begin)
	}
	w.put("v", 0, 10)
	c.put("v", 0, 20)

	// Who follows the original does not take the copy's entries, and the other way
	// round; who stands where they parted may go with either.
	f.follow(w)
	for _, s := range c.log(shared) {
		if s.pos.LSN <= f.Stats().Head.LSN {
			f.wantRefused(s, txn.ErrDiverged)
		}
	}
	g.follow(c)
	wantSame(t, c, g)
	g.wantRefused(w.next(shared), txn.ErrStaleEpoch)
	g.wantRefused(w.next(shared), txn.ErrDiverged)
	f.wantFollower()

	// Nor does a consumer go on at the wrong one.
	w.put("v", 0, 11)
	for e, err := range c.Watch(ctx, txn.WatchOptions{After: w.Stats().Head}) {
		if !errors.Is(err, txn.ErrDiverged) && !errors.Is(err, txn.ErrFuture) {
			t.Error(e, err)
		}
		break
	}
	feed, err := w.Consumer(ctx, "feed")
	if err != nil {
		t.Fatal(err)
	}
	if err := feed.Ack(ctx, c.Stats().Head); !errors.Is(err, txn.ErrDiverged) {
		t.Error(err)
	}

	// Neither is suspected again.
	for _, r := range []*rig{w, c} {
		head := r.Stats().Head
		if err := r.reopen(); err != nil || r.Stats().Head != head {
			t.Error(err, r.Stats().Head, head)
		}
	}
}

// wantFollower checks that a follower still follows nobody but its writer: it takes
// no commits.
func (r *rig) wantFollower() {
	r.t.Helper()
	if _, err := r.Begin(context.Background(), txn.TxOptions{}); !errors.Is(err, txn.ErrFollower) {
		r.t.Error(err)
	}
}

// A directory that is renamed is no copy.
func TestAStoreThatIsMovedIsNoCopy(t *testing.T) {
	w := newRig(t, txn.Options{})
	w.volume("v", 1)
	head := w.Stats().Head
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(w.dir, moved); err != nil {
		t.Fatal(err)
	}
	w.dir = moved
	w.open()
	if w.Stats().Head != head {
		t.Errorf("it stands at %v, before at %v", w.Stats().Head, head)
	}
}

// Looking at a copy says what it is and changes nothing.
func TestLookingAtACopy(t *testing.T) {
	w := newRig(t, txn.Options{})
	w.volume("v", 1)
	head := w.Stats().Head
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, at := range []struct {
			dir    string
			copied bool
		}{{w.dir, false}, {dir, true}} {
			v, err := recovery.View(vfs.OS(), at.dir, 0)
			if err != nil || v.Findings().Copied != at.copied || v.Snapshot().Head.Position != head {
				t.Fatal(at, err, v.Findings().Copied)
			}
			v.Close()
			rep, err := recovery.Verify(context.Background(), vfs.OS(), at.dir, recovery.VerifyOptions{})
			if err != nil || rep.Copied != at.copied || !rep.Clean || !rep.ClosedCleanly {
				t.Fatalf("%+v, %v", rep, err)
			}
		}
	}
	w.open()
}

// A follower that was copied is a follower of the same writer, with a UUID of
// its own; nothing is written.
func TestACopyOfAFollower(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.volume("v", 1)
	f.follow(w)
	c := copyOf(t, f)
	if c.Stats().Head != f.Stats().Head || c.Role() != txn.RoleFollower || c.Stats().Pages.Store == f.Stats().Pages.Store {
		t.Errorf("%+v, %+v", c.Stats(), f.Stats())
	}
	w.put("v", 0, 2)
	f.follow(w)
	c.follow(w)
	wantSame(t, f, c)
}

// A kill between copying and opening, and a copy of a killed store: the copy
// recovers, and then begins its timeline.
func TestACopyOfAKilledStore(t *testing.T) {
	w := newRig(t, txn.Options{})
	w.volume("v", 3)
	dir := w.killed() // while it is open
	m, rep, err := txn.Open(dir, txn.Options{})
	if err != nil || !rep.Copied || rep.Began != recovery.ReasonCopy || rep.Clean || rep.Last != w.Stats().Head.LSN+1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	verifytest.Clean(t, dir)
}
