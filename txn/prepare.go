package txn

import (
	"errors"
	"time"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/wal"
)

// preparer keeps what commits need ready ahead of them: the next generation of
// the log, and heap space that has been written before. It also seals the
// generations that are full.
func (m *Manager) preparer() {
	defer m.running.Done()
	tick := time.NewTicker(preparerTick)
	defer tick.Stop()
	for {
		select {
		case <-m.preparerPoke:
		case <-tick.C:
		case <-m.closing:
			return
		}
		if m.poisoned() != nil {
			m.prepared.wake() // nobody waits for what will not come
			continue
		}
		if err := m.prepare(); err != nil {
			m.log.Error().Err(err).Msg("prepare log and heap space; it is tried again")
		}
	}
}

const preparerTick = 100 * time.Millisecond

// attempt is a try to make a generation of the log that failed. Tries are
// numbered from 1 on.
type attempt struct {
	number uint64
	err    error
}

func (m *Manager) prepare() error {
	if !m.wal.Ready() {
		a := attempt{number: m.attempts.Add(1)}
		if a.err = m.nextGeneration(); a.err != nil {
			m.noGeneration.Store(&a) // those who have waited for it give up
		}
		m.prepared.wake()
		if a.err != nil {
			return a.err
		}
	}
	if err := m.nameSealed(); err != nil {
		return err
	}
	for {
		if worked, err := m.store.Heap().Fill(); err != nil {
			return m.failed(err)
		} else if !worked {
			return nil
		}
	}
}

// nameSealed seals the generations that are full and durable, images in the heap
// included, and puts their bounds into the manifest, or keeps them until that has
// room.
func (m *Manager) nameSealed() error {
	sealed, err := m.wal.SealRetired(m.durable())
	if err != nil {
		m.poison(err)
		return err
	}
	if m.sealed = append(m.sealed, sealed...); len(m.sealed) == 0 {
		return nil
	}
	if err := m.editManifest(sealGenerations(m.sealed, false)); err != nil {
		return err
	}
	m.sealed = nil
	return nil
}

// editManifest edits the manifest and poisons the manager unless nothing was
// changed for want of space.
func (m *Manager) editManifest(edit func(manifest.Facts) manifest.Edit) error {
	err := m.store.EditManifest(edit)
	if err != nil && !errors.Is(err, manifest.ErrNoSpace) {
		m.poison(err)
	}
	return err
}

// nextGeneration makes a generation of the log and names it in the manifest
// before anything is written to it. After an error there is none.
func (m *Manager) nextGeneration() error {
	g, err := m.wal.Prepare(0)
	if err != nil {
		return err
	}
	f, err := m.wal.OpenReader(g.ID)
	if err != nil {
		return errors.Join(err, m.wal.Discard(g))
	}
	err = m.editManifest(func(facts manifest.Facts) manifest.Edit {
		gens := append(facts.Generations, g)
		return manifest.Edit{Generations: &gens}
	})
	if errors.Is(err, manifest.ErrNoSpace) {
		return errors.Join(err, f.Close(), m.wal.Discard(g))
	}
	if err != nil { // it may be named
		return errors.Join(err, f.Close())
	}
	m.ordinals.add(g.ID, m.store.AddLog(g, f))
	return m.wal.Adopt(g)
}

// sealGenerations puts the bounds of full generations, and the first LSN of
// the one behind them, into the manifest. When the log is closed, generations
// that were never begun are dropped.
func sealGenerations(known []wal.Generation, closed bool) func(manifest.Facts) manifest.Edit {
	return func(facts manifest.Facts) manifest.Edit {
		byID := map[wal.GenID]wal.Generation{}
		for _, g := range known {
			byID[g.ID] = g
		}
		var gens []wal.Generation
		for _, g := range facts.Generations {
			if k, ok := byID[g.ID]; ok {
				g = k
			}
			if g.Sealed || !closed {
				gens = append(gens, g)
			}
		}
		return manifest.Edit{Generations: &gens}
	}
}
