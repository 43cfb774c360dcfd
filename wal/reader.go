package wal

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/quire-db/quire/internal/vfs"
)

// ErrCompacted: entries that old are no longer in the log.
var ErrCompacted = errors.New("no longer in the log")

// Reader reads the log from an LSN on, beside its writer too, through
// descriptors of its own. It is for one goroutine.
type Reader struct {
	gens []Generation
	at   int // index in gens of the generation being read; -1 when it is not there any more
	from LSN
	seen Hash // of entry from-1 when that was read before; zero otherwise
	w    walker

	durable LSN // highest durable mark met
}

// NewReader reads entries from LSN from on. gens are the generations the
// manifest names, in order. It fails with ErrCompacted when the first of them
// begins later.
func NewReader(fsys vfs.FS, dir string, gens []Generation, from LSN) (*Reader, error) {
	r := &Reader{gens: gens, at: -1, from: from, w: walker{fs: fsys, dir: dir}}
	for i, g := range gens {
		if g.First != 0 && g.First <= from {
			r.at = i
		}
	}
	if r.at < 0 {
		return nil, fmt.Errorf("wal: read from LSN %d: %w", from, ErrCompacted)
	}
	r.w.next = gens[r.at].First
	return r, r.w.enter(gens[r.at].ID)
}

// Next returns the next entry. io.EOF means that there is none yet: the log, or
// what is on its way to it, ends here; calling again later goes on. ErrCompacted
// means that the next entry was let go, as Update has told. A sealed generation
// that does not hold what its bounds promise is a *CorruptError, and so is a
// missing one: beside a writer Update first, and call again.
func (r *Reader) Next() (*Record, error) {
	for {
		rec, err := r.step()
		if err != nil {
			return nil, err
		}
		r.durable = max(r.durable, rec.Durable)
		if rec.Kind == FrameEntry && rec.LSN == r.from-1 && r.seen != (Hash{}) && rec.Hash != r.seen {
			return nil, &CorruptError{File: r.w.id.file(), Offset: rec.Offset, LSN: rec.LSN,
				Reason: "it is not the entry that was read before: recovery has cut the log meanwhile, read it anew"}
		}
		if rec.Kind == FrameEntry && rec.LSN >= r.from {
			return rec, nil
		}
	}
}

// Update tells the reader what the manifest names now. A generation that is
// gone is read to its end first.
func (r *Reader) Update(gens []Generation) {
	r.gens, r.at = gens, -1
	for i, g := range gens {
		if g.ID == r.w.id {
			r.at = i
		}
	}
}

// Durable is the highest LSN that the frames read so far, marks among them, say
// is durable. What is above it may be torn away by a crash.
func (r *Reader) Durable() LSN { return r.durable }

// Close lets go of the file being read.
func (r *Reader) Close() { r.w.close() }

// step returns the next record, marks included, of whatever generation has it.
func (r *Reader) step() (*Record, error) {
	if i := superseded(r.gens, r.at, r.w.next); i >= 0 {
		if err := r.w.enter(r.gens[i].ID); err != nil {
			return nil, err
		}
		r.at = i
	}
	rec, err := r.w.record()
	if _, bad := err.(badFrame); bad {
		r.w.win.drop() // what was read ahead may be older than the record
		rec, err = r.w.record()
	}
	if _, bad := err.(badFrame); !bad {
		return rec, err
	}
	if r.at >= 0 && r.gens[r.at].Sealed && r.w.off < r.gens[r.at].Length {
		return nil, &CorruptError{File: r.w.id.file(), Offset: r.w.off, LSN: r.w.next, Reason: err.Error()}
	}
	r.w.win.drop()
	return r.cross()
}

// cross goes on in the next generation if the next entry lies there already.
func (r *Reader) cross() (*Record, error) {
	if i := r.copied(); i >= 0 {
		return r.rejoin(i)
	}
	if r.at < 0 {
		return nil, fmt.Errorf("wal: read LSN %d: %w", r.w.next, ErrCompacted)
	}
	if r.at+1 >= len(r.gens) {
		return nil, io.EOF
	}
	w := r.w
	w.file, w.win = nil, window{}
	if err := w.enter(r.gens[r.at+1].ID); err != nil {
		return nil, err
	}
	rec, err := w.record()
	if _, bad := err.(badFrame); bad {
		err = io.EOF
	}
	if err != nil {
		w.close()
		return nil, err
	}
	r.w.close()
	r.w, r.at = w, r.at+1
	return rec, nil
}

// copied is the index of a later generation that began before the next entry,
// since recovery copied to it what was read already; -1 when there is none.
func (r *Reader) copied() int {
	for i := len(r.gens) - 1; i > r.at; i-- {
		if first := r.gens[i].First; first != 0 && first < r.w.next {
			return i
		}
	}
	return -1
}

// rejoin goes on in a generation from its first entry on; those read before
// are only compared.
func (r *Reader) rejoin(i int) (*Record, error) {
	w := walker{fs: r.w.fs, dir: r.w.dir, next: r.gens[i].First}
	if err := w.enter(r.gens[i].ID); err != nil {
		return nil, err
	}
	r.w.close()
	if r.w.next > r.from {
		r.from, r.seen = r.w.next, r.w.chain
	}
	r.w, r.at = w, i
	return r.step()
}

// superseded is the index of a generation behind gens[at] that is known to
// begin with LSN next; -1 when there is none. What gens[at] still holds from
// there on was copied before the manifest named the copy's first LSN.
func superseded(gens []Generation, at int, next LSN) int {
	for i := at + 1; i < len(gens); i++ {
		if gens[i].First == next {
			return i
		}
	}
	return -1
}

// Records yields the entries from LSN from to LSN to, in order. With to zero it
// ends without an error where no valid record follows; else that is a
// *CorruptError. A record's Inline is valid until the next one. Memory: 1 MiB
// and one record.
func Records(fsys vfs.FS, dir string, gens []Generation, from, to LSN) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if to != 0 && from > to {
			return
		}
		r, err := NewReader(fsys, dir, gens, from)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		for {
			rec, err := r.Next()
			if err == io.EOF && to == 0 {
				return
			}
			if err == io.EOF {
				err = &CorruptError{File: r.w.id.file(), Offset: r.w.off, LSN: r.w.next, Reason: fmt.Sprintf("the log ends here, entries up to %d were expected", to)}
			}
			if !yield(rec, err) || err != nil || rec.LSN == to {
				return
			}
		}
	}
}
