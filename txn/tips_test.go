package txn_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// A fork begins as its source is, copies nothing, and what is written to one of
// them the other does not see.
func TestFork(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2, 3)
	before := r.Stats()
	r.fork("f", "v", "")
	if s := r.Stats(); s.PayloadBytes != before.PayloadBytes || s.LogBytes-before.LogBytes > 1000 {
		t.Errorf("the fork took %d bytes of pages, %d of log", s.PayloadBytes-before.PayloadBytes, s.LogBytes-before.LogBytes)
	}
	r.stay(contents{"v": {1, 2, 3}, "f": {1, 2, 3}, "f@origin": {1, 2, 3}})
	r.write("v", 10)
	r.write("f", 0, 20, 0, 40)
	r.stay(contents{"v": {10, 2, 3}, "f": {1, 20, 3, 40}, "f@origin": {1, 2, 3}})
	r.write("v", 11, 12, 13)
	r.remove("f")
	r.stay(contents{"v": {11, 12, 13}})
}

// A fork of a transaction begins as its source is when that commits, whatever
// others write meanwhile; and no conflict comes of that.
func TestForkOfAVolumeThatIsWritten(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.write("v", 1, 2)
	tx := r.begin(txn.TxOptions{})
	if err := fork(tx, "f", "v", ""); err != nil {
		t.Fatal(err)
	}
	if err := setTag(tx, "v", "x", "v", ""); err != nil {
		t.Fatal(err)
	}
	r.write("v", 7)
	if _, err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.stay(contents{"v": {7, 2}, "v@x": {7, 2}, "f": {7, 2}, "f@origin": {7, 2}})
}

// Forks outlive the volume that they were forked from; so do forks of these, and
// each may go in any order.
func TestForksOfADeletedVolume(t *testing.T) {
	for _, order := range [][]string{{"v", "f", "g", "h"}, {"h", "g", "f", "v"}, {"f", "v", "h", "g"}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			r := newRig(t, txn.Options{CheckpointEvery: -1})
			r.write("v", 1, 2, 3)
			r.fork("f", "v", "")
			r.write("v", 4)
			r.fork("g", "v", "")
			r.write("f", 0, 5)
			r.checkpoint()
			r.fork("h", "f", "")
			r.write("h", 0, 0, 6)
			want := contents{
				"v": {4, 2, 3}, "f": {1, 5, 3}, "f@origin": {1, 2, 3}, "g": {4, 2, 3}, "g@origin": {4, 2, 3},
				"h": {1, 5, 6}, "h@origin": {1, 5, 3},
			}
			r.stay(want)
			for _, gone := range order {
				r.remove(gone)
				delete(want, gone)
				delete(want, gone+"@origin")
				r.stay(want)
			}
		})
	}
}

// A volume that a transaction forks it may delete, too: the pages move on.
func TestForkAndDeleteInOneTransaction(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2, 3)
	r.tag("v", "x")
	r.write("v", 9)
	r.update(func(tx *txn.Tx) error {
		return errors.Join(fork(tx, "f", "v", ""), fork(tx, "g", "v", "x"), tx.DeleteVolume("v"))
	})
	r.stay(contents{"f": {9, 2, 3}, "f@origin": {9, 2, 3}, "g": {1, 2, 3}, "g@origin": {1, 2, 3}})
	r.update(func(tx *txn.Tx) error { return tx.RenameVolume("f", "v") })
	r.remove("g")
	r.stay(contents{"v": {9, 2, 3}, "v@origin": {9, 2, 3}})
}

// Page 5 born at 7, tagged at 10, overwritten at 20, tagged at 30, reset to 10,
// first tag dropped: page 5 must still read.
func TestPageBornTaggedOverwrittenTaggedResetAndUntagged(t *testing.T) {
	for _, often := range []bool{false, true} {
		r := newRig(t, txn.Options{CheckpointEvery: -1})
		then := func(f func()) {
			if f(); often {
				r.checkpoint()
			}
		}
		then(func() { r.write("v", 1, 2, 3, 4, 5, 6) })
		then(func() { r.tag("v", "at 10") })
		then(func() { r.write("v", 0, 0, 0, 0, 0, 60) })
		then(func() { r.tag("v", "at 30") })
		then(func() { r.reset("v", "v", "at 10") })
		r.stay(contents{"v": {1, 2, 3, 4, 5, 6}, "v@at 10": {1, 2, 3, 4, 5, 6}, "v@at 30": {1, 2, 3, 4, 5, 60}})
		r.untag("v", "at 10")
		r.stay(contents{"v": {1, 2, 3, 4, 5, 6}, "v@at 30": {1, 2, 3, 4, 5, 60}})
		r.untag("v", "at 30")
		r.stay(contents{"v": {1, 2, 3, 4, 5, 6}})
	}
}

