package txn

import (
	"sync/atomic"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

type counters struct {
	commits, conflicts, groups, syncs    atomic.Uint64
	payload, logBytes                    atomic.Uint64
	checkpoints, checkpointsBad, expired atomic.Uint64
	consumersDropped, holdsExpired       atomic.Uint64
}

// Stats is what an operator wants to know of an open store. Counters count
// from opening.
type Stats struct {
	Published wal.LSN // what transactions begun now see
	Durable   wal.LSN // the highest LSN known synced; below Published by buffered commits only
	Head      wal.Position
	Role      Role

	Commits   uint64
	Conflicts uint64 // retried by Update
	Groups    uint64 // of commits that were written together
	Syncs     uint64
	Expired   uint64 // transactions rolled back at their deadline

	PayloadBytes uint64 // of pages committed
	LogBytes     uint64 // of records written
	StagedBytes  int64  // of pages staged, in memory

	OpenTxs           int
	Holds             int    // made by Hold and not released
	HoldsExpired      uint64 // released at their deadline
	Checkpoints       uint64
	CheckpointsFailed uint64
	Checkpointing     bool   // one is under way
	SinceCheckpoint   int64  // bytes of log, payload beside it counted a quarter
	Poisoned          string // why nothing is written any more; empty while all is well
	ConsumersDropped  uint64 // for lagging too far behind
	Archive           ArchiveStats
	Pages             pagestore.Stats
}

// Stats of the store now.
func (m *Manager) Stats() Stats {
	head := m.store.Published()
	s := Stats{
		Published: head.LSN, Durable: m.durable(), Head: head.Position, Role: m.Role(),
		Commits: m.stats.commits.Load(), Conflicts: m.stats.conflicts.Load(), Groups: m.stats.groups.Load(),
		Syncs: m.stats.syncs.Load(), Expired: m.stats.expired.Load(),
		PayloadBytes: m.stats.payload.Load(), LogBytes: m.stats.logBytes.Load(), StagedBytes: m.area.Bytes(),
		OpenTxs: m.open.len(), Holds: m.holds.len(), HoldsExpired: m.stats.holdsExpired.Load(), Checkpoints: m.stats.checkpoints.Load(), CheckpointsFailed: m.stats.checkpointsBad.Load(),
		ConsumersDropped: m.stats.consumersDropped.Load(),
		Checkpointing:    !m.checkpoint.in(ckIdle), SinceCheckpoint: m.pressure.level(), Archive: m.archiveStats(), Pages: m.store.Stats(),
	}
	if err := m.poisoned(); err != nil {
		s.Poisoned = err.Error()
	}
	return s
}
