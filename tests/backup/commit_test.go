package backup_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/quire-db/quire/txn"
)

// The names of volumes, their page sizes, and how many pages are written at most.
var (
	pageSizes = []int{512, 512, 1024, 4096, 16384}
	most      = map[int]uint64{512: 60, 1024: 40, 4096: 12, 16384: 5}
)

const mostVolumes = 14

// commit commits one random transaction, and notes what it made.
func (w *world) commit() {
	w.t.Helper()
	w.clock.Add(1)
	o := txn.TxOptions{}
	if w.r.IntN(6) == 0 {
		w.request++
		o.Actor, o.Seq = w.actor, w.request
	}
	before := w.state
	c, err := w.m.UpdateWith(ctx, o, func(tx *txn.Tx) error {
		w.state = before
		return w.change(tx)
	})
	must(w.t, err)
	if c.Empty {
		w.t.Fatal("a commit that changed nothing")
	}
	w.note(c.Position)
}

// change does one thing in a transaction and in the model.
func (w *world) change(tx *txn.Tx) error {
	names := slices.Sorted(maps.Keys(w.state))
	if len(names) < 3 {
		return w.create(tx)
	}
	name := names[w.r.IntN(len(names))]
	switch n := w.r.IntN(30); {
	case n == 0 && len(names) < mostVolumes:
		return w.create(tx)
	case n == 1 && len(names) < mostVolumes:
		return w.fork(tx, name)
	case n == 2 && len(names) > 6:
		w.state = w.state.without(name)
		return tx.DeleteVolume(name)
	case n == 3:
		return w.rename(tx, name)
	case n == 4, n == 5:
		return w.tag(tx, name)
	case n == 6:
		return w.untag(tx, name)
	case n == 7, n == 8:
		return w.reset(tx, name)
	case n == 9, n == 10:
		return w.truncate(tx, name)
	case n == 11, n == 12:
		return w.discard(tx, name)
	case n == 13: // all pages: large ones become blobs
		return w.write(tx, name, int(most[w.state[name].pageSize]))
	case n < 20: // several volumes
		return errors.Join(w.write(tx, name, 2), w.write(tx, names[w.r.IntN(len(names))], 2))
	}
	return w.write(tx, name, 1+w.r.IntN(3))
}

func (w *world) name() string {
	w.made++
	return fmt.Sprint("v", w.made)
}

func (w *world) create(tx *txn.Tx) error {
	name, size := w.name(), pageSizes[w.r.IntN(len(pageSizes))]
	if _, err := tx.CreateVolume(name, txn.VolumeOptions{PageSize: uint32(size)}); err != nil {
		return err
	}
	w.state = w.state.with(name, &volume{pageSize: size})
	return w.write(tx, name, 2)
}

// write writes n pages; one in twelve is zeros.
func (w *world) write(tx *txn.Tx, name string, n int) error {
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	s, model := w.state.edit(name)
	if model.pages == nil {
		model.pages = map[uint64][]byte{}
	}
	w.state = s
	for i := range n {
		no := w.r.Uint64N(most[model.pageSize])
		if n > 3 {
			no = uint64(i)
		}
		page := make([]byte, model.pageSize)
		if w.r.IntN(12) > 0 {
			for at := 0; at < len(page); at += 1 + w.r.IntN(40) { // compressible
				page[at] = byte(w.r.Uint32())
			}
			page[0] = byte(1 + w.r.IntN(255))
		}
		if err := v.WritePage(no, page); err != nil {
			return err
		}
		model.write(no, page)
	}
	return nil
}

func (w *world) truncate(tx *txn.Tx, name string) error {
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	s, model := w.state.edit(name)
	size := w.r.Uint64N(most[model.pageSize])
	if size == model.size {
		size++
	}
	w.state = s
	model.truncate(size)
	return v.Truncate(size)
}

// discard discards pages that are there; else it writes one.
func (w *world) discard(tx *txn.Tx, name string) error {
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	s, model := w.state.edit(name)
	if len(model.pages) == 0 {
		return w.write(tx, name, 1)
	}
	w.state = s
	for _, no := range slices.Sorted(maps.Keys(model.pages))[:1+w.r.IntN(min(4, len(model.pages)))] {
		delete(model.pages, no)
		err = errors.Join(err, v.DiscardPage(no))
	}
	return err
}

func (w *world) rename(tx *txn.Tx, name string) error {
	to := w.name()
	w.state = w.state.with(to, w.state[name]).without(name)
	return tx.RenameVolume(name, to)
}

func (w *world) fork(tx *txn.Tx, name string) error {
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	to, from := w.name(), *w.state[name]
	from.tags = map[string]*volume{txn.OriginTag: w.state[name]}
	w.state = w.state.with(to, &from)
	_, err = tx.Fork(to, v)
	return err
}

func (w *world) tag(tx *txn.Tx, name string) error {
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	s, model := w.state.edit(name)
	if model.tags == nil {
		model.tags = map[string]*volume{}
	}
	tag := fmt.Sprint("t", w.r.IntN(3))
	model.tags[tag] = w.state[name]
	w.state = s
	return tx.SetTag(v, tag, v)
}

// aTag is one of a volume's; empty when it has none.
func (w *world) aTag(name string) string {
	tags := slices.Sorted(maps.Keys(w.state[name].tags))
	if len(tags) == 0 {
		return ""
	}
	return tags[w.r.IntN(len(tags))]
}

func (w *world) untag(tx *txn.Tx, name string) error {
	v, err := tx.Volume(name)
	tag := w.aTag(name)
	if err != nil || tag == "" {
		return errors.Join(err, w.write(tx, name, 1))
	}
	s, model := w.state.edit(name)
	delete(model.tags, tag)
	w.state = s
	return tx.DeleteTag(v, tag)
}

// reset makes a volume what a tag of it points to, and changes it then, so that there
// is something to commit.
func (w *world) reset(tx *txn.Tx, name string) error {
	tag := w.aTag(name)
	if tag == "" {
		return w.write(tx, name, 1)
	}
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	at, err := tx.At(name, tag)
	if err != nil {
		return err
	}
	s, model := w.state.edit(name)
	model.size, model.pages = model.tags[tag].size, maps.Clone(model.tags[tag].pages)
	w.state = s
	if err := v.Reset(at); err != nil {
		return err
	}
	return w.write(tx, name, 1)
}
