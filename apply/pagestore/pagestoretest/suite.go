package pagestoretest

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Run runs the suite. fresh makes a disk and names an empty directory on it.
func Run(t *testing.T, fresh func(testing.TB) (vfs.FS, string)) {
	for _, c := range []struct {
		name string
		test func(*rig)
	}{
		{"History", history},
		{"HeldSnapshotKeepsItsSlots", heldSnapshot},
		{"NothingLeaks", nothingLeaks},
		{"RefusedBesideAReader", refusedBesideAReader},
		{"FullDisk", fullDisk},
		{"ReadersBeside", readersBeside},
		{"IdleSweep", idleSweep},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(3) {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					disk, dir := fresh(t)
					c.test(newRig(t, seed, disk, dir))
				})
			}
		})
	}
}

// busy is what goes on during a checkpoint.
func (r *rig) busy() {
	for range r.rng.IntN(4) {
		r.commit()
		if r.rng.IntN(2) == 0 {
			r.publish()
		}
	}
	switch r.rng.IntN(4) {
	case 0:
		r.hold()
	case 1:
		r.release()
	}
}

// History runs one short history of everything, and compares heap and trees at
// its end: once all is let go, nothing is left.
func History(t testing.TB, seed uint64, fresh func(testing.TB) (vfs.FS, string)) {
	disk, dir := fresh(t)
	r := newRig(t, seed, disk, dir)
	r.anything(25)
	r.noLeak()
	r.dropAll()
	r.noLeak()
	r.check()
}

// dropAll deletes all volumes, one a transaction.
func (r *rig) dropAll() {
	for _, name := range slices.Sorted(maps.Keys(r.now)) {
		tx := r.begin()
		v := tx.state[name]
		delete(tx.state, name)
		tx.push(apply.Change{Volume: v.id, Delete: true}, 0)
		tx.commit()
	}
}

// history does everything in any order.
func history(r *rig) {
	r.anything(150)
	r.check()
	r.noLeak()
	must(r.t, r.s.Close())
	r.open()
	r.check()
}

func (r *rig) anything(steps int) {
	for range steps {
		switch n := r.rng.IntN(20); {
		case n < 9:
			r.commit()
		case n < 10 && r.rng.IntN(4) == 0:
			r.refusals(3)
		case n < 10:
			r.relay()
		case n < 14:
			r.publish()
		case n < 16:
			r.hold()
		case n < 17 && r.rng.IntN(2) == 0:
			r.giveUp()
		case n < 17:
			r.release()
		case n < 18 && r.rng.IntN(2) == 0:
			r.export(r.rng.IntN(4) == 0)
		case n < 18 && r.rng.IntN(3) == 0:
			r.move()
		case n < 19:
			must(r.t, r.checkpoint(r.busy))
			r.check()
		default:
			must(r.t, r.checkpoint(r.busy))
			must(r.t, r.s.Close())
			r.open()
			r.check()
		}
	}
}

// giveUp begins a checkpoint that comes to nothing: it finds no room for its
// nodes, or is given up before it has written anything.
func (r *rig) giveUp() {
	_, _, err := r.d.Sweep()
	must(r.t, err)
	snap := r.publish()
	if r.rng.IntN(2) == 0 {
		return
	}
	f, err := r.d.Freeze(snap)
	must(r.t, err)
	r.busy()
	r.d.Thaw(f)
}

// heldSnapshot reads one snapshot for as long as everything in it is replaced,
// over and over: none of its slots is used again.
func heldSnapshot(r *rig) {
	for range 30 {
		r.commit()
	}
	r.publish()
	r.hold()
	for range 20 {
		for range 10 {
			r.commit()
			r.publish()
		}
		must(r.t, r.checkpoint(func() {}))
		r.check()
	}
	if r.s.Stats().LimboSlots == 0 {
		r.t.Error("nothing is kept for the one who reads")
	}
	r.noLeak()
}

// refusedBesideAReader refuses transactions and makes checkpoints while somebody
// reads at the LSN at which nothing else happens. What the records and nodes were
// before is still his.
func refusedBesideAReader(r *rig) {
	for range 20 {
		r.commit()
	}
	for range 10 {
		r.refusals(5)
		r.commit()
	}
	r.noLeak()
}

func (r *rig) refusals(n int) {
	must(r.t, r.checkpoint(func() {}))
	r.hold()
	for range n {
		tx := r.begin()
		for range 3 {
			tx.add()
		}
		tx.refuse()
		must(r.t, r.checkpoint(func() {}))
		r.check()
	}
}