// A volume is reset to any tip that is held, tagged or forked; what it was before
// is there under its tags, and the target may go.
func TestResetToHeldTaggedAndForkedTips(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2, 3)
	r.tag("v", "x")
	r.write("v", 4, 0, 0, 7)
	r.fork("f", "v", "x")
	r.write("f", 0, 8)
	held := r.begin(txn.TxOptions{ReadOnly: true})
	r.write("v", 9, 9, 9, 9, 9)
	r.tag("v", "y")
	r.reset("v", "v", "x")
	r.are(contents{"v": {1, 2, 3}, "v@x": {1, 2, 3}, "v@y": {9, 9, 9, 9, 9}, "f": {1, 8, 3}, "f@origin": {1, 2, 3}})
	r.update(func(tx *txn.Tx) error { return open(t, tx, "v").Reset(open(t, held, "v")) })
	held.Rollback()
	r.are(contents{"v": {4, 2, 3, 7}, "v@x": {1, 2, 3}, "v@y": {9, 9, 9, 9, 9}, "f": {1, 8, 3}, "f@origin": {1, 2, 3}})
	r.reset("v", "f", "")
	r.untag("v", "x")
	r.remove("f")
	r.stay(contents{"v": {1, 8, 3}, "v@y": {9, 9, 9, 9, 9}})
	r.reset("v", "v", "y")
	r.untag("v", "y")
	r.stay(contents{"v": {9, 9, 9, 9, 9}})
}

// A tag moved by two at once: one of them gets a conflict, in any isolation, and
// the tag is where the other one moved it.
func TestTagMovedByTwoAtOnce(t *testing.T) {
	ctx := context.Background()
	for _, iso := range []txn.Isolation{txn.Serializable, txn.Snapshot} {
		r := newRig(t, txn.Options{})
		r.write("v", 1)
		r.write("w", 7)
		r.tag("v", "x")
		r.write("v", 2)
		for name, change := range map[string]func(tx *txn.Tx) error{
			"moved":   func(tx *txn.Tx) error { return setTag(tx, "v", "x", "v", "") },
			"set":     func(tx *txn.Tx) error { return setTag(tx, "v", "new", "v", "") },
			"dropped": func(tx *txn.Tx) error { return deleteTag(tx, "v", "x") },
		} {
			tag := "x"
			if name == "set" {
				tag = "new"
			}
			one, two := r.begin(txn.TxOptions{Isolation: iso}), r.begin(txn.TxOptions{Isolation: iso})
			if err := errors.Join(setTag(one, "v", tag, "w", ""), change(two)); err != nil {
				t.Fatal(err)
			}
			if _, err := one.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			_, err := two.Commit(ctx)
			conflict(t, err, "tag", "v", tag)
		}
		r.stay(contents{"v": {2}, "v@x": {7}, "v@new": {7}, "w": {7}})
	}
}

// Moving a tag away and back again is a change, too.
func TestTagMovedAwayAndBack(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.write("v", 1)
	r.tag("v", "x")
	r.tag("v", "y")
	tx := r.begin(txn.TxOptions{})
	if err := deleteTag(tx, "v", "x"); err != nil {
		t.Fatal(err)
	}
	r.write("v", 2)
	r.update(func(tx *txn.Tx) error { return setTag(tx, "v", "x", "v", "") })
	r.update(func(tx *txn.Tx) error { return setTag(tx, "v", "x", "v", "y") })
	_, err := tx.Commit(context.Background())
	conflict(t, err, "tag", "v", "x")
}

