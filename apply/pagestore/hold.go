package pagestore

import "github.com/quire-db/quire/wal"

// Hold keeps a snapshot without reading it, for as long as its owner likes.
type Hold struct {
	store *Store
	pin   *pin // guarded by store.holds.mu; nil when released
}

// Hold holds the newest published snapshot, or the one at an LSN that somebody
// holds already, which costs a step for each younger one that is held; ok is
// false when nobody does, since what it reached may be gone. Cost: the same
// whatever the store holds.
func (s *Store) Hold(at wal.LSN) (hold *Hold, ok bool) {
	h := &s.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	snap := h.published
	if at != 0 && at != snap.Head.LSN {
		for snap = h.newest; snap != nil && snap.Head.LSN > at; snap = snap.prev {
		}
		if snap == nil || snap.Head.LSN != at {
			return nil, false
		}
	}
	h.retain(snap)
	return &Hold{store: s, pin: h.pinned(snap)}, true
}

// Acquire holds the snapshot once more, to read it, until Store.Release. The
// hold must not have been released.
func (h *Hold) Acquire() *Snapshot {
	h.store.holds.mu.Lock()
	defer h.store.holds.mu.Unlock()
	h.store.holds.retain(h.pin.snap)
	return h.pin.snap
}

// Release ends the hold, once, and reports what Store.Release does.
func (h *Hold) Release() (freed bool) {
	h.store.holds.mu.Lock()
	defer h.store.holds.mu.Unlock()
	p := h.pin
	h.pin = nil
	return h.store.holds.unpin(p)
}

// LSN is that of the snapshot. The hold must not have been released.
func (h *Hold) LSN() wal.LSN {
	h.store.holds.mu.Lock()
	defer h.store.holds.mu.Unlock()
	return h.pin.snap.LSN()
}
