package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/quarantine"
	"github.com/quire-db/quire/wal"
)

// carryTags is the prefix of the tags that Fork and SetTag set while they carry.
const carryTags = reservedTags + "carry."

// Fork makes a volume that begins as from is, like Tx.Fork, but from may be of
// any open transaction of the manager: an old state that only this one holds. No
// other store needs to have such a state any more, so its entry carries the
// pages in which it differs from the volume's state now, or all of them when the
// volume is gone. That state now is tagged meanwhile, so that it makes no
// difference how often the volume is written. Cost: those pages, and an entry
// for the tag; nothing of this when from is a current state.
//
// The transaction of from must stay open, and is not used otherwise, until Fork
// returns. Errors: as of Tx.Fork, and those of from's transaction.
func (m *Manager) Fork(ctx context.Context, name string, from *Volume) (Commit, error) {
	if err := wal.ValidName(name); err != nil {
		return Commit{}, fmt.Errorf("txn: fork: %w", err)
	}
	return m.branch(ctx, from, func(tx *Tx, source *apply.From) (*Volume, error) {
		if err := tx.wantFree(name); err != nil {
			return nil, err
		}
		if source != nil {
			return tx.fork(name, from.attrs, source), nil
		}
		return tx.create(name, VolumeOptions{PageSize: from.attrs.PageSize}), nil
	})
}

// SetTag makes a tag of a volume point to what from is, like Tx.SetTag, but from
// may be of any open transaction of the manager. Costs and conditions as of Fork.
func (m *Manager) SetTag(ctx context.Context, volume, tag string, from *Volume) (Commit, error) {
	return m.branch(ctx, from, func(tx *Tx, source *apply.From) (*Volume, error) {
		if err := tx.mayTag(tag); err != nil {
			return nil, err
		}
		v, err := tx.find(volume)
		if err == nil && v == nil {
			err = noVolume(volume)
		}
		if err != nil {
			return nil, err
		}
		if err := v.likePagesOf(from); err != nil {
			return nil, err
		}
		op, err := tx.pointTag(v, wal.RefName(tag), source)
		if op != nil {
			op.key = wal.VolumeID(m.newUUID())
		}
		return op, err
	})
}

// branch commits what begin stages: a ref that begins as from is. begin gets the
// source of its base, nil for an empty one, and a locked transaction.
func (m *Manager) branch(ctx context.Context, from *Volume, begin func(*Tx, *apply.From) (*Volume, error)) (Commit, error) {
	if from.staged() {
		return Commit{}, fmt.Errorf("%w: %q", ErrStaged, from.attrs.Name)
	}
	if from.tx.m != m { // the same tip may mean something else here
		return Commit{}, fmt.Errorf("txn: fork or tag %q of another store: %w", from.attrs.Name, ErrIncomparable)
	}
	if err := from.use(); err != nil {
		return Commit{}, err
	}
	from.tx.mu.Unlock()
	var direct bool
	c, err := m.Update(ctx, func(tx *Tx) error {
		source, err := tx.sameTip(from)
		if direct = source != nil; err != nil || !direct {
			return err
		}
		return tx.locked(func() error {
			_, err := begin(tx, source)
			return err
		})
	})
	if err != nil || direct {
		return c, err
	}
	return m.carry(ctx, from, begin)
}

// locked runs f with the transaction locked.
func (tx *Tx) locked(f func() error) error {
	if err := tx.useForWriting(); err != nil {
		return err
	}
	defer tx.mu.Unlock()
	return f()
}

// sameTip is a ref of the transaction that points to the tip that from is of, or
// nil: from's own, if it has not moved, or the volume's.
func (tx *Tx) sameTip(from *Volume) (s *apply.From, err error) {
	err = tx.locked(func() error {
		if v, ok, err := tx.snap.Volume(from.id); err != nil || ok && v.Tip == from.base.Tip && v.Lineage == from.base.Lineage {
			s = &apply.From{Ref: wal.Ref{Volume: from.id}, Tip: v.Tip, State: v.State()}
			return err
		}
		if from.ref == "" {
			return nil
		}
		t, ok, err := tx.snap.Tag(wal.Ref{Volume: from.id, Name: from.ref})
		if ok && t.Tip == from.base.Tip && t.Lineage == from.base.Lineage {
			s = &apply.From{Ref: wal.Ref{Volume: from.id, Name: from.ref}, Tip: t.Tip, State: t.State()}
		}
		return err
	})
	return s, err
}

// carry tags the current state of from's volume, stages what from differs in,
// and commits both as one ref. The tag goes with it.
func (m *Manager) carry(ctx context.Context, from *Volume, begin func(*Tx, *apply.From) (*Volume, error)) (Commit, error) {
	tag := wal.RefName(carryTags + m.newUUID().String())
	there, err := m.tagForCarry(ctx, from.id, tag)
	var unknown *UnknownError
	if errors.As(err, &unknown) { // whether the tag is there; of the rest nothing is
		defer m.dropCarry(ctx, from.id, tag)
		err = unknown.Cause
	}
	if err != nil {
		return Commit{}, fmt.Errorf("txn: tag what %q holds now; nothing else was done: %w", from.attrs.Name, err)
	}
	if there {
		defer m.dropCarry(ctx, from.id, tag)
	}
	return m.Update(ctx, func(tx *Tx) error {
		if !there {
			return tx.carryAll(from, begin)
		}
		return tx.carryDiff(from, tag, begin)
	})
}

