package txn

import (
	"context"
	"fmt"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/snapshot"
)

// Backup puts a snapshot of the store into an archive, which package ship has begun:
// of the newest state when it is called, whatever is committed meanwhile. It holds
// that state, and reads it; it delays no commit but by the disk and the processor
// that it takes. The options' page size is the store's.
//
// Errors are those of snapshot.Take; snapshot.ErrTaken says that the archive has it
// already. Wait's, as the state must be durable: nothing in an archive is ahead of its
// store. Cost: that of pagestore.Export.
func (m *Manager) Backup(ctx context.Context, archive objects.Store, o snapshot.Options) (*snapshot.Manifest, error) {
	h, err := m.Hold(ctx, HoldOptions{Owner: "backup", Reason: "a snapshot is taken"})
	if err != nil {
		return nil, fmt.Errorf("txn: backup: %w", err)
	}
	defer h.Release()
	snap, err := h.acquire()
	if err != nil {
		return nil, fmt.Errorf("txn: backup: %w", err)
	}
	defer m.store.Release(snap)
	if _, err := m.Wait(ctx, snap.Head.Position, Ack{Applied: true}); err != nil {
		return nil, fmt.Errorf("txn: backup of LSN %d: %w", snap.LSN(), err)
	}
	o.PageSize = m.store.Facts().Options.PageSize
	return snapshot.Take(ctx, archive, snap, o)
}
