package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/wal"
)

// PackOptions of Pack. The zero value is the default throughout.
type PackOptions struct {
	// Seal says how packs are stored, Identities read what is packed.
	Seal       archive.SealOptions
	Identities []age.Identity
	// MaxBytes bounds the frames in a pack, plain: 32 MiB when zero, at most 256
	// MiB.
	MaxBytes int64
	// MinAppends that follow each other make a pack: 256 when zero. Fewer do
	// when they fill one by three quarters.
	MinAppends int
	// MinPacks that follow each other make a larger one: 16 when zero.
	MinPacks int
	// Retry says how calls of the store are repeated; Tries are 5 when zero.
	Retry objects.RetryOptions
	// Pin says how the archive is pinned meanwhile.
	Pin pins.Options
}

// Packed is what Pack did.
type Packed struct {
	Packs   int // put
	Entries uint64
	Deleted int // appends and packs
	Bytes   uint64
}

// maxPack bounds PackOptions.MaxBytes: a pack is made in memory.
const maxPack = 256 << 20

func (o PackOptions) withDefaults() (PackOptions, error) {
	setDefault(&o.MaxBytes, 32<<20)
	setDefault(&o.MinAppends, 256)
	setDefault(&o.MinPacks, 16)
	if o.MaxBytes < 0 || o.MaxBytes > maxPack || o.MinAppends < 2 || o.MinPacks < 2 {
		return o, fmt.Errorf("ship: packs of %d bytes, of %d appends, of %d packs: at most %d bytes, of 2 at least", o.MaxBytes, o.MinAppends, o.MinPacks, maxPack)
	}
	return o, nil
}

// Pack merges the appends of a log into packs, and small packs into larger ones, beside
// the archiver that goes on with it. Nothing is lost at any moment: entries stay
// byte for byte as they were, and what they were read from is deleted when
// the pack is there, read back, and a floor above them:
//
//	step                                  a crash behind it leaves
//	read and verify every entry           nothing
//	put pack/<first>-<last>, read it back entries twice: the next Pack goes on here
//	put floor/<last+1> (for appends)      the same
//	delete what was packed                a part of it, above which there is a floor
//
// The archive is pinned meanwhile, and a prune that is at work waited for; objects that begin
// below the trim are left alone. So no pack needs a blob that a prune has deleted.
// Several at once do the same, or pack overlapping ranges, which is no harm. What is damaged
// or missing is left as it is, and is an error. Memory: about four times MaxBytes.
func Pack(ctx context.Context, store objects.Store, timeline wal.TimelineID, o PackOptions) (Packed, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Packed{}, err
	}
	r, err := newReader(store, ReadOptions{Identities: o.Identities, Retry: o.Retry})
	if err != nil {
		return Packed{}, err
	}
	o.Pin.Holder = "pack"
	pin, err := pins.HoldAndAwait(ctx, store, o.Pin)
	if err != nil {
		return Packed{}, err
	}
	defer func() { _ = pin.Release(ctx) }() // else it ends by itself
	p := packer{Reader: r, ctx: ctx, o: o}
	for _, kind := range []archive.Kind{archive.KindAppend, archive.KindPack} {
		if p.log, err = r.Log(ctx, timeline); err == nil {
			err = p.all(kind)
		}
		if err != nil {
			return p.done, err
		}
	}
	return p.done, nil
}

type packer struct {
	*Reader
	ctx  context.Context
	o    PackOptions
	log  *Log
	done Packed

	pack   archive.Key          // the last one that was confirmed
	hashes map[wal.LSN]wal.Hash // of its entries

	keys  []archive.Key // that were read into the next one
	h     archive.Header
	plain []byte
	blobs []uuid.UUID
}

// all packs the objects of one kind, as far as there are enough of them.
func (p *packer) all(kind archive.Kind) error {
	for _, k := range p.objects(kind) {
		deleted, err := p.isPacked(k)
		if err != nil {
			return err
		}
		if deleted {
			continue
		}
		h, plain, blobs, err := p.whole(k)
		if err != nil {
			return err
		}
		if h.Kind == archive.KindSkip { // it stays, and packs end before it
			if err := p.finish(kind); err != nil {
				return err
			}
			continue
		}
		if !p.fits(h, plain) {
			if err := p.finish(kind); err != nil {
				return err
			}
		}
		p.add(k, h, plain, blobs)
	}
	return p.finish(kind)
}

// objects are the keys of one kind in the log, in order, without those that begin below the
// trim.
func (p *packer) objects(kind archive.Kind) (keys []archive.Key) {
	if kind == archive.KindAppend {
		for _, first := range p.log.appends {
			if first < p.log.Trim {
				continue
			}
			keys = append(keys, archive.Key{Kind: kind, Log: p.log.Start.Timeline, First: first})
		}
		return keys
	}
	for _, s := range p.log.packs {
		if s.first < p.log.Trim {
			continue
		}
		keys = append(keys, archive.Key{Kind: kind, Log: p.log.Start.Timeline, First: s.first, Last: s.last})
	}
	return keys
}

// isPacked finishes what a Pack before did not: an object whose entries are in a
// larger pack is deleted.
func (p *packer) isPacked(k archive.Key) (deleted bool, err error) {
	for _, s := range p.log.packs {
		if k.First < s.first || k.First > s.last || k.Kind == archive.KindPack && (s == span{k.First, k.Last} || k.Last > s.last) {
			continue
		}
		h, err := archive.ReadHeader(p.ctx, p.place, k)
		if err != nil {
			return false, err
		}
		if h.Last > s.last {
			continue
		}
		pack := archive.Key{Kind: archive.KindPack, Log: k.Log, First: s.first, Last: s.last}
		if err := p.holds(pack, h.Position()); err != nil {
			return false, err
		}
		return true, p.remove(pack, []archive.Key{k})
	}
	return false, nil
}

