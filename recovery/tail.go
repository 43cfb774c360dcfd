package recovery

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Tail reads the entries of a store's log with their images, in order, as they
// become durable, beside a process that writes the store. It takes no lock and
// changes nothing; so the writer does not wait for it either, and may let go of what it
// has still to read. It is for one goroutine.
//
// Two readers go through the log: the scout reads ahead for what durable marks
// say, the other returns entries up to there.
//
// Memory: two read buffers of 1 MiB at most, and a bit for each slot of the heap.
type Tail struct {
	fs  vfs.FS
	dir string

	facts   manifest.Facts
	r       *wal.Reader
	scout   *wal.Reader
	heap    *heap.Heap
	durable wal.LSN
	last    wal.LSN // returned
}

// OpenTail begins with entry from, which need not be there yet. Errors:
// wal.ErrCompacted when the log begins later, fs.ErrNotExist when there is no
// store, wal.ErrCorrupt.
func OpenTail(fsys vfs.FS, dir string, from wal.LSN) (*Tail, error) {
	t := &Tail{fs: fsys, dir: dir, last: from - 1}
	err := t.passing(t.open)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recovery: read the log of %s from LSN %d on: %w", dir, from, err), t.Close())
	}
	return t, nil
}

func (t *Tail) open() (err error) {
	if err := t.load(); err != nil {
		return err
	}
	t.closeReaders()
	if t.r, err = t.reader(); err != nil {
		return err
	}
	t.scout, err = t.reader()
	return err
}

func (t *Tail) reader() (*wal.Reader, error) {
	return wal.NewReader(t.fs, filepath.Join(t.dir, "wal"), t.facts.Generations, t.last+1)
}

// load reads the manifest, and opens the heap that it names unless it is open.
func (t *Tail) load() error {
	facts, _, err := manifest.Load(t.fs, t.dir)
	if err != nil || facts.Seq == t.facts.Seq && t.heap != nil {
		return err
	}
	t.closeHeap()
	t.facts = facts
	t.heap, err = openHeap(t.fs, t.dir, facts)
	return err
}

// tailTries is how often what looks like damage is looked at again, if the
// writer has gone on meanwhile.
const tailTries = 8

// passing repeats what may fail because the writer trims the log or grows the heap
// meanwhile, as long as the manifest moves on.
func (t *Tail) passing(do func() error) error {
	for try := 0; ; try++ {
		seq := t.facts.Seq
		err := do()
		if !mayPass(err) || try == tailTries {
			return err
		}
		t.closeHeap() // its files may have grown
		if e := t.update(); e != nil || t.facts.Seq == seq && try > 0 {
			return errors.Join(err, e)
		}
	}
}

// update tells readers and heap what the manifest names now.
func (t *Tail) update() error {
	if err := t.load(); err != nil {
		return err
	}
	for _, r := range []*wal.Reader{t.r, t.scout} {
		if r != nil {
			r.Update(t.facts.Generations)
		}
	}
	return nil
}

// Next returns the next entry and its body, for its locators. io.EOF: no more is
// known to be durable; try again later. wal.ErrCompacted: the writer has let go
// of it. Both are valid until the next call. What the body yields may be other
// bytes by then, if the writer no longer needed the images: Gone tells.
func (t *Tail) Next() (rec *wal.Record, body io.ReaderAt, err error) {
	if t.last >= t.durable {
		if err := t.survey(); err != nil {
			return nil, nil, t.explain(err)
		}
	}
	if t.last >= t.durable {
		return nil, nil, io.EOF
	}
	err = t.passing(func() (err error) {
		if rec, err = t.r.Next(); err == nil {
			t.last = rec.LSN
		}
		return err
	})
	if err == nil {
		err = t.passing(func() (err error) {
			body, err = t.body(rec)
			return err
		})
	}
	return rec, body, t.explain(err)
}

func (t *Tail) explain(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("recovery: read entry %d of %s: %w", t.last+1, t.dir, err)
}

// body is where the images of a record lie. The writer may have made heap files
// since the manifest.
func (t *Tail) body(rec *wal.Record) (io.ReaderAt, error) {
	if err := markUsed(t.heap, rec); err != nil {
		return nil, err
	}
	return apply.BodyOf(t.heap, 0, rec)
}

// survey finds out up to where the log is durable.
func (t *Tail) survey() error {
	if err := t.update(); err != nil {
		return err
	}
	err := t.passing(func() (err error) {
		for err == nil {
			_, err = t.scout.Next()
		}
		return err
	})
	if err != io.EOF {
		return err
	}
	t.durable = max(t.durable, t.scout.Durable(), t.facts.Checkpoint.LSN)
	for _, g := range t.facts.Generations {
		if g.Sealed {
			t.durable = max(t.durable, g.Last)
		}
	}
	return nil
}

// Durable is up to where the log was known to be durable at the last look.
func (t *Tail) Durable() wal.LSN { return t.durable }

// Gone reports whether the writer may have let go of the images of entry lsn by
// now.
func (t *Tail) Gone(lsn wal.LSN) bool {
	facts, _, err := manifest.Load(t.fs, t.dir)
	return err == nil && facts.Kept() > lsn
}

func (t *Tail) closeHeap() {
	if t.heap != nil {
		_ = t.heap.Close() // it was read only
		t.heap = nil
	}
}

// Close lets go of the files.
func (t *Tail) Close() error {
	t.closeReaders()
	t.closeHeap()
	return nil
}

func (t *Tail) closeReaders() {
	for _, r := range []*wal.Reader{t.r, t.scout} {
		if r != nil {
			r.Close()
		}
	}
	t.r, t.scout = nil, nil
}
