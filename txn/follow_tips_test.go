package txn_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// allTags describes what every tag of a store points to.
func allTags(t testing.TB, r *rig) (list []string) {
	t.Helper()
	v, err := recovery.View(vfs.OS(), r.dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	s := v.Snapshot()
	for vol, err := range s.Volumes() {
		if err != nil {
			t.Fatal(err)
		}
		for tag, err := range s.Tags(vol.ID) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, fmt.Sprint(tag.ID, tag.Ref, tag.Seq, tag.Tip, tag.Changed, tag.Created, tag.Set, tag.State()))
		}
	}
	return list
}

// branchOnce forks, tags, resets or deletes something, also from a state that
// only old holds.
func (r *rig) branchOnce(rnd *rand.Rand, i int, old *txn.Tx) {
	r.t.Helper()
	ctx := context.Background()
	name := fmt.Sprint("v", rnd.IntN(4))
	var err error
	switch rnd.IntN(6) {
	case 0:
		_, err = r.Fork(ctx, fmt.Sprint("fork", i), open(r.t.(*testing.T), old, "v0"))
	case 1:
		_, err = r.SetTag(ctx, name, fmt.Sprint("held", rnd.IntN(2)), open(r.t.(*testing.T), old, "v1"))
	case 2:
		r.update(func(tx *txn.Tx) error {
			v := open(r.t.(*testing.T), tx, name)
			return tx.SetTag(v, fmt.Sprint("tag", rnd.IntN(3)), v)
		})
	case 3:
		r.update(func(tx *txn.Tx) error {
			_, err := tx.Fork(fmt.Sprint("fork", i), open(r.t.(*testing.T), tx, name))
			return err
		})
	case 4:
		r.update(func(tx *txn.Tx) error {
			return open(r.t.(*testing.T), tx, "v2").Reset(open(r.t.(*testing.T), old, "v2"))
		})
	default:
		r.update(func(tx *txn.Tx) error {
			for f := range i {
				if tx.DeleteVolume(fmt.Sprint("fork", f)) == nil {
					return nil
				}
			}
			return nil
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// A follower that has let go of all it may applies forks, tags and resets, also of
// states that only the writer still holds; promoted, it goes on with them.
func TestFollowerOfForksAndTags(t *testing.T) {
	ctx := context.Background()
	w := newRig(t, txn.Options{CheckpointEvery: -1})
	f := newFollower(t, txn.Options{CheckpointEvery: -1})
	for i := range 4 {
		w.volume(fmt.Sprint("v", i), 100)
	}
	rnd := rand.New(rand.NewPCG(3, 1))
	for i := range 60 {
		old := w.begin(txn.TxOptions{ReadOnly: true})
		for v := range 4 {
			w.put(fmt.Sprint("v", v), rnd.Uint64N(100), rnd.Uint64())
		}
		w.branchOnce(rnd, i, old)
		old.Rollback()
		f.follow(w)
		if i%3 == 0 {
			if err := f.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantSame(t, w, f)
	if a, b := allTags(t, w), allTags(t, f); len(a) < 5 || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Fatalf("the writer has tags %v, the follower %v", a, b)
	}
	if _, err := f.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	f.update(func(tx *txn.Tx) error {
		_, err := tx.Fork("mine", open(t, tx, "v0"))
		return err
	})
	for _, r := range []*rig{w, f} {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		rep, err := recovery.Verify(ctx, vfs.OS(), r.dir, recovery.VerifyOptions{})
		if err != nil || !rep.Clean || rep.Slots.Leaked != 0 {
			t.Errorf("verify: %v, %+v", err, rep)
		}
	}
}