// holds returns nil if a pack is whole, durable, and has an entry.
func (p *packer) holds(pack archive.Key, at wal.Position) error {
	if p.pack != pack {
		if err := p.confirm(pack); err != nil {
			return err
		}
	}
	if hash := p.hashes[at.LSN]; hash != at.Hash {
		return &DivergedError{Key: pack.String(), Store: at, Archive: wal.Position{Timeline: at.Timeline, LSN: at.LSN, Hash: hash}}
	}
	return nil
}

// confirm reads a pack, every entry verified, and puts it once more: what is only
// read may be gone after a power cut.
func (p *packer) confirm(pack archive.Key) error {
	b, err := archive.ReadObject(p.ctx, p.place, pack, archive.HeaderBytes+archive.MaxRefs*16+2*maxPack)
	if err != nil {
		return err
	}
	hashes, err := p.entriesOf(pack, b)
	if err != nil {
		return err
	}
	if err := p.place.put(p.ctx, pack, b); err != nil && !errors.Is(err, objects.ErrExists) {
		return err
	}
	p.pack, p.hashes = pack, hashes
	return nil
}

// entriesOf verifies the entries of an object, and returns their hashes.
func (p *packer) entriesOf(key archive.Key, object []byte) (map[wal.LSN]wal.Hash, error) {
	o, err := archive.Open(key, bytes.NewReader(object), int64(len(object)), p.ids)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	hashes := map[wal.LSN]wal.Hash{}
	return hashes, p.each(o, func(item *archive.Item) { hashes[item.Entry.Last] = item.Hash })
}

// each goes through all entries of an object.
func (p *packer) each(o *archive.Opened, do func(item *archive.Item)) error {
	entries, err := archive.NewEntries(o, p.fetch(p.ctx))
	for err == nil {
		var item *archive.Item
		if item, err = entries.Next(); err == nil {
			do(item)
		}
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// whole reads an object. Its entries are verified when they are packed.
func (p *packer) whole(k archive.Key) (h archive.Header, plain []byte, blobs []uuid.UUID, err error) {
	err = p.open(p.ctx, k, func(o *archive.Opened) (err error) {
		h, blobs = o.Header, o.Blobs
		plain, err = o.ReadAll(maxPack + archive.InlineBytes + archive.MaxEntryBytes)
		return err
	})
	return h, plain, blobs, err
}

// fits reports whether an object continues what was gathered, and has room there.
func (p *packer) fits(h archive.Header, plain []byte) bool {
	if len(p.keys) == 0 {
		return true
	}
	return h.First == p.h.Last+1 && h.Before == p.h.Hash && h.Epoch == p.h.Epoch &&
		int64(len(p.plain)+len(plain)) <= p.o.MaxBytes && len(p.blobs)+int(h.Refs) <= archive.MaxRefs
}

func (p *packer) add(k archive.Key, h archive.Header, plain []byte, blobs []uuid.UUID) {
	if len(p.keys) == 0 {
		p.h = h
	}
	p.h.Last, p.h.Hash, p.h.LastTime = h.Last, h.Hash, h.LastTime
	p.keys = append(p.keys, k)
	p.plain = append(p.plain, plain...)
	p.blobs = append(p.blobs, blobs...)
}

// finish puts what was gathered, if it is worth it, and begins anew.
func (p *packer) finish(kind archive.Kind) error {
	few := p.o.MinAppends
	if kind == archive.KindPack {
		few = p.o.MinPacks
	}
	keys, h, plain, blobs := p.keys, p.h, p.plain, p.blobs
	p.keys, p.plain, p.blobs = nil, p.plain[:0], nil
	if len(keys) < 2 || len(keys) < few && int64(len(plain)) < p.o.MaxBytes/4*3 {
		return nil
	}
	h.Kind, h.Items = archive.KindPack, uint64(h.Last-h.First)+1
	object, h, err := archive.Seal(h, blobs, plain, p.o.Seal)
	if err != nil {
		return err
	}
	pack := keyOf(&h)
	if _, err := p.entriesOf(pack, object); err != nil {
		return err // an append is not what its sum says
	}
	if err := p.place.put(p.ctx, pack, object); err != nil && !errors.Is(err, objects.ErrExists) {
		return err
	}
	if err := p.holds(pack, h.Position()); err != nil {
		return err
	}
	p.done.Packs++
	p.done.Entries += h.Items
	p.done.Bytes += uint64(len(object))
	return p.remove(pack, keys)
}

// remove deletes what a pack has, which holds said that it does.
func (p *packer) remove(pack archive.Key, keys []archive.Key) error {
	if keys[0].Kind == archive.KindAppend {
		if err := p.floor(pack.Last + 1); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if err := p.place.delete(p.ctx, k); err != nil {
			return err
		}
		p.done.Deleted++
	}
	return nil
}

// floor puts one, unless there is one as high, and deletes the one before.
func (p *packer) floor(at wal.LSN) error {
	old := archive.Key{Kind: archive.KindFloor, Log: p.log.Start.Timeline, First: p.log.Floor}
	if old.First >= at {
		return nil
	}
	key := old
	key.First = at
	if err := p.place.put(p.ctx, key, archive.EncodeNote(key)); err != nil && !errors.Is(err, objects.ErrExists) {
		return err
	}
	p.log.Floor = at
	if old.First == 0 {
		return nil
	}
	return p.place.delete(p.ctx, old)
}
