package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/quire-db/quire/internal/vfs"
)

// # Salvage
//
// Scan decides whether a log is sound, and stops where it is not. Salvage asks what
// of one that is not sound is whole: frames that are valid by themselves, wherever they
// lie, taken together to runs. Which of them belong to the history that is wanted, the
// chain of hashes says, to whoever knows the entry before.

// Run is whole entries that follow one another in one generation, by LSN and by hash.
type Run struct {
	Gen         GenID
	Offset      int64 // of the first record in the generation's file
	First, Last LSN
	Before      Hash // of entry First-1, as entry First names it
	Hash        Hash // of entry Last
	Timeline    TimelineID
	Epoch       uint64 // both of entry Last
	Time        int64  // of entry Last, nanoseconds since 1970
}

// Remains is what Salvage found.
type Remains struct {
	Runs     []Run // by First; they may overlap
	Durable  LSN   // the highest mark in a valid header, wherever it lay
	Seen     LSN   // the highest LSN of an entry in a valid header
	Manifest uint64
	// Bad are places where something else than a whole record lies, the first of
	// each generation, and files that are missing or cannot be read.
	Bad []CorruptError
}

// Salvage reads the files of generations, in any order, and reports what in them is
// whole. Damage is no error; ErrVersion is. Nothing is changed. Memory: 100 bytes a
// run, and a new one begins at damage only.
func Salvage(fsys vfs.FS, dir string, gens []GenID) (*Remains, error) {
	s := salvage{fs: fsys, dir: dir}
	for _, id := range gens {
		if err := s.generation(id); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(s.found.Runs, func(a, b Run) int {
		switch {
		case a.First != b.First:
			return int(min(1, max(-1, int64(a.First-b.First))))
		default:
			return bytes.Compare(a.Hash[:], b.Hash[:])
		}
	})
	return &s.found, nil
}

// Records yields the records of a run. A run that is no longer what Salvage found ends
// with a *CorruptError. A record's Inline is valid until the next one.
func (r Run) Records(fsys vfs.FS, dir string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		w := walker{fs: fsys, dir: dir, next: r.First, chain: r.Before, chained: true}
		defer w.close()
		if err := w.enter(r.Gen); err != nil {
			yield(nil, err)
			return
		}
		w.off, w.win.start = r.Offset, r.Offset
		for w.next <= r.Last {
			rec, err := w.record()
			if err != nil && !errors.Is(err, ErrVersion) { // also what the disk cannot read
				err = &CorruptError{File: r.Gen.file(), Offset: w.off, LSN: w.next, Reason: err.Error()}
			}
			if err == nil && rec.Kind == FrameMark {
				continue
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

type salvage struct {
	fs    vfs.FS
	dir   string
	found Remains
}

// generation goes through one file, from whole record to whole record.
func (s *salvage) generation(id GenID) error {
	w := walker{fs: s.fs, dir: s.dir}
	defer w.close()
	if err := w.enter(id); err != nil {
		s.bad(id, -1, err)
		return nil
	}
	var run *Run
	damaged := false
	for {
		rec, err := w.alone()
		switch reason, bad := err.(badFrame); {
		case err == nil:
			run = s.take(run, rec)
			continue
		case errors.Is(err, ErrVersion):
			return err
		case !bad:
			s.bad(id, w.off, err) // a sector that cannot be read: what lies behind it is given up
			return nil
		default:
			next, err := s.nextFrame(&w)
			if err != nil {
				s.bad(id, w.off, err)
				return nil
			}
			zeros, err := endsInZeros(&w, next)
			if (!zeros || err != nil) && !damaged {
				damaged = true
				s.found.Bad = append(s.found.Bad, CorruptError{File: id.file(), Offset: w.off, Reason: string(reason)})
			}
			if next < 0 {
				return nil
			}
			run = nil
			w.off = next
			w.win = window{file: w.file, buf: w.win.buf[:0], start: next}
		}
	}
}

// endsInZeros reports whether nothing but zeros follows, as in a generation that was
// not filled yet.
func endsInZeros(w *walker, next int64) (bool, error) {
	if next >= 0 {
		return false, nil
	}
	end, err := lastByte(w.file, w.off)
	return err == nil && end == w.off, err
}

func (s *salvage) bad(id GenID, off int64, err error) {
	var c *CorruptError
	if errors.As(err, &c) {
		s.found.Bad = append(s.found.Bad, *c)
		return
	}
	s.found.Bad = append(s.found.Bad, CorruptError{File: id.file(), Offset: off, Reason: err.Error()})
}

// alone is the record at off, whatever comes before it.
func (w *walker) alone() (*Record, error) {
	r, entry, err := w.frame()
	if err != nil {
		return nil, err
	}
	w.next, w.chained = r.LSN, false
	if r.Kind == FrameMark {
		w.next = r.LSN + 1
	} else if err := w.checkEntry(r, entry); err != nil {
		return nil, err
	}
	w.off += r.Length
	return r, nil
}

// take adds a record to the run, or begins another one.
func (s *salvage) take(run *Run, r *Record) *Run {
	s.header(r.Frame)
	if r.Kind == FrameMark {
		return run
	}
	if run == nil || run.Last+1 != r.LSN || run.Hash != r.Prev {
		s.found.Runs = append(s.found.Runs, Run{Gen: r.Gen, Offset: r.Offset, First: r.LSN, Before: r.Prev})
		run = &s.found.Runs[len(s.found.Runs)-1]
	}
	run.Last, run.Hash, run.Timeline, run.Epoch, run.Time = r.LSN, r.Hash, r.Timeline, r.Entry.Epoch, r.Entry.Time
	return run
}

func (s *salvage) header(f Frame) {
	s.found.Durable = max(s.found.Durable, f.Durable)
	s.found.Manifest = max(s.found.Manifest, f.Manifest)
	if f.Kind == FrameEntry {
		s.found.Seen = max(s.found.Seen, f.LSN)
	}
}

// nextFrame is where the next record with a valid header begins behind off, whole or
// not; -1 when there is none.
func (s *salvage) nextFrame(w *walker) (int64, error) {
	buf := make([]byte, searchAhead)
	var nonce [8]byte
	le.PutUint64(nonce[:], uint64(w.id))
	for off := w.off + 1; ; {
		n, err := w.file.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return -1, fmt.Errorf("wal: read generation %s at byte %d: %w", w.id, off, err)
		}
		for at := 8; at < n; at++ {
			i := bytes.Index(buf[at:n], nonce[:])
			if i < 0 {
				break
			}
			at += i
			f, e := decodeFrame(buf[at-8:n], w.id)
			if errors.Is(e, ErrVersion) {
				return -1, e
			}
			if e != nil {
				continue
			}
			s.header(f)
			if begin := off + int64(at-8) - lengthPrefix(f.size()); begin > w.off {
				return begin, nil
			}
		}
		if err == io.EOF {
			return -1, nil
		}
		off += int64(n - frameHeader + 1)
	}
}
