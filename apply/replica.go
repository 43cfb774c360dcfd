package apply

import (
	"fmt"
	"io"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// Prepared is an entry, of the log or of another store, that fits the draft and
// has changed nothing yet.
type Prepared struct {
	plan  *Plan
	entry *wal.Entry
}

// PrepareEntry is the half of Entry that may fail: everything the entry says of
// the state before is checked, and what applying it reads is read. Index chunks
// are read through body. The draft stays as it is. Errors: a *MismatchError,
// ErrUnsupported, those of reading.
func PrepareEntry(d *pagestore.Draft, e *wal.Entry, body io.ReaderAt) (*Prepared, error) {
	if err := follows(d, e); err != nil {
		return nil, err
	}
	changes, err := changesOf(e, Body{ReaderAt: body})
	if err != nil {
		return nil, fmt.Errorf("apply: entry %d: %w", e.First, err)
	}
	for i := range changes {
		if c := &changes[i]; c.Create && !c.Delete && c.Attrs == nil {
			return nil, &MismatchError{LSN: e.First, Volume: c.Volume, What: "first change of the volume", Want: "without attributes", Got: "not there yet"}
		}
	}
	plan, err := Prepare(d, e.First, changes)
	if err != nil {
		return nil, err
	}
	if err := checkBefore(e, plan.Results()); err != nil {
		return nil, err
	}
	if err := admit(d, e); err != nil {
		return nil, err
	}
	return &Prepared{plan, e}, nil
}

// Apply makes the changes in memory and makes the entry, with that hash, the
// draft's last. body says where its images are. An error is a *MismatchError about
// a result, which Foretell did not tell: the draft must be dropped then.
func (p *Prepared) Apply(hash wal.Hash, body Body) error {
	d := p.plan.draft
	results := p.plan.Apply(body.Addr)
	d.Born(body.Extents...)
	for _, x := range body.Index {
		d.Died(p.entry.First, x)
	}
	d.Advance(p.entry, hash)
	return checkAfter(p.entry, results)
}

// Foretell checks the states that the entry claims to result in before anything
// is changed: for entries from elsewhere, whose refusal must leave no trace. Cost:
// a look-up for each page written or discarded, a step for each page cut off.
func (p *Prepared) Foretell() error {
	for i := range p.entry.Sections {
		s := &p.entry.Sections[i]
		if s.Action != wal.ActionSet {
			continue
		}
		got, err := p.plan.foretell(i)
		if err != nil {
			return fmt.Errorf("apply: entry %d: volume %s: %w", p.entry.First, s.Ref.Volume, err)
		}
		if got != s.Result {
			return &MismatchError{p.entry.First, s.Ref.Volume, "result", fmt.Sprint(s.Result), fmt.Sprint(got)}
		}
	}
	return nil
}

// foretell is the state that change i would result in.
func (p *Plan) foretell(i int) (wal.State, error) {
	c, v, r := &p.changes[i], p.parts[i].tree, &p.results[i]
	if p.untouched(i) {
		return r.Base.State, nil
	}
	size, _ := p.ownerPageSize(i)
	after := wal.State{PageSize: size, Pages: r.Size, Sum: r.Base.State.Sum}
	cut := min(c.Cut, r.Size)
	if cut < v.Size() {
		for page, err := range v.Pages(cut, v.Size()) {
			if err != nil {
				return after, err
			}
			after.Sum = after.Sum.Sub(page.Entry.Hash)
		}
	}
	lose := func(no uint64) error {
		if no >= min(cut, v.Size()) {
			return nil
		}
		old, ok, err := v.Lookup(no)
		if ok {
			after.Sum = after.Sum.Sub(old.Hash)
		}
		return err
	}
	for no := range pagesOf(r.Discards) {
		if err := lose(no); err != nil {
			return after, err
		}
	}
	for im := range c.Images {
		if err := lose(im.Page); err != nil {
			return after, err
		}
		after.Sum = after.Sum.Add(im.Hash)
	}
	return after, nil
}