// tagForCarry tags a volume's current state, if there is one. Tags of this kind
// that a crash has left are dropped: those from before the manager was opened.
func (m *Manager) tagForCarry(ctx context.Context, id wal.VolumeID, tag wal.RefName) (there bool, err error) {
	_, err = m.Update(ctx, func(tx *Tx) error {
		return tx.locked(func() error {
			v, err := tx.findID(id)
			if there = v != nil; err != nil || !there {
				return err
			}
			if err := tx.dropStale(v); err != nil {
				return err
			}
			_, err = tx.pointTag(v, tag, &apply.From{Ref: wal.Ref{Volume: id}})
			return err
		})
	})
	return there, err
}

// findID opens a volume by its UUID; nil when there is none.
func (tx *Tx) findID(id wal.VolumeID) (*Volume, error) {
	v, ok, err := tx.snap.Volume(id)
	if err != nil || !ok {
		return nil, err
	}
	return tx.find(v.Attrs.Name)
}

func (tx *Tx) dropStale(v *Volume) error {
	for t, err := range tx.snap.Tags(v.id) {
		if err != nil {
			return err
		}
		if strings.HasPrefix(string(t.Ref), carryTags) && t.Changed <= tx.m.opened {
			tx.dropTag(v, t)
		}
	}
	return nil
}

// dropCarry drops the tag again, whether or not it has served.
func (m *Manager) dropCarry(ctx context.Context, id wal.VolumeID, tag wal.RefName) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropCarryWithin)
	defer cancel()
	_, err := m.Update(ctx, func(tx *Tx) error {
		return tx.locked(func() error {
			v, err := tx.findID(id)
			if err != nil || v == nil {
				return err
			}
			t, ok, err := v.tagAt(tag)
			if err == nil && ok {
				tx.dropTag(v, t)
			}
			return err
		})
	})
	if err != nil {
		m.log.Warn().Err(err).Str("tag", string(tag)).Msg("a tag that was set to carry a state was left; the next fork of the volume after reopening drops it")
	}
}

const dropCarryWithin = 10 * time.Second

// carryDiff stages a ref that begins at the tag, and what from differs from it.
func (tx *Tx) carryDiff(from *Volume, tag wal.RefName, begin func(*Tx, *apply.From) (*Volume, error)) error {
	var base, to *Volume
	err := tx.locked(func() error {
		t, ok, err := tx.snap.Tag(wal.Ref{Volume: from.id, Name: tag})
		if err != nil || !ok {
			return orNoTag(err, from, tag)
		}
		base = &Volume{tx: tx, id: from.id, ref: tag, base: t, volumeState: stateOf(t)}
		if to, err = begin(tx, &apply.From{Ref: wal.Ref{Volume: from.id, Name: tag}, Tip: t.Tip, State: t.State()}); err != nil {
			return err
		}
		to.exact, to.size = true, from.size
		if from.size < base.size {
			return to.change(func(p *quarantine.Pages) error { return p.Truncate(from.size) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	page := make([]byte, from.PageSize())
	for d, err := range Diff(base, from, 0, wal.MaxPages) {
		if err == nil && (d.InB || d.Page < from.size) {
			err = to.carryPage(from, d.Page, d.InB, page)
		}
		if err != nil {
			return fmt.Errorf("txn: carry what %q held: %w", from.attrs.Name, err)
		}
	}
	return nil
}

func orNoTag(err error, v *Volume, tag wal.RefName) error {
	if err == nil {
		err = noTag(v.attrs.Name, string(tag))
	}
	return err
}

// carryAll stages a ref that begins empty, and all that from holds.
func (tx *Tx) carryAll(from *Volume, begin func(*Tx, *apply.From) (*Volume, error)) error {
	var to *Volume
	err := tx.locked(func() (err error) {
		if to, err = begin(tx, nil); err == nil {
			to.exact, to.size = true, from.size
		}
		return err
	})
	if err != nil {
		return err
	}
	for p, err := range from.Pages(0, wal.MaxPages) {
		if err == nil {
			err = tx.locked(func() error { return to.writePage(p.No, p.Data) })
		}
		if err != nil {
			return fmt.Errorf("txn: carry what %q held: %w", from.attrs.Name, err)
		}
	}
	return nil
}

// carryPage stages one page as from has it.
func (v *Volume) carryPage(from *Volume, no uint64, present bool, page []byte) error {
	if present {
		if err := from.ReadPage(no, page); err != nil {
			return err
		}
	}
	return v.tx.locked(func() error {
		if present {
			return v.writePage(no, page)
		}
		return v.change(func(p *quarantine.Pages) error { return p.Discard(no) })
	})
}
