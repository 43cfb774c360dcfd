package pagestore

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Options of a page store.
type Options struct {
	FS         vfs.FS
	Dir        string // the store's
	CacheBytes int64  // of decoded tree nodes
	ReadOnly   bool   // nothing is changed on disk, and the store's lock is not needed
	Lenient    bool   // with ReadOnly: heap files that are missing or damaged are left out, what lies in them is wal.ErrCorrupt when it is read
}

// Store is the page store: the heap, the trees in it, and the manifest that
// says which of them are the store. Reads may come from any goroutine; the
// Draft belongs to one at a time.
type Store struct {
	opts  Options
	heap  *heap.Heap
	nodes *node.Cache
	logs  logFiles
	holds holds
	limbo limbo
	round uint64       // of moving images from the log; the checkpointer's
	dirty atomic.Int64 // nodes of the catalogue changed since the last checkpoint began, as of the last Cut

	man      *manifest.Manifest // nil when read-only
	editing  sync.Mutex         // one edit at a time: it is computed from the facts before
	readFact manifest.Facts     // when read-only
}

// Create makes the manifest of a new, empty store. A crash leaves a store or
// none.
func Create(fsys vfs.FS, dir string, facts manifest.Facts) error {
	m, err := manifest.Create(fsys, dir, facts)
	if err != nil {
		return err
	}
	return m.Close()
}

// Open opens the page store as the last checkpoint left it, and returns the
// draft to which the entries behind the checkpoint are to be applied.
func Open(o Options) (*Store, *Draft, error) {
	s := &Store{opts: o}
	facts, err := s.openManifest()
	if err != nil {
		return nil, nil, err
	}
	s.heap, err = heap.Open(heap.Options{
		FS: o.FS, Dir: filepath.Join(o.Dir, "heap"), Store: facts.Store, ReadOnly: o.ReadOnly, Lenient: o.Lenient,
		MaxFileBytes: facts.Options.HeapFileBytes,
	}, facts.Heap)
	if err != nil {
		return nil, nil, errors.Join(err, s.closeManifest())
	}
	for e := range facts.Used.Extents() {
		if err := s.heap.MarkUsed(e); err != nil && !(o.Lenient && errors.Is(err, wal.ErrCorrupt)) {
			return nil, nil, errors.Join(err, s.Close())
		}
	}
	s.limbo.low = facts.Kept()
	s.nodes = node.NewCache(s.heap, int(o.CacheBytes))
	c := facts.Checkpoint
	d := &Draft{
		Head: Head{
			Position: wal.Position{Timeline: facts.Timeline, LSN: c.LSN, Hash: c.Hash},
			Epoch:    facts.Epoch, Time: c.Time,
		},
		store: s, epoch: 1, cutAt: c.LSN, cat: catalogue.FromRoot(c.Root),
		vols: map[wal.VolumeID]*DraftVolume{}, names: map[string]wal.VolumeID{},
		tags: map[wal.Ref]*DraftTag{}, tips: map[tipID]*draftTip{}, lines: map[LineageID]*lineageRecord{},
	}
	s.holds.publish(&Snapshot{Head: d.Head, store: s, cat: d.cat})
	return s, d, nil
}

func (s *Store) openManifest() (manifest.Facts, error) {
	var err error
	if s.opts.ReadOnly {
		s.readFact, _, err = manifest.Load(s.opts.FS, s.opts.Dir)
		return s.readFact, err
	}
	var facts manifest.Facts
	s.man, facts, _, err = manifest.Open(s.opts.FS, s.opts.Dir)
	return facts, err
}

func (s *Store) closeManifest() error {
	if s.man == nil {
		return nil
	}
	return s.man.Close()
}

// Close lets go of everything. Nobody reads any more.
func (s *Store) Close() error {
	return errors.Join(s.logs.closeAll(), s.heap.Close(), s.closeManifest())
}

// CloseClean is Close of a store whose log ends at lsn, durable to the last
// byte: any damage found later is corruption.
func (s *Store) CloseClean(lsn wal.LSN) error {
	if err := errors.Join(s.heap.Poisoned(), s.man.CloseClean(lsn)); err != nil {
		return errors.Join(err, s.Close())
	}
	return s.Close()
}

// Heap is where the images are.
func (s *Store) Heap() *heap.Heap { return s.heap }

// Facts are the node facts of the store.
func (s *Store) Facts() manifest.Facts {
	if s.man == nil {
		return s.readFact
	}
	return s.man.Facts()
}