// nothingLeaks compares heap and trees after each of many checkpoints.
func nothingLeaks(r *rig) {
	var largest uint64
	for i := range 40 {
		for range 8 {
			r.commit()
			r.publish()
		}
		must(r.t, r.checkpoint(r.busy))
		if i%5 == 4 {
			r.noLeak()
			r.check()
		}
		if r.t.Failed() {
			r.t.Fatalf("after %d checkpoints", i+1)
		}
		largest = max(largest, uint64(len(r.heapSlots())))
	}
	if largest > 20_000 {
		r.t.Errorf("%d slots were used at once for a few hundred pages", largest)
	}
}

// fullDisk lets checkpoints run out of room at every write. The next one covers
// what the failed one would have, and nothing of it is left.
func fullDisk(r *rig) {
	failed := 0
	for room := range int64(25) {
		for range 6 {
			r.commit()
			r.publish()
		}
		r.disk.left.Store(room)
		for {
			err := r.checkpoint(func() {})
			if err == nil {
				break
			}
			if !isFull(err) {
				r.t.Fatal(err)
			}
			failed++
			r.check()
			if err := r.s.Poisoned(); err != nil {
				r.t.Fatal(err)
			}
			if r.rng.IntN(2) == 0 {
				r.disk.left.Store(-1)
				r.busy()
			}
			r.disk.left.Store(int64(r.rng.IntN(4)) - 1)
		}
		r.disk.left.Store(-1)
		r.check()
	}
	if failed == 0 {
		r.t.Error("no checkpoint failed")
	}
	r.noLeak()
	must(r.t, r.s.Close())
	r.open()
	r.check()
}

// readersBeside reads from other goroutines while everything goes on.
func readersBeside(r *rig) {
	for range 20 {
		r.commit()
	}
	r.publish()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := readAll(r); err != nil {
					r.t.Error(err)
					return
				}
			}
		})
	}
	for range 15 {
		for range 5 {
			r.commit()
			r.publish()
		}
		must(r.t, r.checkpoint(r.busy))
	}
	close(stop)
	readers.Wait()
	r.noLeak()
}

// readAll reads what is published; each image is verified by its hash.
func readAll(r *rig) error {
	snap := r.s.Acquire()
	defer r.s.Release(snap)
	for v, err := range snap.Volumes() {
		if err != nil {
			return err
		}
		buf := make([]byte, v.Attrs.PageSize)
		for p, err := range v.Pages(0, 1<<42) {
			if err == nil {
				err = v.Read(p.Page, buf)
			}
			if err != nil {
				return fmt.Errorf("LSN %d: volume %q: %w", snap.LSN(), v.Attrs.Name, err)
			}
		}
	}
	return nil
}

// idleSweep lets a checkpoint with nothing to write but what a sweep causes free
// nothing that the published snapshot, or one held with the same LSN, reaches.
func idleSweep(r *rig) {
	r.manyVolumes(60)
	for range 6 {
		r.tagAndWrite()
		must(r.t, r.checkpoint(func() {}))
		r.untag()
		r.publish()
		r.hold()
		must(r.t, r.checkpoint(func() {}))
		r.check()
		r.release()
	}
	r.noLeak()
}

// tagAndWrite tags a volume, made if it is not there, and writes it.
func (r *rig) tagAndWrite() {
	tx := r.begin()
	if v, ok := tx.state["a"]; ok {
		ch := apply.Change{Volume: v.id, Name: "x", From: &apply.From{Ref: wal.Ref{Volume: v.id}}, Cut: apply.NoCut, Images: func(func(apply.Image) bool) {}}
		v.tags["x"] = volume{pageSize: v.pageSize, size: v.size, pages: maps.Clone(v.pages)}
		tx.push(ch, v.size)
		tx.commit()
		tx = r.begin()
	}
	if v, ok := tx.state["a"]; ok {
		tx.edit("a", v, nil)
	} else {
		tx.create("a")
	}
	tx.commit()
}

// manyVolumes makes the catalogue span several nodes.
func (r *rig) manyVolumes(n int) {
	tx := r.begin()
	for i := range n {
		tx.create(fmt.Sprint("volume ", i))
	}
	tx.commit()
}

// untag drops the tag.
func (r *rig) untag() {
	tx := r.begin()
	v := tx.state["a"]
	if _, ok := v.tags["x"]; !ok {
		return
	}
	delete(v.tags, "x")
	tx.push(apply.Change{Volume: v.id, Name: "x", Delete: true}, 0)
	tx.commit()
}
