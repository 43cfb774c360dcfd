package apply

import (
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// Change is what one transaction does to one ref, a volume's current tip or a
// tag of it: the same thing whether its pages were staged a moment ago or are
// named by an entry of the log.
type Change struct {
	Volume wal.VolumeID
	Name   wal.RefName      // of a tag; empty for the volume itself
	Create bool             // the volume must not exist; Attrs says what it is
	Attrs  *wal.VolumeAttrs // nil: as they are
	Delete bool             // the ref must exist; nothing else is set
	From   *From            // of a fork or a tag: the tip it begins from; nil for an empty one

	Cut      uint64 // base pages from here on are gone; NoCut for none
	Size     uint64 // in pages
	Exact    bool   // the result has exactly Size pages, else at least
	Discards iter.Seq[wal.PageRange]
	Images   iter.Seq[Image] // ascending by page, all below the result's size
	Len      int             // number of images
}

// From names the tip that a fork or a tag begins from.
type From struct {
	Ref   wal.Ref
	Tip   wal.LSN   // that the ref must point to; zero for whatever it does
	State wal.State // of that tip: an entry can make tips of several volumes
}

// NoCut is the Cut of a change that drops nothing by truncation.
const NoCut = ^uint64(0)

// Image is one page of a change, and where its bytes begin in the body.
type Image struct {
	Page   uint64
	Hash   wal.PageHash
	Offset uint64
}

// Result is what a change made of its ref.
type Result struct {
	Before, After wal.State
	Expect        wal.LSN  // the tip before; zero when the ref did not exist
	Changed       wal.LSN  // when the ref was set before; the same as Expect but for tags
	Seq           uint64   // of the ref, after the change
	Base          wal.Base // that the delta is relative to; zero for an empty one
	Size          uint64   // in pages, after the change
	Discards      []wal.PageRange
}

// Plan is a transaction ready to be applied: everything that can fail has
// been done, and nothing has changed yet.
type Plan struct {
	draft   *pagestore.Draft
	lsn     wal.LSN
	changes []Change
	parts   []part
	results []Result
	byRef   map[wal.Ref]int // made when tags or forks need it
}

// part is what Prepare found for a change.
type part struct {
	vol  *pagestore.DraftVolume // the volume, or that of the tag
	tag  *pagestore.DraftTag    // nil unless the change is one of a tag
	base *pagestore.Base        // that From names
	tree *pagestore.DraftVolume // whose pages change: vol, what a tag carries, or nil
}

// Prepare reads what applying the changes at LSN lsn needs: the nodes on the
// paths of their pages, and which base pages their discards hit. It is the
// fallible half of Next; when it fails, the draft is what it was.
//
// Errors: a *MismatchError when a ref that must exist does not, or the other
// way round, or a name is another volume's; those of reading nodes.
func Prepare(d *pagestore.Draft, lsn wal.LSN, changes []Change) (*Plan, error) {
	p := &Plan{
		draft: d, lsn: lsn, changes: changes,
		parts: make([]part, len(changes)), results: make([]Result, len(changes)),
	}
	// All volumes first: a name may be free because a later change frees it.
	for _, step := range []func(int) error{p.find, p.prepare} {
		for i := range changes {
			if err := step(i); errors.Is(err, ErrMismatch) {
				return nil, err // it names them
			} else if err != nil {
				return nil, fmt.Errorf("apply: LSN %d: volume %s: %w", lsn, changes[i].Volume, err)
			}
		}
	}
	return p, nil
}

func (p *Plan) find(i int) (err error) {
	p.parts[i].vol, err = p.draft.Volume(p.changes[i].Volume)
	return err
}

func (p *Plan) prepare(i int) error {
	c, r, x := &p.changes[i], &p.results[i], &p.parts[i]
	if c.Name != "" {
		return p.prepareTag(i)
	}
	v := x.vol
	if err := p.checkExistence(c, v); err != nil {
		return err
	}
	r.Before, r.Expect, r.Changed, r.Seq = v.State(), v.Tip(), v.Tip(), v.Seq()+1
	if c.Delete {
		return v.LoadDelete()
	}
	if err := p.findBase(i); err != nil {
		return err
	}
	if c.Create {
		if b := x.base; b != nil && b.State.PageSize != c.Attrs.PageSize {
			return p.mismatch(c, "page size", fmt.Sprint(c.Attrs.PageSize), fmt.Sprint(b.State.PageSize))
		}
		v.ForkFrom(x.base)
	} else {
		r.Base = wal.Base{Ref: wal.Ref{Volume: c.Volume}, LSN: r.Expect, State: r.Before}
	}
	x.tree = v
	return p.load(i)
}

// load finds out what the pages' change is, and reads what it needs.
func (p *Plan) load(i int) (err error) {
	c, r, v := &p.changes[i], &p.results[i], p.parts[i].tree
	r.Size = c.Size
	if !c.Exact {
		r.Size = max(c.Size, min(v.Size(), c.Cut))
	}
	if r.Discards, err = normalise(v, c, r.Size); err != nil || p.untouched(i) {
		return err
	}
	return v.Load(p.touched(i), min(c.Cut, v.Size()))
}

// untouched reports whether a ref begins with exactly what its base holds. Only
// what the entry will say counts, so that replay finds the same.
func (p *Plan) untouched(i int) bool {
	b, r := p.parts[i].base, &p.results[i]
	return b != nil && p.changes[i].Len == 0 && len(r.Discards) == 0 && r.Size == b.State.Pages
}

func (p *Plan) checkExistence(c *Change, v *pagestore.DraftVolume) error {
	switch {
	case c.Create && v.Exists:
		return &MismatchError{LSN: p.lsn, Volume: c.Volume, What: "place", Want: "free", Got: "taken"}
	case !c.Create && !v.Exists:
		return &MismatchError{LSN: p.lsn, Volume: c.Volume, What: "place", Want: "taken", Got: "free"}
	case c.Attrs == nil || (!c.Create && c.Attrs.Name == v.Attrs().Name):
		return nil
	}
	_, taken, err := p.draft.VolumeID(c.Attrs.Name)
	if err == nil && taken && !p.frees(c.Attrs.Name) {
		err = &MismatchError{LSN: p.lsn, Volume: c.Volume, What: "name", Want: strconv.Quote(c.Attrs.Name), Got: "another volume's"}
	}
	return err
}

// frees reports whether a change of the plan gives up a name.
func (p *Plan) frees(name string) bool {
	for i := range p.parts {
		v, c := p.parts[i].vol, &p.changes[i]
		if !v.Exists || v.Attrs().Name != name || c.Name != "" {
			continue
		}
		if c.Delete || (c.Attrs != nil && c.Attrs.Name != name) {
			return true
		}
	}
	return false
}

// touched yields the pages that change, ascending.
func (p *Plan) touched(i int) iter.Seq[uint64] {
	c, discards := &p.changes[i], p.results[i].Discards
	if len(discards) == 0 {
		return pagesIn(c.Images)
	}
	return func(yield func(uint64) bool) {
		gone := pagesOf(discards)
		next, stop := iter.Pull(gone)
		defer stop()
		d, more := next()
		for im := range c.Images {
			for more && d < im.Page {
				if !yield(d) {
					return
				}
				d, more = next()
			}
			if !yield(im.Page) {
				return
			}
		}
		for ; more; d, more = next() {
			if !yield(d) {
				return
			}
		}
	}
}

func pagesIn(images iter.Seq[Image]) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for im := range images {
			if !yield(im.Page) {
				return
			}
		}
	}
}

