package txn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// sent is an entry with its body, kept.
type sent struct {
	entry *wal.Entry
	body  []byte
	pos   wal.Position
}

// keepEntry copies what Apply wants of an event.
func keepEntry(t testing.TB, e *txn.Event) sent {
	t.Helper()
	s := sent{entry: e.Entry, pos: e.Position}
	images, err := e.Images()
	if err != nil {
		t.Fatal(err)
	}
	for i := range e.Entry.Sections {
		for _, c := range e.Entry.Sections[i].Delta.Chunks {
			s.copy(t, images, int64(c.Offset), int(c.Length))
		}
		for row, err := range e.Rows(&e.Entry.Sections[i]) {
			if err != nil {
				t.Fatal(err)
			}
			s.copy(t, images, int64(row.Locator.Offset()), int(row.Locator.Length()))
		}
	}
	return s
}

func (s *sent) copy(t testing.TB, from io.ReaderAt, off int64, n int) {
	t.Helper()
	if need := int(off) + n - len(s.body); need > 0 {
		s.body = append(s.body, make([]byte, need)...)
	}
	if got, err := from.ReadAt(s.body[off:][:n], off); got < n {
		t.Fatal(err)
	}
}

// log is everything behind a position, up to what is published now.
func (r *rig) log(after wal.Position) (list []sent) {
	r.t.Helper()
	last := r.Stats().Head
	if last == after {
		return nil
	}
	for e, err := range r.Watch(context.Background(), txn.WatchOptions{After: after}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if list = append(list, keepEntry(r.t, e)); e.Position.LSN == last.LSN {
			break
		}
	}
	return list
}

func (r *rig) apply(s sent) (txn.Applied, error) {
	return r.Apply(context.Background(), s.entry, bytes.NewReader(s.body))
}

// follow applies all that a writer has and this follower has not.
func (r *rig) follow(w *rig) {
	r.t.Helper()
	r.settle(r.applyAll(w.log(r.Stats().Head)))
}

// applyAll applies entries that must all be new.
func (r *rig) applyAll(list []sent) (last wal.Position) {
	r.t.Helper()
	for _, s := range list {
		got, err := r.apply(s)
		if err != nil || got.Skipped || got.Position != s.pos {
			r.t.Fatalf("apply %v: %+v, %v", s.pos, got, err)
		}
		last = got.Position
	}
	return last
}

// settle waits until a position is visible and durable.
func (r *rig) settle(pos wal.Position) {
	r.t.Helper()
	if _, err := r.Wait(context.Background(), pos, txn.Ack{Applied: true}); err != nil {
		r.t.Fatal(err)
	}
}

func newFollower(t testing.TB, o txn.Options) *rig {
	o.Follower = true
	return newRig(t, o)
}

// volumes describes all that a store holds: names, identities, changes, states.
func volumes(t testing.TB, r *rig) (list []string) {
	t.Helper()
	v, err := recovery.View(vfs.OS(), r.dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for vol, err := range v.Snapshot().Volumes() {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprint(vol.ID, vol.Attrs, vol.Seq, vol.Changed, vol.Created, vol.State()))
	}
	return append(list, fmt.Sprint(v.Snapshot().Head))
}

