package retain

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// Options of Plan and Run. The zero value is the default throughout.
type Options struct {
	Identities []age.Identity // that open what is encrypted
	// Retry says how calls of the store are repeated; Tries are 5 when zero.
	Retry objects.RetryOptions
	// Now is the time; its location says where days begin.
	Now func() time.Time
	// Pin says how the archive is pinned meanwhile.
	Pin pins.Options
	// Merge, when there is one, has Run merge snapshots first, so that fewer need be kept; Plan
	// says which.
	Merge *Merge
	// Progress, when there is one, hears of objects that were deleted, of how many.
	Progress func(done, of int)
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Amount of objects.
type Amount struct {
	Objects int
	Bytes   int64
}

func (a *Amount) add(o object) {
	a.Objects++
	a.Bytes += o.size
}

// Planned is what stays of an archive and why, and what goes.
type Planned struct {
	Snapshots []Snapshot // that there are, the oldest first
	Logs      []Log      // in order of their epochs
	Leftover  Amount     // parts of attempts at snapshots that ended; while one is taken, these, too
	Blobs     Amount     // that go
	Gone      Amount     // all that goes, what is named above included
	All       Amount     // that there is
	Problems  []error    // what is damaged or locked, and so stays
	Pinned    []pins.Seen
	Merged    []Merged // with Options.Merge
	Done      bool     // Run has deleted it
}

// Snapshot that there is.
type Snapshot struct {
	Position wal.Position // its hash is zero when it is damaged
	Time     time.Time    // of its entry
	Amount                // manifest and parts
	Keep     []string     // reasons why it stays; none: it goes
	Err      error        // why it cannot be restored, or is not known to be
}

// Log of a timeline.
type Log struct {
	Timeline wal.TimelineID
	Epoch    uint64
	From     wal.LSN // every point from here on stays, up to the end, unless the archive has lost it; 0: none does
	Gone     Amount  // objects of entries that go
	Trim     wal.LSN // of the first entry that stays; 0 when none goes
}

// planner makes a plan, and what there is to do for it.
type planner struct {
	*inventory
	policy Policy
	now    time.Time
	before map[archive.Key]bool // parts that may be left over; any when nil
	out    Planned
	work   work
}

// work is what a plan comes to.
type work struct {
	confirm   []*snap
	notes     []archive.Key // to be put
	manifests []object      // the newest first
	parts     []object
	entries   []object
	blobs     []object
	rest      []object // notes and pins
}

// Plan says what a policy keeps of an archive and why, and what goes. Nothing is changed.
// Errors: ErrPolicy, objects.ErrNotFound when there is no archive, wal.ErrCorrupt when a
// log's beginning or end, or a note of it, is damaged, and the store's.
func Plan(ctx context.Context, store objects.Store, p Policy, o Options) (*Planned, error) {
	o = o.withDefaults()
	calm, err := newPlace(store, o.Retry)
	if err != nil {
		return nil, fmt.Errorf("retain: plan for %s: %w", store, err)
	}
	plan, err := makePlan(ctx, calm, p, o, nil)
	if err != nil {
		return nil, fmt.Errorf("retain: plan for %s: %w", store, err)
	}
	if plan.out.Pinned, _, err = pins.List(ctx, store, o.Now()); err != nil {
		return nil, fmt.Errorf("retain: plan for %s: %w", store, err)
	}
	return &plan.out, nil
}

func makePlan(ctx context.Context, store place, policy Policy, o Options, before map[archive.Key]bool) (*planner, error) {
	if err := policy.Check(); err != nil {
		return nil, err
	}
	if _, err := ship.OpenReader(ctx, store.Store, ship.ReadOptions{Retry: o.Retry}); err != nil {
		return nil, err
	}
	in, err := take(ctx, store, o.Identities)
	if err != nil {
		return nil, err
	}
	p := &planner{inventory: in, policy: policy, now: o.Now(), before: before}
	p.pickLines()
	p.close()
	p.damaged()
	p.snapshots()
	for _, l := range p.sorted() {
		if err := p.entries(ctx, l); err != nil {
			return nil, err
		}
		p.oldNotes(l)
	}
	p.oldPins()
	if err := p.oldBlobs(ctx); err != nil {
		return nil, err
	}
	p.out.All = in.all
	if o.Merge != nil {
		p.merges(o.Merge)
	}
	for _, list := range p.work.gone() {
		for _, o := range list {
			p.out.Gone.add(o)
		}
	}
	return p, nil
}

// gone is what is to be deleted, in order.
func (w *work) gone() [][]object {
	return [][]object{w.manifests, w.parts, w.entries, w.blobs, w.rest}
}

// sorted is the logs in order of their epochs.
func (in *inventory) sorted() []*log {
	return slices.SortedFunc(maps.Values(in.logs), func(a, b *log) int {
		return cmp.Or(cmp.Compare(a.start.Epoch, b.start.Epoch), strings.Compare(a.id.String(), b.id.String()))
	})
}

// pickLines has the policy pick what stays of each line, and notes which entries are
// needed.
func (p *planner) pickLines() {
	for _, l := range p.logs {
		if l.left && l.active().Before(p.now.Add(-p.policy.left())) {
			continue
		}
		line := p.line(l)
		snaps := usable(line)
		var times []time.Time
		for _, s := range snaps {
			times = append(times, s.time())
		}
		reasons, from := p.policy.pick(times, p.now)
		for i, s := range snaps {
			for _, reason := range reasons[i] {
				s.because(reason)
			}
		}
		first := wal.LSN(0)
		if from < len(snaps) {
			first = snaps[from].First
		}
		points := pointsOf(line, snaps, first)
		for _, g := range line {
			if g.upTo.LSN == 0 || first <= g.upTo.LSN {
				g.need(first)
			}
			if points != 0 && (g.upTo.LSN == 0 || points <= g.upTo.LSN) {
				g.offer(points)
			}
		}
	}
}

// pointsOf is from which LSN on every point of a line can be restored, of those from first
// on: earlier runs may have kept less. 0 when none can.
func pointsOf(line []segment, snaps []*snap, first wal.LSN) (points wal.LSN) {
	there := reach(line)
	if there == 1 {
		return max(1, first)
	}
	for _, s := range snaps {
		if s.keep != nil && s.First+1 >= there && s.First >= first {
			points = s.First
		}
	}
	return points
}

// reach is the first entry from which on a line has all, as far as its logs say.
func reach(line []segment) (from wal.LSN) {
	for _, g := range line {
		trim := g.highest(archive.KindTrim)
		if g.upTo.LSN != 0 {
			trim = min(trim, g.upTo.LSN+1)
		}
		if from = max(g.start.First, trim); from > g.start.First || from != g.start.Parent.LSN+1 {
			break
		}
	}
	return from
}

// usable is the snapshots of a line that can be restored, as far as is known, the newest
// first.
func usable(line []segment) (snaps []*snap) {
	for _, g := range line {
		for _, s := range slices.Backward(g.snaps) {
			if s.usable() && g.has(s) {
				snaps = append(snaps, s)
			}
		}
	}
	return snaps
}

// need notes that entries from an LSN on are.
func (l *log) need(from wal.LSN) {
	if from = max(from, l.start.First); !l.needed || from < l.from {
		l.from = from
	}
	l.needed = true
}

// offer notes that points from an LSN on can be restored.
func (l *log) offer(from wal.LSN) {
	if from = max(from, l.start.First); l.points == 0 || from < l.points {
		l.points = from
	}
}

// close keeps what those that stay are based on.
func (p *planner) close() {
	for _, s := range slices.Backward(p.snaps) { // a base comes behind
		if s.keep == nil {
			continue
		}
		if s.base != nil {
			s.base.because(ReasonBase)
		}
		if s.locked() && s.m == nil {
			for _, older := range p.older(s) {
				older.because(ReasonBase)
			}
		}
	}
}

// damaged keeps what cannot be restored, and is not older than all that the policy keeps of
// its log, with its base.
func (p *planner) damaged() {
	for _, l := range p.logs {
		oldest := slices.IndexFunc(l.snaps, func(s *snap) bool { return s.keep != nil && s.keep[0] != ReasonBase })
		for i, s := range l.snaps {
			if s.usable() || oldest < 0 && !l.needed || i < oldest {
				continue
			}
			s.because(ReasonDamaged)
			for base := s.base; base != nil; base = base.base {
				base.because(ReasonBase)
			}
		}
	}
}

// snapshots tells which stay, and which go with their parts.
func (p *planner) snapshots() {
	attempts := map[archive.Key]*snap{} // by log, LSN and UUID, which is zero when it is not known
	held := map[*snap]*Amount{}
	all := slices.Concat(p.snaps, p.spares())
	for _, s := range all {
		k := archive.Key{Log: s.Log, First: s.First, ID: s.header.ID}
		if other := attempts[k]; other == nil || other.keep == nil { // of two that name the same parts, the one that stays
			attempts[k] = s
		}
		held[s] = new(Amount)
		held[s].add(s.object)
	}
	for _, l := range p.logs {
		for k, size := range l.parts {
			part := object{k, size}
			s := attempts[archive.Key{Log: k.Log, First: k.First, ID: k.ID}]
			if s == nil {
				s = attempts[archive.Key{Log: k.Log, First: k.First}]
			}
			switch {
			case s != nil:
				held[s].add(part)
				if s.keep == nil {
					p.work.parts = append(p.work.parts, part)
				}
			case p.before == nil || p.before[k]:
				p.out.Leftover.add(part)
				p.work.parts = append(p.work.parts, part)
			}
		}
	}
	for _, s := range p.snaps {
		p.out.Snapshots = append(p.out.Snapshots, Snapshot{Position: wal.Position{Timeline: s.Log, LSN: s.First, Hash: s.header.Hash}, Time: s.time(), Amount: *held[s], Keep: s.keep, Err: s.err})
		if s.err != nil {
			p.out.Problems = append(p.out.Problems, fmt.Errorf("the snapshot at LSN %d of timeline %s: %w", s.First, s.Log, s.err))
		}
		if s.keep != nil && s.usable() {
			p.work.confirm = append(p.work.confirm, s)
		}
	}
	for _, s := range all {
		if s.keep == nil {
			p.work.manifests = append(p.work.manifests, s.object)
		}
	}
	slices.SortStableFunc(p.work.manifests, func(a, b object) int { return cmp.Compare(b.First, a.First) })
}

// spares are what is there twice. It goes, unless it is not known that the other can be
// restored: without its key that it lacks parts does not show.
func (p *planner) spares() []*snap {
	for _, s := range p.spare {
		if best := p.at(s); best.err != nil {
			s.keep = best.keep
		}
	}
	return p.spare
}

// at is the snapshot at the position of another one.
func (p *planner) at(s *snap) *snap {
	return p.snaps[slices.IndexFunc(p.snaps, func(o *snap) bool { return o.Log == s.Log && o.First == s.First })]
}
