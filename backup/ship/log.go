package ship

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// ReadOptions of a Reader. The zero value reads what is not encrypted.
type ReadOptions struct {
	Identities []age.Identity
	// Retry says how calls of the store are repeated; Tries are 5 when zero, so
	// that a place that is gone is an error.
	Retry objects.RetryOptions
}

// Reader reads the logs of an archive.
type Reader struct {
	Format archive.Format

	place place
	ids   []age.Identity
}

// OpenReader opens the archive in a store of objects. Errors: objects.ErrNotFound
// when there is none, wal.ErrCorrupt, wal.ErrVersion.
func OpenReader(ctx context.Context, store objects.Store, o ReadOptions) (*Reader, error) {
	r, err := newReader(store, o)
	if err != nil {
		return nil, err
	}
	r.Format, err = archive.ReadFormat(ctx, r.place)
	return r, err
}

func newReader(store objects.Store, o ReadOptions) (*Reader, error) {
	setDefault(&o.Retry.Tries, objects.DefaultTries)
	p, err := newPlace(store, o.Retry)
	return &Reader{place: p, ids: o.Identities}, err
}

// Logs are the timelines that have a log in the archive, in no order.
func (r *Reader) Logs(ctx context.Context) (logs []wal.TimelineID, err error) {
	seen := map[wal.TimelineID]bool{}
	err = r.place.each(ctx, archive.LogsPrefix, func(k archive.Key, _ int64) { seen[k.Log] = true }, nil)
	for log := range seen {
		logs = append(logs, log)
	}
	return logs, err
}

// HighestEpoch is that of all logs whose start can be read: who begins a timeline above
// it is not taken for one of those.
func (r *Reader) HighestEpoch(ctx context.Context) (highest uint64, err error) {
	logs, err := r.Logs(ctx)
	if err != nil {
		return 0, err
	}
	for _, id := range logs {
		s, err := archive.ReadStart(ctx, r.place, id)
		switch {
		case err == nil:
			highest = max(highest, s.Epoch)
		case !errors.Is(err, objects.ErrNotFound) && !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion):
			return 0, err
		}
	}
	return highest, nil
}

// Log is what the keys of a log say of it.
type Log struct {
	Start archive.Start
	Floor wal.LSN // appends below may be gone
	Trim  wal.LSN // entries below may be gone
	Mark  wal.LSN // the log went up to here at least

	appends []wal.LSN // ascending
	packs   []span    // ascending
}

// span is a range of LSNs.
type span struct{ first, last wal.LSN }

// Log lists a log: objects.ErrNotFound when there is none, wal.ErrCorrupt when
// its start is gone or damaged. Memory: 16 bytes an object.
func (r *Reader) Log(ctx context.Context, timeline wal.TimelineID) (*Log, error) {
	l := new(Log)
	for _, kind := range []archive.Kind{archive.KindFloor, archive.KindTrim, archive.KindMark, archive.KindAppend, archive.KindPack} {
		var found []span
		err := r.place.each(ctx, archive.KindPrefix(timeline, kind), func(k archive.Key, _ int64) {
			if k.Kind == kind {
				found = append(found, span{k.First, k.Last})
			}
		}, nil)
		if err != nil {
			return nil, err
		}
		l.note(kind, found)
	}
	s, err := archive.ReadStart(ctx, r.place, timeline)
	if errors.Is(err, objects.ErrNotFound) && (len(l.appends) > 0 || len(l.packs) > 0) {
		err = corrupt(archive.Key{Kind: archive.KindStart, Log: timeline}, "it is missing, though the log has entries")
	}
	l.Start = s
	return l, err
}

// note adds what was listed of one kind.
func (l *Log) note(kind archive.Kind, found []span) {
	slices.SortFunc(found, func(a, b span) int { return compare(a.first, b.first, a.last, b.last) })
	if len(found) == 0 {
		return
	}
	highest := found[len(found)-1].first
	switch kind {
	case archive.KindPack:
		l.packs = found
	case archive.KindAppend:
		for _, s := range found {
			l.appends = append(l.appends, s.first)
		}
	case archive.KindFloor:
		l.Floor = highest
	case archive.KindTrim:
		l.Trim = highest
	case archive.KindMark:
		l.Mark = highest
	}
}

func compare(a, b, c, d wal.LSN) int { return cmp.Or(cmp.Compare(a, b), cmp.Compare(c, d)) }

// with are the objects that may have entry n, the best first: packs, those that go
// furthest first, then appends. Only its header says where an append ends.
func (l *Log) with(n wal.LSN) (keys []archive.Key) {
	for _, p := range l.packs {
		if p.first <= n && n <= p.last {
			keys = append(keys, archive.Key{Kind: archive.KindPack, Log: l.Start.Timeline, First: p.first, Last: p.last})
		}
	}
	slices.SortFunc(keys, func(a, b archive.Key) int { return compare(b.Last, a.Last, b.First, a.First) })
	at, found := slices.BinarySearch(l.appends, n)
	if found {
		at++
	}
	for i := at - 1; i >= max(0, at-olderAppends); i-- {
		keys = append(keys, archive.Key{Kind: archive.KindAppend, Log: l.Start.Timeline, First: l.appends[i]})
	}
	return keys
}

// olderAppends is how many appends before an LSN are looked at: the last is the
// right one, unless a stalled writer left one that is shorter.
const olderAppends = 2

// behind is the first LSN above n at which an object begins; 0 when there is none.
func (l *Log) behind(n wal.LSN) (next wal.LSN) {
	if at, found := slices.BinarySearch(l.appends, n+1); found || at < len(l.appends) {
		next = l.appends[at]
	}
	for _, p := range l.packs {
		if p.first > n && (next == 0 || p.first < next) {
			next = p.first
		}
	}
	return next
}

// segment is a part of a history, in one log.
type segment struct {
	log  *Log
	last wal.LSN // where the next timeline left it; 0 for the last segment
	hash wal.Hash
}

// path is the history that leads to a timeline, as far back as an LSN, or as the
// archive has logs: the oldest segment first.
func (r *Reader) path(ctx context.Context, timeline wal.TimelineID, from wal.LSN) (path []segment, err error) {
	var end wal.Position
	end.Timeline = timeline
	for {
		l, err := r.Log(ctx, end.Timeline)
		if errors.Is(err, objects.ErrNotFound) && len(path) > 0 {
			break // the archive began later
		}
		if err != nil {
			return nil, err
		}
		if end.LSN != 0 && l.Start.First > end.LSN {
			// The log begins behind where it was left.
			break
		}
		path = append(path, segment{log: l, last: end.LSN, hash: end.Hash})
		// Each parent was left below the LSN at which its child's log begins: this ends.
		if end = l.Start.Parent; end.LSN == 0 || l.Start.First <= from {
			break
		}
	}
	slices.Reverse(path)
	return path, nil
}