// wantSame checks that two stores hold the same and stand at the same position.
func wantSame(t testing.TB, w, f *rig) {
	t.Helper()
	if a, b := volumes(t, w), volumes(t, f); !slices.Equal(a, b) {
		t.Fatalf("the writer has\n%s\nthe follower\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	if a, b := w.Stats().Head, f.Stats().Head; a != b {
		t.Fatalf("the writer stands at %v, the follower at %v", a, b)
	}
}

// wantRefused checks that an entry is refused for a reason, and leaves no trace.
func (r *rig) wantRefused(s sent, why error) {
	r.t.Helper()
	eventually(r.t, "all is free that the last checkpoint let go of", func() bool { return r.Stats().Pages.LimboSlots == 0 })
	before, files := r.Stats(), r.disk
	_, err := r.apply(s)
	var refused *txn.ApplyError
	if !errors.Is(err, why) || !errors.As(err, &refused) {
		r.t.Fatalf("apply %v: %v, want %v", s.pos, err, why)
	}
	after := r.Stats()
	if refused.LSN != s.entry.First || after.Head != before.Head || after.Pages.Heap.Used != before.Pages.Heap.Used || after.Poisoned != "" || files == nil {
		r.t.Fatalf("%v changed something: %+v, before %+v", err, after, before)
	}
}

// work commits transactions of all kinds: small, large, beyond memory, with long
// indexes, discards, truncations, deletions, exchanged names, requests.
func (r *rig) work(seed uint64, n int) {
	r.t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	actor := r.NewActor()
	for i := range n {
		o := txn.TxOptions{}
		if i%3 == 0 {
			o.Actor, o.Seq = actor, uint64(i+1)
		}
		if i%5 == 0 {
			o.Message, o.Metadata = "work", make([]byte, rnd.IntN(2000))
		}
		_, err := r.UpdateWith(context.Background(), o, func(tx *txn.Tx) error { return workOnce(tx, rnd, i) })
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

func workOnce(tx *txn.Tx, rnd *rand.Rand, i int) error {
	sizes := []uint32{512, 4096, 65536}
	name := fmt.Sprintf("v%d", rnd.IntN(4))
	v, err := tx.Volume(name)
	if errors.Is(err, txn.ErrNoVolume) {
		v, err = tx.CreateVolume(name, txn.VolumeOptions{PageSize: sizes[rnd.IntN(3)]})
	}
	if err != nil {
		return err
	}
	pages := 1 + rnd.IntN(4)
	if i%7 == 0 {
		pages = 40
	}
	page := make([]byte, v.PageSize())
	for range pages {
		for j := range page {
			page[j] = byte(rnd.Uint32())
		}
		if err := v.WritePage(uint64(rnd.IntN(100)), page); err != nil {
			return err
		}
	}
	switch i % 11 {
	case 3:
		return v.DiscardPage(uint64(rnd.IntN(20)))
	case 5:
		return v.Truncate(uint64(rnd.IntN(60)))
	case 8:
		return tx.DeleteVolume(name)
	case 9:
		return tx.RenameVolume(name, fmt.Sprintf("renamed%d", rnd.Uint64()))
	}
	return nil
}

func TestFollowerHoldsWhatTheWriterDoes(t *testing.T) {
	w := newRig(t, txn.Options{CheckpointBytes: 1 << 20})
	f := newFollower(t, txn.Options{CheckpointBytes: 1 << 20, GenerationBytes: wal.MinGenerationBytes})
	if f.Stats().Head != (wal.Position{}) || f.Role() != txn.RoleFollower {
		t.Fatalf("a new follower stands at %v, role %v", f.Stats().Head, f.Role())
	}
	feed, err := w.Consumer(context.Background(), "follower")
	if err != nil {
		t.Fatal(err)
	}
	f.applyAll(w.log(wal.Position{}))
	for i := range 8 {
		w.work(uint64(i), 40)
		f.follow(w)
		wantSame(t, w, f)
		if err := feed.Ack(context.Background(), f.Stats().Head); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*rig{w, f} {
			if err := r.Checkpoint(context.Background()); i%2 == 0 && err != nil {
				t.Fatal(err)
			}
		}
		if i%3 == 0 {
			f.opts.Follower = false // it stays one
			if err := f.reopen(); err != nil {
				t.Fatal(err)
			}
			wantSame(t, w, f)
		}
	}
}

// A transaction with more rows than fit the entry, in several volumes, and one
// whose pages were staged on disk.
func TestFollowerTakesLongIndexes(t *testing.T) {
	w, f := newRig(t, txn.Options{StageBytes: 1 << 20}), newFollower(t, txn.Options{})
	w.update(func(tx *txn.Tx) error {
		for i, n := range []uint64{wal.MaxInlineRows + 700, 3, 2*wal.MaxInlineRows + 1} {
			v, err := tx.CreateVolume(fmt.Sprint("long", i), txn.VolumeOptions{PageSize: 512})
			for no := uint64(0); no < n && err == nil; no++ {
				err = v.WritePage(no*3, bytes.Repeat([]byte{byte(no), byte(no >> 8), 1, 2}, 128))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	f.follow(w)
	wantSame(t, w, f)
	w.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("long2")
		for no := uint64(0); no < wal.MaxInlineRows+5 && err == nil; no++ {
			err = v.WritePage(no*2, bytes.Repeat([]byte{9, byte(no), byte(no >> 8), 7}, 128))
		}
		return err
	})
	f.follow(w)
	if err := f.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := f.reopen(); err != nil {
		t.Fatal(err)
	}
	wantSame(t, w, f)
}

// Followers may be chained: each passes on what it got.
func TestFollowerOfAFollower(t *testing.T) {
	w, f, g := newRig(t, txn.Options{}), newFollower(t, txn.Options{}), newFollower(t, txn.Options{})
	w.work(1, 60)
	f.follow(w)
	g.follow(f)
	wantSame(t, w, g)
}

// Many entries share one sync, until somebody waits for one of them.
func TestApplyGroupsEntries(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{SyncEvery: time.Hour})
	w.volume("v", 1)
	for i := range uint64(300) {
		w.update(func(tx *txn.Tx) error { return put(tx, "v", i%10, i+1) })
	}
	list := w.log(wal.Position{})
	before := f.Stats().Syncs
	last := f.applyAll(list)
	if s := f.Stats(); (s.Syncs-before)*2 > uint64(len(list)) {
		t.Errorf("%d entries took %d syncs", len(list), s.Syncs-before)
	}
	f.settle(last) // long before the hour is over
	if s := f.Stats(); s.Durable != last.LSN {
		t.Errorf("durable up to LSN %d, waited for %d", s.Durable, last.LSN)
	}
	wantSame(t, w, f)
}

func TestAnEntryAppliedTwice(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.work(1, 30)
	list := w.log(wal.Position{})
	for i, s := range list {
		if got, err := f.apply(s); err != nil || got.Skipped {
			t.Fatal(got, err)
		}
		for _, again := range []sent{s, list[i/2]} { // the one just sequenced, and an older one
			got, err := f.apply(again)
			if err != nil || !got.Skipped || got.Position != again.pos {
				t.Fatalf("apply %v again: %+v, %v", again.pos, got, err)
			}
		}
	}
	f.settle(list[len(list)-1].pos)
	wantSame(t, w, f)

	// Another entry in the place of one that was applied.
	other := *list[20].entry
	other.Time++
	f.wantRefused(sent{&other, list[20].body, list[20].pos}, txn.ErrDiverged)

	// Where the log is gone nobody can tell.
	if err := f.reopen(); err != nil { // to another file of the log
		t.Fatal(err)
	}
	if err := f.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.wantRefused(list[3], txn.ErrCompacted)
}

func TestAFollowerThatIsFedEntryNPlus2(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.work(1, 12)
	list := w.log(wal.Position{})
	for i, s := range list {
		if i+1 < len(list) {
			f.wantRefused(list[i+1], txn.ErrGap)
		}
		if _, err := f.apply(s); err != nil {
			t.Fatal(err)
		}
		f.settle(s.pos)
	}
	wantSame(t, w, f)
}

// forged is an entry behind the follower's head that its writer never wrote.
func forged(s sent, change func(*wal.Entry)) sent {
	e := *s.entry
	e.Sections = slices.Clone(e.Sections)
	change(&e)
	return sent{&e, s.body, s.pos}
}

func TestAnEntryWhoseBaseIsMissing(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.volume("v", 3)
	f.follow(w)
	w.put("v", 1, 77)
	next := w.log(f.Stats().Head)[0]
	f.wantRefused(forged(next, func(e *wal.Entry) { // of a volume that was never here
		s := &e.Sections[0]
		s.Ref.Volume[15]++
		s.Base.Ref = s.Ref
	}), txn.ErrMissingBase)
	f.wantRefused(forged(next, func(e *wal.Entry) { // relative to a tip that was never here
		s := &e.Sections[0]
		s.Expect.LSN--
		s.Base.LSN, s.PrevChange = s.Expect.LSN, s.Expect.LSN
	}), txn.ErrMissingBase)
	f.follow(w)
	wantSame(t, w, f)
}

// Everything that does not fit is refused by its name, and the entry that does
// come next is then applied.
func TestApplyRefusesWhatDoesNotFit(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.volume("v", 3)
	f.follow(w)
	w.put("v", 1, 77)
	w.update(func(tx *txn.Tx) error { // beyond memory
		v, err := tx.Volume("v")
		for no := uint64(0); no < 200 && err == nil; no++ {
			err = v.WritePage(no, pageOf(no+500))
		}
		return err
	})
	for _, next := range w.log(f.Stats().Head) {
		for name, c := range map[string]struct {
			why    error
			change func(*wal.Entry)
		}{
			"another history":  {txn.ErrDiverged, func(e *wal.Entry) { e.Prev[0]++ }},
			"another timeline": {txn.ErrDiverged, func(e *wal.Entry) { e.Timeline[0]++ }},
			"an earlier epoch": {txn.ErrStaleEpoch, func(e *wal.Entry) { e.Epoch-- }},
			"another epoch":    {txn.ErrDiverged, func(e *wal.Entry) { e.Epoch++ }},
			"a time before":    {txn.ErrDiverged, func(e *wal.Entry) { e.Time = 1 }},
			"another state":    {txn.ErrDiverged, func(e *wal.Entry) { e.Sections[0].Base.State.Sum.Lo++; e.Sections[0].Expect.State.Sum.Lo++ }},
			"another result":   {txn.ErrDiverged, func(e *wal.Entry) { e.Sections[0].Result.Sum.Lo++ }},
			"another page": {txn.ErrImage, func(e *wal.Entry) {
				e.Sections[0].Delta.Rows = slices.Clone(e.Sections[0].Delta.Rows)
				e.Sections[0].Delta.Rows[0].Hash[3]++
			}},
		} {
			t.Run(name, func(t *testing.T) { f.wantRefused(forged(next, c.change), c.why) })
		}
		broken := next
		broken.body = bytes.Clone(next.body)
		broken.body[len(broken.body)-1]++
		f.wantRefused(broken, txn.ErrImage)
		f.wantRefused(sent{next.entry, nil, next.pos}, txn.ErrImage)
		f.wantRefused(sent{next.entry, next.body[:len(next.body)-1], next.pos}, txn.ErrImage)
		f.settle(f.applyAll([]sent{next}))
	}
	wantSame(t, w, f)
}

// Errors that are not about the entry leave no trace, either.
func TestApplyThatCannot(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{MaxTxBytes: 16 << 10})
	w.volume("v", 1)
	f.follow(w)
	w.volume("large", 100)
	next := w.log(f.Stats().Head)[0]
	if _, err := f.apply(next); !errors.Is(err, wal.ErrTooLarge) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Apply(ctx, next.entry, bytes.NewReader(next.body)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := f.Apply(context.Background(), &wal.Entry{}, nil); err == nil {
		t.Error("an empty entry was applied")
	}
	if _, err := w.apply(next); !errors.Is(err, txn.ErrNotFollower) {
		t.Error("a writer applies:", err)
	}
	f.opts.MaxTxBytes = 0
	if err := f.reopen(); err != nil {
		t.Fatal(err)
	}
	f.follow(w)
	wantSame(t, w, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.apply(next); !errors.Is(err, txn.ErrClosed) {
		t.Error(err)
	}
	f.open()
}

// A follower's disk that fails ends its writing, as a writer's does; reopened it
// resumes where it stands.
func TestFollowerIsPoisonedAndResumes(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.work(3, 20)
	f.follow(w)
	w.work(4, 20)
	list := w.log(f.Stats().Head)
	f.disk.fail(failing(syscall.EIO, "", "sync"))
	var err error
	for _, s := range list {
		if _, err = f.apply(s); err != nil {
			break
		}
		if _, err = f.Wait(context.Background(), s.pos, txn.Ack{}); err != nil {
			break
		}
	}
	if !errors.Is(err, txn.ErrPoisoned) {
		t.Fatal(err)
	}
	if err := f.reopen(); !errors.Is(err, txn.ErrPoisoned) {
		t.Error(err)
	}
	f.follow(w)
	wantSame(t, w, f)
}

// A follower begins no transaction that writes, until it is promoted; it reads
// and has consumers like a writer.
func TestFollowerIsReadOnly(t *testing.T) {
	ctx := context.Background()
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.volume("v", 2)
	f.follow(w)
	for range 2 {
		if _, err := f.Begin(ctx, txn.TxOptions{}); !errors.Is(err, txn.ErrFollower) {
			t.Fatal(err)
		}
		if _, err := f.Update(ctx, func(*txn.Tx) error { return nil }); !errors.Is(err, txn.ErrFollower) {
			t.Fatal(err)
		}
		if got := f.get("v", 1); got != 2 {
			t.Fatal(got)
		}
		f.opts.Follower, f.opts.Create = false, false
		if err := f.reopen(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := f.Consumer(ctx, "c")
	if err != nil {
		t.Fatal(err)
	}
	w.put("v", 0, 5)
	f.follow(w)
	for e, err := range c.Watch(ctx, txn.WatchOptions{}) {
		if err != nil || e.Position != w.Stats().Head {
			t.Fatal(err)
		}
		break
	}
}

// What was committed and not followed is lost to the promoted follower; what
// was, is there with the outcomes of its requests.
func TestPromote(t *testing.T) {
	ctx := context.Background()
	w, f, g := newRig(t, txn.Options{}), newFollower(t, txn.Options{}), newFollower(t, txn.Options{})
	w.work(1, 20)
	w.volume("p", 1)
	actor := w.NewActor()
	asked := txn.TxOptions{Actor: actor, Seq: 7, RequestDigest: []byte("digest")}
	lost, err := w.UpdateWith(ctx, asked, func(tx *txn.Tx) error { return put(tx, "p", 0, 7) }) // its acknowledgement is lost
	if err != nil {
		t.Fatal(err)
	}
	f.follow(w)
	g.follow(w)
	parent := f.Stats().Head
	w.put("p", 0, 8) // the old writer goes on
	stale := w.log(parent)

	pos, err := f.Promote(ctx)
	if err != nil || pos.LSN != parent.LSN+1 || f.Role() != txn.RoleWriter || pos.Timeline == parent.Timeline {
		t.Fatal(pos, err, f.Role())
	}
	if _, err := f.Promote(ctx); !errors.Is(err, txn.ErrNotFollower) {
		t.Error("promoted twice:", err)
	}
	c, err := f.UpdateWith(ctx, asked, func(*txn.Tx) error { t.Error("a known request runs"); return nil })
	if err != nil || !c.Repeated || c.Position != lost.Position {
		t.Errorf("%+v, %v", c, err)
	}
	o, err := f.Outcome(ctx, txn.OutcomeKey{Actor: actor, Seq: 7})
	if err != nil || o.Status != txn.Committed || o.Position != lost.Position {
		t.Errorf("%+v, %v", o, err)
	}
	f.wantRefused(stale[0], txn.ErrStaleEpoch)
	f.put("p", 0, 9)

	begun := f.log(parent)
	if b := begun[0].entry; b.Kind != wal.KindTimeline || b.Epoch != 2 || b.Begin.Reason != "promotion" || b.Begin.ParentHash != parent.Hash || b.Begin.Parent != parent.Timeline {
		t.Errorf("%+v", b.Begin)
	}
	// Another follower crosses where it stands at the parent, and then knows
	// the old writer's entry for what it is.
	g.follow(f)
	wantSame(t, f, g)
	g.wantRefused(stale[0], txn.ErrStaleEpoch)
	g.wantRefused(stale[0], txn.ErrDiverged)
	g.wantRefused(forged(stale[0], func(e *wal.Entry) { e.First, e.Last = 1000, 1000 }), txn.ErrStaleEpoch)

	// The old writer, demoted, has gone too far.
	w.opts.Follower = true
	if err := w.reopen(); err != nil {
		t.Fatal(err)
	}
	w.wantRefused(begun[0], txn.ErrDiverged)
	f.opts.Follower = false
	if err := f.reopen(); err != nil || f.Role() != txn.RoleWriter {
		t.Fatal(err, f.Role())
	}
	if got := f.get("p", 0); got != 9 {
		t.Error(got)
	}
	f.put("p", 0, 10)
	g.follow(f)
	wantSame(t, f, g)
	for _, r := range []*rig{f, g} { // also behind a checkpoint that lies on the new timeline
		if err := r.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		if err := r.reopen(); err != nil {
			t.Fatal(err)
		}
	}
	f.put("p", 0, 11)
	g.follow(f)
	wantSame(t, f, g)
}

// A timeline that begins elsewhere is not crossed.
func TestATimelineThatBeginsElsewhere(t *testing.T) {
	ctx := context.Background()
	w, f, g := newRig(t, txn.Options{}), newFollower(t, txn.Options{}), newFollower(t, txn.Options{})
	w.volume("v", 1)
	f.follow(w)
	w.put("v", 0, 2)
	g.follow(w)
	if _, err := f.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	f.put("v", 0, 3)
	for _, s := range f.log(wal.Position{}) {
		if s.entry.Epoch == 2 {
			g.wantRefused(s, txn.ErrDiverged) // it stands at the parent's LSN + 1
		}
	}
	begins := f.log(w.log(wal.Position{})[1].pos)[0]
	h := newFollower(t, txn.Options{})
	h.settle(h.applyAll(w.log(wal.Position{})[:1]))
	h.wantRefused(begins, txn.ErrGap)
	h.settle(h.applyAll(w.log(h.Stats().Head)[:1]))
	h.wantRefused(forged(begins, func(e *wal.Entry) { b := *e.Begin; b.Parent[0]++; e.Begin = &b }), txn.ErrDiverged)
	h.wantRefused(forged(begins, func(e *wal.Entry) { e.Epoch = 1 }), txn.ErrStaleEpoch)
	h.follow(f)
	wantSame(t, f, h)
}

func TestPromoteNothing(t *testing.T) {
	f := newFollower(t, txn.Options{})
	if _, err := f.Promote(context.Background()); !errors.Is(err, txn.ErrNothingToPromote) {
		t.Error(err)
	}
	if err := f.Checkpoint(context.Background()); err != nil {
		t.Error(err)
	}
	if err := f.reopen(); err != nil || f.Role() != txn.RoleFollower || f.Stats().Head.LSN != 0 {
		t.Error(err, f.Role(), f.Stats().Head)
	}
}

// A promotion that fails leaves a follower, or what opening makes a writer.
func TestPromoteOnADiskThatFails(t *testing.T) {
	for _, c := range []struct {
		file     string
		follower bool // opened with Options.Follower: a promotion is taken back
		want     txn.Role
	}{
		{"MANIFEST", true, txn.RoleFollower},
		{"wal", true, txn.RoleFollower},
		{"wal", false, txn.RoleWriter},
	} {
		w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
		w.volume("v", 1)
		log := f.idle(func() { f.follow(w) })
		f.opts.Follower = c.follower
		if c.file == "wal" {
			c.file = log // and not another, which may be made ready meanwhile
		}
		f.disk.fail(failing(syscall.EIO, c.file, "sync"))
		if _, err := f.Promote(context.Background()); !errors.Is(err, txn.ErrPoisoned) {
			t.Errorf("%+v: %v", c, err)
		}
		if err := f.reopen(); !errors.Is(err, txn.ErrPoisoned) {
			t.Errorf("%+v: %v", c, err)
		}
		if f.Role() != c.want {
			t.Errorf("%+v: it is a %v", c, f.Role())
		}
		if f.Role() == txn.RoleWriter {
			f.put("v", 0, 9)
			continue
		}
		if f.Stats().Head.LSN > 2 {
			continue // its own timeline had begun: it is another history now
		}
		w.put("v", 0, 2)
		f.follow(w)
		wantSame(t, w, f)
	}
}

// sectionsAt is where the sections begin in an entry's encoding. What lies before,
// IDs, the time, extensions, may be anything.
func sectionsAt(t testing.TB, e *wal.Entry) int {
	t.Helper()
	bare := *e
	bare.Sections = nil
	b, err := wal.AppendEntry(nil, &bare)
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}

// Entries with a changed byte, as far as they can still be decoded, are refused
// without a trace, or are another history's that could have been.
func TestApplyOfChangedEntries(t *testing.T) {
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{})
	w.work(5, 60)
	rnd := rand.New(rand.NewPCG(5, 5))
	refused, taken := 0, 0
	list := w.log(wal.Position{})
	for _, s := range list {
		encoded, err := wal.AppendEntry(nil, s.entry)
		if err != nil {
			t.Fatal(err)
		}
		head := sectionsAt(t, s.entry)
		for range 15 {
			if head == len(encoded) {
				break // it has no sections
			}
			b := bytes.Clone(encoded)
			b[head+rnd.IntN(len(b)-head)] ^= 1 << rnd.IntN(8)
			e, err := wal.DecodeEntry(b)
			if err != nil {
				continue
			}
			before := f.Stats()
			if _, err := f.apply(sent{e, s.body, s.pos}); err != nil {
				refused++
				if now := f.Stats(); now.Poisoned != "" || now.Pages.Heap.Used != before.Pages.Heap.Used {
					t.Fatalf("%v left a trace: %+v", err, now)
				}
				continue
			}
			taken++ // the name of a new volume, a size: this follower has another history now
			f = newFollower(t, txn.Options{})
			if s.pos.LSN > 1 {
				f.settle(f.applyAll(list[:s.pos.LSN-1]))
			}
		}
		f.settle(f.applyAll([]sent{s}))
	}
	wantSame(t, w, f)
	if refused < 100 {
		t.Errorf("only %d were refused, %d taken", refused, taken)
	}
	t.Logf("%d refused, %d taken", refused, taken)
}

// A full disk refuses entries, and a promotion, without a trace; with room the
// follower goes on.
func TestFollowerOnAFullDisk(t *testing.T) {
	ctx := context.Background()
	w, f := newRig(t, txn.Options{}), newFollower(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	w.volume("v", 1)
	for i := range uint64(150) {
		o := txn.TxOptions{Metadata: make([]byte, 60<<10)}
		if _, err := w.UpdateWith(ctx, o, func(tx *txn.Tx) error { return put(tx, "v", 0, i) }); err != nil {
			t.Fatal(err)
		}
	}
	full := func(op, name string) error {
		switch op {
		case "create", "mkdir", "grow":
			return syscall.ENOSPC
		}
		return nil
	}
	list := w.log(wal.Position{})
	f.settle(f.applyAll(list[:5]))
	f.disk.fail(full)
	n := 5
	for ; n < len(list); n++ {
		if _, err := f.apply(list[n]); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n == len(list) {
		t.Fatal("the log takes more than there is room for")
	}
	f.settle(list[n-1].pos)
	if s := f.Stats(); s.Head != list[n-1].pos || s.Poisoned != "" || f.Role() != txn.RoleFollower {
		t.Fatalf("%+v", s)
	}
	if pos, err := f.Promote(ctx); err == nil {
		t.Logf("there was room for the promotion: %v", pos)
		return
	} else if !errors.Is(err, syscall.ENOSPC) || f.Role() != txn.RoleFollower {
		t.Fatal(err, f.Role())
	}
	f.disk.fail(nil)
	f.follow(w)
	wantSame(t, w, f)
	if _, err := f.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	f.put("v", 0, 3)
}