// What isolation makes of tags that others set meanwhile.
func TestIsolationOfTags(t *testing.T) {
	ctx := context.Background()
	list := func(tx *txn.Tx) error {
		for _, err := range tx.Tags("v") {
			if err != nil {
				return err
			}
		}
		return nil
	}
	at := func(tag string) func(tx *txn.Tx) error {
		return func(tx *txn.Tx) error {
			_, err := tx.At("v", tag)
			if errors.Is(err, txn.ErrNoTag) {
				err = nil
			}
			return err
		}
	}
	set := func(tag string) func(tx *txn.Tx) error {
		return func(tx *txn.Tx) error { return setTag(tx, "v", tag, "v", "") }
	}
	drop := func(tx *txn.Tx) error { return deleteTag(tx, "v", "x") }
	write := func(tx *txn.Tx) error { return put(tx, "v", 3, 33) }
	for name, c := range map[string]struct {
		reads, meanwhile func(*txn.Tx) error
		tag              string // of the conflict; empty for none
	}{
		"listed, one is new":              {list, set("new"), "new"},
		"listed, one is moved":            {list, set("x"), "x"},
		"listed, one is dropped":          {list, drop, "x"},
		"listed, a page is written":       {list, write, ""},
		"looked at, and it is moved":      {at("x"), set("x"), "x"},
		"looked at, and it is dropped":    {at("x"), drop, "x"},
		"looked at, and another is moved": {at("x"), set("y"), ""},
		"looked for, and it is made":      {at("new"), set("new"), "new"},
		"looked for, another is made":     {at("new"), set("other"), ""},
	} {
		for _, iso := range []txn.Isolation{txn.Serializable, txn.Snapshot} {
			t.Run(fmt.Sprint(name, iso), func(t *testing.T) {
				r := newRig(t, txn.Options{})
				r.write("v", 1, 2)
				r.write("w", 1, 2)
				r.tag("v", "x")
				r.tag("v", "y")
				tx := r.begin(txn.TxOptions{Isolation: iso})
				if err := errors.Join(c.reads(tx), put(tx, "w", 0, 5)); err != nil {
					t.Fatal(err)
				}
				r.update(c.meanwhile)
				_, err := tx.Commit(ctx)
				if c.tag != "" && iso == txn.Serializable {
					conflict(t, err, "tag", "v", c.tag)
				} else if err != nil {
					t.Errorf("%v, want none", err)
				}
			})
		}
	}
}

// What a fork or tag was to begin from is gone: the conflict says so.
func TestConflictsOfSources(t *testing.T) {
	ctx := context.Background()
	drop := func(tx *txn.Tx) error { return deleteTag(tx, "v", "x") }
	move := func(tx *txn.Tx) error { return setTag(tx, "v", "x", "v", "") }
	remove := func(tx *txn.Tx) error { return tx.DeleteVolume("v") }
	for name, c := range map[string]struct {
		begin, meanwhile func(*txn.Tx) error
		iso              txn.Isolation
		what, name, tag  string
	}{
		"fork of a tag that is dropped":                    {func(tx *txn.Tx) error { return fork(tx, "f", "v", "x") }, drop, txn.Serializable, "tag", "v", "x"},
		"fork of a tag that is dropped, snapshot":          {func(tx *txn.Tx) error { return fork(tx, "f", "v", "x") }, drop, txn.Snapshot, "base", "f", ""},
		"fork of a tag that is moved, snapshot":            {func(tx *txn.Tx) error { return fork(tx, "f", "v", "x") }, move, txn.Snapshot, "base", "f", ""},
		"tag from a tag that is moved, snapshot":           {func(tx *txn.Tx) error { return setTag(tx, "w", "y", "v", "x") }, move, txn.Snapshot, "base", "w", ""},
		"fork of a volume that is deleted":                 {func(tx *txn.Tx) error { return fork(tx, "f", "v", "") }, remove, txn.Serializable, "name", "v", ""},
		"fork of a volume that is deleted, snapshot":       {func(tx *txn.Tx) error { return fork(tx, "f", "v", "") }, remove, txn.Snapshot, "base", "f", ""},
		"tag of a volume that is deleted":                  {func(tx *txn.Tx) error { return setTag(tx, "v", "y", "w", "") }, remove, txn.Serializable, "name", "v", ""},
		"tag of a volume that is deleted, snapshot":        {func(tx *txn.Tx) error { return setTag(tx, "v", "y", "w", "") }, remove, txn.Snapshot, "existence", "v", ""},
		"drop of a tag whose volume is deleted, snapshot":  {drop, remove, txn.Snapshot, "tag", "v", "x"},
		"fork as a name that is taken meanwhile":           {func(tx *txn.Tx) error { return fork(tx, "f", "w", "") }, func(tx *txn.Tx) error { return fork(tx, "f", "v", "") }, txn.Serializable, "name", "f", ""},
		"fork as a name that is taken meanwhile, snapshot": {func(tx *txn.Tx) error { return fork(tx, "f", "w", "") }, func(tx *txn.Tx) error { return fork(tx, "f", "v", "") }, txn.Snapshot, "name", "f", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, txn.Options{})
			r.write("v", 1, 2)
			r.write("w", 1)
			r.tag("v", "x")
			r.write("v", 3)
			tx := r.begin(txn.TxOptions{Isolation: c.iso})
			if err := c.begin(tx); err != nil {
				t.Fatal(err)
			}
			r.update(c.meanwhile)
			var conflict *txn.ConflictError
			_, err := tx.Commit(ctx)
			if !errors.As(err, &conflict) {
				t.Fatalf("%v, want a conflict", err)
			}
			if conflict.What != c.what || c.name != "" && conflict.Name != c.name || conflict.Tag != c.tag {
				t.Errorf("%v: about %q of %q, tag %q", err, conflict.What, conflict.Name, conflict.Tag)
			}
		})
	}
}

