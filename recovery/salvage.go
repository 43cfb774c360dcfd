package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Salvage is what of a damaged store's log is whole, and what is known of how far it
// went. Nothing of the store is changed. It is for one goroutine.
type Salvage struct {
	Facts   manifest.Facts
	Unread  error // why the manifest cannot be read, or is not the newest; Facts are all zero, or older then
	Remains *wal.Remains

	// Durable is the highest LSN that was durable for sure: what is missing up to
	// there is lost. Without the newest manifest there may have been more.
	Durable wal.LSN
	// First is the LSN with which the log began.
	First wal.LSN

	fs   vfs.FS
	dir  string
	runs []wal.Run // that may be of this history
	heap *heap.Heap
}

// OpenSalvage reads manifest and log of a store, however damaged. Errors:
// wal.ErrVersion, fs.ErrNotExist when there is no directory, the disk's.
func OpenSalvage(fsys vfs.FS, dir string) (*Salvage, error) {
	s := &Salvage{fs: fsys, dir: dir}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("recovery: salvage the log of %s: %w", dir, err), s.Close())
	}
	return s, nil
}

func (s *Salvage) open() error {
	if _, err := s.fs.ReadDir(s.dir); err != nil {
		return err
	}
	var err error
	if s.Facts, _, err = manifest.Load(s.fs, s.dir); errors.Is(err, wal.ErrVersion) {
		return err
	} else if err != nil {
		s.Facts, s.Unread = manifest.Facts{}, err
	}
	gens, err := s.generations()
	if err != nil {
		return err
	}
	if s.Remains, err = wal.Salvage(s.fs, s.log(), gens); err != nil {
		return err
	}
	if s.Unread == nil && s.Remains.Manifest > s.Facts.Seq {
		s.Unread = &wal.CorruptError{File: manifest.Name, Offset: -1,
			Reason: fmt.Sprintf("it ends at record %d, the log was written under %d: an older one was put back, or its end is lost", s.Facts.Seq, s.Remains.Manifest)}
	}
	s.measure()
	// What lies in extents is lost with a heap that cannot be opened, and named then.
	s.heap, _ = heap.Open(heap.Options{FS: s.fs, Dir: filepath.Join(s.dir, "heap"), Store: s.Facts.Store, ReadOnly: true, Lenient: true}, nil)
	return nil
}

func (s *Salvage) log() string { return filepath.Join(s.dir, "wal") }

// generations are those of the manifest, and all that are there without it.
func (s *Salvage) generations() ([]wal.GenID, error) {
	var found []wal.GenID
	if e, err := s.fs.Lstat(s.log()); err == nil && e.Mode.IsDir() {
		if found, err = wal.List(s.fs, s.log()); err != nil {
			return nil, err
		}
	}
	for _, g := range s.Facts.Generations {
		if !slices.Contains(found, g.ID) {
			found = append(found, g.ID)
		}
	}
	return found, nil
}

// measure finds out how far the log went, and what of it may be of this history: a
// generation that the newest manifest does not name is of none.
func (s *Salvage) measure() {
	f := s.Facts
	s.Durable = max(f.Checkpoint.LSN, f.Clean, s.Remains.Durable)
	named := map[wal.GenID]bool{}
	for i, g := range f.Generations {
		named[g.ID] = true
		if g.Sealed {
			s.Durable = max(s.Durable, g.Last)
		}
		if g.First != 0 {
			s.Durable = max(s.Durable, g.First-1)
		}
		if i == 0 {
			s.First = g.First
		}
	}
	for _, r := range s.Remains.Runs {
		if s.Unread != nil || named[r.Gen] {
			s.runs = append(s.runs, r)
			if s.First == 0 || r.First < s.First {
				s.First = r.First
			}
		}
	}
}

// Trusted reports whether the store's newest manifest was read, so that nothing that was
// durable is unknown.
func (s *Salvage) Trusted() bool { return s.Unread == nil }

// Runs are the whole entries that may be of the store's history, by LSN.
func (s *Salvage) Runs() []wal.Run { return s.runs }

// SalvagedEntry is an entry of a damaged store that is whole, with all its images.
type SalvagedEntry struct {
	*wal.Record
	Images io.ReaderAt
}

// Entries yields the entries behind a position, each with its images verified, for as
// far as they are whole and follow it. What ends it before the log does is the last
// error: a *wal.CorruptError names the entry that has a damaged image; nil when no
// record follows. An entry is valid until the next one.
func (s *Salvage) Entries(ctx context.Context, after wal.Position) iter.Seq2[SalvagedEntry, error] {
	return s.entries(ctx, after, s.images)
}

func (s *Salvage) entries(ctx context.Context, after wal.Position, images func(*wal.Record) (io.ReaderAt, error)) iter.Seq2[SalvagedEntry, error] {
	return func(yield func(SalvagedEntry, error) bool) {
		for {
			run, ok := s.behind(after)
			if !ok {
				return
			}
			for rec, err := range run.Records(s.fs, s.log()) {
				if err == nil && rec.LSN <= after.LSN {
					continue
				}
				e := SalvagedEntry{Record: rec}
				if err == nil {
					err = ctx.Err()
				}
				if err == nil {
					e.Images, err = images(rec)
				}
				if !yield(e, err) || err != nil {
					return
				}
				after = wal.Position{Timeline: rec.Timeline, LSN: rec.LSN, Hash: rec.Hash}
			}
		}
	}
}

