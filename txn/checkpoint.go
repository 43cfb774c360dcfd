package txn

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/wal"
)

// checkpointer hands one checkpoint at a time back and forth between the
// keeper, which writes, and the flusher, which freezes and rebases between
// groups:
//
//	state      what holds                                   left by
//	idle       nothing is frozen                            run (keeper)
//	wanted     the flusher will freeze                      frozen, give (flusher)
//	writing    the keeper writes the frozen snapshot        run (keeper)
//	written    it is durable; the flusher will rebase       rebase (flusher)
//	abandoned  it was given up; the flusher will thaw       rebase (flusher)
//	rebased    a frame will name its manifest record        bury (flusher)
type checkpointer struct {
	mu    sync.Mutex
	state checkpointState
	f     *pagestore.Frozen
	reply chan error // to the keeper; nil means go on
	store *pagestore.Store
}

type checkpointState uint8

const (
	ckIdle checkpointState = iota
	ckWanted
	ckWriting
	ckWritten
	ckAbandoned
	ckRebased
)

func (c *checkpointer) in(s checkpointState) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == s
}

func (c *checkpointer) wanted() bool  { return c.in(ckWanted) }
func (c *checkpointer) burying() bool { return c.in(ckRebased) }

// enter moves to a state and returns what was frozen.
func (c *checkpointer) enter(s checkpointState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = s
}

// frozen hands a frozen snapshot, whose entries are durable, to the keeper.
func (c *checkpointer) frozen(f *pagestore.Frozen) {
	c.mu.Lock()
	c.f, c.state = f, ckWriting
	c.mu.Unlock()
	c.reply <- nil
}

// give tells a waiting keeper that it will get nothing more.
func (c *checkpointer) give(err error) {
	c.mu.Lock()
	waiting := c.state == ckWanted || c.state == ckWritten || c.state == ckAbandoned || c.state == ckRebased
	if waiting {
		c.state = ckIdle
	}
	c.mu.Unlock()
	if waiting {
		c.reply <- err
	}
}

// rebase ends what the keeper did, between two groups, under the sequencer's
// mutex. It reports whether a durable frame must follow.
func (c *checkpointer) rebase(d *pagestore.Draft) (bool, error) {
	c.mu.Lock()
	state, f := c.state, c.f
	c.mu.Unlock()
	switch state {
	case ckAbandoned:
		d.Thaw(f)
		c.enter(ckIdle)
		c.reply <- nil
	case ckWritten:
		if err := d.Rebase(f); err != nil {
			return false, err
		}
		c.enter(ckRebased)
		return true, nil
	case ckRebased:
		return true, nil
	}
	return false, nil
}

// bury frees what the checkpoint replaced.
func (c *checkpointer) bury() error {
	c.store.Bury(c.f)
	c.enter(ckIdle)
	c.reply <- nil
	return nil
}

// runCheckpoint takes the keeper through one checkpoint, and removes what it
// made superfluous.
func (m *Manager) runCheckpoint() error {
	if err := m.poisoned(); err != nil {
		return err
	}
	before := m.store.Facts().Generations
	err := m.dropLaggards()
	if err == nil {
		err = m.writeCheckpoint()
	}
	if err != nil {
		m.stats.checkpointsBad.Add(1)
		m.pressure.failed(err)
		return fmt.Errorf("txn: checkpoint: %w", err)
	}
	m.stats.checkpoints.Add(1)
	m.lastCheckpoint.Store(m.opts.Now().UnixNano())
	return errors.Join(m.removeGenerations(before), m.store.Tidy())
}

// writeCheckpoint returns when a checkpoint is durable and named in the log.
func (m *Manager) writeCheckpoint() error {
	began := m.opts.Now()
	c := &m.checkpoint
	if err := m.store.Reserve(); err != nil {
		return m.failed(fmt.Errorf("reserve space: %w", err))
	}
	behind := m.pressure.begin()
	c.enter(ckWanted)
	m.poke()
	if err := m.await(c.reply); err != nil {
		m.pressure.add(behind)
		return err
	}
	lsn := c.f.Snap.LSN()
	if err := m.store.Write(c.f, func(g wal.Generation) bool { return !g.Sealed || g.Last > lsn }); err != nil {
		m.pressure.add(behind)
		if m.store.Poisoned() != nil || errors.Is(err, manifest.ErrPoisoned) {
			m.poison(err)
		}
		c.enter(ckAbandoned)
		m.poke()
		return errors.Join(err, m.await(c.reply))
	}
	c.enter(ckWritten)
	m.poke()
	if err := m.await(c.reply); err != nil {
		return fmt.Errorf("at LSN %d: %w", lsn, err)
	}
	m.log.Debug().Uint64("lsn", uint64(lsn)).Dur("took", m.opts.Now().Sub(began)).Msg("checkpoint")
	return nil
}

// removeGenerations unlinks generations of the log that the manifest no longer
// names. Those that a snapshot still reads stay open.
func (m *Manager) removeGenerations(before []wal.Generation) error {
	named := m.store.Facts().Generations
	for _, g := range before {
		if slices.ContainsFunc(named, func(n wal.Generation) bool { return n.ID == g.ID }) {
			continue
		}
		m.ordinals.forget(g.ID)
		if err := wal.Remove(m.opts.FS, filepath.Join(m.dir, "wal"), g.ID); err != nil {
			return err
		}
	}
	return nil
}

// await waits for the flusher's reply, or for its end.
func (m *Manager) await(reply chan error) error {
	select {
	case err := <-reply:
		return err
	case <-m.flusherDone:
		return ErrClosed
	}
}

// Checkpoint makes the page store durable up to everything committed so far,
// so that the log before it is not needed any more.
func (m *Manager) Checkpoint(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case m.checkpointNow <- done:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.closing:
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keeper checkpoints and reclaims.
func (m *Manager) keeper() {
	defer m.running.Done()
	m.beginNotice()
	tick := time.NewTicker(keeperTick)
	defer tick.Stop()
	for {
		select {
		case done := <-m.checkpointNow:
			done <- m.runCheckpoint()
		case <-m.keeperPoke:
			m.keep()
		case <-tick.C:
			m.keep()
		case <-m.closing:
			return
		}
	}
}

const keeperTick = 250 * time.Millisecond

// keep does what is due.
func (m *Manager) keep() {
	if m.poisoned() != nil {
		return
	}
	if m.checkpointDue() {
		if err := m.runCheckpoint(); err != nil {
			m.pressure.retryAfter(m.opts.Now().Add(time.Second))
			m.log.Error().Err(err).Msg("checkpoint failed; commits go on, it is tried again")
		}
	}
	if _, err := m.store.Reclaim(); err != nil {
		m.log.Error().Err(err).Msg("reclaim failed")
	}
	m.giveNotice()
}

// crowded reports whether a checkpoint is due for the memory that it gives back:
// that of nodes which were changed, or which holds keep.
func (m *Manager) crowded() bool {
	return m.store.HeldInMemory() >= heldInMemory || m.store.DirtyBytes() >= max(m.opts.CacheBytes, minDirtyBytes)
}

// minDirtyBytes of changed nodes are worth a checkpoint, however small the cache is.
const minDirtyBytes = 4 << 20

func (m *Manager) checkpointDue() bool {
	now := m.opts.Now()
	since := now.Sub(time.Unix(0, m.lastCheckpoint.Load()))
	written := m.pressure.level()
	due := written >= m.opts.CheckpointBytes || m.crowded() || written > 0 && m.opts.CheckpointEvery > 0 && since >= m.opts.CheckpointEvery
	return due && m.pressure.mayRetry(now)
}
