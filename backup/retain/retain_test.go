package retain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/retain"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

const day = 24 * time.Hour

// TestWithin: what is younger can be restored at every LSN, what is older no more, and the
// archive is well.
func TestWithin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.days(12)
	w.live(2, time.Hour)
	w.Ship()
	p := w.prune(retain.Policy{Within: 5 * day})
	if p.Gone.Objects == 0 || p.Blobs.Objects == 0 {
		t.Fatalf("nothing is gone: %+v", p)
	}
	w.keeps(p)
	if again := w.prune(retain.Policy{Within: 5 * day}); again.Gone.Objects != 0 {
		t.Errorf("again: %+v", again)
	}
	w.days(3)
	w.keeps(w.prune(retain.Policy{Within: 5 * day}))
	from, timeline := p.Logs[0].From, p.Logs[0].Timeline
	if from < 5 || p.Logs[0].Trim > from || p.Logs[0].Trim == 0 {
		t.Errorf("%+v", p.Logs[0])
	}
	if _, _, err := w.restore(restore.Target{Timeline: timeline, LSN: 3}, restore.Options{}); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("what is gone: %v", err)
	}
}

// TestOldSnapshotsStay: older ones can be restored at exactly their LSN, and the log that
// is missing around them is no damage.
func TestOldSnapshotsStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.days(25)
	p := w.prune(retain.Policy{Within: 2 * day, Weekly: 3})
	w.keeps(p)
	old := 0
	for _, s := range p.Snapshots {
		if s.Keep == nil || s.Position.LSN+1 >= p.Logs[0].Trim {
			continue
		}
		old++
		_, _, err := w.restore(restore.Target{Timeline: s.Position.Timeline, LSN: s.Position.LSN + 1}, restore.Options{})
		var refused *restore.RefusedError
		if !errors.As(err, &refused) || refused.Before != s.Position {
			t.Errorf("LSN %d, behind a snapshot: %v", s.Position.LSN+1, err)
		}
	}
	if old < 2 {
		t.Errorf("only %d old snapshots: %+v", old, p.Snapshots)
	}
}

// TestRandomHistories: whatever policy, whatever timelines were left and gone on with, what
// is promised can be restored, before and after more is written and pruned.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		w := newWorld(t, 100+seed)
		for range 3 {
			w.days(2 + w.R.IntN(4))
			w.live(w.R.IntN(3), time.Hour)
			w.Ship()
			if head := w.M.Stats().Head; w.R.IntN(2) == 0 {
				w.move(head.LSN - wal.LSN(w.R.IntN(3)))
				w.live(2, time.Hour)
				w.Ship()
			}
			policy := retain.Policy{
				Last: w.R.IntN(3), Daily: w.R.IntN(4), Weekly: w.R.IntN(2), Within: time.Duration(w.R.IntN(6)) * day, Left: time.Duration(1+w.R.IntN(8)) * day,
			}
			if policy.Check() != nil {
				policy.Last = 1
			}
			o := w.options()
			if w.R.IntN(2) == 0 {
				o.Merge = scratch()
			}
			w.keeps(w.pruneWith(policy, o), ship.Unmarked)
		}
	}
}

// TestParentsStay: what a line needs of its ancestors' logs stays, and of a timeline that was
// left for long nothing else.
func TestParentsStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.days(6)
	w.live(4, time.Hour)
	w.Ship()
	old := w.M.Stats().Head
	w.move(old.LSN - 2)
	w.live(2, time.Hour)
	w.Ship()
	policy := retain.Policy{Last: 2, Left: 10 * day}
	p := w.prune(policy)
	w.keeps(p, ship.Unmarked)
	if l := p.Logs[0]; l.Timeline != old.Timeline || l.From == 0 || l.From > old.LSN-2 {
		t.Fatalf("of the parent stays %+v", l)
	}
	w.point(old.Timeline, old.LSN) // the end that was left, too
	w.days(12)
	p = w.prune(policy)
	w.keeps(p, ship.Unmarked)
	if l := p.Logs[0]; l.From != 0 || l.Gone.Objects == 0 {
		t.Errorf("of the parent stays %+v", l)
	}
	if _, _, err := w.restore(restore.Target{Timeline: old.Timeline, LSN: old.LSN}, restore.Options{}); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("what was let go of: %v", err)
	}
}

