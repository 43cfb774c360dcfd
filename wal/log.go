package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	tidwall "github.com/tidwall/wal"

	"github.com/quire-db/quire/internal/vfs"
)

// Sentinels of a log that is being written.
var (
	// ErrPoisoned: a write or a sync failed, so what the disk holds is unknown
	// and nothing more is written (promise 6). Reopening the store recovers.
	ErrPoisoned = errors.New("log is poisoned")
	// ErrNotReady: the current generation is full and no other was adopted.
	// Nothing happened; Prepare and Adopt one.
	ErrNotReady = errors.New("no log generation is ready")
	// ErrGroupFull: the record does not fit this group. Nothing happened; it
	// fits the next one.
	ErrGroupFull = errors.New("group is full")
)

// Sizes of a generation's file.
const (
	DefaultGenerationBytes = 4 << 20
	MinGenerationBytes     = 2 * MaxRecord
)

// groupBytes is the limit of a group in bytes of its records: one fits an empty
// generation, and a record fits a group.
func (o LogOptions) groupBytes() int64 { return min(MaxGroupBytes, o.GenerationBytes*3/4) }

// LogOptions say where the log lies and what it continues.
type LogOptions struct {
	FS              vfs.FS
	Dir             string    // made when it is missing; its parent must exist
	GenerationBytes int64     // default DefaultGenerationBytes, at least MinGenerationBytes
	After           Position  // the entry that the first one appended continues; zero in a new store
	Random          io.Reader // of nonces; default crypto/rand
}

func (o LogOptions) withDefaults() (LogOptions, error) {
	if o.GenerationBytes == 0 {
		o.GenerationBytes = DefaultGenerationBytes
	}
	if o.GenerationBytes < MinGenerationBytes {
		return o, fmt.Errorf("wal: a generation of %d bytes is too small: want at least %d", o.GenerationBytes, MinGenerationBytes)
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	return o, nil
}

// Log appends to the log of one store. Two goroutines may use it at a time
// without waiting for each other: the sequencer (NewGroup, Group.Add) and the
// flusher (Append, AppendMark, Sync). Prepare, Adopt, Discard, Ready and
// SealRetired may be called by any.
type Log struct {
	opts LogOptions

	writing sync.Mutex    // held over writes and syncs; taken before mu; guards:
	current *generation   // that the last write went to
	retired []*generation // full, not yet sealed
	batch   tidwall.Batch

	mu       sync.Mutex            // never held over a system call; guards:
	failed   error                 // the first failure, wrapped in ErrPoisoned, or fs.ErrClosed
	end      Position              // the last entry sequenced
	appended LSN                   // the last entry written
	open     *Group                // that the sequencer adds to
	tail     *generation           // that the next record is planned for
	ready    []*generation         // adopted, not yet begun
	prepared map[GenID]*generation // not yet adopted
	spare    []byte                // buffer of an appended group
	manifest uint64                // sequence of the newest durable manifest record
}

// OpenLog readies the log for writing; it reads nothing and makes no file. The
// caller holds the store's lock, has scanned what is there, and goes on in a
// generation of its own: Prepare, Adopt, then NewGroup.
func OpenLog(o LogOptions) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err = o.FS.Mkdir(o.Dir); err == nil {
		err = o.FS.SyncDir(filepath.Dir(o.Dir))
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("wal: make the log's directory: %w", err)
	}
	return &Log{opts: o, end: o.After, appended: o.After.LSN, prepared: make(map[GenID]*generation)}, nil
}

// Prepare makes a generation, zero-filled and synced, that is not written before
// Adopt. first is the LSN it must begin with, or zero when whatever comes next
// may. A failure, no space among them, changes nothing and poisons nothing.
// Cost: GenerationBytes written and three syncs; meant for the background.
func (l *Log) Prepare(first LSN) (Generation, error) {
	if err := l.Poisoned(); err != nil {
		return Generation{}, err
	}
	id, err := newGenID(l.opts.Random)
	if err != nil {
		return Generation{}, fmt.Errorf("wal: prepare a generation: %w", err)
	}
	g, err := makeGeneration(l.opts.FS, l.opts.Dir, id, l.opts.GenerationBytes)
	if err != nil {
		return Generation{}, fmt.Errorf("wal: prepare generation %s: %w", id, err)
	}
	g.first = first
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil { // closed meanwhile
		g.close()
		return Generation{}, l.failed
	}
	l.prepared[id] = g
	return Generation{ID: id, First: first}, nil
}