func pagesOf(ranges []wal.PageRange) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, r := range ranges {
			for no := r.First; no < r.First+r.Count; no++ {
				if !yield(no) {
					return
				}
			}
		}
	}
}

// Results says, before anything is changed, which states the changes start
// from, and which discards remain once normalised. After is set by Apply.
func (p *Plan) Results() []Result { return p.results }

// Apply makes the changes. addr says where the byte at an offset of the body
// is: a heap slot or a position in the log (package pagetree). It cannot fail.
func (p *Plan) Apply(addr func(offset uint64) uint64) []Result {
	// What one change lets go of another may keep, and all bases are the states
	// before the entry.
	for i := range p.parts {
		if b := p.parts[i].base; b != nil {
			b.Pin()
		}
	}
	for i := range p.parts {
		if t := p.parts[i].tag; t != nil {
			t.Unpin()
		}
	}
	// Names that one change frees another may take.
	for i := range p.changes {
		if p.changes[i].Delete {
			p.delete(i)
		}
	}
	for i := range p.changes {
		if !p.changes[i].Delete {
			p.apply(i, addr)
		}
	}
	return p.results
}

func (p *Plan) delete(i int) {
	if t := p.parts[i].tag; t != nil {
		t.Delete()
		return
	}
	p.parts[i].vol.Delete(p.lsn)
	p.parts[i].vol.Touch(p.lsn)
}

func (p *Plan) apply(i int, addr func(uint64) uint64) {
	c, x, r := &p.changes[i], &p.parts[i], &p.results[i]
	switch {
	case x.tag != nil && x.tree == nil:
		x.tag.Point(p.lsn, x.base)
		r.After = x.tag.State()
		return
	case x.tag != nil:
		p.edit(i, addr)
		x.tag.Keep(p.lsn, uint32(i), x.tree)
		r.After = x.tag.State()
		return
	case c.Create:
		x.vol.Create(p.lsn, uint32(i), *c.Attrs)
	case c.Attrs != nil && c.Attrs.Name != x.vol.Attrs().Name:
		x.vol.Rename(c.Attrs.Name)
	}
	p.edit(i, addr)
	x.vol.Touch(p.lsn)
	r.After = x.vol.State()
}

// edit changes pages.
func (p *Plan) edit(i int, addr func(uint64) uint64) {
	if p.untouched(i) {
		return
	}
	c, v, r := &p.changes[i], p.parts[i].tree, &p.results[i]
	for no := range pagesOf(r.Discards) {
		v.Discard(p.lsn, no)
	}
	if c.Cut < v.Size() {
		v.Resize(p.lsn, c.Cut)
	}
	v.Resize(p.lsn, r.Size)
	v.Set(p.lsn, func(yield func(uint64, pagetree.Entry) bool) {
		for im := range c.Images {
			if !yield(im.Page, pagetree.Entry{Addr: addr(im.Offset), Birth: p.lsn, Hash: im.Hash}) {
				return
			}
		}
	})
}

// Next applies the changes of the transaction at LSN lsn to the logical tips:
// Prepare, then Apply.
func Next(d *pagestore.Draft, lsn wal.LSN, changes []Change, addr func(offset uint64) uint64) ([]Result, error) {
	p, err := Prepare(d, lsn, changes)
	if err != nil {
		return nil, err
	}
	return p.Apply(addr), nil
}