// TestLogAlone: without a snapshot all entries are needed.
func TestLogAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	w.live(9, day)
	w.Ship()
	p := w.prune(retain.Policy{Last: 1, Within: time.Hour})
	if p.Gone.Objects != 0 {
		t.Errorf("%+v", p)
	}
	w.keeps(p)
}

// TestPinned: nothing is deleted while somebody uses the archive, and what the dead have
// pinned is, when that has ended.
func TestPinned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6)
	w.days(5)
	before := w.keys()
	pin, err := pins.Hold(ctx, w.Archive, pins.Options{Holder: "test", Now: func() time.Time { return w.now }, Sleep: objectstest.NoRenewal})
	must(t, err)
	defer pin.Release(ctx)
	_, err = retain.Run(ctx, w.Archive, retain.Policy{Last: 1}, w.options())
	var pinned *pins.PinnedError
	if !errors.As(err, &pinned) || len(pinned.By) != 1 || !strings.Contains(err.Error(), "test on ") || !strings.Contains(err.Error(), "nothing was deleted") {
		t.Errorf("beside a reader: %v", err)
	}
	if now := w.keys(); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("it has %v, not %v", now, before)
	}
	plan, err := retain.Plan(ctx, w.Archive, retain.Policy{Last: 1}, w.options())
	if err != nil || len(plan.Pinned) != 1 {
		t.Errorf("%+v, %v", plan, err)
	}
	w.set(w.now.Add(time.Hour))
	w.keeps(w.prune(retain.Policy{Last: 1}))
	for item, err := range w.Archive.List(ctx, archive.PinPrefix) {
		must(t, err)
		t.Errorf("%s is left", item.Key)
	}
}

// leaveParts leaves what an attempt at a snapshot does that was killed.
func (w *world) leaveParts(at wal.Position) (keys []string) {
	for i := range 3 {
		k := archive.Key{Kind: archive.KindPart, Log: at.Timeline, First: at.LSN, ID: [16]byte{7, 7, 7, 7, 7, 7, 0x47, 7, 0x87}, Number: uint32(i)}
		b, _, err := archive.Seal(archive.Header{
			Kind: k.Kind, Log: k.Log, Epoch: 1, First: k.First, Last: k.First, Hash: at.Hash, FirstTime: 1, LastTime: 1, ID: k.ID, Number: k.Number, Items: 1,
		}, nil, []byte("part"), archive.SealOptions{})
		must(w.T, errors.Join(err, w.Archive.Put(ctx, k.String(), objects.Bytes(b))))
		keys = append(keys, k.String())
	}
	return keys
}

// TestLeftovers: parts that no manifest names go, but those that came behind the look for
// pins, or of whom is at work.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7)
	w.days(2)
	at := w.M.Stats().Head
	w.leaveParts(at)
	at.LSN += 5 // no manifest is there
	w.leaveParts(at)
	if p := w.prune(retain.Policy{Within: 99 * day}); p.Gone.Objects != 6 || p.Leftover.Objects != 6 {
		t.Errorf("%+v is gone", p.Gone)
	}
	w.sound()

	w.leaveParts(at)
	late := &lateParts{Store: w.Archive, w: w, at: at}
	late.at.LSN++
	if p, err := retain.Run(ctx, late, retain.Policy{Within: 99 * day}, w.options()); err != nil || p.Leftover.Objects != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, key := range late.put {
		r, _, err := w.Archive.Get(ctx, key, 0, -1)
		must(t, err)
		must(t, r.Close())
	}
	if len(late.put) != 3 {
		t.Errorf("%v", late.put)
	}
}

// lateParts is a store in which parts turn up behind the first pin.
type lateParts struct {
	objects.Store
	w   *world
	at  wal.Position
	put []string
}

func (l *lateParts) Put(c context.Context, key string, b objects.Body) error {
	if strings.HasPrefix(key, archive.PinPrefix) && l.put == nil {
		l.put = l.w.leaveParts(l.at)
	}
	return l.Store.Put(c, key, b)
}

