package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// walk applies entries, those that the archive has and those that only the store's own log
// has in turns, until neither knows the next.
func (r *repairing) walk() error {
	for {
		archived, err := r.archived()
		if err != nil {
			return err
		}
		own, err := r.owned()
		if err != nil {
			return err
		}
		r.got.Archived, r.got.Own = r.got.Archived+archived, r.got.Own+own
		if archived+own == 0 || own == 0 && r.known <= r.at.LSN {
			r.got.Position = r.at
			return nil
		}
	}
}

// archived applies what the archive has behind the position.
func (r *repairing) archived() (n uint64, err error) {
	if r.limit != 0 && r.at.LSN >= r.limit {
		return 0, nil
	}
	for item, err := range r.logs.Entries(r.ctx, r.log, r.at.LSN+1, r.limit) {
		var gap *ship.GapError
		switch {
		case errors.As(err, &gap):
			r.known = max(r.known, gap.Last)
			r.pass(err)
			return n, nil
		case err != nil && isDamage(err):
			r.known = max(r.known, r.at.LSN+1)
			r.pass(err)
			return n, nil
		case err != nil:
			return n, err
		}
		if err := r.step(item.Position(), item.Entry, item.Images); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// owned applies what the damaged store's own log has behind it.
func (r *repairing) owned() (n uint64, err error) {
	for e, err := range r.own.Entries(r.ctx, r.at) {
		if errors.Is(err, wal.ErrCorrupt) {
			r.pass(err)
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if err := r.step(wal.Position{Timeline: e.Timeline, LSN: e.LSN, Hash: e.Hash}, e.Entry, e.Images); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// step applies an entry.
func (r *repairing) step(at wal.Position, e *wal.Entry, images io.ReaderAt) error {
	if e.Prev != r.at.Hash {
		return fmt.Errorf("%w: entry %d follows %s there, and %s here; nothing was changed", ErrDiverged, at.LSN, e.Prev, r.at.Hash)
	}
	if r.replica != nil {
		if err := r.replica.Apply(r.ctx, e, images); err != nil {
			return err
		}
	}
	r.at, r.got.Time = at, time.Unix(0, e.Time)
	r.progress(Progress{Step: "follow", LSN: at.LSN, Done: int64(at.LSN), Of: int64(max(r.own.Durable, at.LSN))})
	return r.met(at)
}

// met compares a position with what the damaged store says of it, and the state, too, where
// its catalogue says what that was.
func (r *repairing) met(at wal.Position) error {
	if want, ok := r.expect[at.LSN]; ok && want != at.Hash {
		return fmt.Errorf("%w: entry %d has hash %s, in the damaged store %s; nothing was changed", ErrDiverged, at.LSN, at.Hash, want)
	}
	l := r.got.Loss
	if r.replica == nil || !l.Digested || l.At != at.LSN {
		return nil
	}
	return r.compare(r.ctx)
}

// compare proves the state by the damaged store's catalogue.
func (r *repairing) compare(ctx context.Context) error {
	if _, err := r.replica.Settle(ctx); err != nil {
		return err
	}
	_, digest, err := r.replica.Digest()
	if err != nil {
		return err
	}
	if l := r.got.Loss; digest != l.Digest || r.at.Hash != l.Hash {
		return fmt.Errorf("%w: the state after entry %d has digest %s, the damaged store's catalogue says %s; nothing was changed", ErrDiverged, r.at.LSN, digest, l.Digest)
	}
	r.got.Compared = r.at.LSN
	return nil
}
