package pagestoretest

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// export is the portable form of a snapshot.
type export struct {
	head pagestore.Head
	form []byte
	want state
}

// export exports what is published: whole, or what tells it from the export before.
func (r *rig) export(whole bool) {
	r.t.Helper()
	snap := r.publish()
	var since wal.LSN
	if n := len(r.exports); n > 0 {
		since = r.exports[n-1].head.LSN
	}
	if snap.LSN() == since {
		return
	}
	if whole {
		since, r.exports = 0, nil
	}
	held := r.s.Acquire()
	defer r.s.Release(held)
	var b bytes.Buffer
	_, err := held.Export(&b, since)
	must(r.t, err)
	r.exports = append(r.exports, export{held.Head, b.Bytes(), r.cut.clone()})
}

// move goes on with a store that is loaded from what was exported: nothing depends
// on the one before.
func (r *rig) move() {
	r.t.Helper()
	r.export(false)
	if len(r.exports) == 0 {
		return
	}
	must(r.t, r.s.Close())
	r.dir = filepath.Join(r.dir, "next")
	var heads []pagestore.Head
	var forms [][]byte
	for _, e := range r.exports {
		heads, forms = append(heads, e.head), append(forms, e.form)
	}
	must(r.t, Load(r.disk, r.dir, heads, forms))
	must(r.t, r.disk.Mkdir(filepath.Join(r.dir, "wal")))
	r.durable = r.exports[len(r.exports)-1].want
	r.gen, r.end = wal.Generation{}, 0
	r.open()
	r.check()
	r.accounted(fmt.Sprintf("a store loaded from %d exports", len(r.exports)))
}

// Loaded is what a history exports, for tests of whoever reads it: the head and the
// portable form of a whole snapshot, and of one that follows from it.
func Loaded(t testing.TB, seed uint64, steps int, fresh func(testing.TB) (vfs.FS, string)) (heads []pagestore.Head, forms [][]byte) {
	disk, dir := fresh(t)
	r := newRig(t, seed, disk, dir)
	for range steps {
		r.commit()
	}
	r.export(true)
	for range 1 + steps/4 {
		r.commit()
	}
	r.export(false)
	for _, e := range r.exports {
		heads, forms = append(heads, e.head), append(forms, e.form)
	}
	return heads, forms
}

// NewLoader begins a store in dir.
func NewLoader(disk vfs.FS, dir string) (*pagestore.Loader, error) {
	err := errors.Join(disk.Mkdir(dir), pagestore.Create(disk, dir, manifest.Facts{
		Store: uuid.UUID{3}, Timeline: wal.TimelineID{2}, Epoch: 1,
		Options: manifest.Options{Created: 1, PageSize: wal.DefaultPageSize, HeapFileBytes: 1 << 30},
	}))
	if err != nil {
		return nil, err
	}
	return pagestore.NewLoader(pagestore.Options{FS: disk, Dir: dir, CacheBytes: 4 << 10})
}

// Load makes a store in dir of portable forms, and checks all of it.
func Load(disk vfs.FS, dir string, heads []pagestore.Head, forms [][]byte) error {
	l, err := NewLoader(disk, dir)
	if err != nil {
		return err
	}
	for i, form := range forms {
		if err := l.Load(heads[i], bytes.NewReader(form)); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	return l.Finish()
}
