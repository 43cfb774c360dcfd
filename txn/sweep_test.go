package txn_test

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/quire-db/quire/txn"
)

// A checkpoint that lets go of old tips reads their trees. Whichever of these
// reads fails, nothing is lost and nothing leaks: the next checkpoint does it, or,
// if the store was poisoned, the next opening.
func TestOldTipsThatCannotBeRead(t *testing.T) {
	failed, poisoned := 0, 0
	for n := int64(1); ; n++ {
		r := newRig(t, txn.Options{CheckpointEvery: -1, CacheBytes: 1})
		far := func(value uint64) {
			for _, no := range []uint64{1, 100, 5000, 1 << 20} {
				r.put("v", no, value)
			}
		}
		r.volume("v", 3)
		far(1)
		r.tag("v", "x")
		far(2)
		r.fork("f", "v", "x")
		r.put("f", 100, 3)
		r.checkpoint()
		far(4)
		r.tag("v", "y")
		far(5)
		if err := r.reopen(); err != nil {
			t.Fatal(err)
		}
		r.untag("v", "x")
		r.remove("f")
		r.untag("v", "y")
		r.put("v", 2, 6)
		var reads atomic.Int64
		r.disk.fail(func(op, name string) error {
			if op == "read" && strings.Contains(name, "heap") && reads.Add(1) == n {
				return syscall.EIO
			}
			return nil
		})
		err := r.Checkpoint(context.Background())
		r.disk.fail(nil)
		if err != nil {
			failed++
		}
		if r.Stats().Poisoned != "" {
			poisoned++
			_ = r.reopen()
		}
		r.checkpoint()
		r.are(contents{"v": sparse(1<<20, map[uint64]uint64{0: 1, 1: 5, 2: 6})})
		if r.get("v", 100) != 5 || r.get("v", 1<<20) != 5 {
			t.Errorf("read %d failed, and pages are not what they were", n)
		}
		if reads.Load() < n || t.Failed() {
			break
		}
	}
	t.Logf("%d checkpoints failed, %d poisoned the store", failed, poisoned)
	if failed == 0 {
		t.Error("no read met a checkpoint")
	}
}

// sparse is the first pages of a volume, as contents has them.
func sparse(size uint64, pages map[uint64]uint64) []uint64 {
	list := make([]uint64, min(size, 64))
	for no, value := range pages {
		list[no] = value
	}
	return list
}
