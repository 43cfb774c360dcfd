package manifest

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Facts are the node facts of a store: what is true of these files on this
// disk and travels with no entry.
type Facts struct {
	Seq         uint64 // of the record that made them so; frames of the log name it
	Store       uuid.UUID
	Options     Options
	Timeline    wal.TimelineID
	Epoch       uint64
	Checkpoint  Checkpoint
	LowWater    wal.LSN          // the smallest LSN still needed; 0 in stores from before consumers: all behind Checkpoint
	Generations []wal.Generation // of the log, in order
	Heap        []heap.FileInfo  // ascending by number
	Used        *SlotSet         // slots that Checkpoint reaches; nil is none
	Clean       wal.LSN          // last LSN of a store closed cleanly and not written since; 0 otherwise
	Consumers   []Consumer       // ascending by name
	Node        Node
}

// Options are fixed when a store is made.
type Options struct {
	Created       int64  // nanoseconds since 1970
	PageSize      uint32 // of volumes that name none; bytes
	HeapFileBytes int64  // size that heap files grow to
}

// DefaultHeapFileBytes is the size that heap files of a new store grow to.
const DefaultHeapFileBytes = 1 << 30

// Checkpoint is the state of the page store that needs no log.
type Checkpoint struct {
	LSN  wal.LSN
	Hash wal.Hash // of entry LSN
	Time int64    // of entry LSN, nanoseconds since 1970
	Root node.Ref // of the catalogue
}

// Timeline is the history that the store writes, and its rank.
type Timeline struct {
	ID    wal.TimelineID
	Epoch uint64
}

// Edit is a change of the facts, of all its parts or of none. Any Edit ends a
// clean close.
type Edit struct {
	Timeline    *Timeline
	Checkpoint  *Checkpoint
	LowWater    wal.LSN           // 0 leaves it
	Generations *[]wal.Generation // the whole list; nil leaves it
	Heap        []heap.FileInfo   // new files, and known ones that have grown
	Used, Free  []heap.Extent     // applied in this order; neither need be sorted
	Consumers   *[]Consumer       // the whole list; nil leaves it
	Node        *Node             // nil leaves it
}

// apply changes f, or returns why e cannot be true and leaves f as it was.
func (f *Facts) apply(e Edit) error {
	if err := f.check(e); err != nil {
		return err
	}
	files := f.withFiles(e.Heap)
	used := f.Used
	if used == nil {
		used = new(SlotSet)
	}
	if err := errors.Join(within(files, e.Used), within(files, e.Free)); err != nil {
		return err
	}
	if err := used.Add(e.Used...); err != nil {
		return err
	}
	if err := used.Remove(e.Free...); err != nil {
		return errors.Join(err, used.Remove(e.Used...))
	}
	f.Heap, f.Used = files, used
	f.set(e)
	return nil
}

func (f *Facts) set(e Edit) {
	if e.Timeline != nil {
		f.Timeline, f.Epoch = e.Timeline.ID, e.Timeline.Epoch
	}
	if e.Checkpoint != nil {
		f.Checkpoint = *e.Checkpoint
	}
	if e.Generations != nil {
		f.Generations = slices.Clone(*e.Generations)
	}
	if e.Consumers != nil {
		f.Consumers = append([]Consumer(nil), *e.Consumers...)
	}
	if e.Node != nil {
		f.Node = *e.Node
	}
	f.LowWater = max(f.LowWater, e.LowWater)
	f.Clean = 0
}

// check looks at what does not concern slots. Nothing here ever goes back.
func (f *Facts) check(e Edit) error {
	switch {
	case e.Timeline != nil && e.Timeline.Epoch < f.Epoch:
		return fmt.Errorf("epoch %d after %d", e.Timeline.Epoch, f.Epoch)
	case e.Checkpoint != nil && e.Checkpoint.LSN < f.Checkpoint.LSN:
		return fmt.Errorf("checkpoint at LSN %d after one at %d", e.Checkpoint.LSN, f.Checkpoint.LSN)
	case e.LowWater != 0 && e.LowWater < f.LowWater:
		return fmt.Errorf("low-water mark %d after %d", e.LowWater, f.LowWater)
	}
	if e.Generations != nil {
		if err := checkGenerations(*e.Generations); err != nil {
			return err
		}
	}
	if err := f.checkConsumers(e); err != nil {
		return err
	}
	if e.Node != nil {
		if err := checkNode(*e.Node); err != nil {
			return err
		}
	}
	return f.checkFiles(e.Heap)
}

func checkGenerations(gens []wal.Generation) error {
	seen := make(map[wal.GenID]bool, len(gens))
	for _, g := range gens {
		if g.ID == 0 || seen[g.ID] || g.Length < 0 {
			return fmt.Errorf("log generation %s is named twice, has no name or a negative length", g.ID)
		}
		seen[g.ID] = true
	}
	return nil
}

func (f *Facts) checkFiles(files []heap.FileInfo) error {
	seen := make(map[uint32]heap.Class, len(f.Heap))
	for _, known := range f.Heap {
		seen[known.Number] = known.Class
	}
	for _, file := range files {
		class, known := seen[file.Number]
		if file.Number == 0 || file.Number > heap.MaxFile || file.Slots > heap.MaxIndex ||
			file.Class < heap.MinClass || file.Class > heap.MaxClass || known && class != file.Class {
			return fmt.Errorf("heap file %d with %d slots of class %d cannot be", file.Number, file.Slots, file.Class)
		}
		seen[file.Number] = file.Class
	}
	return nil
}

// withFiles is f.Heap with files added; what is known of a length only grows.
func (f *Facts) withFiles(files []heap.FileInfo) []heap.FileInfo {
	all := slices.Clone(f.Heap)
	for _, file := range files {
		i, known := slices.BinarySearchFunc(all, file.Number, byNumber)
		if known {
			all[i].Slots = max(all[i].Slots, file.Slots)
		} else {
			all = slices.Insert(all, i, file)
		}
	}
	return all
}

func byNumber(f heap.FileInfo, number uint32) int { return int(f.Number) - int(number) }

// within checks that extents lie in slots that files have; thereby no set of
// used slots takes more memory than its files have slots.
func within(files []heap.FileInfo, extents []heap.Extent) error {
	for _, e := range extents {
		i, known := slices.BinarySearchFunc(files, e.First.File(), byNumber)
		if !known || e.Count == 0 || uint64(e.First.Index())+uint64(e.Count) > uint64(files[i].Slots) {
			return fmt.Errorf("slots %s and %d more: no heap file has them", e.First, e.Count)
		}
	}
	return nil
}

// checkUsed checks that files have all used slots.
func (f *Facts) checkUsed() error {
	for _, file := range f.Used.numbers() {
		words := trim(f.Used.files[file])
		last := 64*len(words) - 1 - bits.LeadingZeros64(words[len(words)-1])
		i, known := slices.BinarySearchFunc(f.Heap, file, byNumber)
		if !known || last >= int(f.Heap[i].Slots) {
			return fmt.Errorf("slot %d of heap file %d is in use: no heap file has it", last, file)
		}
	}
	return nil
}

// clone is f without anything shared; the set of used slots only if asked.
func (f *Facts) clone(used bool) Facts {
	c := *f
	c.Generations = slices.Clone(f.Generations)
	c.Heap = slices.Clone(f.Heap)
	c.Consumers = slices.Clone(f.Consumers)
	c.Used = nil
	if used {
		c.Used = f.Used.clone()
	}
	return c
}
