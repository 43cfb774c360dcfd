package pagestore

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// logFiles are the log generations that images are read from. A generation's
// place in the table is its ordinal in log addresses.
//
// A generation is retired once a checkpoint covers it, whether the manifest
// still names it, for a consumer to read, or not. Snapshots taken
// before the checkpoint was rebased still have addresses in it; until the last
// of them is released, a table says where its images are in the heap: those
// that the checkpoint moved, and those that only held snapshots reach, which
// retire copies. So readers cost slots for what they alone still see, and no
// file is kept for them.
type logFiles struct {
	table atomic.Pointer[[]*logFile] // replaced, never changed

	mu   sync.Mutex     // guards what follows, and replacing the table
	went pagetree.Moved // where images of named generations went
	left []deadImage    // images of named generations that died in the log
}

// logFile is one generation. It is not changed, but replaced when it retires.
type logFile struct {
	gen   wal.Generation
	file  vfs.File       // nil when retired
	moved pagetree.Moved // when retired
	until uint64         // when retired: no snapshot from this number on needs it
}

func (l *logFiles) load() []*logFile {
	if t := l.table.Load(); t != nil {
		return *t
	}
	return nil
}

// set puts f at an ordinal. Callers hold l.mu.
func (l *logFiles) set(ordinal int, f *logFile) {
	table := append([]*logFile(nil), l.load()...)
	if ordinal == len(table) {
		table = append(table, nil)
	}
	table[ordinal] = f
	l.table.Store(&table)
}

// add makes a generation readable and returns its ordinal.
func (l *logFiles) add(g wal.Generation, f vfs.File) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	table, i := l.load(), 0
	for i < len(table) && table[i] != nil {
		i++
	}
	l.set(i, &logFile{gen: g, file: f})
	return uint32(i)
}

// at is the generation with an ordinal; nil when there is none.
func (l *logFiles) at(ordinal uint32) *logFile {
	if t := l.load(); int(ordinal) < len(t) {
		return t[ordinal]
	}
	return nil
}

// moved takes note of a checkpoint that was buried: where images went, and
// which died in the log.
func (l *logFiles) moved(went pagetree.Moved, left []deadImage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.went == nil {
		l.went = pagetree.Moved{}
	}
	for addr, slot := range went {
		l.went[addr] = slot
	}
	l.left = append(l.left, left...)
}

// take removes and returns what is known of the images of one generation.
func (l *logFiles) take(ordinal int) (went pagetree.Moved, left []deadImage) {
	of := func(addr uint64) bool { o, _ := pagetree.SplitLog(addr); return int(o) == ordinal }
	went = pagetree.Moved{}
	for addr, slot := range l.went {
		if of(addr) {
			went[addr] = slot
			delete(l.went, addr)
		}
	}
	kept := l.left[:0]
	for _, x := range l.left {
		if of(x.Addr) {
			left = append(left, x)
		} else {
			kept = append(kept, x)
		}
	}
	l.left = kept
	return went, left
}

// Tidy retires the log generations that the checkpoint covers, and forgets those
// retired that no snapshot reads any more.
func (s *Store) Tidy() error {
	named, facts := map[wal.GenID]bool{}, s.Facts()
	for _, g := range facts.Generations {
		named[g.ID] = !g.Sealed || g.Last > facts.Checkpoint.LSN
	}
	l := &s.logs
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := s.holds.oldestNumber()
	for i, f := range l.load() {
		switch {
		case f == nil:
		case f.file == nil && f.until <= oldest:
			l.set(i, nil)
		case f.file != nil && !named[f.gen.ID]:
			if err := s.retire(i, f); err != nil {
				return fmt.Errorf("pagestore: retire log generation %s: %w", f.gen.ID, err)
			}
		}
	}
	return nil
}

// retire closes a generation's file, having moved what held snapshots read in
// it. Callers hold s.logs.mu.
func (s *Store) retire(ordinal int, f *logFile) error {
	went, left := s.logs.take(ordinal)
	until := s.holds.current().number
	if until <= s.holds.oldestNumber() {
		s.logs.set(ordinal, nil)
		return f.file.Close()
	}
	if err := s.evacuate(f, went, left); err != nil {
		maps.Copy(went, s.logs.went) // it is tried again
		s.logs.went, s.logs.left = went, append(left, s.logs.left...)
		return err
	}
	s.logs.set(ordinal, &logFile{gen: f.gen, moved: went, until: until})
	return f.file.Close()
}

// evacuate copies images that only held snapshots reach to slots, which wait
// in limbo for the holds.
func (s *Store) evacuate(f *logFile, went pagetree.Moved, left []deadImage) error {
	held, _ := s.holds.heldLSNs()
	t := newTaker(s.heap)
	var runs []deadRun
	for _, x := range left {
		if !heldBetween(held, x.Birth, x.Death) {
			continue
		}
		slot, err := s.copyImage(f, x, t)
		if err != nil {
			return errors.Join(err, t.batch.Close(), s.heap.ReleaseAll(t.used))
		}
		went[x.Addr] = slot
		runs = append(runs, deadRun{heap.Extent{First: slot, Count: 1}, x.Birth, x.Death})
	}
	s.limbo.bury(runs)
	return t.batch.Close()
}

func (s *Store) copyImage(f *logFile, x deadImage, t *taker) (heap.Slot, error) {
	_, off := pagetree.SplitLog(x.Addr)
	image := make([]byte, x.size)
	if _, err := f.file.ReadAt(image, off); err != nil {
		return 0, err
	}
	slot, err := t.take(heap.ClassFor(len(image)))
	if err != nil {
		return 0, err
	}
	return slot, s.heap.Write(slot, image)
}

// readLog reads an image at a log address, wherever it has gone since.
func (s *Store) readLog(addr uint64, dst []byte) (wal.CorruptError, error) {
	ordinal, off := pagetree.SplitLog(addr)
	for {
		f := s.logs.at(ordinal)
		if f == nil {
			return wal.CorruptError{}, fmt.Errorf("pagestore: log generation number %d is not open", ordinal)
		}
		if f.file == nil {
			slot, ok := f.moved[addr]
			if !ok {
				return wal.CorruptError{}, fmt.Errorf("pagestore: the image at byte %d of log generation %s, which is retired, was not kept", off, f.gen.ID)
			}
			return s.readHeap(slot, dst)
		}
		where := wal.CorruptError{File: filepath.Join("wal", f.gen.ID.Path()), Offset: off}
		_, err := f.file.ReadAt(dst, off)
		if errors.Is(err, fs.ErrClosed) && s.logs.at(ordinal) != f {
			continue // it retired meanwhile
		}
		if err != nil {
			err = fmt.Errorf("pagestore: read %d bytes at byte %d of %s: %w", len(dst), off, where.File, err)
		}
		return where, err
	}
}

// closeAll closes every file; nobody reads any more.
func (l *logFiles) closeAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.load() {
		if f != nil && f.file != nil {
			errs = append(errs, f.file.Close())
		}
	}
	l.table.Store(nil)
	return errors.Join(errs...)
}

// retired is the number of generations that only held snapshots have addresses
// in.
func (l *logFiles) retired() (n int) {
	for _, f := range l.load() {
		if f != nil && f.file == nil {
			n++
		}
	}
	return n
}