// A fork of a tag, of a fork, and of an origin; origins detached.
func TestForksOfTagsAndForks(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2, 3)
	r.tag("v", "x")
	r.write("v", 10)
	r.fork("f", "v", "x")
	r.write("f", 0, 20)
	r.fork("g", "f", "")
	r.fork("h", "f", txn.OriginTag)
	r.write("g", 0, 0, 30)
	r.write("h", 4, 4)
	r.stay(contents{
		"v": {10, 2, 3}, "v@x": {1, 2, 3}, "f": {1, 20, 3}, "f@origin": {1, 2, 3},
		"g": {1, 20, 30}, "g@origin": {1, 20, 3}, "h": {4, 4, 3}, "h@origin": {1, 2, 3},
	})
	r.untag("f", txn.OriginTag)
	r.untag("g", txn.OriginTag)
	r.untag("v", "x")
	r.write("f", 5, 5, 5)
	r.stay(contents{"v": {10, 2, 3}, "f": {5, 5, 5}, "g": {1, 20, 30}, "h": {4, 4, 3}, "h@origin": {1, 2, 3}})
	r.remove("v")
	r.remove("f")
	r.untag("h", txn.OriginTag)
	r.stay(contents{"g": {1, 20, 30}, "h": {4, 4, 3}})
	r.remove("h")
	r.stay(contents{"g": {1, 20, 30}})
}

// A tag of one volume that points to a tip of another one keeps that, also when
// the other one goes.
func TestTagOfAnotherVolumesTip(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2, 3)
	r.write("w", 7)
	r.tag("v", "x")
	r.update(func(tx *txn.Tx) error { return setTag(tx, "w", "of v", "v", "") })
	r.update(func(tx *txn.Tx) error { return setTag(tx, "w", "of x", "v", "x") })
	r.write("v", 4, 5, 6)
	r.remove("v")
	r.stay(contents{"w": {7}, "w@of v": {1, 2, 3}, "w@of x": {1, 2, 3}})
	r.reset("w", "w", "of v")
	r.untag("w", "of v")
	r.fork("f", "w", "of x")
	r.stay(contents{"w": {1, 2, 3}, "w@of x": {1, 2, 3}, "f": {1, 2, 3}, "f@origin": {1, 2, 3}})
	r.remove("w")
	r.stay(contents{"f": {1, 2, 3}, "f@origin": {1, 2, 3}})
}

// The tags of a volume go with it, those that others have of it stay.
func TestDeleteAVolumeWithTags(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2, 3)
	r.write("w", 7)
	for i := range uint64(20) {
		r.tag("v", fmt.Sprint("tag ", i))
		r.write("v", i+10, 0, i)
	}
	r.update(func(tx *txn.Tx) error { return setTag(tx, "w", "of v", "v", "tag 7") })
	r.checkpoint()
	r.update(func(tx *txn.Tx) error {
		return errors.Join(setTag(tx, "v", "never", "w", ""), deleteTag(tx, "v", "tag 3"), tx.DeleteVolume("v"))
	})
	r.stay(contents{"w": {7}, "w@of v": {16, 2, 6}})
	r.write("v", 5) // the name is free, and has no tags
	r.stay(contents{"w": {7}, "w@of v": {16, 2, 6}, "v": {5}})
	r.update(func(tx *txn.Tx) error { return errors.Join(tx.DeleteVolume("w"), tx.DeleteVolume("v")) })
	r.stay(contents{})
}