// TestDamaged: a snapshot that cannot be restored satisfies no rule, and those that it is
// an increment on stay with it.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, kind := range []archive.Kind{archive.KindPart, archive.KindManifest} {
		w := newWorld(t, 8)
		w.days(6)
		list, err := snapshot.List(ctx, w.Archive, w.M.Stats().Head.Timeline)
		must(t, err)
		for _, key := range w.keys() { // the newest
			if k, _ := archive.ParseKey(key); k.Kind == kind && k.First == list[0].Last {
				must(t, w.Archive.Delete(ctx, key))
				if kind == archive.KindManifest {
					must(t, w.Archive.Put(ctx, key, objects.Bytes([]byte("damage"))))
				}
			}
		}
		p, err := retain.Run(ctx, w.Archive, retain.Policy{Last: 1}, w.options())
		must(t, err)
		if len(p.Problems) != 1 || !errors.Is(p.Problems[0], wal.ErrCorrupt) {
			t.Errorf("%v", p.Problems)
		}
		for _, s := range p.Snapshots {
			keep := fmt.Sprint(s.Keep)
			if want := map[wal.LSN]string{list[0].Last: "[damaged]", list[1].Last: "[last"}[s.Position.LSN]; !strings.HasPrefix(keep, want) || want == "" && strings.Contains(keep, "last") {
				t.Errorf("LSN %d: %s", s.Position.LSN, keep)
			}
		}
		w.point(p.Logs[0].Timeline, list[1].Last)
		w.point(p.Logs[0].Timeline, w.M.Stats().Head.LSN)
		// When it is older than all that stays, it goes, too.
		w.days(2)
		p, err = retain.Run(ctx, w.Archive, retain.Policy{Last: 1}, w.options())
		must(t, err)
		w.keeps(p)
	}
}

// TestEncrypted: with the key all is as without encryption; without it nothing goes that may
// be a base.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 9)
	w.encrypt()
	w.days(6)
	o := w.options()
	o.Identities = nil
	p, err := retain.Run(ctx, w.Archive, retain.Policy{Last: 1}, o)
	must(t, err)
	if len(p.Problems) != 6 || !errors.Is(p.Problems[0], archive.ErrLocked) || p.Logs[0].Gone.Objects == 0 {
		t.Errorf("%+v", p)
	}
	for _, s := range p.Snapshots {
		if s.Keep == nil {
			t.Errorf("LSN %d goes, which another one may need", s.Position.LSN)
		}
	}
	w.keeps(p)
	if p = w.prune(retain.Policy{Last: 1}); p.Gone.Objects == 0 || len(p.Problems) != 0 {
		t.Errorf("%+v", p)
	}
	w.keeps(p)
}

// TestRefused: policies that keep nothing, places without an archive, and logs of which the
// beginning is lost.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10)
	w.days(2)
	if _, err := retain.Run(ctx, w.Archive, retain.Policy{}, w.options()); !errors.Is(err, retain.ErrPolicy) {
		t.Errorf("%v", err)
	}
	if _, err := retain.Plan(ctx, memory(t), retain.Policy{Last: 1}, w.options()); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("%v", err)
	}
	start := archive.Key{Kind: archive.KindStart, Log: w.M.Stats().Head.Timeline}
	must(t, w.Archive.Delete(ctx, start.String()))
	if _, err := retain.Run(ctx, w.Archive, retain.Policy{Last: 1}, w.options()); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("%v", err)
	}
}

// TestNotesThatLie: nothing goes because of a note that is damaged, was moved to another LSN
// or log, or is above the log.
func TestNotesThatLie(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 11)
	w.days(4)
	head := w.M.Stats().Head
	for _, kind := range []archive.Kind{archive.KindTrim, archive.KindFloor, archive.KindMark} {
		at := archive.Key{Kind: kind, Log: head.Timeline, First: head.LSN}
		above, below := at, at
		above.First, below.First = head.LSN+2, head.LSN-1
		lies := map[archive.Key][]byte{at: []byte("damage"), below: archive.EncodeNote(above)}
		if kind != archive.KindMark {
			lies[above] = archive.EncodeNote(above)
		}
		for key, b := range lies {
			s := w.copy()
			objectstest.Replace(t, s, key.String(), b)
			before := keysOf(t, s)
			if _, err := retain.Run(ctx, s, retain.Policy{Within: 1000 * time.Hour}, w.options()); !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), key.String()) {
				t.Errorf("%s: %v", key, err)
			}
			if left := keysOf(t, s); !slices.Equal(left, before) {
				t.Errorf("%s: of %v are left %v", key, before, left)
			}
		}
	}
}
