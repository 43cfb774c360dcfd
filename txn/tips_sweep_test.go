package txn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// A checkpoint without new commits sweeps what a tag kept. Nothing that is free
// then is reached by who began reading before it, or begins behind it.
func TestSweepWithoutCommits(t *testing.T) {
	ctx := context.Background()
	m, _, err := Open(t.TempDir(), Options{Create: true, CheckpointEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	do := func(f func(*Tx) error) {
		t.Helper()
		if _, err := m.Update(ctx, f); err != nil {
			t.Fatal(err)
		}
	}
	do(func(tx *Tx) (err error) { // a catalogue of several nodes
		for i := 0; i < 60 && err == nil; i++ {
			_, err = tx.CreateVolume(fmt.Sprint(i), VolumeOptions{})
		}
		return err
	})
	for i := range 60 {
		do(func(tx *Tx) error {
			v, err := tx.Volume(fmt.Sprint(i))
			if err != nil {
				return err
			}
			return tx.SetTag(v, "x", v)
		})
	}
	if err := m.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	do(func(tx *Tx) error {
		v, err := tx.Volume("30")
		if err != nil {
			return err
		}
		return tx.DeleteTag(v, "x")
	})
	held := m.store.Acquire()
	if err := m.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.store.Reclaim(); err != nil {
		t.Fatal(err)
	}
	allInUse(t, m, held)
	m.store.Release(held)
	if _, err := m.store.Reclaim(); err != nil {
		t.Fatal(err)
	}
	held = m.store.Acquire()
	defer m.store.Release(held)
	allInUse(t, m, held)
}

// allInUse makes sure that no slot which the snapshot reaches is free.
func allInUse(t *testing.T, m *Manager, snap *pagestore.Snapshot) {
	t.Helper()
	used := map[heap.Slot]bool{}
	for _, f := range m.store.Heap().Files() {
		for e := range m.store.Heap().Used(f.Number) {
			for i := range e.Count {
				used[e.First+heap.Slot(i)] = true
			}
		}
	}
	_, err := snap.Check(func(u pagestore.Use) error {
		if u.Addr != 0 && !u.InLog() && !used[heap.Slot(u.Addr)] {
			return fmt.Errorf("LSN %d reaches slot %v, which is free", snap.LSN(), heap.Slot(u.Addr))
		}
		return nil
	}, func(err error) error { return err })
	if err != nil {
		t.Error(err)
	}
}

// What one sweep has not come to makes another checkpoint due, though nobody
// writes any more.
func TestSweepGoesOn(t *testing.T) {
	ctx := context.Background()
	m, _, err := Open(t.TempDir(), Options{Create: true, CheckpointEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	do := func(f func(*Tx) error) {
		t.Helper()
		if _, err := m.UpdateWith(ctx, TxOptions{Durability: Buffered}, f); err != nil {
			t.Fatal(err)
		}
	}
	do(func(tx *Tx) error {
		_, err := tx.CreateVolume("v", VolumeOptions{})
		return err
	})
	for i := range 4100 {
		do(func(tx *Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			return v.Truncate(uint64(i))
		})
		do(func(tx *Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			return tx.SetTag(v, fmt.Sprint(i), v)
		})
	}
	do(func(tx *Tx) error { return tx.DeleteVolume("v") })
	for _, due := range []bool{true, false} {
		if err := m.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		if got := m.pressure.level() > 0; got != due {
			t.Errorf("another checkpoint is due: %v, want %v", got, due)
		}
	}
	noLines(t, m)
}

// A lineage keeps its origin, and that one its own, until the last fork of a
// chain goes. Then all go with one sweep.
func TestChainOfForksGoes(t *testing.T) {
	f := newFixture(t)
	last := "v"
	for i := range 200 {
		name := fmt.Sprint("fork", i)
		f.do(func(tx *Tx) error {
			v, err := tx.Volume(last)
			if err != nil {
				return err
			}
			if _, err := tx.Fork(name, v); err != nil {
				return err
			}
			return tx.DeleteVolume(last)
		})
		if i%3 > 0 {
			f.put(name, byte(i))
		}
		if i%40 == 0 {
			f.must(f.Checkpoint(context.Background()))
		}
		last = name
	}
	f.do(func(tx *Tx) error { return tx.DeleteVolume(last) })
	f.must(f.Checkpoint(context.Background()))
	noLines(t, f.Manager)
}

func noLines(t *testing.T, m *Manager) {
	t.Helper()
	snap := m.store.Acquire()
	defer m.store.Release(snap)
	for l, err := range snap.Lines() {
		if err != nil {
			t.Fatal(err)
		}
		t.Fatalf("lineage %v is there, with %d kept tips", l.ID, len(l.Kept))
	}
}

// A transaction that was refused leaves copies of the nodes that it would have
// changed. A checkpoint without new commits takes them over; nobody loses those
// of before.
func TestCheckpointBehindRefused(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	f.do(func(tx *Tx) error {
		_, err := tx.CreateVolume("w", VolumeOptions{})
		if err != nil {
			return err
		}
		v, err := tx.Volume("v")
		for no := uint64(0); err == nil && no < 300; no++ {
			err = v.WritePage(no, bytes.Repeat([]byte{1}, 512))
		}
		return err
	})
	f.must(f.Checkpoint(ctx))
	_, err := f.Update(ctx, func(tx *Tx) error {
		w, err := tx.Volume("w")
		if err == nil {
			err = putByte(tx, "v", 2)
		}
		for i := 0; err == nil && i < 6400; i++ { // more than one record holds
			err = tx.SetTag(w, fmt.Sprint("tag", i), w)
		}
		return err
	})
	if !errors.Is(err, wal.ErrTooLarge) {
		t.Fatal(err)
	}
	before := f.store.Acquire()
	f.must(f.Checkpoint(ctx))
	_, err = f.store.Reclaim()
	f.must(err)
	allInUse(t, f.Manager, before)
	f.store.Release(before)
	_, err = f.store.Reclaim()
	f.must(err)
	behind := f.store.Acquire()
	defer f.store.Release(behind)
	allInUse(t, f.Manager, behind)
}
