package heap

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// ErrPoisoned is returned by every write after a sync, or another write that
// commits need, has failed (promise 6).
// Reads go on; reopening the store recovers.
var ErrPoisoned = errors.New("heap is poisoned by an earlier failed write or sync: reopen the store to recover")

// Options of a Heap.
type Options struct {
	FS       vfs.FS
	Dir      string    // the heap's directory
	Store    uuid.UUID // the files must be of this store
	ReadOnly bool      // nothing is changed on disk, for checking commands
	// Lenient, with ReadOnly, leaves out files that are missing or damaged: what lies
	// in them is a *wal.CorruptError when it is read. Store may be zero then: any.
	Lenient bool

	// MaxFileBytes is the size up to which a file grows: 1 GiB when zero.
	MaxFileBytes int64
	// GrowBytes is the most by which a file grows at once: 32 MiB when zero.
	// Small heaps grow by a quarter of what they have.
	GrowBytes int64
}

func (o Options) withDefaults() Options {
	if o.MaxFileBytes == 0 {
		o.MaxFileBytes = 1 << 30
	}
	if o.GrowBytes == 0 {
		o.GrowBytes = 32 << 20
	}
	o.MaxFileBytes = max(o.MaxFileBytes, headerBytes+int64(MaxClass.Bytes()))
	o.GrowBytes = max(o.GrowBytes, int64(MaxClass.Bytes()))
	return o
}

// slotsPerFile is the most slots a file of class c may have.
func (o Options) slotsPerFile(c Class) uint32 {
	return wholeUnits(c, min((o.MaxFileBytes-headerBytes)>>c, MaxIndex))
}

// FileInfo is what the manifest keeps of a heap file.
type FileInfo struct {
	Number uint32
	Class  Class
	Slots  uint32 // that the file has at least
}

// Heap is the set of a store's heap files and the allocator of their slots.
// Its methods may be called by several goroutines at once.
type Heap struct {
	opt   Options
	files atomic.Pointer[[]*file] // by number, nil where there is none; replaced, never changed

	growing    sync.Mutex // one growth at a time; taken before mu
	next       uint32     // number of the next file; growing
	leftovers  []uint32   // files not known at Open and not adopted; growing
	mu         sync.Mutex
	spaces     [MaxClass + 1]space // mu
	poisonedBy atomic.Pointer[error]
	unstarted  atomic.Int64 // bytes written since the last StartSync
}

// Open opens the heap whose files the manifest knows. All slots are free until
// MarkUsed says otherwise. A known file that is missing, short, foreign or
// damaged, and a name that is none of a heap file's, is a *wal.CorruptError;
// nothing was changed. Files numbered above all known ones are leftovers.
func Open(o Options, known []FileInfo) (*Heap, error) {
	h := &Heap{opt: o.withDefaults(), next: 1}
	for c := MinClass; c <= MaxClass; c++ {
		h.spaces[c] = newSpace(c)
	}
	h.files.Store(&[]*file{nil})
	if err := h.open(known); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *Heap) open(known []FileInfo) error {
	for _, info := range known {
		err := h.openKnown(info)
		if h.opt.Lenient && errors.Is(err, wal.ErrCorrupt) {
			h.next, err = max(h.next, info.Number+1), nil
		}
		if err != nil {
			return err
		}
	}
	entries, err := h.opt.FS.ReadDir(h.opt.Dir)
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case missing && len(known) == 0:
		return h.mkdir()
	case missing && h.opt.Lenient:
		return nil
	}
	if err != nil {
		return fmt.Errorf("heap: list: %w", err)
	}
	last := h.next - 1 // the highest known number
	for _, e := range entries {
		number, ok := parseFileName(e.Name)
		if (!ok || number <= last && h.file(number) == nil) && h.opt.Lenient {
			continue
		}
		if !ok || number <= last && h.file(number) == nil {
			return &wal.CorruptError{File: filepath.Join("heap", e.Name), Offset: -1,
				Reason: "not a file of this heap; nothing was changed, move it away if it is not Quire's"}
		}
		if number > last {
			h.leftovers = append(h.leftovers, number)
			h.next = max(h.next, number+1)
		}
	}
	return nil
}

func (h *Heap) openKnown(info FileInfo) error {
	if info.Number == 0 || info.Number > MaxFile || !info.Class.valid() || h.file(info.Number) != nil {
		return fmt.Errorf("heap: the manifest names file %d of class %d twice or beyond the limits: %w",
			info.Number, info.Class, wal.ErrCorrupt)
	}
	f, err := openFile(h.opt, info.Number)
	if errors.Is(err, fs.ErrNotExist) {
		return &wal.CorruptError{File: filepath.Join("heap", fileName(info.Number)), Offset: -1, Reason: "missing"}
	}
	if err != nil {
		return err
	}
	if f.class != info.Class || f.slots.Load() < info.Slots && !h.opt.Lenient {
		err := f.corrupt(-1, "has %d slots of class %d, the manifest says at least %d of class %d",
			f.slots.Load(), f.class, info.Slots, info.Class)
		return errors.Join(err, f.f.Close())
	}
	f.durable.Store(info.Slots)
	h.add(f)
	return nil
}