// A tag is renamed by dropping and setting in one transaction, in any order, and
// two exchange their places.
func TestTagRenamedInOneTransaction(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2)
	r.tag("v", "old")
	r.write("v", 3)
	r.tag("v", "other")
	r.write("v", 4, 4)
	r.update(func(tx *txn.Tx) error {
		at, err := tx.At("v", "old")
		if err != nil {
			return err
		}
		return errors.Join(deleteTag(tx, "v", "old"), tx.SetTag(open(t, tx, "v"), "new", at))
	})
	r.stay(contents{"v": {4, 4}, "v@new": {1, 2}, "v@other": {3, 2}})
	r.update(func(tx *txn.Tx) error {
		return errors.Join(setTag(tx, "v", "newer", "v", "new"), deleteTag(tx, "v", "new"))
	})
	r.stay(contents{"v": {4, 4}, "v@newer": {1, 2}, "v@other": {3, 2}})
	r.untag("v", "newer")
	r.untag("v", "other")
	r.stay(contents{"v": {4, 4}})
}

// What a savepoint undoes is not there, nor in the way.
func TestSavepointsOfForksAndTags(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2)
	r.write("w", 5)
	r.tag("v", "x")
	r.tag("v", "y")
	r.write("v", 3)
	r.update(func(tx *txn.Tx) error {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(fork(tx, "g", "v", "x"))
		must(setTag(tx, "v", "stays", "v", ""))
		must(deleteTag(tx, "v", "y"))
		sp, err := tx.Savepoint()
		must(err)
		for range 2 {
			must(fork(tx, "f", "v", ""))
			must(setTag(tx, "v", "x", "v", ""))
			must(setTag(tx, "v", "stays", "w", ""))
			must(setTag(tx, "v", "y", "v", ""))
			must(deleteTag(tx, "v", "x"))
			must(tx.DeleteVolume("v"))
			must(tx.RollbackTo(sp))
		}
		return nil
	})
	r.stay(contents{"w": {5}, "v": {3, 2}, "v@x": {1, 2}, "v@stays": {3, 2}, "g": {1, 2}, "g@origin": {1, 2}})
}

// A tag that is set to where it points stays, also when it was to go; and nothing
// is logged for that.
func TestTagSetToWhereItPoints(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{})
	r.write("v", 1)
	r.tag("v", "x")
	r.write("v", 2)
	before := r.Stats().Commits
	r.update(func(tx *txn.Tx) error { return setTag(tx, "v", "x", "v", "x") })
	r.update(func(tx *txn.Tx) error {
		at, err := tx.At("v", "x")
		if err != nil {
			return err
		}
		return errors.Join(deleteTag(tx, "v", "x"), tx.SetTag(open(t, tx, "v"), "x", at))
	})
	tx := r.begin(txn.TxOptions{})
	at, err := tx.At("v", "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.SetTag(ctx, "v", "x", at); err != nil {
		t.Fatal(err)
	}
	if n := r.Stats().Commits - before; n != 0 {
		t.Errorf("%d entries", n)
	}
	r.untag("v", "x")
	r.tag("v", "x") // now it is another tip's
	if _, err := r.SetTag(ctx, "v", "x", at); err != nil {
		t.Fatal(err)
	}
	r.stay(contents{"v": {2}, "v@x": {1}})
}

