package pagestore

import (
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// The low-water mark is the smallest LSN that recovery or a consumer still
// needs. It is a fact of the manifest, set by checkpoints only, and never goes
// back:
//
//	set       in the record of a checkpoint at C: min(C, all consumers' positions) + 1
//	in force  from Bury on, when a durable frame names that record
//	keeps     the log's generations that end at or above it, and the slots born
//	          at or above it: those that their records name, and, what is simpler
//	          than telling them apart, the nodes of the same age
//
// After a restart the slots that kept records name, and that the checkpoint does
// not reach, are in limbo again (KeepForLog), before anything is allocated. A
// consumer that is made begins where the mark is or later. So between its
// position and the end of the log nothing is ever missing, and what a mark has
// freed is asked for by nobody.

// raise lets go of what only records below low could name.
func (l *limbo) raise(low wal.LSN) {
	l.entry.Lock()
	defer l.entry.Unlock()
	if low <= l.low {
		return
	}
	l.low = low
	kept := l.kept[:0]
	for _, r := range l.kept {
		if r.birth >= low {
			kept = append(kept, r)
		} else {
			l.fresh = append(l.fresh, r)
		}
	}
	clear(l.kept[len(kept):])
	l.kept = kept
}

// LowWater is the smallest LSN whose images are surely there.
func (s *Store) LowWater() wal.LSN {
	s.limbo.entry.Lock()
	defer s.limbo.entry.Unlock()
	return s.limbo.low
}

// KeepForLog puts slots into limbo that a record at LSN birth names, at or below
// the checkpoint, which reaches used and no others. It is part of opening: no
// slot was allocated yet.
func (s *Store) KeepForLog(e heap.Extent, birth wal.LSN, used *manifest.SlotSet) error {
	var d deaths
	for i := range heap.Slot(e.Count) {
		if used.Has(e.First + i) {
			continue
		}
		one := heap.Extent{First: e.First + i, Count: 1}
		if err := s.heap.MarkUsed(one); err != nil {
			return err
		}
		d.addRun(deadRun{one, birth, max(birth, s.Published().LSN)})
	}
	s.limbo.bury(d.runs)
	return nil
}

// KeptFor is how many bytes of the disk, log and heap, are kept only because
// the entries behind an LSN have still to be read, by a consumer there.
func (s *Store) KeptFor(acked wal.LSN) (bytes uint64) {
	facts := s.Facts()
	for _, g := range facts.Generations {
		if g.Sealed && g.Last > acked && g.Last <= facts.Checkpoint.LSN {
			bytes += uint64(g.Length)
		}
	}
	s.limbo.entry.Lock()
	defer s.limbo.entry.Unlock()
	for _, r := range s.limbo.kept {
		if r.birth > acked {
			if class, err := s.heap.Class(r.slots.First.File()); err == nil {
				bytes += uint64(r.slots.Count) << class
			}
		}
	}
	return bytes
}
