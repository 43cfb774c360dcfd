package repair

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// carry gives the new store the role and the consumers of the damaged one, all at once.
func (r *repairing) carry() error {
	if r.o.DryRun {
		for _, c := range r.own.Facts.Consumers {
			r.carried(c, r.wholly(c))
		}
		return nil
	}
	m, facts, _, err := manifest.Open(r.o.Disk, r.place.making())
	if err != nil {
		return err
	}
	node := facts.Node
	node.Role = r.got.Role
	consumers := []manifest.Consumer{}
	for _, c := range r.own.Facts.Consumers {
		why := r.wholly(c)
		if why == "" {
			if why, err = r.agrees(facts, c); err != nil {
				return errors.Join(err, m.Close())
			}
		}
		consumers = append(consumers, r.carried(c, why))
	}
	_, err = m.Append(manifest.Edit{Node: &node, Consumers: &consumers})
	if err == nil {
		err = m.CloseClean(facts.Clean)
	}
	return errors.Join(err, m.Close())
}

// carried is a consumer in the new store: where it was, or dropped, which it is told.
func (r *repairing) carried(c manifest.Consumer, why string) manifest.Consumer {
	if why != "" {
		r.got.Dropped = append(r.got.Dropped, Dropped{c.Name, c.Acked, why})
		c.Dropped = true
	}
	return c
}

// wholly is empty when all that a consumer has still to read is there, or else says why it
// cannot go on.
func (r *repairing) wholly(c manifest.Consumer) string {
	switch {
	case c.Dropped:
		return "it was dropped before"
	case c.Acked.LSN+1 < r.got.LogFrom:
		return fmt.Sprintf("it is at LSN %d, the archive has nothing from which a log could begin before LSN %d", c.Acked.LSN, r.got.LogFrom)
	case c.Acked.LSN > r.at.LSN:
		return fmt.Sprintf("it has seen LSN %d, which is lost", c.Acked.LSN)
	}
	return ""
}

// agrees compares what a consumer has seen with the log.
func (r *repairing) agrees(facts manifest.Facts, c manifest.Consumer) (why string, err error) {
	want := c.Acked
	if want.LSN == r.begun.LSN {
		if want.LSN != 0 && want.Hash != r.begun.Hash {
			return "it has seen another history", nil
		}
		return "", nil
	}
	for rec, err := range wal.Records(r.o.Disk, filepath.Join(r.place.making(), "wal"), facts.Generations, want.LSN, want.LSN) {
		if err != nil {
			return "", err
		}
		if rec.Hash != want.Hash {
			return "it has seen another history", nil
		}
	}
	return "", nil
}

// prove verifies every byte of the new store.
func (r *repairing) prove() error {
	if r.o.DryRun {
		return nil
	}
	rep, err := recovery.Verify(r.ctx, r.o.Disk, r.place.making(), r.verifying("prove"))
	if err != nil {
		return err
	}
	last := max(r.at.LSN, r.got.Began.LSN)
	if !rep.Clean || !rep.ClosedCleanly || rep.Last != last {
		return fmt.Errorf("the store that was made ends at LSN %d instead of %d, or is damaged (%v): check the disk; nothing was changed", rep.Last, last, rep.Problems)
	}
	return nil
}

// replace gives the new store the name of the damaged one.
func (r *repairing) replace() (err error) {
	if r.o.DryRun {
		return nil
	}
	if err = r.place.name(); err != nil {
		return err
	}
	if r.got.Damaged, err = r.place.away(r.o.Now()); err != nil {
		return err
	}
	return r.place.take()
}

// finish ends what a run before left: a switch that was begun, when the store has no name
// any more; else what it made is made anew, since the store may have gone on.
func (r *repairing) finish() (finished bool, err error) {
	p := &r.place
	dir, err := p.there(p.clean())
	if err != nil {
		return false, err
	}
	repaired, err := p.there(p.repaired())
	if err != nil || !repaired {
		return false, err
	}
	if dir {
		return false, r.sound()
	}
	if err := r.reread(p.repaired()); err != nil {
		return false, err
	}
	r.got.Finished = true
	if r.got.Damaged, err = p.lastAway(); err != nil {
		return false, err
	}
	return true, p.take()
}

// sound refuses to touch anything where a repaired store lies beside one that is not
// damaged. Beside a damaged one it is removed, to be made anew.
func (r *repairing) sound() error {
	rep, err := recovery.Verify(r.ctx, r.o.Disk, r.place.dir, recovery.VerifyOptions{})
	if err != nil {
		return err
	}
	if rep.Clean {
		return fmt.Errorf("%w: %s; move one of them away", ErrLeft, r.place.repaired())
	}
	return vfs.RemoveAll(r.o.Disk, r.place.repaired())
}

// reread says what a repaired store is.
func (r *repairing) reread(dir string) error {
	rep, err := recovery.Verify(r.ctx, r.o.Disk, dir, r.verifying("prove"))
	if err != nil {
		return err
	}
	if !rep.Clean {
		return fmt.Errorf("%s, which a repair left, is damaged itself (%v): remove it, and give the damaged store its name again", dir, rep.Problems)
	}
	v, err := recovery.View(r.o.Disk, dir, 0)
	if err != nil {
		return err
	}
	head := v.Snapshot().Head
	r.got.Position, r.got.Time, r.got.Role = head.Position, time.Unix(0, head.Time), v.Facts().Node.Role
	r.got.Volumes, r.got.Digest, err = v.Snapshot().Digest()
	return errors.Join(err, v.Close())
}