// behind finds a run that has the entry behind a position, the longest of several.
func (s *Salvage) behind(after wal.Position) (best wal.Run, ok bool) {
	for _, r := range s.runs {
		if after.LSN+1 < r.First || after.LSN >= r.Last || ok && r.Last <= best.Last {
			continue
		}
		if hash, found := s.hashIn(r, after.LSN); found && hash == after.Hash {
			best, ok = r, true
		}
	}
	return best, ok
}

// hashIn is the hash that a run has for an entry, or for the one before its first.
func (s *Salvage) hashIn(r wal.Run, lsn wal.LSN) (wal.Hash, bool) {
	switch lsn {
	case r.First - 1:
		return r.Before, true
	case r.Last:
		return r.Hash, true
	}
	for rec, err := range r.Records(s.fs, s.log()) {
		if err != nil || rec.LSN > lsn {
			break
		}
		if rec.LSN == lsn {
			return rec.Hash, true
		}
	}
	return wal.Hash{}, false
}

// images verifies those of a record.
func (s *Salvage) images(rec *wal.Record) (io.ReaderAt, error) {
	if len(rec.Extents) > 0 && s.heap == nil {
		return nil, &wal.CorruptError{File: "heap", Offset: -1, LSN: rec.LSN, Reason: "it cannot be opened, and the entry's images lie in it"}
	}
	err := checkImages(s.heap, rec)
	var c *wal.CorruptError
	switch {
	case err == nil:
	case errors.Is(err, wal.ErrVersion):
		return nil, err
	case errors.As(err, &c):
		return nil, &wal.CorruptError{File: c.File, Offset: c.Offset, LSN: rec.LSN, Reason: c.Reason}
	default: // the disk cannot read it
		return nil, &wal.CorruptError{File: "heap", Offset: -1, LSN: rec.LSN, Reason: err.Error()}
	}
	return apply.BodyOf(s.heap, 0, rec)
}

// Close lets go of the files.
func (s *Salvage) Close() error {
	if s.heap == nil {
		return nil
	}
	return s.heap.Close()
}

// LostEntry is what a lost entry was, as far as its record can still be read.
type LostEntry struct {
	LSN    wal.LSN
	Time   int64 // nanoseconds since 1970
	Txn    wal.TxnID
	Actor  uuid.UUID // zero when it has none
	Reason string    // why it is lost though its record is whole; empty when only what comes before it is lost
}

// Known describes the entries from first to last whose records are whole, at most n.
func (s *Salvage) Known(ctx context.Context, first, last wal.LSN, n int) (list []LostEntry, err error) {
	seen := map[wal.LSN]bool{}
	for _, r := range s.runs {
		if r.Last < first || r.First > last {
			continue
		}
		for rec, err := range r.Records(s.fs, s.log()) {
			if err != nil || rec.LSN > last || len(list) == n {
				break
			}
			if rec.LSN < first || seen[rec.LSN] {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			seen[rec.LSN] = true
			list = append(list, s.lostEntry(rec))
		}
	}
	slices.SortFunc(list, func(a, b LostEntry) int { return int(min(1, max(-1, int64(a.LSN-b.LSN)))) })
	return list, nil
}

func (s *Salvage) lostEntry(rec *wal.Record) LostEntry {
	e := LostEntry{LSN: rec.LSN, Time: rec.Entry.Time, Txn: rec.Entry.Txn, Actor: uuid.UUID(rec.Entry.Actor)}
	if _, err := s.images(rec); err != nil {
		e.Reason = err.Error()
	}
	return e
}

// Begins calls f for each whole entry that begins a timeline.
func (s *Salvage) Begins(ctx context.Context, f func(*wal.Entry)) error {
	for _, r := range s.runs {
		for rec, err := range r.Records(s.fs, s.log()) {
			if ended := ctx.Err(); ended != nil || errors.Is(err, wal.ErrVersion) {
				return errors.Join(ended, err)
			}
			if err != nil {
				break
			}
			if rec.Entry.Kind == wal.KindTimeline {
				f(rec.Entry)
			}
		}
	}
	return nil
}

// Checkpoint opens the state that the last checkpoint made durable. What of it is damaged is
// an error when it is read. The manifest must be Trusted. Errors: wal.ErrCorrupt.
func (s *Salvage) Checkpoint() (*Viewed, error) {
	if s.Unread != nil {
		return nil, fmt.Errorf("recovery: view the checkpoint of %s: %w", s.dir, s.Unread)
	}
	l, err := openLenient(s.fs, s.dir, s)
	if err != nil {
		return nil, fmt.Errorf("recovery: view the checkpoint of %s: %w", s.dir, err)
	}
	return &Viewed{look: l, snap: l.store.Acquire()}, nil
}
