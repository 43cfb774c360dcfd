package retain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

// inventory is what an archive has, by log.
type inventory struct {
	store place
	ids   []age.Identity
	logs  map[wal.TimelineID]*log
	snaps []*snap // of all logs, by LSN; one for each position
	spare []*snap // what is there twice: merged, and as it was before
	blobs []object
	pins  []object
	all   Amount
}

// log is a timeline's.
type log struct {
	id      wal.TimelineID
	start   archive.Start
	entries []object // appends and packs, by first LSN
	notes   map[archive.Kind][]object
	snaps   []*snap // by LSN
	parts   map[archive.Key]int64
	head    archive.Header // of the object that goes furthest; no kind when there is none
	left    bool           // another timeline has left it

	needed bool
	from   wal.LSN // from which on entries are needed, if any are
	points wal.LSN // from which on every point can be restored; 0: none can
}

// snap is a snapshot.
type snap struct {
	object                    // the manifest
	header archive.Header     // of the manifest; no kind when it is damaged
	m      *snapshot.Manifest // nil when it cannot be read
	base   *snap              // nil when it needs none, or it is not known
	err    error              // why it cannot be restored; archive.ErrLocked: that is not known
	keep   []string           // reasons
}

func (s *snap) locked() bool { return errors.Is(s.err, archive.ErrLocked) }
func (s *snap) usable() bool { return s.err == nil || s.locked() }

func (s *snap) time() time.Time { return time.Unix(0, s.header.LastTime) }

// because adds a reason to stay.
func (s *snap) because(reason string) {
	if !slices.Contains(s.keep, reason) {
		s.keep = append(s.keep, reason)
	}
}

// relists is how often a list is made anew of which an object was gone: packed, since it
// was made.
const relists = 20

// errAbove: a note is above what was listed of its log. Behind another list, too, it is a lie.
var errAbove = errors.New("it is above the log")

// take lists an archive, and reads what its snapshots and ends of logs say.
func take(ctx context.Context, store place, ids []age.Identity) (in *inventory, err error) {
	for try := range relists {
		in, err = tryTake(ctx, store, ids)
		if !errors.Is(err, objects.ErrNotFound) && (try > 1 || !errors.Is(err, errAbove)) {
			break
		}
	}
	return in, err
}

func tryTake(ctx context.Context, store place, ids []age.Identity) (*inventory, error) {
	in := &inventory{store: store, ids: ids, logs: map[wal.TimelineID]*log{}}
	list, err := store.list(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		in.add(o)
	}
	for _, l := range in.logs {
		if err := in.ends(ctx, l); err != nil {
			return nil, err
		}
	}
	for _, l := range in.logs {
		if parent := in.logs[l.start.Parent.Timeline]; parent != nil {
			parent.left = true
		}
	}
	return in, in.manifests(ctx)
}

// manifests reads them all, and finds out which can be restored.
func (in *inventory) manifests(ctx context.Context) error {
	all := in.snaps
	slices.SortFunc(all, func(a, b *snap) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(b.Number, a.Number)) })
	if err := each(ctx, all, func(ctx context.Context, _ int, s *snap) error { return in.manifest(ctx, s) }); err != nil {
		return err
	}
	in.snaps = nil
	for _, s := range all { // a base comes first
		if s.err == nil {
			s.base, s.err = in.whole(s)
		}
		in.place(s)
	}
	for _, s := range in.snaps {
		in.logs[s.Log].snaps = append(in.logs[s.Log].snaps, s)
	}
	return nil
}

// place takes a snapshot for the one at its position, unless one that was merged more often,
// and can be restored, is.
func (in *inventory) place(s *snap) {
	i := slices.IndexFunc(in.snaps, func(o *snap) bool { return o.Log == s.Log && o.First == s.First })
	switch {
	case i < 0:
		in.snaps = append(in.snaps, s)
	case in.snaps[i].usable() || !s.usable():
		in.spare = append(in.spare, s)
	default:
		in.spare = append(in.spare, in.snaps[i])
		in.snaps[i] = s
	}
}

// add takes down an object.
func (in *inventory) add(o object) {
	in.all.add(o)
	switch o.Kind {
	case archive.KindFormat:
		return
	case archive.KindBlob:
		in.blobs = append(in.blobs, o)
		return
	case archive.KindPin:
		in.pins = append(in.pins, o)
		return
	}
	l := in.logs[o.Log]
	if l == nil {
		l = &log{id: o.Log, notes: map[archive.Kind][]object{}, parts: map[archive.Key]int64{}}
		in.logs[o.Log] = l
	}
	switch o.Kind {
	case archive.KindAppend, archive.KindPack:
		l.entries = append(l.entries, o)
	case archive.KindFloor, archive.KindTrim, archive.KindMark:
		l.notes[o.Kind] = append(l.notes[o.Kind], o)
	case archive.KindManifest:
		in.snaps = append(in.snaps, &snap{object: o})
	case archive.KindPart:
		l.parts[o.Key] = o.size
	}
}

// ends reads the start of a log, and the header of its last object.
func (in *inventory) ends(ctx context.Context, l *log) error {
	key := archive.Key{Kind: archive.KindStart, Log: l.id}
	var err error
	l.start, err = archive.ReadStart(ctx, in.store, l.id)
	if errors.Is(err, objects.ErrNotFound) {
		return fmt.Errorf("retain: %w", &wal.CorruptError{File: key.String(), Offset: -1, Reason: "it is missing, though the log has objects: nothing was deleted"})
	}
	if err != nil {
		return err
	}
	slices.SortFunc(l.entries, func(a, b object) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last)) })
	if err := in.end(ctx, l); err != nil {
		return err
	}
	return in.believe(ctx, l)
}

