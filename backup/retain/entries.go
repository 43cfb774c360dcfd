package retain

import (
	"context"
	"errors"
	"fmt"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/wal"
)

// entries finds the objects of entries that nothing needs: those that end before the
// first entry that is needed, or that was let go of before; never the last one.
func (p *planner) entries(ctx context.Context, l *log) error {
	out := Log{Timeline: l.id, Epoch: l.start.Epoch}
	defer func() { p.out.Logs = append(p.out.Logs, out) }()
	below := l.head.First
	if l.needed {
		out.From, below = l.points, l.from
	}
	below = min(max(below, l.highest(archive.KindTrim)), l.head.First)
	maybe := 0 // that many may go
	for maybe < len(l.entries) && l.entries[maybe].First < below {
		maybe++
	}
	lasts, err := p.lasts(ctx, l.entries, maybe)
	if err != nil {
		return err
	}
	first, floor := l.head.First, wal.LSN(0)
	for i, o := range l.entries {
		if i >= maybe || lasts[i] >= below {
			first = min(first, o.First)
			continue
		}
		out.Gone.add(o)
		p.work.entries = append(p.work.entries, o)
		if o.Kind == archive.KindAppend {
			floor = max(floor, lasts[i]+1)
		}
	}
	if out.Gone.Objects > 0 {
		out.Trim = max(first, l.highest(archive.KindTrim))
		p.note(l, archive.KindTrim, out.Trim)
		p.note(l, archive.KindFloor, max(floor, l.highest(archive.KindFloor)))
	}
	return nil
}

// lasts reads where the first n objects of a log's entries end. A damaged append ends
// where the next one begins.
func (p *planner) lasts(ctx context.Context, entries []object, n int) ([]wal.LSN, error) {
	lasts := make([]wal.LSN, n)
	err := each(ctx, entries[:n], func(ctx context.Context, i int, o object) error {
		if o.Kind == archive.KindPack {
			lasts[i] = o.Last
			return nil
		}
		h, err := archive.ReadHeader(ctx, p.store, o.Key)
		switch {
		case err == nil:
			lasts[i] = h.Last
		case damaged(err):
			lasts[i] = nextAppend(entries[i+1:]) - 1 // beyond all when there is none
		default:
			return err
		}
		return nil
	})
	return lasts, err
}

// nextAppend is where the next append begins; 0 when there is none.
func nextAppend(entries []object) wal.LSN {
	for _, o := range entries {
		if o.Kind == archive.KindAppend {
			return o.First
		}
	}
	return 0
}

// note plans a note that says what goes: put again if it is there, so that it stays.
func (p *planner) note(l *log, kind archive.Kind, at wal.LSN) {
	if at <= l.start.First { // nothing is below
		return
	}
	p.work.notes = append(p.work.notes, archive.Key{Kind: kind, Log: l.id, First: at})
}

// trim is below which the entries of a log may be gone, when the plan is done.
func (p *planner) trim(l *log) wal.LSN {
	at := l.highest(archive.KindTrim)
	for _, k := range p.work.notes {
		if k.Kind == archive.KindTrim && k.Log == l.id {
			at = max(at, k.First)
		}
	}
	return at
}

// oldNotes finds those of a log that higher ones replace.
func (p *planner) oldNotes(l *log) {
	for kind, notes := range l.notes {
		highest := l.highest(kind)
		for _, k := range p.work.notes {
			if k.Kind == kind && k.Log == l.id {
				highest = max(highest, k.First)
			}
		}
		for _, o := range notes {
			if o.First < highest {
				p.work.rest = append(p.work.rest, o)
			}
		}
	}
}

// oldPins finds the pins of the dead, and does not count those of the living.
func (p *planner) oldPins() {
	for _, o := range p.pins {
		if !(pins.Seen{Key: o.Key}).Live(p.now) {
			p.work.rest = append(p.work.rest, o)
			continue
		}
		p.all.Objects-- // it goes by itself
		p.all.Bytes -= o.size
	}
}

// oldBlobs finds the blobs of entries below the trims: no object has these entries any more,
// and an archiver puts no such blob.
func (p *planner) oldBlobs(ctx context.Context) error {
	trims, any := map[wal.TimelineID]wal.LSN{}, false
	for id, l := range p.logs {
		trims[id] = p.trim(l)
		any = any || trims[id] > 0
	}
	if !any {
		return nil
	}
	headers, errs := make([]archive.Header, len(p.blobs)), make([]error, len(p.blobs))
	err := each(ctx, p.blobs, func(ctx context.Context, i int, o object) error {
		headers[i], errs[i] = archive.ReadHeader(ctx, p.store, o.Key)
		if damaged(errs[i]) {
			return nil
		}
		return errs[i]
	})
	if err != nil {
		return err
	}
	for i, o := range p.blobs {
		switch h := headers[i]; {
		case errs[i] != nil && !errors.Is(errs[i], objects.ErrNotFound):
			p.out.Problems = append(p.out.Problems, fmt.Errorf("blob %s: %w", o.ID, errs[i]))
		case errs[i] == nil && h.First < trims[h.Log]:
			p.out.Blobs.add(o)
			p.work.blobs = append(p.work.blobs, o)
		}
	}
	return nil
}
