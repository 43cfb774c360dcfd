package pagestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Damage is a part of a volume, or of what a tag of it points to, that cannot be read.
type Damage struct {
	Volume wal.VolumeID
	Name   string      // of the volume
	Ref    wal.RefName // of the tag; empty for the volume itself
	pagetree.Damage
}

// Survey reads all that volumes and tags reach, each slot once, and tells lost what
// cannot be read: whose it is, and which pages. What was lost of the catalogue is the
// error unread: the volumes behind it are not looked at. It is for reports of damage:
// Check is what finds everything that is wrong.
//
// Memory: a bit a slot, and one path of nodes. Cost: what it reaches; what is lost is
// met once for each ref that has it.
func (s *Snapshot) Survey(ctx context.Context, lost func(Damage) error) (unread, err error) {
	v := surveyor{ctx: ctx, s: s, lost: lost, image: make([]byte, wal.MaxPageSize)}
	for vol, err := range s.Volumes() {
		if err != nil {
			return v.damaged(err)
		}
		if err := v.survey(vol, vol.Attrs.Name); err != nil {
			return nil, err
		}
		for tag, err := range s.Tags(vol.ID) {
			if err != nil {
				return v.damaged(err)
			}
			if err := v.survey(tag, vol.Attrs.Name); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// damaged sorts an error: that of the catalogue, or of a disk that cannot read it, or the
// context's.
func (v *surveyor) damaged(e error) (unread, err error) {
	if err := v.ctx.Err(); err != nil || errors.Is(e, wal.ErrVersion) {
		return nil, errors.Join(err, e)
	}
	return e, nil
}

// surveyor is one Survey.
type surveyor struct {
	ctx   context.Context
	s     *Snapshot
	lost  func(Damage) error
	whole manifest.SlotSet
	image []byte
}

func (v *surveyor) survey(vol Volume, name string) error {
	return pagetree.Survey(vol.Tree, v.s.store.nodes, pagetree.SurveyOptions{
		Known: func(addr uint64) bool { return !pagetree.IsLog(addr) && v.whole.Has(heap.Slot(addr)) },
		Whole: v.keep,
		Read: func(no uint64, e pagetree.Entry) error {
			if err := v.ctx.Err(); err != nil {
				return err
			}
			return v.s.store.ReadImage(no, e, v.image[:vol.Attrs.PageSize])
		},
		Lost: func(d pagetree.Damage) error {
			if err := v.ctx.Err(); err != nil {
				return err
			}
			return v.lost(Damage{vol.ID, name, vol.Ref, d})
		},
	})
}

func (v *surveyor) keep(addr uint64) error {
	if pagetree.IsLog(addr) {
		return nil // those are as few as the log is short
	}
	if err := v.whole.Add(heap.Extent{First: heap.Slot(addr), Count: 1}); err != nil {
		return fmt.Errorf("pagestore: slot %v is reached twice: %w", heap.Slot(addr), wal.ErrCorrupt)
	}
	return nil
}

// Joins reports whether what o has lost follows what d has: they can be told as one,
// with the error of the first.
func (d Damage) Joins(o Damage) bool {
	return d.Volume == o.Volume && d.Ref == o.Ref && d.First+d.Pages == o.First && d.Pages < 1<<40
}