// Adopt lets a prepared generation be written. What lies in it can be recovered
// only if the manifest names it, so that comes first; but for recovery itself,
// which fills a generation from its first LSN on before the manifest lets it
// stand for what it was copied from.
func (l *Log) Adopt(g Generation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.prepared[g.ID]
	if p == nil {
		return fmt.Errorf("wal: adopt generation %s: it was not prepared", g.ID)
	}
	delete(l.prepared, g.ID)
	l.ready = append(l.ready, p)
	return nil
}

// Discard removes a prepared generation that the manifest was not made to name.
func (l *Log) Discard(g Generation) error {
	l.mu.Lock()
	p := l.prepared[g.ID]
	delete(l.prepared, g.ID)
	l.mu.Unlock()
	if p == nil {
		return fmt.Errorf("wal: discard generation %s: it was not prepared", g.ID)
	}
	return errors.Join(p.abandon(), Remove(l.opts.FS, l.opts.Dir, g.ID))
}

// Ready reports whether an adopted generation waits to be begun. While it does
// not, the next should be prepared.
func (l *Log) Ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ready) > 0
}

// NewGroup begins a group, in the next generation when the current one may not
// hold it. manifest is the sequence of the newest durable manifest record.
func (l *Log) NewGroup(manifest uint64) (*Group, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return nil, l.failed
	}
	if l.tail == nil || l.tail.planned > l.opts.GenerationBytes-l.opts.groupBytes() {
		if err := l.rotate(); err != nil {
			return nil, err
		}
	}
	l.manifest = max(l.manifest, manifest)
	l.open = &Group{log: l, gen: l.tail, manifest: manifest, buf: l.spare[:0]}
	l.spare = nil
	return l.open, nil
}

// rotate plans the records to come for the next adopted generation. Callers
// hold l.mu.
func (l *Log) rotate() error {
	if len(l.ready) == 0 {
		return fmt.Errorf("wal: begin a group: %w", ErrNotReady)
	}
	g, first := l.ready[0], l.end.LSN+1
	if g.first != 0 && g.first != first {
		return fmt.Errorf("wal: generation %s was prepared for LSN %d, the log goes on at %d", g.id, g.first, first)
	}
	g.first, g.end = first, l.end
	l.ready, l.tail = l.ready[1:], g
	return nil
}

// SetManifest says which manifest record is the newest durable one: frames
// appended from now on name it.
func (l *Log) SetManifest(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.manifest = max(l.manifest, seq)
}

// Append writes the group with one call of the library and so one write; it is
// durable after Sync. mark must be an LSN up to which everything is durable. A
// failure poisons the log: the outcome is unknown until recovery.
func (l *Log) Append(g *Group, mark LSN) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.take(g, mark); err != nil || g.Len() == 0 {
		return err
	}
	if err := l.write(g.gen, g.seal(mark), g.size, g.end); err != nil {
		return fmt.Errorf("wal: append entries %d to %d: %w", g.first, g.end.LSN, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare, g.buf = g.buf, nil
	return nil
}

// take ends the group for its sequencer.
func (l *Log) take(g *Group, mark LSN) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == g {
		l.open = nil
	}
	g.manifest = l.manifest
	switch {
	case l.failed != nil:
		return l.failed
	case g.Len() == 0:
		return nil
	case g.buf == nil || g.base != g.gen.written:
		return fmt.Errorf("wal: append entries %d to %d: appended before, or out of order", g.first, g.end.LSN)
	case mark >= g.first:
		return fmt.Errorf("wal: append entries %d to %d: mark %d says they are durable", g.first, g.end.LSN, mark)
	}
	return nil
}

// AppendMark writes a frame that says only that everything up to mark is
// durable. It does nothing while a group is open, or not appended yet: its
// entries will carry the mark, and their places are promised, from Foresee on.
func (l *Log) AppendMark(mark LSN) error {
	_, err := l.TryMark(mark)
	return err
}

// TryMark is AppendMark and reports whether the frame was written.
func (l *Log) TryMark(mark LSN) (written bool, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	g, f, err := l.planMark(mark)
	if err != nil || g == nil {
		return false, err
	}
	b := make([]byte, frameHeader)
	f.put(b)
	sealFrame(b, mark)
	if err := l.write(g, [][]byte{b}, markSize, g.end); err != nil {
		return false, fmt.Errorf("wal: append mark %d: %w", mark, err)
	}
	return true, nil
}

const markSize = 1 + frameHeader // in the file

func (l *Log) planMark(mark LSN) (*generation, *Frame, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tail == nil && l.failed == nil && len(l.ready) > 0 {
		if err := l.rotate(); err != nil {
			return nil, nil, err
		}
	}
	g := l.tail
	switch {
	case l.failed != nil:
		return nil, nil, l.failed
	case g == nil || l.open != nil || l.appended != l.end.LSN:
		return nil, nil, nil
	case mark > l.end.LSN:
		return nil, nil, fmt.Errorf("wal: append mark %d: the log ends at %d", mark, l.end.LSN)
	}
	g.planned += markSize
	return g, &Frame{Kind: FrameMark, Manifest: l.manifest, Gen: g.id, Timeline: l.end.Timeline, LSN: l.end.LSN, Prev: l.end.Hash}, nil
}

