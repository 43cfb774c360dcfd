package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// slotBook accounts for every slot of the heap.
type slotBook struct {
	heap    *heap.Heap
	used    *manifest.SlotSet // that the checkpoint reaches, as the manifest says
	missing *manifest.SlotSet // of used, those not met yet
	logged  manifest.SlotSet  // that entries behind the checkpoint name
	older   manifest.SlotSet  // that older entries name, which consumers have still to read, and neither of the others has
	current manifest.SlotSet  // that the newest state reaches
	kept    bool              // current is known

	fromUsed, fromLogged uint64 // slots of current
}

// newSlotBook takes the set of used slots twice; it takes the second apart.
func newSlotBook(h *heap.Heap, used, missing *manifest.SlotSet) *slotBook {
	if missing == nil {
		missing = new(manifest.SlotSet)
	}
	return &slotBook{heap: h, used: used, missing: missing}
}

// bytes of the used slots.
func (b *slotBook) bytes() (n int64) {
	for e := range b.used.Extents() {
		if class, err := b.heap.Class(e.First.File()); err == nil {
			n += int64(e.Count) << class
		}
	}
	return n
}

// reach notes what the checkpoint reaches and returns the slot's size.
func (b *slotBook) reach(u pagestore.Use) (int64, error) {
	slot := heap.Slot(u.Addr)
	class, err := b.classOf(u)
	if err != nil {
		return 0, err
	}
	switch err := b.missing.Remove(heap.Extent{First: slot, Count: 1}); {
	case err == nil:
		return int64(class.Bytes()), nil
	case b.used.Has(slot):
		return 0, b.wrong(slot, u.Birth, "the checkpoint reaches the slot twice")
	}
	return 0, b.wrong(slot, u.Birth, "the checkpoint reaches the slot, but the manifest says that it is free")
}

func (b *slotBook) classOf(u pagestore.Use) (heap.Class, error) {
	slot := heap.Slot(u.Addr)
	if slot == 0 || u.InLog() {
		return 0, fmt.Errorf("a checkpoint reaches address %#x, which is no slot: %w", u.Addr, wal.ErrCorrupt)
	}
	class, err := b.heap.Class(slot.File())
	if err == nil && u.PageSize != 0 && class.Bytes() != int(u.PageSize) {
		err = b.wrong(slot, u.Birth, fmt.Sprintf("a page of %d bytes lies in a slot of %d", u.PageSize, class.Bytes()))
	}
	return class, err
}

// claim notes the slots that a record names. Nobody else may have them: those
// of the checkpoint are not free before the next one.
func (b *slotBook) claim(rec *wal.Record, wrong func(error) error) error {
	if err := markUsed(b.heap, rec); err != nil {
		return wrong(err)
	}
	extents, err := apply.Extents(b.heap, rec)
	if err != nil {
		return wrong(err)
	}
	for _, e := range extents {
		for i := range heap.Slot(e.Count) {
			if b.used.Has(e.First + i) {
				if err := wrong(b.wrong(e.First+i, rec.LSN, "the entry names the slot, but the checkpoint has it")); err != nil {
					return err
				}
			}
		}
		if b.logged.Add(e) != nil {
			if err := wrong(b.wrong(e.First, rec.LSN, "another entry names a slot of this extent, too")); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep notes what the newest state reaches. Nodes in memory have no slot yet,
// and images in the log none at all.
func (b *slotBook) keep(u pagestore.Use) error {
	if u.Addr == 0 || u.InLog() {
		return nil
	}
	slot := heap.Slot(u.Addr)
	old := b.used.Has(slot)
	if !old && !b.logged.Has(slot) {
		return b.wrong(slot, u.Birth, "the newest state reaches the slot, but neither the checkpoint nor the log has it")
	}
	if b.current.Add(heap.Extent{First: slot, Count: 1}) != nil {
		return b.wrong(slot, u.Birth, "the newest state reaches the slot twice")
	}
	if old {
		b.fromUsed++
	} else {
		b.fromLogged++
	}
	return nil
}

// count fills in the report. Leaks can be told only when everything was met.
func (b *slotBook) count(v *verifier, whole bool) (err error) {
	s := &v.rep.Slots
	if s.Total, err = b.total(v.fs, v.dir); err != nil {
		return v.wrong(err)
	}
	if whole {
		s.Leaked = b.missing.Len()
		v.leaks(b)
	}
	if !b.kept {
		b.fromUsed = less(b.used.Len(), s.Leaked)
	}
	s.Current = b.fromUsed + b.fromLogged
	s.Checkpoint = less(b.used.Len(), s.Leaked+b.fromUsed)
	s.Log = less(b.logged.Len(), b.fromLogged)
	s.Consumers = b.older.Len()
	s.Free = less(s.Total, b.used.Len()+b.logged.Len()+b.older.Len())
	return nil
}

// less is a-b, or zero when b is more.
func less(a, b uint64) uint64 { return a - min(a, b) }

// leaks tells of slots that nothing reaches.
func (v *verifier) leaks(b *slotBook) {
	for e := range b.missing.Extents() {
		file, off := b.heap.Where(e.First)
		v.problem(Problem{file, off, 0, fmt.Sprintf("%d slots from here on are leaked: the manifest says that the checkpoint reaches them, and it does not", e.Count)})
	}
}

// total is the number of slots of all heap files that are the store's.
func (b *slotBook) total(fsys vfs.FS, dir string) (n uint64, err error) {
	entries, err := fsys.ReadDir(filepath.Join(dir, "heap"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // nothing is in it yet
	}
	for _, e := range entries {
		number, _ := strconv.ParseUint(e.Name, 16, 32)
		class, err := b.heap.Class(uint32(number))
		if err != nil {
			continue // a leftover
		}
		_, begin := b.heap.Where(heap.MakeSlot(uint32(number), 0))
		n += uint64(max(0, e.Size-begin)) >> class
	}
	return n, err
}

func (b *slotBook) wrong(slot heap.Slot, lsn wal.LSN, reason string) error {
	file, off := b.heap.Where(slot)
	return &wal.CorruptError{File: file, Offset: off, LSN: lsn, Reason: fmt.Sprintf("slot %v: %s", slot, reason)}
}
