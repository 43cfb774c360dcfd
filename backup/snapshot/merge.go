package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// MergeOptions of Merge.
type MergeOptions struct {
	// Dir is a directory that is not there, whose parent is: a store is made in it, as large
	// as the one that the snapshot is of, and deleted.
	Dir        string
	Disk       vfs.FS // the operating system's when nil
	CacheBytes int64  // of memory for trees; 0 is 64 MiB
	Identities []age.Identity
	Seal       archive.SealOptions
	PartBytes  int // as of Options
	Pin        pins.Options
	Retry      objects.RetryOptions // as of Options
}

// Merge puts the snapshot at a position once more, as an increment on an earlier one of its
// chain, or as a whole one when base is zero: so that those between are not needed any
// more. Nothing is deleted: the snapshot stays as it was taken, too, and the next
// retain.Run lets go of that, and of what nothing else needs.
//
//	step                                                  a crash behind it leaves
//	load the chain into a store, compare the digest       the directory
//	export that since the base; compare the digest again  parts, which no manifest names
//	put the manifest: .../merged/<number>                 the snapshot, twice
//
// Errors: those of Take; ErrBase when base is not in the chain; fs.ErrExist when Dir is
// there. Memory: CacheBytes and that of Take. It reads the whole chain and writes a store.
func Merge(ctx context.Context, store objects.Store, at, base wal.Position, o MergeOptions) (*Manifest, error) {
	m, err := merge(ctx, store, at, base, o)
	if err != nil {
		return nil, fmt.Errorf("snapshot: merge that at %v: %w", at, err)
	}
	return m, nil
}

func merge(ctx context.Context, store objects.Store, at, base wal.Position, o MergeOptions) (m *Manifest, err error) {
	if o.Disk == nil {
		o.Disk = vfs.OS()
	}
	o.CacheBytes = cmp.Or(o.CacheBytes, 64<<20)
	o.Retry.Tries = cmp.Or(o.Retry.Tries, DefaultTries)
	store, err = objects.Retrying(store, o.Retry)
	if err != nil {
		return nil, err
	}
	o.Pin.Holder = "merge"
	pin, err := pins.HoldAndAwait(ctx, store, o.Pin)
	if err != nil {
		return nil, err
	}
	defer func() { _ = pin.Release(ctx) }() // else it ends by itself
	chain, err := Chain(ctx, store, at, o.Identities)
	if err != nil {
		return nil, err
	}
	old := chain[len(chain)-1]
	if !mayBase(chain, base) {
		return nil, fmt.Errorf("%w: %v is none that it follows from", ErrBase, base)
	}
	if old.Base == base {
		return old, nil
	}
	if err := o.Disk.Mkdir(o.Dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, vfs.RemoveAll(o.Disk, o.Dir)) }()
	if err := o.load(ctx, store, chain); err != nil {
		return nil, err
	}
	return o.putAnew(ctx, store, pin, old, base)
}

// mayBase reports whether a snapshot is one that the last of a chain follows from.
func mayBase(chain []*Manifest, base wal.Position) bool {
	for _, m := range chain[:len(chain)-1] {
		if m.Position == base {
			return true
		}
	}
	return base == wal.Position{}
}

// load makes a store of a chain.
func (o *MergeOptions) load(ctx context.Context, store objects.Store, chain []*Manifest) error {
	first := chain[0] // increments may be of later timelines
	l, err := NewLoader(pagestore.Options{FS: o.Disk, Dir: o.Dir, CacheBytes: o.CacheBytes}, first.Head(),
		manifest.Options{Created: first.Time, PageSize: first.PageSize, HeapFileBytes: manifest.DefaultHeapFileBytes})
	if err != nil {
		return err
	}
	for _, m := range chain {
		if err := m.Load(ctx, store, l, o.Identities, nil); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	return l.Finish()
}

// putAnew takes the snapshot of the store that was loaded.
func (o *MergeOptions) putAnew(ctx context.Context, store objects.Store, pin *pins.Pin, old *Manifest, base wal.Position) (m *Manifest, err error) {
	s, _, err := pagestore.Open(pagestore.Options{FS: o.Disk, Dir: o.Dir, CacheBytes: o.CacheBytes, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	held := s.Acquire()
	defer s.Release(held)
	m = &Manifest{
		Position: old.Position, Epoch: old.Epoch, Time: old.Time, Base: base, PageSize: old.PageSize,
		Attempt: uuid.New(), Merged: old.Merged + 1,
	}
	w := newWriter(ctx, store, m, Options{PartBytes: o.PartBytes, Seal: o.Seal})
	err = m.export(held, w)
	if err == nil {
		err = old.Prove(m.Volumes, m.Digest)
	}
	if err = errors.Join(err, w.close(), pin.Err()); err == nil {
		if err = m.putMerged(ctx, store, o.Seal); err == nil {
			return m, nil
		}
	}
	if !errors.Is(err, objects.ErrUnknown) { // what a manifest may name stays
		w.withdraw(context.WithoutCancel(ctx), store)
	}
	return nil, err
}

// putMerged puts the manifest. One that another merge has put meanwhile is as good.
func (m *Manifest) putMerged(ctx context.Context, store objects.Store, o archive.SealOptions) error {
	if err := m.putSealed(ctx, store, o); !errors.Is(err, objects.ErrExists) {
		return err
	}
	h, err := archive.ReadHeader(ctx, store, m.Key())
	switch {
	case err != nil:
		return fmt.Errorf("%w whose manifest is there: %w", objects.ErrUnknown, err)
	case h.ID != m.Attempt:
		return ErrTaken
	}
	return nil
}
