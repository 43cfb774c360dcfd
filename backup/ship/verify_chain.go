package ship

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/wal"
)

// chain compares the objects of a log with each other, and finds out what can be
// read. They are sorted by where they begin.
func (v *verifier) chain(l *verified) {
	known := map[wal.LSN]wal.Hash{} // of entries at the ends of objects
	if l.start != nil {
		known[l.start.First-1] = l.start.Before
	}
	var r *Range
	var furthest *archive.Header
	next := l.first()
	for i := range l.objects {
		h := &l.objects[i]
		v.agree(h, furthest, known)
		switch {
		case h.Kind == archive.KindSkip:
			v.gap(l, next, h.First-1)
			v.report.Skipped = append(v.report.Skipped, rangeOf(h))
			r = nil
		case r == nil || h.First > r.Last+1 || h.First == r.Last+1 && h.Before != r.Hash:
			v.gap(l, next, h.First-1)
			v.report.Ranges = append(v.report.Ranges, rangeOf(h))
			r = &v.report.Ranges[len(v.report.Ranges)-1]
		case h.Last > r.Last:
			r.Last, r.LastTime, r.Hash = h.Last, h.LastTime, h.Hash
		}
		if furthest == nil || h.Last > furthest.Last {
			furthest = h
		}
		next = max(next, h.Last+1)
	}
	v.end(l, next)
}

func rangeOf(h *archive.Header) Range {
	return Range{Timeline: h.Log, First: h.First, Last: h.Last, FirstTime: h.FirstTime, LastTime: h.LastTime, Before: h.Before, Hash: h.Hash}
}

// first is where the log begins, as far as that is known.
func (l *verified) first() wal.LSN {
	switch {
	case l.start != nil:
		return l.start.First
	case len(l.objects) > 0:
		return l.objects[0].First
	}
	return 1
}

// agree holds an object against the hashes that others know, and adds its own.
// What lies within furthest is looked up there.
func (v *verifier) agree(h, furthest *archive.Header, known map[wal.LSN]wal.Hash) {
	for _, at := range []struct {
		lsn  wal.LSN
		hash wal.Hash
	}{{h.First - 1, h.Before}, {h.Last, h.Hash}} {
		other, ok := known[at.lsn]
		if !ok && furthest != nil && furthest.First <= at.lsn && at.lsn < furthest.Last {
			other, ok = v.hashIn(furthest, at.lsn)
		}
		if ok && other != at.hash {
			v.add(keyOf(h), Conflict, fmt.Errorf("ship: entry %d has hash %s in it, and %s elsewhere in the log: %w", at.lsn, at.hash, other, ErrDiverged))
		}
		if !ok {
			known[at.lsn] = at.hash
		}
	}
}

// hashIn is the hash of an entry in an object that was verified; not ok if it is locked.
func (v *verifier) hashIn(h *archive.Header, lsn wal.LSN) (hash wal.Hash, ok bool) {
	err := v.open(v.ctx, keyOf(h), func(o *archive.Opened) error {
		entries, err := archive.NewEntries(o, nil)
		for err == nil && !ok {
			var item *archive.Item
			if item, err = entries.Next(); err == nil && item.Entry.Last == lsn {
				hash, ok = item.Hash, true
			}
		}
		return err
	})
	return hash, ok && err == nil
}

func keyOf(h *archive.Header) archive.Key {
	k := archive.Key{Kind: h.Kind, Log: h.Log, First: h.First}
	switch h.Kind {
	case archive.KindPack:
		k.Last = h.Last
	case archive.KindSkip:
		k.Kind = archive.KindAppend
	}
	return k
}

// gap reports the entries that are missing, unless they may be: where the log was trimmed.
func (v *verifier) gap(l *verified, first, last wal.LSN) {
	first = max(first, l.trim)
	if first > last {
		return
	}
	key := archive.Key{Kind: archive.KindAppend, Log: l.timeline, First: first}
	v.add(key, Missing, &GapError{Timeline: l.timeline, First: first, Last: last})
}

