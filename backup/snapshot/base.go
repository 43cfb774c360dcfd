package snapshot

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// bases looks for the base of an increment at a position.
type bases struct {
	store objects.Store
	o     *Options
	now   wal.Position
}

// passed tells why a snapshot is none.
func (b *bases) passed(err error) {
	if b.o.Passed != nil {
		b.o.Passed(err)
	}
}

// choose chooses the base among the snapshots of the timeline that can be restored
// themselves; zero when there is none. Without the key it is not known which are whole and
// what they need: the oldest is taken for whole, and all for one chain.
func (b *bases) choose(ctx context.Context) (wal.Position, error) {
	list, err := List(ctx, b.store, b.now.Timeline)
	if errors.Is(err, wal.ErrCorrupt) {
		b.passed(fmt.Errorf("a snapshot in the archive is damaged, so this one is whole: %w", err))
		return wal.Position{}, nil
	}
	if err != nil {
		return wal.Position{}, err
	}
	list = slices.DeleteFunc(list, func(h archive.Header) bool { return h.Last >= b.now.LSN })
	log, err := ship.OpenReader(ctx, b.store, ship.ReadOptions{Identities: b.o.Identities, Retry: b.o.Retry})
	if err != nil {
		return wal.Position{}, err
	}
	for i, h := range list {
		if err := sameHistory(ctx, log, h.Position()); err != nil {
			return wal.Position{}, err
		}
		chain, err := Chain(ctx, b.store, h.Position(), b.o.Identities)
		switch {
		case err == nil:
			return ChooseBase(positions(chain, func(m *Manifest) wal.Position { return m.Position }), b.now.LSN), nil
		case errors.Is(err, archive.ErrLocked):
			rest := positions(list[i:], func(h archive.Header) wal.Position { return h.Position() })
			slices.Reverse(rest)
			base := ChooseBase(rest, b.now.LSN)
			return base, sameHistory(ctx, log, base)
		case !errors.Is(err, objects.ErrNotFound) && !errors.Is(err, wal.ErrCorrupt):
			return wal.Position{}, err
		}
		b.passed(fmt.Errorf("the snapshot at LSN %d cannot be read: an older one, or none, is the base: %w", h.Last, err))
	}
	return wal.Position{}, nil
}

// positions are where snapshots were taken.
func positions[T any](of []T, at func(T) wal.Position) (list []wal.Position) {
	for _, one := range of {
		list = append(list, at(one))
	}
	return list
}

// sameHistory compares a snapshot's position with the archive's log, if that has the entry
// and can be read.
func sameHistory(ctx context.Context, log *ship.Reader, at wal.Position) error {
	for item, err := range log.Entries(ctx, at.Timeline, at.LSN, at.LSN) {
		switch {
		case errors.Is(err, ship.ErrGap), errors.Is(err, archive.ErrLocked), errors.Is(err, objects.ErrNotFound):
			return nil
		case err != nil:
			return err
		case item.Hash != at.Hash:
			return fmt.Errorf("the snapshot at LSN %d is of entry %s, the log has %s there: %w", at.LSN, at.Hash, item.Hash, ErrDiverged)
		}
	}
	return nil
}

// ChooseBase chooses the base of the next increment, at LSN now, among the snapshots that
// the newest one needs: the first is the whole one, the last the newest, which is
// below now. With none, zero: the next one is to be whole.
//
// It is the oldest of them in the smallest aligned block of LSNs (of 2^k, beginning at a
// multiple of that) that has both the newest snapshot and now. When every LSN has a
// snapshot, that is now without its lowest bit, so that the increments form a binary
// counter:
//
//	LSN   8 9 10 11 12 13 14 15 16
//	base  0 8  8 10  8 12 12 14  0
//
// A chain is bounded: the blocks of its steps grow from the newest to the oldest, since
// the first snapshot in a block follows from one outside. So it has at most one
// snapshot more than its LSNs have binary digits, 31 after a billion entries, and
// fewer where snapshots are few: about half the binary logarithm of their number, and
// one. Deleting snapshots changes nothing of that, as long as the chains of those that
// stay do, nor does merging.
//
// What it costs: a change is held by at most one increment for each size of blocks, so
// about the binary logarithm of the number of snapshots times, and an increment by no
// means more than a whole snapshot. The bound would cost nothing if increments were merged
// instead; but that takes time and space where the archive is pruned, and the key.
func ChooseBase(chain []wal.Position, now wal.LSN) wal.Position {
	if len(chain) == 0 {
		return wal.Position{}
	}
	newest := chain[len(chain)-1].LSN
	shift := bits.Len64(uint64(newest ^ now))
	for _, p := range chain {
		if p.LSN>>shift == now>>shift {
			return p
		}
	}
	return chain[len(chain)-1] // not reached: the newest is in the block
}
