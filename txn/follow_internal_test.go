package txn

import (
	"context"
	"errors"
	"testing"
)

// An entry whose images find no slots because the heap is poisoned, by room that was
// to be made ahead, is refused as poisoned also before anybody has told the manager.
func TestApplyToAPoisonedHeap(t *testing.T) {
	ctx, broken := context.Background(), errors.New("the disk is broken")
	w := newFixture(t)
	w.do(func(tx *Tx) error {
		v, err := tx.Volume("v")
		for no := uint64(0); no < 2*largeBody/512 && err == nil; no++ { // more than is kept in memory
			page := make([]byte, 512)
			page[0] = byte(no) | 1
			err = v.WritePage(no, page)
		}
		return err
	})
	last := w.Stats().Published
	f, _, err := Open(t.TempDir(), Options{Create: true, Follower: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for e, err := range w.Watch(ctx, WatchOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Position.LSN == last {
			f.store.Heap().Poison(broken)
		}
		images, err := e.Images()
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Apply(ctx, e.Entry, images)
		if e.Position.LSN < last && err != nil {
			t.Fatal(err)
		}
		if e.Position.LSN == last {
			if !errors.Is(err, ErrPoisoned) || !errors.Is(err, broken) {
				t.Errorf("apply: %v, want that the store is poisoned", err)
			}
			break
		}
	}
	if f.Stats().Poisoned == "" {
		t.Error("the manager does not know")
	}
}
