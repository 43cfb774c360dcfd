package txn

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/quire-db/quire/wal"
)

// tail reads the entries of the log from an LSN on, through descriptors of its
// own, beside the flusher that appends, the preparer that makes and seals
// generations and the keeper that removes them. It takes none of their locks
// while it reads. It is for one goroutine.
type tail struct {
	m    *Manager
	next wal.LSN
	r    *wal.Reader // nil before the first read
	seq  uint64      // of the manifest record whose generations r knows
}

// tailTries is how often an entry that must be there is looked for: what was
// read ahead may be older than it, and so may be the generations known.
const tailTries = 4

// read returns entry next, which is at or below the horizon, and goes on to the
// one behind it. Its Inline is valid until the next call. wal.ErrCompacted: it is
// gone.
func (t *tail) read() (*wal.Record, error) {
	for try := 1; ; try++ {
		rec, err := t.step()
		if err == nil {
			t.next = rec.LSN + 1
			return rec, nil
		}
		passing := err == io.EOF || errors.Is(err, wal.ErrCorrupt)
		switch {
		case passing && (try < tailTries || t.seq != t.m.store.ManifestSeq()):
			continue
		case err == io.EOF:
			return nil, &wal.CorruptError{File: "wal", Offset: -1, LSN: t.next,
				Reason: "the entry was durable, but the log ends before it; nothing was changed, run txnctl recovery verify"}
		}
		return nil, err
	}
}

// step makes one attempt, with the generations that the manifest names now.
func (t *tail) step() (*wal.Record, error) {
	if err := t.open(); err != nil {
		return nil, err
	}
	return t.r.Next()
}

// open begins to read, or tells the reader of new generations.
func (t *tail) open() error {
	if t.r != nil && t.seq == t.m.store.ManifestSeq() {
		return nil
	}
	facts := t.m.store.Facts()
	t.seq = facts.Seq
	if t.r != nil {
		t.r.Update(facts.Generations)
		return nil
	}
	r, err := wal.NewReader(t.m.opts.FS, filepath.Join(t.m.dir, "wal"), facts.Generations, t.next)
	if err != nil {
		return fmt.Errorf("txn: read the log from LSN %d on: %w", t.next, err)
	}
	t.r = r
	return nil
}

// begin opens the file that entry next is in, or will be.
func (t *tail) begin() error {
	for try := 1; ; try++ {
		err := t.open()
		if err == nil || !errors.Is(err, wal.ErrCorrupt) || try >= tailTries && t.seq == t.m.store.ManifestSeq() {
			return err
		}
	}
}

// close lets go of the file being read.
func (t *tail) close() {
	if t.r != nil {
		t.r.Close()
		t.r = nil
	}
}
