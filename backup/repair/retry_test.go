package repair_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/txn"
)

// moody is a store that fails each other Get of a key.
type moody struct {
	objects.Store
	mu    sync.Mutex
	asked map[string]int // mu
}

func (m *moody) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	m.mu.Lock()
	m.asked[key]++
	fails := m.asked[key]%2 == 1
	m.mu.Unlock()
	if fails {
		return nil, 0, errors.New("not now")
	}
	return m.Store.Get(ctx, key, off, n)
}

// What of the archive cannot be read at once is read again, snapshots included that a
// store's own checkpoint goes on from.
func TestRepairReadsAgain(t *testing.T) {
	t.Parallel()
	w, shipped := gapped(t, 24)
	dir := w.copy()
	uses := reached(t, dir)
	old := slices.IndexFunc(uses, func(u pagestore.Use) bool { return u.PageSize != 0 && u.Birth <= shipped })
	flipSlot(t, dir, heap.Slot(uses[old].Addr))
	store := &moody{Store: w.Archive, asked: map[string]int{}}
	got, err := txn.Repair(ctx, store, dir, repair.Options{Retry: objectstest.Impatient(3)}, txn.Options{FS: disk})
	must(t, err)
	if got.Checkpoint.LSN == 0 || got.Base.LSN == 0 || len(got.Passed) > 0 {
		t.Fatalf("%+v", got)
	}
	w.holds(dir, got)
}