// believe reads the notes of a log, by which objects are deleted: one that is damaged, or
// under another key, or lets go of what the log has not had yet, is an error.
func (in *inventory) believe(ctx context.Context, l *log) error {
	next := max(l.head.Last+1, l.start.First)
	all := slices.Concat(l.notes[archive.KindFloor], l.notes[archive.KindTrim], l.notes[archive.KindMark])
	return each(ctx, all, func(ctx context.Context, _ int, o object) error {
		b, err := archive.ReadObject(ctx, in.store, o.Key, archive.SmallBytes)
		if err == nil {
			err = archive.CheckNote(o.Key, b)
		}
		if err == nil && o.Kind != archive.KindMark && o.First > next {
			err = fmt.Errorf("%w: %w", errAbove, &wal.CorruptError{File: o.String(), Offset: -1, LSN: o.First, Reason: fmt.Sprintf("the log's last entry is %d", next-1)})
		}
		if err != nil {
			err = fmt.Errorf("retain: what may go cannot be told, nothing was deleted: %w", err)
		}
		return err
	})
}

// end reads the header of the last append, and of the last pack.
func (in *inventory) end(ctx context.Context, l *log) error {
	var last [2]archive.Key
	for _, o := range l.entries {
		if i := int(o.Kind - archive.KindAppend); max(o.First, o.Last) >= max(last[i].First, last[i].Last) {
			last[i] = o.Key
		}
	}
	for _, k := range last {
		if k.Kind == 0 {
			continue
		}
		h, err := archive.ReadHeader(ctx, in.store, k)
		if err != nil {
			return err
		}
		if h.Last >= l.head.Last {
			l.head = h
		}
	}
	return nil
}

// highest is that of a kind of notes; 0 when there is none.
func (l *log) highest(k archive.Kind) (lsn wal.LSN) {
	for _, o := range l.notes[k] {
		lsn = max(lsn, o.First)
	}
	return lsn
}

// active is when something was last added to the log.
func (l *log) active() time.Time {
	last := l.head.LastTime
	for _, s := range l.snaps {
		last = max(last, s.header.LastTime)
	}
	return time.Unix(0, last)
}

// manifest reads one.
func (in *inventory) manifest(ctx context.Context, s *snap) error {
	s.m, s.err = snapshot.ReadKey(ctx, in.store, s.Key, wal.Hash{}, in.ids)
	if s.err != nil && !damaged(s.err) && !s.locked() {
		return s.err
	}
	h, err := archive.ReadHeader(ctx, in.store, s.Key)
	if err == nil {
		s.header = h
	} else if !damaged(err) {
		return err
	}
	return nil
}

// damaged reports whether an error is one of an object, not of who reads it.
func damaged(err error) bool {
	return errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion) || errors.Is(err, objects.ErrNotFound) || errors.Is(err, wal.ErrTooLarge)
}

// whole finds the base of a snapshot, and says why it cannot be restored.
func (in *inventory) whole(s *snap) (base *snap, err error) {
	l := in.logs[s.Log]
	for i, part := range s.m.Parts {
		if size, ok := l.parts[s.m.PartKey(i)]; !ok || size != part.Size {
			return nil, fmt.Errorf("retain: part %d of %d: %w", i+1, len(s.m.Parts), &wal.CorruptError{File: s.m.PartKey(i).String(), Offset: -1, Reason: "it is missing, or has another size"})
		}
	}
	if s.m.Whole() {
		return nil, nil
	}
	for _, b := range in.snaps {
		if b.header.Position() == s.m.Base {
			base = b
		}
	}
	switch {
	case base == nil:
		err = fmt.Errorf("retain: the base at LSN %d: %w", s.m.Base.LSN, objects.ErrNotFound)
	case base.err != nil:
		err = fmt.Errorf("retain: the base at LSN %d: %w", base.First, base.err)
	}
	return base, err
}

// segment is what a line has of a log: up to a position, or all when that is zero.
type segment struct {
	*log
	upTo wal.Position
}

// line is the history that leads to a timeline, the newest first.
func (in *inventory) line(l *log) (segments []segment) {
	var upTo wal.Position
	for seen := map[*log]bool{}; l != nil && !seen[l]; l = in.logs[upTo.Timeline] {
		seen[l] = true
		segments = append(segments, segment{l, upTo})
		if upTo = l.start.Parent; upTo.LSN == 0 {
			break
		}
	}
	return segments
}

// has reports whether a snapshot of the log belongs to the line.
func (g segment) has(s *snap) bool {
	return g.upTo.LSN == 0 || s.First < g.upTo.LSN || s.First == g.upTo.LSN && s.header.Hash == g.upTo.Hash
}

// older is the snapshots that one may be based on, as far as can be known without its key.
func (in *inventory) older(s *snap) (all []*snap) {
	for _, g := range in.line(in.logs[s.Log]) {
		for _, b := range g.snaps {
			if b.First < s.First && g.has(b) {
				all = append(all, b)
			}
		}
	}
	return all
}
