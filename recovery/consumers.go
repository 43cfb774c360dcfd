package recovery

import (
	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// eachKept calls f for every entry at or below the checkpoint that a consumer
// has still to read: from the low-water mark on. There is none in a store without
// consumers.
func eachKept(fsys vfs.FS, dir string, facts manifest.Facts, f func(*wal.Record) error) error {
	return eachRecord(fsys, dir, facts.Generations, facts.Kept(), facts.Checkpoint.LSN, f)
}

// keepForConsumers keeps the slots that such entries name, and that the
// checkpoint does not reach.
func (r *opening) keepForConsumers() error {
	h := r.out.Store.Heap()
	return eachKept(r.o.FS, r.o.Dir, r.facts, func(rec *wal.Record) error {
		extents, err := apply.Extents(h, rec)
		if err != nil {
			return err
		}
		for _, e := range extents {
			if err := r.out.Store.KeepForLog(e, rec.LSN, r.facts.Used); err != nil {
				return err
			}
		}
		return nil
	})
}

// consumers verifies what consumers have still to read at or below the
// checkpoint: that no slot was used again, and every image.
func (v *verifier) consumers() error {
	h := v.look.store.Heap()
	return eachKept(v.fs, v.dir, v.found.Facts, func(rec *wal.Record) error {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		if err := v.wrong(v.slots.keepOlder(rec)); err != nil {
			return err
		}
		return v.wrong(checkImages(h, rec))
	})
}

// keepOlder notes the slots of a record that only a consumer needs.
func (b *slotBook) keepOlder(rec *wal.Record) error {
	extents, err := apply.Extents(b.heap, rec)
	if err != nil {
		return err
	}
	for _, e := range extents {
		for slot := e.First; slot < e.First+heap.Slot(e.Count); slot++ {
			switch {
			case b.used.Has(slot):
			case b.logged.Has(slot), b.older.Add(heap.Extent{First: slot, Count: 1}) != nil:
				return b.wrong(slot, rec.LSN, "the entry names the slot, and a consumer has still to read it, but a later entry has it")
			}
		}
	}
	return nil
}