// ManifestSeq is the sequence of the newest durable manifest record.
func (s *Store) ManifestSeq() uint64 {
	if s.man == nil {
		return s.readFact.Seq
	}
	return s.man.Seq()
}

// EditManifest makes durable the edit that edit computes from the facts.
func (s *Store) EditManifest(edit func(manifest.Facts) manifest.Edit) error {
	s.editing.Lock()
	defer s.editing.Unlock()
	_, err := s.man.Append(edit(s.man.Facts()))
	return err
}

// EditConsumers makes durable the list of consumers that edit computes from the
// facts. With an error, or a nil list, nothing is changed.
func (s *Store) EditConsumers(edit func(*manifest.Facts) ([]manifest.Consumer, error)) error {
	s.editing.Lock()
	defer s.editing.Unlock()
	facts := s.man.Facts()
	list, err := edit(&facts)
	if err != nil || list == nil {
		return err
	}
	_, err = s.man.Append(manifest.Edit{Consumers: &list})
	return err
}

// Poisoned is the reason why nothing can be written any more, or nil.
func (s *Store) Poisoned() error { return s.heap.Poisoned() }

// Publish makes a snapshot that Cut returned the one that readers begin on.
func (s *Store) Publish(snap *Snapshot) { s.holds.publish(snap) }

// Published is the newest published snapshot's head.
func (s *Store) Published() Head { return s.holds.current().Head }

// Acquire holds the published snapshot until Release. Cost: the same whatever
// the store holds.
func (s *Store) Acquire() *Snapshot { return s.holds.acquire() }

// Release ends a hold and reports whether something may be free by it.
func (s *Store) Release(snap *Snapshot) (freed bool) { return s.holds.release(snap) }

// AddLog makes images readable that lie in a generation of the log, and
// returns the ordinal under which log addresses name it. The store closes f.
func (s *Store) AddLog(g wal.Generation, f vfs.File) (ordinal uint32) { return s.logs.add(g, f) }

// ReadImage reads the image at an entry's address into dst, whose length is
// the page size, and verifies that it is page no (promise 9).
func (s *Store) ReadImage(no uint64, e pagetree.Entry, dst []byte) error {
	where, err := s.readImage(e.Addr, dst)
	if err != nil {
		return err
	}
	if wal.HashPage(no, dst) != e.Hash {
		where.LSN = e.Birth
		where.Reason = fmt.Sprintf("the image of page %d does not match its hash; nothing was changed, run txnctl recovery verify", no)
		return &where
	}
	return nil
}

// readImage also says where the image is, for the error if it is wrong.
func (s *Store) readImage(addr uint64, dst []byte) (wal.CorruptError, error) {
	if pagetree.IsLog(addr) {
		return s.readLog(addr, dst)
	}
	return s.readHeap(heap.Slot(addr), dst)
}

func (s *Store) readHeap(slot heap.Slot, dst []byte) (wal.CorruptError, error) {
	file, off := s.heap.Where(slot)
	return wal.CorruptError{File: file, Offset: off}, s.heap.ReadSlot(slot, dst)
}

// Reserve makes room, written before, for what a checkpoint of the draft's
// size needs, so that Freeze works in memory.
func (s *Store) Reserve() error {
	held := int64(s.HeldInMemory()) // each has a few nodes
	for _, c := range []heap.Class{9, 10, 11, 12} {
		if err := s.heap.EnsureWritten(c, reserveBytes+held*int64(c.Bytes())); err != nil {
			return err
		}
	}
	return nil
}

const reserveBytes = 256 << 10

func (s *Store) heapFiles() []heap.FileInfo { return s.heap.Files() }

// Stats of the page store.
type Stats struct {
	Heap        heap.Stats
	Holds       HoldStats
	LimboSlots  uint64 // dead, but a held snapshot may reach them, or a consumer has still to read what names them
	FreedSlots  uint64 // dead ones that were made free since the store was opened
	FreedBytes  uint64 // of those
	RetiredLogs int    // generations of the log that only held snapshots have addresses in
	Checkpoint  wal.LSN
	ManifestSeq uint64
	Store       uuid.UUID
}

// Stats of the page store.
func (s *Store) Stats() Stats {
	f, gone := s.Facts(), s.limbo.soFar()
	return Stats{
		FreedSlots: gone.slots, FreedBytes: gone.bytes,
		Heap: s.heap.Stats(), Holds: s.holds.stats(), LimboSlots: s.limbo.waiting(), RetiredLogs: s.logs.retired(),
		Checkpoint: f.Checkpoint.LSN, ManifestSeq: f.Seq, Store: f.ID(),
	}
}
