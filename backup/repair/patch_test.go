package repair_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// gapped is a store whose archive ends at LSN shipped, and whose log begins far behind
// that: no log leads from one to the other.
func gapped(t *testing.T, seed uint64) (w *world, shipped wal.LSN) {
	w = backedUp(t, seed, 14)
	shipped = w.last()
	w.live(10)
	must(t, w.M.Checkpoint(ctx))
	must(t, w.M.Close())
	w.Open()
	w.note()
	w.live(4)
	must(t, w.M.Checkpoint(ctx))
	w.live(3)
	must(t, w.M.Close())
	own, err := recovery.OpenSalvage(disk, w.Dir)
	must(t, err)
	if must(t, own.Close()); own.First <= shipped+1 {
		t.Fatalf("the log begins at %d, the archive ends at %d", own.First, shipped)
	}
	return w, shipped
}

// reached are the nodes and pages of the checkpoint, by whether they lie in the heap.
func reached(t *testing.T, dir string) (uses []pagestore.Use) {
	t.Helper()
	v, err := recovery.View(disk, dir, 0)
	must(t, err)
	defer v.Close()
	_, err = v.Snapshot().Check(func(u pagestore.Use) error {
		if u.Addr != 0 && !u.InLog() {
			uses = append(uses, u)
		}
		return nil
	}, func(err error) error { return err })
	must(t, err)
	return uses
}

// flipSlot flips a bit of what lies in a slot.
func flipSlot(t *testing.T, dir string, s heap.Slot) {
	name := filepath.Join(dir, "heap", fmt.Sprintf("%08x", s.File()))
	damage(t, name, func(b []byte) []byte { b[4096+int64(s.Index())<<b[6]+20] ^= 4; return b })
}

// A page or node is damaged, and no log leads from the archive to where the store is. What
// the archive's snapshot has is taken from there, and only what is younger is lost; of
// the catalogue all must be whole.
func TestRepairPagesAndNodesBehindAGap(t *testing.T) {
	t.Parallel()
	w, shipped := gapped(t, 21)
	repaired, refused, met := 0, 0, map[string]int{}
	for _, u := range reached(t, w.Dir) {
		kind := fmt.Sprintf("page %v, young %v", u.PageSize != 0, u.Birth > shipped)
		if met[kind]++; met[kind] > 2 && os.Getenv("MUTANTS") == "" {
			continue
		}
		dir := w.copy()
		flipSlot(t, dir, heap.Slot(u.Addr))
		was := fingerprint(t, dir)
		got, err := w.repair(dir, repair.Options{})
		var lost *repair.LossError
		switch {
		case errors.As(err, &lost):
			if u.PageSize != 0 && u.Birth <= shipped {
				t.Fatalf("page %d, born at %d: %v", u.Page, u.Birth, err)
			}
			if fingerprint(t, dir) != was || len(beside(t, dir)) != 0 {
				t.Fatal("a refusal changed something", beside(t, dir))
			}
			refused++
			continue
		case err != nil:
			t.Fatal(err)
		}
		if got.Position.LSN != w.last() || got.Began.LSN != 0 || got.Checkpoint.LSN == 0 || got.Compared == 0 || fingerprint(t, got.Damaged) != was {
			t.Fatalf("%+v of %+v", got, u)
		}
		w.holds(dir, got)
		repaired++
	}
	t.Logf("%v: %d repaired, %d refused", met, repaired, refused)
	if repaired < 3 || refused == 0 {
		t.Error("that proves little")
	}
}

// The entries that are lost are history only: the state is the store's own, with none of the
// archive's; who still wanted to read them is told.
func TestRepairOfHistoryOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 22)
	w.live(3)
	w.Ship()
	_, err := w.M.Consumer(ctx, "mirror")
	must(t, err)
	_, err = w.M.Consumer(ctx, "slow")
	must(t, err)
	w.live(8)
	at := w.last() - 2
	must(t, w.M.Checkpoint(ctx))
	c, err := w.M.Consumer(ctx, "mirror")
	must(t, err)
	must(t, c.Ack(ctx, w.M.Stats().Head))
	w.live(2)
	must(t, w.M.Close())
	dir := w.copy()
	flipRecord(t, dir, at)
	loss, err := recovery.Assess(ctx, disk, dir, recovery.VerifyOptions{})
	must(t, err)
	if loss.Extent() != recovery.LostHistory {
		t.Fatalf("%+v", loss)
	}
	was := fingerprint(t, filepath.Dir(dir))
	planned, err := w.repair(dir, repair.Options{DryRun: true})
	must(t, err)
	if fingerprint(t, filepath.Dir(dir)) != was {
		t.Fatal("a dry run changed something")
	}
	got := w.repaired(dir)
	if got.Checkpoint.LSN == 0 || got.Base.LSN != 0 || got.Own != 2 ||
		len(got.Dropped) != 1 || got.Dropped[0].Name != "slow" || len(planned.Dropped) != 1 || planned.Position != got.Position {
		t.Fatalf("%+v, planned %+v", got, planned)
	}
}
