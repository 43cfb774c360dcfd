package pagestore

import (
	"sync"

	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/internal/heap"
)

// placeBytes is how many bytes of images are written at once, about.
const placeBytes = 1 << 20

// startEvery is behind how many runs the disk is to begin with them, so that the
// checkpoint's sync does not find all of them.
const startEvery = 8

// placer writes the images of parts of a tree to the heap, of a size that it grows
// by as a rule: one run while the next is gathered. It has a goroutine while one is
// written.
type placer struct {
	heap   *heap.Heap
	spare  []byte // a buffer that nobody uses
	place  run    // that is being written; the goroutine's until wg is waited for
	wg     sync.WaitGroup
	placed int           // runs so far
	born   []heap.Extent // all that was written since a checkpoint
}

// run is parts and their images, one behind the other.
type run struct {
	parts   []pagetree.Part
	images  []byte
	class   heap.Class
	extents []heap.Extent // where they are; set by the goroutine, with err
	err     error
}

// begin writes a run in the background. The one before was taken with end. It
// returns an empty buffer, for the next one's images.
func (p *placer) begin(parts []pagetree.Part, images []byte, pageSize int) []byte {
	p.place = run{parts: parts, images: images, class: heap.ClassFor(pageSize)}
	p.wg.Go(p.write)
	spare := p.spare
	p.spare = nil
	return spare[:0]
}

func (p *placer) write() {
	r := &p.place
	if len(r.images) == 0 {
		return
	}
	if r.extents, r.err = p.heap.Place(r.class, r.images); r.err != nil {
		return
	}
	if p.placed++; p.placed%startEvery == 0 {
		p.heap.StartSync(0)
	}
}

// end waits until the run is written, and puts the addresses of the images into its
// parts, which it returns.
func (p *placer) end() ([]pagetree.Part, error) {
	p.wg.Wait()
	r := p.place
	p.place = run{}
	if r.images != nil {
		p.spare = r.images
	}
	if r.err != nil {
		return nil, r.err
	}
	p.born = append(p.born, r.extents...)
	for _, part := range r.parts {
		for i := range part.Pages {
			part.Pages[i].Addr = uint64(r.next())
		}
	}
	return r.parts, nil
}

// next takes the next slot of the run.
func (r *run) next() heap.Slot {
	e := &r.extents[0]
	slot := e.First
	if e.First, e.Count = slot+1, e.Count-1; e.Count == 0 {
		r.extents = r.extents[1:]
	}
	return slot
}