// end compares where the log ends with what is known of it. next is behind its last
// entry.
func (v *verifier) end(l *verified, next wal.LSN) {
	switch {
	case l.mark >= next:
		v.gap(l, next, l.mark)
		next = l.mark + 1
	case l.mark+1 < next && len(l.objects) > 0:
		key := archive.Key{Kind: archive.KindMark, Log: l.timeline, First: next - 1}
		v.add(key, Unmarked, errors.New("ship: whether entries followed cannot be told"))
	}
	for kind, at := range map[archive.Kind]wal.LSN{archive.KindFloor: l.floor, archive.KindTrim: l.trim} {
		if at > next {
			v.add(archive.Key{Kind: kind, Log: l.timeline, First: at}, Conflict, fmt.Errorf("ship: it is above the log, whose last entry is %d: %w", next-1, wal.ErrCorrupt))
		}
	}
}

// floors finds out whether appends were deleted without a floor above them.
func (v *verifier) floors(l *verified) {
	covered := wal.LSN(0) // by appends without a gap, up to here
	for _, h := range l.objects {
		if h.Kind == archive.KindPack {
			continue
		}
		if covered != 0 && h.First > covered+1 || covered == 0 && h.First > l.first() {
			v.floor(l, h.First)
		}
		covered = max(covered, h.Last)
		if h.First < l.floor && l.inPack(h.First, h.Last) {
			v.add(keyOf(&h), Leftover, errors.New("ship: a pack has its entries, and a floor is above it"))
		}
	}
	for _, h := range l.objects {
		if h.Kind == archive.KindPack && h.Last > covered {
			v.floor(l, h.Last+1)
		}
	}
}

// floor reports that there is none of at least an LSN, below which appends were
// deleted, since a pack has their entries or the log was trimmed.
func (v *verifier) floor(l *verified, at wal.LSN) {
	gone := l.inPack(at-1, at-1) || at <= l.trim // and not lost
	if l.floor >= at || !gone {
		return
	}
	key := archive.Key{Kind: archive.KindFloor, Log: l.timeline, First: at}
	v.add(key, Missing, errors.New("ship: appends were deleted below, and a writer that stalled could bring them back"))
}

// inPack reports whether a pack has entries first to last.
func (l *verified) inPack(first, last wal.LSN) bool {
	return slices.ContainsFunc(l.objects, func(h archive.Header) bool {
		return h.Kind == archive.KindPack && h.First <= first && last <= h.Last
	})
}

// joins compares where timelines were left with what their children say.
func (v *verifier) joins() {
	for _, l := range v.logs {
		if l.start == nil || l.start.Parent.LSN == 0 || v.ctx.Err() != nil {
			continue
		}
		p := l.start.Parent
		parent := v.logs[p.Timeline]
		if parent == nil || parent.start == nil || p.LSN < parent.start.First || p.LSN < parent.trim {
			continue // the archive began later, or lets go of it
		}
		v.join(l, parent)
	}
}

func (v *verifier) join(l, parent *verified) {
	p := l.start.Parent
	whole := &Log{Start: *parent.start}
	for _, h := range parent.objects {
		if h.Last == p.LSN && h.Hash == p.Hash || h.First == p.LSN+1 && h.Before == p.Hash {
			return
		}
		whole.add(&h)
	}
	for item, err := range v.Reader.log(v.ctx, whole, p.LSN, p.LSN, wal.Hash{}) {
		var gap *GapError
		switch {
		case errors.As(err, &gap) && gap.Next.LSN != 0: // it was skipped
		case err == nil && item.Hash != p.Hash:
			v.add(startKey(l.timeline), Conflict, fmt.Errorf("ship: the timeline left %v, which is another entry in the archive: %w", p, ErrDiverged))
		case errors.As(err, &gap):
			v.gap(parent, gap.First, gap.Last)
		case err != nil && !errors.Is(err, archive.ErrLocked):
			v.fail(startKey(l.timeline), err)
		}
	}
}

// add adds an object of which the header is known.
func (l *Log) add(h *archive.Header) {
	if h.Kind == archive.KindPack {
		l.packs = append(l.packs, span{h.First, h.Last})
		return
	}
	l.appends = append(l.appends, h.First)
}
