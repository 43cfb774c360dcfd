package txn

import (
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
			continue
		}
		if err := m.prepare(); err != nil {
			m.log.Error().Err(err).Msg("prepare log and heap space; it is tried again")
		}
	}
}

const preparerTick = 100 * time.Millisecond

func (m *Manager) prepare() error {
	if !m.wal.Ready() {
		if err := m.nextGeneration(); err != nil {
			m.noGeneration.Store(&err) // those who wait for it give up
			m.prepared.wake()
			return err
		}
		m.noGeneration.Store(nil)
		m.prepared.wake()
	}
	sealed, err := m.wal.SealRetired()
	if err != nil {
		m.poison(err)
		return err
	}
	if len(sealed) > 0 {
		if err := m.store.EditManifest(sealGenerations(sealed, false)); err != nil {
			m.poison(err)
			return err
		}
	}
	for {
		if worked, err := m.store.Heap().Fill(); err != nil {
			return m.failed(err)
		} else if !worked {
			return nil
		}
	}
}

// nextGeneration makes a generation of the log and names it in the manifest
// before anything is written to it.
func (m *Manager) nextGeneration() error {
	g, err := m.wal.Prepare(0)
	if err != nil {
		return err
	}
	f, err := m.wal.OpenReader(g.ID)
	if err != nil {
		return err
	}
	if err := m.store.EditManifest(func(facts manifest.Facts) manifest.Edit {
		gens := append(facts.Generations, g)
		return manifest.Edit{Generations: &gens}
	}); err != nil {
		m.poison(err)
		return err
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
