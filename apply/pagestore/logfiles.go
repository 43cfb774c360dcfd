package pagestore

import (
	"sync"
	"sync/atomic"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// logFiles are the log generations that images are read from. A generation's
// place in the table is its ordinal in log addresses.
type logFiles struct {
	mu     sync.Mutex
	table  atomic.Pointer[[]*logFile] // replaced, never changed
	doomed []doomedLog                // oldest first
}

type logFile struct {
	gen  wal.Generation
	file vfs.File
}

// doomedLog is a generation that is closed when no snapshot numbered below
// until is read any more.
type doomedLog struct {
	ordinal uint32
	until   uint64
}

func (l *logFiles) load() []*logFile {
	if t := l.table.Load(); t != nil {
		return *t
	}
	return nil
}

// add makes a generation readable and returns its ordinal.
func (l *logFiles) add(g wal.Generation, f vfs.File) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	table := append([]*logFile(nil), l.load()...)
	i := 0
	for i < len(table) && table[i] != nil {
		i++
	}
	if i == len(table) {
		table = append(table, nil)
	}
	table[i] = &logFile{g, f}
	l.table.Store(&table)
	return uint32(i)
}

// at is the generation with an ordinal; nil when there is none.
func (l *logFiles) at(ordinal uint32) *logFile {
	if t := l.load(); int(ordinal) < len(t) {
		return t[ordinal]
	}
	return nil
}

// doom marks generations for closing once the snapshots that may reach them,
// those numbered below until, are released.
func (l *logFiles) doom(gone func(wal.GenID) bool, until uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.load() {
		if f != nil && gone(f.gen.ID) && !l.isDoomed(uint32(i)) {
			l.doomed = append(l.doomed, doomedLog{uint32(i), until})
		}
	}
}

func (l *logFiles) isDoomed(ordinal uint32) bool {
	for _, d := range l.doomed {
		if d.ordinal == ordinal {
			return true
		}
	}
	return false
}

// close closes the doomed generations that no snapshot from number oldest on
// needs.
func (l *logFiles) close(oldest uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first error
	for len(l.doomed) > 0 && l.doomed[0].until <= oldest {
		table := append([]*logFile(nil), l.load()...)
		i := l.doomed[0].ordinal
		if err := table[i].file.Close(); err != nil && first == nil {
			first = err
		}
		table[i] = nil
		l.table.Store(&table)
		l.doomed = l.doomed[1:]
	}
	return first
}

// closeAll closes every file; nobody reads any more.
func (l *logFiles) closeAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first error
	for _, f := range l.load() {
		if f == nil {
			continue
		}
		if err := f.file.Close(); err != nil && first == nil {
			first = err
		}
	}
	l.table.Store(nil)
	l.doomed = nil
	return first
}

// pinned is the number of generations kept open for readers only.
func (l *logFiles) pinned() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.doomed)
}