// write hands records to the library. A generation that is left behind is
// synced first, so that records become durable in order across files.
func (l *Log) write(g *generation, records [][]byte, size int64, end Position) error {
	if old := l.current; old != nil && old != g {
		if err := old.sync(); err != nil {
			return l.poison(err)
		}
		l.retired = append(l.retired, old)
	}
	l.current = g
	if err := g.write(&l.batch, records); err != nil {
		return l.poison(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g.written += size
	g.end, l.appended = end, end.LSN
	return nil
}

// Sync makes all that was appended durable: one fdatasync. A failure poisons
// the log and is never retried.
func (l *Log) Sync() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.Poisoned(); err != nil || l.current == nil {
		return err
	}
	if err := l.current.sync(); err != nil {
		return fmt.Errorf("wal: sync generation %s: %w", l.current.id, l.poison(err))
	}
	return nil
}

// SealRetired cuts the generations that are full at their exact ends, syncs
// them, and returns what the manifest has to store: their bounds, and with them
// the first LSN of the generation that follows. Appending goes on meanwhile.
//
// It leaves those that end above durable, an LSN up to which entries and their
// images are durable, for a later call. Recovery takes the bounds of a sealed
// generation for a durable mark, and moving on to the next one has synced the
// records only: images beside the log may still be on their way.
func (l *Log) SealRetired(durable LSN) ([]Generation, error) {
	full, next := l.takeRetired(durable)
	if len(full) == 0 {
		return nil, l.Poisoned()
	}
	facts, err := l.seal(full)
	if err != nil {
		return nil, err
	}
	return append(facts, Generation{ID: next.id, First: next.first}), nil
}

// takeRetired takes the full generations that end at or below durable, and
// says which one follows them.
func (l *Log) takeRetired(durable LSN) (full []*generation, next *generation) {
	l.writing.Lock()
	defer l.writing.Unlock()
	n := 0
	for n < len(l.retired) && l.retired[n].end.LSN <= durable {
		n++
	}
	if next = l.current; n < len(l.retired) {
		next = l.retired[n]
	}
	full, l.retired = l.retired[:n:n], l.retired[n:]
	return full, next
}

// seal seals generations that nothing writes any more, unless the log is
// poisoned: then it lets go of them.
func (l *Log) seal(full []*generation) (facts []Generation, err error) {
	for _, g := range full {
		var fact Generation
		if err = l.Poisoned(); err == nil {
			if fact, err = g.seal(); err != nil {
				err = fmt.Errorf("wal: seal generation %s: %w", g.id, l.poison(err))
			}
		}
		g.close()
		facts = append(facts, fact)
	}
	if err != nil {
		return nil, err
	}
	return facts, l.Poisoned()
}

// Close seals what was written and returns its bounds, for the manifest's clean
// mark: after that any damage is corruption. Generations that were never begun
// stay as they are, empty, for recovery to remove. A poisoned log is let go of
// without touching it; the error says why.
func (l *Log) Close() ([]Generation, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.current != nil {
		l.retired = append(l.retired, l.current)
	}
	facts, err := l.seal(l.retired)
	l.current, l.retired = nil, nil
	l.release()
	return facts, err
}

// release lets go of what was never written and refuses what comes after.
func (l *Log) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range slices.AppendSeq(l.ready, maps.Values(l.prepared)) {
		if l.failed == nil {
			g.abandon()
		} else {
			g.close()
		}
	}
	l.prepared, l.ready, l.tail, l.open = nil, nil, nil, nil
	if l.failed == nil {
		l.failed = fmt.Errorf("wal: the log: %w", fs.ErrClosed)
	}
}

// Poisoned is nil, or wraps ErrPoisoned and the first failure; after Close, or
// fs.ErrClosed.
func (l *Log) Poisoned() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Poison has the log write nothing more, as after a failure of its own, because
// something else that commits need has failed.
func (l *Log) Poison(cause error) { _ = l.poison(cause) }

func (l *Log) poison(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: %w", ErrPoisoned, err)
	}
	return l.failed
}

// OpenReader opens a generation's file for reading inline images, at the places
// Add foretold. The caller closes it.
func (l *Log) OpenReader(id GenID) (vfs.File, error) {
	f, err := l.opts.FS.OpenRead(filepath.Join(l.opts.Dir, id.Path()))
	if err != nil {
		return nil, fmt.Errorf("wal: open generation %s for reading: %w", id, err)
	}
	return f, nil
}
