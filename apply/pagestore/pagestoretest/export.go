package pagestoretest

import (
	"bytes"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/wal"
)

// export is the portable form of a snapshot.
type export struct {
	head pagestore.Head
	form []byte
	want state
}

// export exports what is published: whole, or what tells it from the export before.
func (r *rig) export() {
	r.t.Helper()
	snap := r.publish()
	var since wal.LSN
	if n := len(r.exports); n > 0 {
		since = r.exports[n-1].head.LSN
	}
	if snap.LSN() == since {
		return
	}
	if r.rng.IntN(4) == 0 {
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
	r.export()
	if len(r.exports) == 0 {
		return
	}
	must(r.t, r.s.Close())
	r.dir = filepath.Join(r.dir, "next")
	must(r.t, r.disk.Mkdir(r.dir))
	must(r.t, pagestore.Create(r.disk, r.dir, manifest.Facts{
		Store: uuid.UUID{3}, Timeline: wal.TimelineID{2}, Epoch: 1,
		Options: manifest.Options{Created: 1, PageSize: wal.DefaultPageSize, HeapFileBytes: 1 << 30},
	}))
	must(r.t, r.disk.Mkdir(filepath.Join(r.dir, "wal")))
	l, err := pagestore.NewLoader(pagestore.Options{FS: r.disk, Dir: r.dir, CacheBytes: 4 << 10})
	must(r.t, err)
	for i, e := range r.exports {
		if err := l.Load(e.head, bytes.NewReader(e.form)); err != nil {
			r.t.Fatalf("export %d of %d: %v", i, len(r.exports), err)
		}
	}
	must(r.t, l.Finish())
	r.durable = r.exports[len(r.exports)-1].want
	r.gen, r.end = wal.Generation{}, 0
	r.open()
	r.check()
	r.accounted(fmt.Sprintf("a store loaded from %d exports", len(r.exports)))
}
