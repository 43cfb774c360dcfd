package quarantine

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Pages is what a stage holds of one volume. It is not for concurrent use.
type Pages struct {
	stage  *Stage
	volume wal.VolumeID
	class  heap.Class
	index  index
	images images
	memory []memory
	fresh  uint32   // ids from here on no savepoint needs
	free   []uint32 // fresh ids of no page; they may still have a slot
}

// Write stages a copy of src, a whole page, as page no. A page of zeros is a
// Discard. After an error, a full disk where the page would spill, the page is
// as it was and the stage can be used.
func (p *Pages) Write(no uint64, src []byte) error {
	if err := p.check(no, len(src)); err != nil {
		return err
	}
	if isZero(src) {
		return p.Discard(no)
	}
	found, id := p.index.find(no)
	mine := found == Present && id >= p.fresh
	if mine && p.images.at(id).loaded() {
		copy(p.inMemory(id).buf.bytes, src)
		return nil
	}
	if err := p.room(); err != nil {
		return fmt.Errorf("quarantine: write page %d of volume %s (nothing changed): %w", no, p.volume, err)
	}
	if mine {
		p.load(id, no)
	} else {
		id = p.newImage(no)
		p.index.put(p.stage.epoch, no, id)
	}
	copy(p.inMemory(id).buf.bytes, src)
	return nil
}

// room makes room for one more image, within the limit of a body.
func (p *Pages) room() error {
	if p.images.n == maxImages || uint64(p.images.n)<<p.class >= wal.MaxBody {
		return wal.ErrTooLarge
	}
	return p.stage.room(p.pageBytes())
}

// Discard makes page no absent.
func (p *Pages) Discard(no uint64) error {
	if err := p.check(no, p.pageBytes()); err != nil {
		return err
	}
	if found, id := p.index.find(no); found == Present {
		p.drop(id)
	}
	p.index.discard(p.stage.epoch, no)
	return nil
}

// Truncate makes the pages from number pages on absent, those of the base too.
func (p *Pages) Truncate(pages uint64) error {
	if p.stage.sealed {
		return errSealed
	}
	for _, id := range p.index.staged(pages, wal.MaxPages) {
		p.drop(id)
	}
	p.index.truncate(p.stage.epoch, pages)
	return nil
}

// Read copies page no to dst, a whole page, when it is Present, and zeros when
// it is Discarded; dst stays as it was when it is NotStaged. What lay in the
// heap is verified (promise 9): a *wal.CorruptError when it is not what was
// written.
func (p *Pages) Read(no uint64, dst []byte) (Found, error) {
	if no >= wal.MaxPages || len(dst) != p.pageBytes() {
		return NotStaged, fmt.Errorf("quarantine: read of %d bytes of page %d: beyond the limits", len(dst), no)
	}
	found, id := p.index.find(no)
	switch found {
	case Present:
		return found, p.read(id, no, dst)
	case Discarded:
		clear(dst)
	}
	return found, nil
}

// Find is Read without the bytes.
func (p *Pages) Find(no uint64) Found {
	found, _ := p.index.find(no)
	return found
}

// Len is the number of pages staged with bytes.
func (p *Pages) Len() int { return p.index.count }

// Cut is the number of base pages that no Truncate made absent: those from
// there on are. It is wal.MaxPages when there was no Truncate.
func (p *Pages) Cut() uint64 { return p.index.cut }

// Present yields the numbers of the pages of [from, to) staged with bytes,
// ascending. The stage must not change meanwhile.
func (p *Pages) Present(from, to uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for no := range p.index.staged(from, to) {
			if !yield(no) {
				return
			}
		}
	}
}

// Discards yields maximal runs of discarded pages below Cut, ascending. Pages
// between two discarded ones that the base does not have may be missing from
// them: whoever knows the base normalises.
func (p *Pages) Discards() iter.Seq[wal.PageRange] {
	return func(yield func(wal.PageRange) bool) {
		var run wal.PageRange
		for no := range p.index.discarded(0, p.index.cut) {
			if run.Count > 0 && run.First+run.Count == no {
				run.Count++
				continue
			}
			if run.Count > 0 && !yield(run) {
				return
			}
			run = wal.PageRange{First: no, Count: 1}
		}
		if run.Count > 0 {
			yield(run)
		}
	}
}

// Discarding reports whether Discards yields anything.
func (p *Pages) Discarding() bool { return p.index.discards(p.index.cut) }

// Volume and PageSize that the pages are of.
func (p *Pages) Volume() wal.VolumeID { return p.volume }
func (p *Pages) PageSize() uint32     { return uint32(p.pageBytes()) }

func (p *Pages) pageBytes() int { return p.class.Bytes() }

func (p *Pages) check(no uint64, length int) error {
	if p.stage.sealed {
		return errSealed
	}
	if no >= wal.MaxPages || length != p.pageBytes() {
		return fmt.Errorf("quarantine: page %d of %d bytes: want a number below %d and %d bytes", no, length, uint64(wal.MaxPages), p.pageBytes())
	}
	return nil
}

// newImage makes an image in memory, of a free id when there is one.
func (p *Pages) newImage(no uint64) uint32 {
	if n := len(p.free); n > 0 {
		id := p.free[n-1]
		p.free = p.free[:n-1]
		p.load(id, no)
		return id
	}
	id := p.images.add()
	p.load(id, no)
	return id
}

// load gives an image room in memory, its bytes undefined, unless it has.
func (p *Pages) load(id uint32, no uint64) {
	m := p.images.at(id)
	if m.loaded() {
		return
	}
	p.memory = append(p.memory, memory{id, m.slot(), no, p.stage.area.get(p.class)})
	m.addr = inMemory | uint64(len(p.memory)-1)
	p.stage.count(p.pageBytes())
}

// unload takes an image out of memory; it is in its home again, or nowhere.
func (p *Pages) unload(m *image) {
	at, last := m.place(), len(p.memory)-1
	p.stage.area.put(p.class, p.memory[at].buf)
	m.addr = uint64(p.memory[at].home)
	if at != last {
		p.memory[at] = p.memory[last]
		p.images.at(p.memory[at].id).addr = inMemory | uint64(at)
	}
	p.memory[last] = memory{}
	p.memory = p.memory[:last]
	p.stage.count(-p.pageBytes())
}

// drop frees the image of a page that no longer has it, unless a savepoint
// needs it. Its slot stays with the id and serves the next image.
func (p *Pages) drop(id uint32) {
	if id < p.fresh {
		return
	}
	if m := p.images.at(id); m.loaded() {
		p.unload(m)
	}
	p.free = append(p.free, id)
}

func (p *Pages) read(id uint32, no uint64, dst []byte) error {
	m := p.images.at(id)
	if m.loaded() {
		copy(dst, p.memory[m.place()].buf.bytes)
		return nil
	}
	if err := p.stage.area.heap.ReadSlot(m.slot(), dst); err != nil {
		return fmt.Errorf("quarantine: read page %d: %w", no, err)
	}
	if wal.HashPage(no, dst) != m.hash {
		return &wal.CorruptError{File: fmt.Sprintf("heap/%08x", m.slot().File()), Offset: -1,
			Reason: fmt.Sprintf("slot %v does not hold what was staged as page %d", m.slot(), no)}
	}
	return nil
}

var zeroPage [wal.MaxPageSize]byte

func isZero(b []byte) bool { return b[0] == 0 && bytes.Equal(b, zeroPage[:len(b)]) }
