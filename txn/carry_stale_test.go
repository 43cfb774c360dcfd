package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// fixture is a store with a volume "v" whose page 0 holds 1.
type fixture struct {
	*Manager
	t   *testing.T
	dir string
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, dir: t.TempDir()}
	f.open()
	t.Cleanup(func() { f.Close() })
	f.do(func(tx *Tx) error {
		_, err := tx.CreateVolume("v", VolumeOptions{PageSize: 512})
		return err
	})
	f.put("v", 1)
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	m, _, err := Open(f.dir, Options{Create: true, CheckpointEvery: -1})
	f.must(err)
	f.Manager = m
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) do(g func(*Tx) error) {
	f.t.Helper()
	_, err := f.Update(context.Background(), g)
	f.must(err)
}

func (f *fixture) put(name string, value byte) {
	f.t.Helper()
	f.do(func(tx *Tx) error { return putByte(tx, name, value) })
}

func putByte(tx *Tx, name string, value byte) error {
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	page := make([]byte, 512)
	page[0] = value
	return v.WritePage(0, page)
}

func (f *fixture) is(name string, value byte) {
	f.t.Helper()
	f.must(f.View(context.Background(), func(tx *Tx) error {
		v, err := tx.Volume(name)
		page := make([]byte, 512)
		if err == nil {
			err = v.ReadPage(0, page)
		}
		if err == nil && page[0] != value {
			err = fmt.Errorf("page 0 of %q is %d, want %d", name, page[0], value)
		}
		return err
	}))
}

func (f *fixture) tags(name string) (tags []string) {
	f.t.Helper()
	f.must(f.View(context.Background(), func(tx *Tx) error {
		for t, err := range tx.Tags(name) {
			if err != nil {
				return err
			}
			tags = append(tags, t.Name)
		}
		return nil
	}))
	return tags
}

func (f *fixture) held() (*Tx, *Volume) {
	f.t.Helper()
	tx, err := f.Begin(context.Background(), TxOptions{ReadOnly: true})
	f.must(err)
	v, err := tx.Volume("v")
	f.must(err)
	return tx, v
}

// A tag that a crash left of a carry is dropped by the next one, once the store
// was opened again; before, it may be that of a carry under way.
func TestStaleTagsOfCarryAreDropped(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	fork := func(name string, want int) {
		t.Helper()
		tx, from := f.held()
		defer tx.Rollback()
		f.put("v", 2)
		_, err := f.Fork(ctx, name, from)
		f.must(err)
		n := 0
		for _, tag := range f.tags("v") {
			if strings.HasPrefix(tag, reservedTags) {
				n++
			}
		}
		if n != want {
			t.Errorf("%d tags of carries are left, want %d", n, want)
		}
		f.put("v", 1)
		f.is(name, 1)
	}
	tx, v := f.held()
	_, err := f.tagForCarry(ctx, v.id, carryTags+"crashed")
	f.must(err)
	tx.Rollback()
	fork("beside", 1)
	f.must(f.Close())
	f.open()
	fork("behind", 0)
}

// What a savepoint takes back of tags and forks is as it was.
func TestRollbackToWithTagsAndForks(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	tx, err := f.Begin(ctx, TxOptions{})
	f.must(err)
	v, err := tx.Volume("v")
	f.must(err)
	f.must(tx.SetTag(v, "kept", v))
	sp, err := tx.Savepoint()
	f.must(err)
	f.must(tx.DeleteTag(v, "kept"))
	f.must(tx.SetTag(v, "gone", v))
	_, err = tx.Fork("fork", v)
	f.must(err)
	f.must(tx.RollbackTo(sp))
	_, err = tx.Fork("other", v)
	f.must(err)
	_, err = tx.Commit(ctx)
	f.must(err)
	if tags := fmt.Sprint(f.tags("v"), f.tags("other")); tags != "[kept] [origin]" {
		t.Errorf("tags %s", tags)
	}
	f.must(f.View(ctx, func(tx *Tx) error {
		if _, err := tx.Volume("fork"); !errors.Is(err, ErrNoVolume) {
			t.Errorf("the fork that was taken back: %v", err)
		}
		return nil
	}))
}

// Carries, tags, forks, writes and checkpoints beside each other.
func TestCarryBesideOthers(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	var wg sync.WaitGroup
	each := func(do func(i int) error) {
		wg.Go(func() {
			for i := range 25 {
				if err := do(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range 2 {
		each(func(i int) error {
			tx, from := f.held()
			defer tx.Rollback()
			if _, err := f.Fork(ctx, fmt.Sprint("fork", w, i), from); err != nil {
				return err
			}
			_, err := f.SetTag(ctx, "v", fmt.Sprint("held", w), from)
			return err
		})
	}
	each(func(i int) error {
		_, err := f.Update(ctx, func(tx *Tx) error { return putByte(tx, "v", byte(i+3)) })
		return err
	})
	each(func(int) error {
		_, err := f.Update(ctx, func(tx *Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			return tx.SetTag(v, "held0", v)
		})
		return err
	})
	each(func(i int) error {
		if i%5 > 0 {
			return nil
		}
		return f.Checkpoint(ctx)
	})
	wg.Wait()
	f.must(f.Checkpoint(ctx))
	snap := f.store.Acquire()
	defer f.store.Release(snap)
	allInUse(t, f.Manager, snap)
	if tags := fmt.Sprint(f.tags("v")); tags != "[held0 held1]" {
		t.Errorf("tags %s", tags)
	}
}

// What is carried may be large: its rows lie in chunks, its images in slots, and
// replay finds them.
func TestCarryOfManyPages(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	const pages = 5000 // more than wal.MaxInlineRows
	fill := func(value byte) {
		f.do(func(tx *Tx) error {
			v, err := tx.Volume("v")
			page := make([]byte, 512)
			for no := uint64(0); err == nil && no < pages; no++ {
				page[0], page[1], page[2] = value, byte(no), byte(no>>8)
				err = v.WritePage(no, page)
			}
			return err
		})
	}
	fill(1)
	tx, from := f.held()
	fill(2)
	_, err := f.Fork(ctx, "diff", from)
	f.must(err)
	_, err = f.SetTag(ctx, "v", "was", from)
	f.must(err)
	f.do(func(tx *Tx) error { return tx.DeleteVolume("v") })
	_, err = f.Fork(ctx, "all", from)
	f.must(err)
	_, err = f.SetTag(ctx, "diff", "was", from)
	f.must(err)
	tx.Rollback()
	f.must(f.Close())
	f.open()
	f.must(f.View(ctx, func(tx *Tx) error {
		for _, name := range []string{"diff", "all", "diff@was"} {
			of, tag, _ := strings.Cut(name, "@")
			v, err := tx.Volume(of)
			if err == nil && tag != "" {
				v, err = tx.At(of, tag)
			}
			if err != nil {
				return err
			}
			n := uint64(0)
			for p, err := range v.Pages(0, 1<<40) {
				if err != nil {
					return err
				}
				if p.No != n || p.Data[0] != 1 || p.Data[1] != byte(n) || p.Data[2] != byte(n>>8) {
					t.Fatalf("%s: page %d, wanted %d, begins %v", name, p.No, n, p.Data[:3])
				}
				n++
			}
			if n != pages {
				t.Errorf("%s: %d pages", name, n)
			}
		}
		return nil
	}))
}
