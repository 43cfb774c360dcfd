package apply

import (
	"fmt"
	"strconv"

	"github.com/quire-db/quire/wal"
)

// findBase finds the tip that a fork or a tag begins from. The state before the
// entry is meant, so a ref that the entry itself sets is refused, be it by this
// change: what began from it would depend on the order of the changes.
func (p *Plan) findBase(i int) error {
	c, r := &p.changes[i], &p.results[i]
	if c.From == nil {
		return nil
	}
	if o := p.changeOf(c.From.Ref); o != nil && !o.Delete {
		return p.mismatch(c, "base", "as it was before the entry", "set by the entry")
	}
	b, ok, err := p.draft.Base(c.From.Ref)
	switch {
	case err != nil:
		return err
	case !ok:
		return p.mismatch(c, "base", fmt.Sprintf("volume %s, ref %q", c.From.Ref.Volume, c.From.Ref.Name), "not there")
	case c.From.Tip != 0 && (c.From.Tip != b.Tip || c.From.State != b.State):
		return p.mismatch(c, "base", fmt.Sprintf("tip %d, %v", c.From.Tip, c.From.State), fmt.Sprintf("tip %d, %v", b.Tip, b.State))
	}
	p.parts[i].base = b
	r.Base = wal.Base{Ref: c.From.Ref, LSN: b.Tip, State: b.State}
	return nil
}

// changeOf is what the plan does to a ref, or nil. One entry can set thousands.
func (p *Plan) changeOf(ref wal.Ref) *Change {
	if p.byRef == nil {
		p.byRef = make(map[wal.Ref]int, len(p.changes))
		for i := range p.changes {
			p.byRef[wal.Ref{Volume: p.changes[i].Volume, Name: p.changes[i].Name}] = i
		}
	}
	if i, ok := p.byRef[ref]; ok {
		return &p.changes[i]
	}
	return nil
}

func (p *Plan) mismatch(c *Change, what, want, got string) error {
	return &MismatchError{LSN: p.lsn, Volume: c.Volume, What: what, Want: want, Got: got}
}

func (p *Plan) prepareTag(i int) (err error) {
	c, r, x := &p.changes[i], &p.results[i], &p.parts[i]
	if x.tag, err = p.draft.Tag(wal.Ref{Volume: c.Volume, Name: c.Name}); err != nil {
		return err
	}
	t := x.tag
	r.Before, r.Expect, r.Changed, r.Seq = t.State(), t.Tip(), t.Changed(), t.Seq()+1
	if c.Delete && !t.Exists {
		return p.mismatch(c, "place", "tag "+strconv.Quote(string(c.Name)), "free")
	}
	size, ok := p.ownerPageSize(i)
	if !ok {
		return p.mismatch(c, "volume", "there", "not there")
	}
	if c.Delete {
		return nil
	}
	if err := p.findBase(i); err != nil {
		return err
	}
	if x.base != nil && x.base.State.PageSize != size {
		return p.mismatch(c, "page size", fmt.Sprint(size), fmt.Sprint(x.base.State.PageSize))
	}
	x.tree = p.draft.Carry(x.base, size)
	if err := p.load(i); err != nil || !p.untouched(i) {
		return err
	}
	x.tree = nil // it points to its base's tip
	return nil
}

// ownerPageSize is that of the volume to which a tag belongs; ok is false when
// there is none after the entry.
func (p *Plan) ownerPageSize(i int) (size uint32, ok bool) {
	switch c := p.changeOf(wal.Ref{Volume: p.changes[i].Volume}); {
	case c == nil:
	case c.Create:
		return c.Attrs.PageSize, true
	case c.Delete:
		return 0, false
	}
	v := p.parts[i].vol
	return v.Attrs().PageSize, v.Exists
}
