package txn

import (
	"sync/atomic"
	"time"

	"github.com/quire-db/quire/wal"
)

// # How often a follower syncs
//
// Nobody waits for an entry of a follower by itself, and whatever a crash takes
// can be had from the writer again. So applied entries are like buffered commits:
// written and visible in groups that gather for applyGather, and synced every
// Options.SyncEvery, or as soon as somebody waits for one of them: by Wait,
// Promote, or an entry that is applied again. A follower that synced each group would take
// half of the disk from a writer beside it.

// applyGather is how long entries that are applied gather for a group, unless
// somebody waits for it.
const applyGather = 2 * time.Millisecond

// pace is what the flusher of a follower goes by.
type pace struct {
	wanted atomic.Uint64 // the highest LSN that somebody waits for
	full   atomic.Bool   // Apply waits for room in the next group
}

// hurryTo has a follower's entries up to an LSN synced as soon as they are
// there. A writer's commits say themselves how they want it.
func (m *Manager) hurryTo(lsn wal.LSN) {
	if m.Role() == RoleWriter {
		return
	}
	w := &m.following.pace.wanted
	for old := w.Load(); old < uint64(lsn); old = w.Load() {
		if w.CompareAndSwap(old, uint64(lsn)) {
			break
		}
	}
	m.poke()
}

// hurries reports whether somebody waits for entries up to last, which are
// sequenced, to be durable.
func (m *Manager) hurries(last wal.LSN) bool {
	lsn := wal.LSN(m.following.pace.wanted.Load())
	return lsn > m.durable() && lsn <= last
}

// gatherApplied waits for entries to join the open group, as long as nobody
// waits for it.
func (m *Manager) gatherApplied() {
	timer := time.NewTimer(applyGather)
	defer timer.Stop()
	for !m.following.pace.full.Load() && !m.hurries(m.head().LSN) && !m.checkpoint.wanted() {
		select {
		case <-m.wake:
		case <-timer.C:
			return
		case <-m.closing:
			return
		}
	}
}

// settleApplied syncs what was written before somebody came to wait for it.
func (m *Manager) settleApplied() {
	if m.poisoned() == nil && m.hurries(m.unsynced.last) {
		if err := m.syncAll(); err != nil {
			m.fail(nil, err, true)
		}
	}
}
