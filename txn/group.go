package txn

import (
	"time"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// group is the transactions that become durable together. The sequencer fills
// it, the flusher takes it; both under Manager.seq.mu until it is taken.
type group struct {
	log     *wal.Group // nil when the group is a checkpoint's work only
	members []*ticket
	inline  int          // payload bytes in the log
	payload int64        // bytes of images
	pins    int64        // refs that begin at a tip and keep it
	synced  bool         // some member waits for the disk
	heap    bool         // some image lies in the heap and is not synced yet
	images  []heap.Piece // of members, in their memory, not written yet

	snap   *pagestore.Snapshot // the store after the group; set when it is taken
	frozen *pagestore.Frozen   // when a checkpoint begins with it

	done chan struct{} // closed when published, or failed
}

// idleMark is how long after the last commit a durable mark is written.
const idleMark = 50 * time.Millisecond

// flusher makes groups durable, one after the other, and publishes them. It
// is the only goroutine that appends to the log.
func (m *Manager) flusher() {
	defer close(m.flusherDone)
	timer := time.NewTimer(idleMark)
	defer timer.Stop()
	for {
		select {
		case <-m.wake:
			m.gather()
			m.flushAll()
			m.settleApplied()
			timer.Reset(min(idleMark, m.opts.SyncEvery))
		case <-timer.C:
			m.flushAll()
			m.settle()
		case <-m.stopFlusher:
			m.flushAll()
			m.settle()
			return
		}
	}
}

// overdue reports whether buffered commits have waited long enough for their
// sync although others keep coming.
func (m *Manager) overdue() bool {
	return m.unsynced.last > m.durable() && m.opts.Now().Sub(m.unsynced.since) >= m.opts.SyncEvery
}

// settle makes buffered commits durable, and says in the log how much is.
func (m *Manager) settle() {
	if m.poisoned() != nil {
		return
	}
	err := m.syncAll()
	if err == nil && m.marked < m.durable() {
		_, err = m.mark()
	}
	if err != nil {
		m.fail(nil, err, true)
	}
}

// flushAll flushes until nothing waits. That may never be, so what is overdue
// is settled after each group.
func (m *Manager) flushAll() {
	for more := true; more; {
		if more = m.flushOne(); m.overdue() {
			m.settle()
		}
		if more {
			m.gather()
		}
	}
}

// gather waits for those who are about to join the open group: whoever was
// committing when the last group was written is likely to come back. One sync
// for all is worth more than two that overlap with nothing. It waits for a
// fraction of what a sync takes at most, and not at all for a single writer.
func (m *Manager) gather() {
	if m.Role() != RoleWriter {
		m.gatherApplied()
		return
	}
	if m.expected <= 1 || m.syncTook < minGather {
		return
	}
	timer := time.NewTimer(m.syncTook / 4)
	defer timer.Stop()
	for n := m.joined(); n > 0 && n < m.expected; n = m.joined() {
		select {
		case <-m.wake:
		case <-timer.C:
			return
		}
	}
}

const minGather = 40 * time.Microsecond

// joined is the number of members of the open group.
func (m *Manager) joined() int {
	m.seq.mu.Lock()
	defer m.seq.mu.Unlock()
	if m.seq.group == nil {
		return 0
	}
	return m.seq.group.log.Len()
}

// flushOne takes the open group, or the work of a checkpoint that must happen
// between groups, and reports whether there was any.
func (m *Manager) flushOne() bool {
	g, err := m.take()
	if err != nil {
		m.fail(g, err, false)
		return false
	}
	if g == nil {
		return false
	}
	if err := m.store.Heap().WritePieces(g.images); err != nil {
		m.fail(g, err, false)
		return false
	}
	if err := m.append(g); err != nil {
		m.fail(g, err, true)
		return false
	}
	if g.log != nil {
		m.publish(g)
	} else {
		m.store.Publish(g.snap) // the same entries, but maybe swept
	}
	if g.frozen != nil {
		m.checkpoint.frozen(g.frozen)
	}
	return true
}

// take ends the open group. When a checkpoint waits to begin, the store is
// frozen here, between two groups; when one waits to end, it is rebased. It
// returns nil when there is nothing to do.
func (m *Manager) take() (*group, error) {
	if err := m.poisoned(); err != nil {
		return nil, err // a checkpoint would hold what the log may not
	}
	m.seq.mu.Lock()
	defer m.seq.mu.Unlock()
	g := m.seq.group
	if g != nil && g.log.Len() == 0 {
		g.log.Abandon() // all who came were refused: it writes no frame
		g, m.seq.group = nil, nil
	}
	ended, err := m.checkpoint.rebase(m.seq.draft)
	if err != nil {
		return g, err
	}
	freeze := m.checkpoint.wanted()
	if g == nil && !freeze && !ended {
		return nil, nil
	}
	if g == nil {
		g = &group{done: make(chan struct{})}
	}
	m.seq.group = nil
	m.following.pace.full.Store(false)
	if g.log != nil {
		m.lastPayload.Store(g.payload)
	}
	g.synced = g.synced || freeze || ended || m.hurries(m.seq.draft.Head.LSN)
	if freeze {
		if err := m.sweep(); err != nil {
			return g, err
		}
	}
	if g.snap, err = m.seq.draft.Cut(); err != nil || !freeze {
		return g, err
	}
	if g.frozen, err = m.seq.draft.Freeze(g.snap); err != nil {
		// No room for its nodes: an ordinary error, and the group goes on.
		m.checkpoint.give(err)
	}
	return g, nil
}

// sweep lets go of old tips that nothing keeps. What cannot be read is left to
// the next checkpoint.
func (m *Manager) sweep() error {
	more, fatal, err := m.seq.draft.Sweep()
	if more {
		m.pressure.add(pinWeight) // a checkpoint is due for it, too
	}
	if err != nil && !fatal {
		m.log.Warn().Err(err).Msg("old tips are kept until the next checkpoint")
		return nil
	}
	return err
}

// append is the commit point of a group: its records are written and, if
// anybody waits for that, synced with the images that lie in the heap.
func (m *Manager) append(g *group) error {
	if g.heap {
		m.store.Heap().StartSync(0)
	}
	if g.log != nil {
		m.wal.SetManifest(m.store.ManifestSeq())
		if err := m.wal.Append(g.log, m.durable()); err != nil {
			return err
		}
		if m.unsynced.last == m.durable() {
			m.unsynced.since = m.opts.Now()
		}
		m.unsynced.heap = m.unsynced.heap || g.heap
		m.unsynced.last = g.snap.LSN()
	}
	if !g.synced {
		return nil
	}
	began := time.Now()
	m.expected = int(m.committing.Load())
	if err := m.syncAll(); err != nil {
		return err
	}
	m.syncTook = time.Since(began)
	return m.bury(g)
}

// syncAll makes everything appended durable: the log, then the heap, whose
// write-out has been started before. That takes less time than two goroutines
// do: on few cores the second waits for a processor longer than for the disk.
func (m *Manager) syncAll() error {
	if m.unsynced.last == m.durable() {
		return nil
	}
	if err := m.wal.Sync(); err != nil {
		return err
	}
	m.stats.syncs.Add(1)
	if m.unsynced.heap {
		if err := m.store.Heap().Sync(); err != nil {
			return err
		}
		m.stats.syncs.Add(1)
	}
	m.unsynced.heap = false
	m.setDurable(m.unsynced.last)
	return nil
}

// bury ends a checkpoint once a durable frame names its manifest record: one
// of the group, or a mark when there is no group.
func (m *Manager) bury(g *group) error {
	if !m.checkpoint.burying() {
		return nil
	}
	if g.log == nil {
		if written, err := m.mark(); err != nil || !written {
			return err // not written: a group has been opened, and will do
		}
	}
	return m.checkpoint.bury()
}

// mark writes and syncs a frame that says how much is durable.
func (m *Manager) mark() (written bool, err error) {
	m.wal.SetManifest(m.store.ManifestSeq())
	written, err = m.wal.TryMark(m.durable())
	if err == nil && written {
		m.marked = m.durable()
		err = m.wal.Sync()
	}
	return written, err
}

// publish makes the group visible and wakes its members, who find it counted.
func (m *Manager) publish(g *group) {
	m.store.Publish(g.snap)
	m.progress.ring()
	m.stats.groups.Add(1)
	m.stats.commits.Add(uint64(g.log.Len()))
	m.stats.logBytes.Add(uint64(g.log.Bytes()))
	m.pressure.add(int64(g.log.Bytes()) + g.payload/payloadWeight + g.pins*pinWeight)
	g.signal(nil)
	m.pokeKeepers()
}

// signal tells everybody who waits for the group.
func (g *group) signal(err error) {
	for _, t := range g.members {
		t.p.synced, t.err = g.synced, err
		t.done <- struct{}{}
	}
	close(g.done)
}

// fail poisons the manager: the outcome of a group that was handed to the log
// is unknown, and whoever was sequenced behind it was not written.
func (m *Manager) fail(g *group, err error, written bool) {
	m.poison(err)
	m.seq.mu.Lock()
	open := m.seq.group
	m.seq.group = nil
	m.seq.mu.Unlock()
	why := m.poisoned()
	if g != nil && written {
		for _, t := range g.members {
			t.err = &UnknownError{Txn: t.s.tx.id, LSN: t.p.pos.LSN, Cause: why}
			t.done <- struct{}{}
		}
		close(g.done)
	} else if g != nil {
		g.signal(why)
	}
	if open != nil && open != g {
		open.signal(why)
	}
	m.checkpoint.give(why)
}
