package demo

import (
	"bytes"
	"context"
	"path/filepath"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// comparison holds a store against what commits say, without asking the store
// what they were.
type comparison struct {
	plan     *Plan
	m        *txn.Manager
	dir      string           // of its store
	last     map[Edit]written // who wrote each page last
	progress func(done, total int64)

	volumes int
	pages   uint64
}

// comparison of the store in a directory, which m has open, with commits in order.
func (d *demo) comparison(step string, m *txn.Manager, dir string, history []commitID) *comparison {
	return &comparison{
		plan: d.plan, m: m, dir: filepath.Join(d.c.Dir, dir), last: d.plan.replay(history),
		progress: func(done, total int64) { d.progress(step, done, total) },
	}
}

// run reads every page of every volume.
func (c *comparison) run(ctx context.Context) error {
	if err := c.names(); err != nil {
		return err
	}
	for i := range c.plan.Files {
		c.progress(int64(i), int64(len(c.plan.Files)))
		if err := c.m.View(ctx, func(tx *txn.Tx) error { return c.file(tx, i) }); err != nil {
			return err
		}
		c.volumes++
	}
	return nil
}

// names makes sure that there is no other volume.
func (c *comparison) names() error {
	v, err := recovery.View(vfs.OS(), c.dir, 0)
	if err != nil {
		return err
	}
	defer v.Close()
	n, err := v.Snapshot().VolumeCount()
	if err == nil && n != uint64(len(c.plan.Files)) {
		err = notProven("the store has %d volumes, %d files were imported", n, len(c.plan.Files))
	}
	return err
}

func (c *comparison) file(tx *txn.Tx, i int) error {
	f := c.plan.Files[i]
	v, err := tx.Volume(f.Name)
	if err != nil {
		return notProven("volume %q: %v", f.Name, err)
	}
	got, want := make([]byte, PageSize), make([]byte, PageSize)
	check := func(no uint64, imported []byte) error {
		must := imported
		if w, ok := c.last[Edit{i, no}]; ok {
			c.plan.Fill(want, w.id.writer, w.id.number, w.edit)
			must = want
		}
		if err := v.ReadPage(no, got); err != nil {
			return notProven("page %d of volume %q: %v", no, f.Name, err)
		}
		if !bytes.Equal(got, must) {
			return notProven("page %d of volume %q is not what the commits say", no, f.Name)
		}
		c.pages++
		return nil
	}
	if err := f.eachPage(check); err != nil {
		return err
	}
	size := f.Pages()
	if _, grown := c.last[Edit{i, size}]; grown {
		if err := check(size, nil); err != nil {
			return err
		}
		size++
	}
	if n, err := v.Size(); err != nil || n != size {
		return notProven("volume %q has %d pages, want %d: %v", f.Name, n, size, err)
	}
	return nil
}
