package txn_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// contents is what a volume, or "volume@tag", reads as: the values of its pages,
// zero for absent ones.
type contents map[string][]uint64

// tipVolumes are the names of the volumes of these tests.
var tipVolumes = []string{"v", "w", "f", "g", "h"}

// all is what everything reads as, tags by name behind their volumes.
func all(tx *txn.Tx, pages uint64) (contents, error) {
	c := contents{}
	for _, volume := range tipVolumes {
		v, err := tx.Volume(volume)
		if errors.Is(err, txn.ErrNoVolume) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if c[volume], err = values(v, pages); err != nil {
			return nil, fmt.Errorf("volume %q: %w", volume, err)
		}
		for tag, err := range tx.Tags(volume) {
			if err != nil {
				return nil, err
			}
			at, err := tx.At(volume, tag.Name)
			if err != nil {
				return nil, err
			}
			name := volume + "@" + tag.Name
			if c[name], err = values(at, pages); err != nil {
				return nil, fmt.Errorf("tag %q: %w", name, err)
			}
			if n, err := at.Size(); err != nil || n != tag.State.Pages {
				return nil, fmt.Errorf("tag %q has %d pages, listed as %d: %w", name, n, tag.State.Pages, err)
			}
		}
	}
	return c, nil
}

// values reads a volume page by page, and compares with an iteration.
func values(v *txn.Volume, most uint64) ([]uint64, error) {
	size, err := v.Size()
	if err != nil {
		return nil, err
	}
	list, page := make([]uint64, min(size, most)), make([]byte, v.PageSize())
	present := map[uint64]uint64{}
	for p, err := range v.Pages(0, most) {
		if err != nil {
			return nil, err
		}
		present[p.No] = valueIn(p.Data)
	}
	for no := range list {
		if err := v.ReadPage(uint64(no), page); err != nil {
			return nil, err
		}
		if list[no] = valueIn(page); list[no] != present[uint64(no)] {
			return nil, fmt.Errorf("page %d reads as %d, and iterates as %d", no, list[no], present[uint64(no)])
		}
	}
	return list, nil
}

// are makes sure that these volumes and tags are there, and no others.
func (r *rig) are(want contents) {
	r.t.Helper()
	err := r.View(context.Background(), func(tx *txn.Tx) error {
		got, err := all(tx, 64)
		if err == nil && fmt.Sprint(got) != fmt.Sprint(want) { // maps print sorted
			r.t.Errorf("LSN %d:\n  is   %v\n  want %v", tx.LSN(), got, want)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// stay makes sure that these volumes and tags are there and stay, whatever
// checkpoints, closings, kills and openings follow, and that nothing leaks.
func (r *rig) stay(want contents) {
	r.t.Helper()
	r.are(want)
	r.kill(want)
	for range 2 {
		r.checkpoint()
		r.are(want)
		if err := r.Close(); err != nil {
			r.t.Fatal(err)
		}
		verifytest.Clean(r.t, r.dir)
		r.open()
		r.are(want)
	}
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// kill opens what a kill would leave: a copy of the store.
func (r *rig) kill(want contents) {
	r.t.Helper()
	c := &rig{t: r.t, dir: r.killed(), opts: r.opts, disk: r.disk}
	verifytest.Clean(r.t, c.dir)
	c.open()
	c.are(want)
	if err := c.Close(); err != nil {
		r.t.Fatal(err)
	}
	verifytest.Clean(r.t, c.dir)
}

// killed is a copy of the store as a kill would leave it at this moment.
func (r *rig) killed() (dir string) {
	r.t.Helper()
	dir = filepath.Join(r.t.TempDir(), "killed")
	// No disk has part of the log without what was in the manifest before that.
	for done, now := "", r.manifest(); done != now; now = r.manifest() {
		done = now
		err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(r.dir)))
		if errors.Is(err, fs.ErrNotExist) { // anymore
			done = ""
		} else if err != nil {
			r.t.Fatal(err)
		}
	}
	return dir
}

func (r *rig) manifest() string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, manifest.Name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// write commits pages from page 0 on; zero leaves one alone.
func (r *rig) write(name string, values ...uint64) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error {
		v, err := tx.Volume(name)
		if errors.Is(err, txn.ErrNoVolume) {
			v, err = tx.CreateVolume(name, txn.VolumeOptions{})
		}
		for no, value := range values {
			if err == nil && value != 0 {
				err = v.WritePage(uint64(no), pageOf(value))
			}
		}
		return err
	})
}

// source opens a volume, or "volume@tag".
func source(tx *txn.Tx, volume, tag string) (*txn.Volume, error) {
	if tag == "" {
		return tx.Volume(volume)
	}
	return tx.At(volume, tag)
}

func fork(tx *txn.Tx, name, from, tag string) error {
	v, err := source(tx, from, tag)
	if err != nil {
		return err
	}
	_, err = tx.Fork(name, v)
	return err
}

func setTag(tx *txn.Tx, volume, tag, from, at string) error {
	v, err := tx.Volume(volume)
	if err != nil {
		return err
	}
	s, err := source(tx, from, at)
	if err != nil {
		return err
	}
	return tx.SetTag(v, tag, s)
}

func deleteTag(tx *txn.Tx, volume, tag string) error {
	v, err := tx.Volume(volume)
	if err != nil {
		return err
	}
	return tx.DeleteTag(v, tag)
}

func (r *rig) fork(name, from, tag string) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error { return fork(tx, name, from, tag) })
}

func (r *rig) tag(volume, tag string) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error { return setTag(tx, volume, tag, volume, "") })
}

func (r *rig) untag(volume, tag string) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error { return deleteTag(tx, volume, tag) })
}

func (r *rig) remove(name string) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error { return tx.DeleteVolume(name) })
}

func (r *rig) reset(name, from, tag string) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error {
		v, err := tx.Volume(name)
		if err != nil {
			return err
		}
		to, err := source(tx, from, tag)
		if err != nil {
			return err
		}
		return v.Reset(to)
	})
}

// conflict makes sure that err is a conflict about what, and names a volume.
func conflict(t *testing.T, err error, what, name, tag string) {
	t.Helper()
	var c *txn.ConflictError
	if !errors.As(err, &c) || !errors.Is(err, txn.ErrConflict) {
		t.Errorf("%v, want a conflict", err)
		return
	}
	if c.What != what || c.Name != name || c.Tag != tag || c.Volume == (wal.VolumeID{}) {
		t.Errorf("%v: a conflict about %q of %q, tag %q; want %q of %q, tag %q", err, c.What, c.Name, c.Tag, what, name, tag)
	}
}