func (h *Heap) mkdir() error {
	if h.opt.ReadOnly {
		return nil // a store that has nothing in its heap yet
	}
	if err := h.opt.FS.Mkdir(h.opt.Dir); err != nil {
		return fmt.Errorf("heap: make directory: %w", err)
	}
	if err := h.opt.FS.SyncDir(filepath.Dir(h.opt.Dir)); err != nil {
		return fmt.Errorf("heap: sync directory: %w", err)
	}
	return nil
}

// add puts a file into the table and its slots at the allocator's disposal.
func (h *Heap) add(f *file) {
	table := slices.Clone(*h.files.Load())
	table = append(table, make([]*file, max(0, int(f.number)+1-len(table)))...)
	table[f.number] = f
	h.files.Store(&table)
	h.next = max(h.next, f.number+1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spaces[f.class].grow(f, 0, f.slots.Load())
	f.dirty.Store(f.slots.Load() > f.durable.Load()) // longer than the manifest knows: sync it once
}

// file is the open file of that number, or nil.
func (h *Heap) file(number uint32) *file {
	if table := *h.files.Load(); int(number) < len(table) {
		return table[number]
	}
	return nil
}

// Leftovers are the numbers of files that a crash left: made after the
// manifest was written, and named by no record so far (MarkUsed adopts one).
func (h *Heap) Leftovers() []uint32 {
	h.growing.Lock()
	defer h.growing.Unlock()
	return slices.Clone(h.leftovers)
}

// RemoveLeftovers removes them. It must be called after all MarkUsed, and
// before the first Alloc that is to count on their room.
func (h *Heap) RemoveLeftovers() error {
	h.growing.Lock()
	defer h.growing.Unlock()
	for len(h.leftovers) > 0 {
		name := filepath.Join(h.opt.Dir, fileName(h.leftovers[0]))
		if err := h.opt.FS.Remove(name); err != nil {
			return fmt.Errorf("heap: remove leftover: %w", err)
		}
		h.leftovers = h.leftovers[1:]
	}
	if err := h.opt.FS.SyncDir(h.opt.Dir); err != nil {
		return fmt.Errorf("heap: sync directory: %w", err)
	}
	return nil
}

// adopt makes a leftover a file of the heap, since a record names slots of it.
func (h *Heap) adopt(number uint32) (*file, error) {
	h.growing.Lock()
	defer h.growing.Unlock()
	i := slices.Index(h.leftovers, number)
	if i < 0 {
		if f := h.file(number); f != nil {
			return f, nil // another goroutine was faster
		}
		return nil, &wal.CorruptError{File: filepath.Join("heap", fileName(number)), Offset: -1, Reason: "missing, but slots of it are named"}
	}
	f, err := openFile(h.opt, number)
	if err != nil {
		return nil, err
	}
	h.leftovers = slices.Delete(h.leftovers, i, i+1)
	h.add(f)
	return f, nil
}

// Files is what the manifest may keep: every file and as many of its slots as
// a Sync has made durable.
func (h *Heap) Files() []FileInfo {
	var list []FileInfo
	for _, f := range *h.files.Load() {
		if f != nil {
			list = append(list, FileInfo{f.number, f.class, f.durable.Load()})
		}
	}
	return list
}

// Class is the class of all slots of a file.
func (h *Heap) Class(file uint32) (Class, error) {
	if f := h.file(file); f != nil {
		return f.class, nil
	}
	return 0, h.noSuch(MakeSlot(file, 0))
}

func (h *Heap) noSuch(s Slot) error {
	return &wal.CorruptError{File: filepath.Join("heap", fileName(s.File())), Offset: -1,
		Reason: fmt.Sprintf("there is no slot %v", s)}
}

// Stats of a heap, in bytes but for Files.
type Stats struct {
	Files int
	Bytes int64 // of all slots
	Used  int64 // by slots in use
	Free  int64 // written, at Alloc's disposal
}

// Stats counts; it takes no time that depends on the heap's size, and waits for
// no disk.
func (h *Heap) Stats() (st Stats) {
	for _, f := range *h.files.Load() {
		if f != nil {
			st.Files++
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.spaces {
		s := &h.spaces[i]
		unit := int64(s.per) << s.class
		st.Bytes += int64(s.total) * unit
		st.Free += int64(s.free) * unit
		st.Used += int64(s.used) << s.class
	}
	return st
}

// Close closes the files. What was not synced may be lost. No method may be
// running or be called later.
func (h *Heap) Close() error {
	var errs []error
	for _, f := range *h.files.Load() {
		if f != nil {
			errs = append(errs, f.f.Close())
		}
	}
	return errors.Join(errs...)
}
