package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/txn"
)

// engine is the store as a subject.
type engine struct {
	m      *txn.Manager
	disk   *Counter
	volume string
	ack    func(txn.Commit) error
}

// openEngine opens or makes the store and fills the volume.
func openEngine(ctx context.Context, c Config) (*engine, error) {
	e := &engine{disk: &Counter{FS: vfs.OS()}, volume: c.Volume, ack: c.Ack}
	o := c.Options
	o.Create, o.FS = true, e.disk
	var err error
	if e.m, _, err = txn.Open(c.Store, o); err != nil {
		return nil, err
	}
	if err := e.fill(ctx, c); err != nil {
		return nil, errors.Join(err, e.m.Close())
	}
	return e, nil
}

// fillPages go into one transaction while filling.
const fillPages = 4096

// fill writes every page of the volume once, and checkpoints.
func (e *engine) fill(ctx context.Context, c Config) error {
	total := c.volumePages()
	l := newLoad(-1, int(min(fillPages, total)), c.PageSize, total)
	for from := uint64(0); from < total; from += fillPages {
		l.next()
		_, err := e.m.Update(ctx, func(tx *txn.Tx) error {
			v, err := openVolume(tx, c)
			for i := 0; err == nil && i < fillPages && from+uint64(i) < total; i++ {
				err = v.WritePage(from+uint64(i), l.page(i))
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("bench: fill volume %q: %w", c.Volume, err)
		}
		c.progress("fill the volume", min(from+fillPages, total), total)
	}
	return e.m.Checkpoint(ctx)
}

// openVolume opens the volume, or makes it.
func openVolume(tx *txn.Tx, c Config) (*txn.Volume, error) {
	v, err := tx.Volume(c.Volume)
	switch {
	case errors.Is(err, txn.ErrNoVolume):
		return tx.CreateVolume(c.Volume, txn.VolumeOptions{PageSize: uint32(c.PageSize)})
	case err != nil:
		return nil, err
	case v.PageSize() != c.PageSize:
		return nil, fmt.Errorf("volume %q has pages of %d bytes, %d were asked for", c.Volume, v.PageSize(), c.PageSize)
	}
	return v, nil
}

func (e *engine) begin() error { return nil }

// commit is one transaction.
func (e *engine) commit(ctx context.Context, l *load) error {
	c, err := e.m.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.Volume(e.volume)
		for i := 0; err == nil && i < len(l.nos); i++ {
			err = v.WritePage(l.nos[i], l.page(i))
		}
		return err
	})
	if err != nil || e.ack == nil {
		return err
	}
	return e.ack(c)
}

// busy reports whether a checkpoint is running.
func (e *engine) busy() bool { return e.m.Stats().Checkpointing }

// settle waits until none is.
func (e *engine) settle() {
	for e.busy() {
		time.Sleep(time.Millisecond)
	}
}
