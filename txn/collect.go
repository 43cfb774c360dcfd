package txn

import (
	"context"
	"fmt"

	"github.com/quire-db/quire/wal"
)

// maxCollections bounds Collect: in a store that others write, each checkpoint
// finds something that became free meanwhile.
const maxCollections = 8

// Collected says what Collect freed.
type Collected struct {
	Checkpoints int    // that it made
	Slots       uint64 // of the heap, free for what is written next
	Bytes       uint64 // of those slots
}

// Collect makes checkpoints, at most maxCollections, until nothing more can be
// reclaimed at this moment: the log is gone up to what recovery or a consumer still
// needs, and every dead slot is free that no reader, no consumer and nothing else
// holds. The keeper does the same by and by; Collect is for who does not want
// to wait. Files of the heap keep their size. Commits and readers go on.
// Errors are Checkpoint's; what was freed before stays so.
func (m *Manager) Collect(ctx context.Context) (c Collected, err error) {
	began := m.store.Stats()
	for c.Checkpoints < maxCollections {
		before := m.reclaimed()
		if err := m.Checkpoint(ctx); err != nil {
			return c, err
		}
		if _, err := m.store.Reclaim(); err != nil {
			return c, fmt.Errorf("txn: collect: %w", err)
		}
		c.Checkpoints++
		now := m.store.Stats()
		c.Slots, c.Bytes = now.FreedSlots-began.FreedSlots, now.FreedBytes-began.FreedBytes
		if m.reclaimed() == before {
			break
		}
	}
	return c, nil
}

// reclaimed is what grows as long as a checkpoint frees something.
func (m *Manager) reclaimed() (r struct {
	slots uint64
	low   wal.LSN
	log   wal.GenID
}) {
	f := m.store.Facts()
	r.slots, r.low = m.store.Stats().FreedSlots, f.LowWater
	if len(f.Generations) > 0 {
		r.log = f.Generations[0].ID
	}
	return r
}