// All that a transaction says about tags is what the snapshot has.
func TestTagsAreListed(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.write("v", 1, 2)
	tip := r.Stats().Head.LSN
	var changed []wal.LSN
	for _, tag := range []string{"b", "a", "c", "b"} {
		r.tag("v", tag)
		changed = append(changed, r.Stats().Head.LSN)
	}
	r.untag("v", "c")
	err := r.View(context.Background(), func(tx *txn.Tx) error {
		var list []txn.TagInfo
		for tag, err := range tx.Tags("v") {
			if err != nil {
				return err
			}
			list = append(list, tag)
		}
		if len(list) != 2 {
			t.Fatalf("%+v", list)
		}
		v := open(t, tx, "v")
		a, b := list[0], list[1]
		if a.Name != "a" || a.Volume != v.ID() || a.Tip != tip || a.Changed != changed[1] || a.Created != changed[1] || a.Seq != 1 || a.Present != 2 || a.State.Pages != 2 {
			t.Errorf("%+v, changed %v, the volume at %d", a, changed, tip)
		}
		if b.Name != "b" || b.Tip != tip || b.Changed != changed[3] || b.Created != changed[0] || b.Seq != 2 || b.State != a.State {
			t.Errorf("%+v, changed %v, the volume at %d", b, changed, tip)
		}
		for range tx.Tags("v") {
			break // and the transaction goes on
		}
		_, err := tx.At("v", "a")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// errBadName is what the errors of names end with.
var errBadName = errors.New("choose 1 to 255 bytes of plain text")

func TestErrorsOfForksAndTags(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2)
	r.tag("v", "x")
	r.update(func(tx *txn.Tx) error {
		_, err := tx.CreateVolume("w", txn.VolumeOptions{PageSize: 512})
		return err
	})
	held, tx := r.begin(txn.TxOptions{}), r.begin(txn.TxOptions{})
	old := open(t, held, "v")
	r.write("v", 3)
	v, w := open(t, tx, "v"), open(t, tx, "w")
	at, err := tx.At("v", "x")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("n", wal.MaxNameBytes+1)
	for what, c := range map[string]struct{ got, want error }{
		"fork as a name that is taken":      {second(tx.Fork("w", v)), txn.ErrVolumeExists},
		"fork as an empty name":             {second(tx.Fork("", v)), errBadName},
		"fork as a long name":               {second(tx.Fork(long, v)), errBadName},
		"fork of another transaction's":     {second(tx.Fork("f", old)), txn.ErrHeldOnly},
		"tag to another transaction's":      {tx.SetTag(v, "t", old), txn.ErrHeldOnly},
		"tag with a reserved name":          {tx.SetTag(v, "quire.mine", v), txn.ErrReserved},
		"tag with an empty name":            {tx.SetTag(v, "", v), errBadName},
		"tag with a bad name":               {tx.SetTag(v, "a\nb", v), errBadName},
		"tag with a long name":              {tx.SetTag(v, long, v), errBadName},
		"tag of another page size":          {tx.SetTag(w, "t", v), txn.ErrPageSize},
		"drop of no tag":                    {tx.DeleteTag(v, "nobody"), txn.ErrNoTag},
		"drop of a name that none can have": {tx.DeleteTag(v, long), txn.ErrNoTag},
		"write what a tag points to":        {at.WritePage(0, pageOf(1)), txn.ErrTagged},
		"truncate it":                       {at.Truncate(0), txn.ErrTagged},
		"discard of it":                     {at.DiscardPage(0), txn.ErrTagged},
		"reset it":                          {at.Reset(v), txn.ErrTagged},
		"At without a volume":               {second(tx.At("nobody", "x")), txn.ErrNoVolume},
		"At without a tag":                  {second(tx.At("v", "nobody")), txn.ErrNoTag},
		"At with no name":                   {second(tx.At("v", "")), txn.ErrNoTag},
		"fork held as a taken name":         {second(r.Manager.Fork(ctx, "w", old)), txn.ErrVolumeExists},
		"fork held as no name":              {second(r.Manager.Fork(ctx, "", old)), errBadName},
		"tag held with no name":             {second(r.SetTag(ctx, "v", "", old)), errBadName},
		"tag held with a reserved name":     {second(r.SetTag(ctx, "v", "quire.", old)), txn.ErrReserved},
		"tag held without a volume":         {second(r.SetTag(ctx, "nobody", "t", old)), txn.ErrNoVolume},
		"tag held of another page size":     {second(r.SetTag(ctx, "w", "t", old)), txn.ErrPageSize},
	} {
		if c.want == errBadName && c.got != nil && strings.Contains(c.got.Error(), errBadName.Error()) {
			continue
		}
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
	for tag, err := range tx.Tags("nobody") {
		if !errors.Is(err, txn.ErrNoVolume) {
			t.Errorf("tags of no volume: %+v, %v", tag, err)
		}
	}
	if err := errors.Join(second(tx.Fork("f", v)), tx.SetTag(v, "new", v)); err != nil {
		t.Fatal(err)
	}
	f := open(t, tx, "f")
	if _, err := f.Size(); !errors.Is(err, txn.ErrNotYet) {
		t.Errorf("read of a fork before its commit: %v", err)
	}
	for what, err := range map[string]error{
		"write":       f.WritePage(0, pageOf(1)),
		"fork":        second(tx.Fork("g", f)),
		"tag":         tx.SetTag(f, "t", v),
		"drop":        tx.DeleteTag(f, txn.OriginTag),
		"At":          second(tx.At("v", "new")),
		"At a fork's": second(tx.At("f", txn.OriginTag)),
		"fork it":     second(r.Manager.Fork(ctx, "h", f)),
	} {
		if !errors.Is(err, txn.ErrNotYet) && !errors.Is(err, txn.ErrStaged) {
			t.Errorf("%s before the commit: %v", what, err)
		}
	}
	if err := v.WritePage(0, pageOf(9)); err != nil {
		t.Fatal(err)
	}
	if err := second(tx.Fork("g", v)); !errors.Is(err, txn.ErrStaged) {
		t.Errorf("fork of a volume with staged changes: %v", err)
	}
	if _, err := tx.Commit(ctx); !errors.Is(err, txn.ErrStaged) {
		t.Errorf("commit of a volume that was forked and then changed: %v", err)
	}
	held.Rollback()
	if _, err := r.Manager.Fork(ctx, "h", old); !errors.Is(err, txn.ErrTxDone) {
		t.Errorf("fork of a transaction that has ended: %v", err)
	}
	ended := r.begin(txn.TxOptions{ReadOnly: true})
	now := open(t, ended, "v")
	ended.Rollback()
	if _, err := r.Manager.Fork(ctx, "h", now); !errors.Is(err, txn.ErrTxDone) {
		t.Errorf("fork of what is current, of a transaction that has ended: %v", err)
	}
	reader := r.begin(txn.TxOptions{ReadOnly: true})
	for what, err := range map[string]error{
		"fork": second(reader.Fork("f", open(t, reader, "v"))),
		"tag":  reader.SetTag(open(t, reader, "v"), "t", open(t, reader, "v")),
		"drop": reader.DeleteTag(open(t, reader, "v"), "x"),
	} {
		if !errors.Is(err, txn.ErrReadOnly) {
			t.Errorf("%s in a read-only transaction: %v", what, err)
		}
	}
	reader.Rollback()
	r.stay(contents{"v": {3, 2}, "v@x": {1, 2}, "w": {}})
}

// A tip of a copy of the store is not this store's, though it has its LSN.
func TestForkOfAnotherStore(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.write("v", 1, 2)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c := &rig{t: t, dir: filepath.Join(t.TempDir(), "copy"), opts: r.opts, disk: r.disk}
	if err := os.CopyFS(c.dir, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	c.open()
	defer c.Close()
	r.open()
	c.write("v", 3)
	r.write("v", 4)
	tx := c.begin(txn.TxOptions{ReadOnly: true})
	defer tx.Rollback()
	v := open(t, tx, "v")
	ctx := context.Background()
	for _, err := range []error{second(r.Manager.Fork(ctx, "f", v)), second(r.SetTag(ctx, "v", "x", v))} {
		if !errors.Is(err, txn.ErrIncomparable) {
			t.Errorf("%v, want that the two cannot be compared", err)
		}
	}
	r.stay(contents{"v": {4, 2}})
}

func second[T any](_ T, err error) error { return err }

// A tag that the transaction dropped is not there for it any more, one that it
// set and dropped never was.
func TestTagDroppedIsGone(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.write("v", 1)
	r.tag("v", "x")
	r.update(func(tx *txn.Tx) error {
		if err := deleteTag(tx, "v", "x"); err != nil {
			return err
		}
		if _, err := tx.At("v", "x"); !errors.Is(err, txn.ErrNoTag) {
			t.Errorf("At behind the drop: %v", err)
		}
		if err := deleteTag(tx, "v", "x"); !errors.Is(err, txn.ErrNoTag) {
			t.Errorf("drop behind the drop: %v", err)
		}
		if err := errors.Join(setTag(tx, "v", "y", "v", ""), deleteTag(tx, "v", "y")); err != nil {
			t.Fatal(err)
		}
		if err := deleteTag(tx, "v", "y"); !errors.Is(err, txn.ErrNoTag) {
			t.Errorf("second drop of a tag of the transaction: %v", err)
		}
		return nil
	})
	r.stay(contents{"v": {1}})
}
