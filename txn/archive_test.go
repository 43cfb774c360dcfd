package txn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rs/zerolog"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var errPlace = errors.New("the place is out of reach")

// place is a store of objects that can be out of reach.
type place struct {
	objects.Store
	mu    sync.Mutex
	calls int
	from  int // the call from which on it is out of reach; never when negative
}

func newPlace(t testing.TB, disk *crashfs.FS) *place {
	t.Helper()
	d, err := objects.OpenDir("/archive", objects.DirOptions{Disk: disk, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return &place{Store: d, from: -1}
}

// away puts it out of reach from a call on, counted from now; a negative one back.
func (p *place) away(from int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls, p.from = 0, from
}

func (p *place) call() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.from >= 0 && p.calls > p.from {
		return errPlace
	}
	return nil
}

func (p *place) called() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

func (p *place) Put(ctx context.Context, key string, b objects.Body) error {
	if err := p.call(); err != nil {
		return errors.Join(objects.ErrUnknown, err)
	}
	return p.Store.Put(ctx, key, b)
}

func (p *place) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if err := p.call(); err != nil {
		return nil, 0, err
	}
	return p.Store.Get(ctx, key, off, n)
}

func (p *place) Delete(ctx context.Context, key string) error {
	if err := p.call(); err != nil {
		return errors.Join(objects.ErrUnknown, err)
	}
	return p.Store.Delete(ctx, key)
}

func (p *place) List(ctx context.Context, prefix string) iter.Seq2[objects.Item, error] {
	if err := p.call(); err != nil {
		return func(yield func(objects.Item, error) bool) { yield(objects.Item{}, err) }
	}
	return p.Store.List(ctx, prefix)
}

// archived is a store in memory that archives into a place.
type archived struct {
	*txn.Manager
	t     testing.TB
	base  string // for all that it needs
	dir   string
	opts  txn.Options
	news  int // that were restored
	place *place
	value map[wal.LSN]uint64 // of page 0 of volume "v" at each LSN
	log   syncedBuffer
}

// eager are options that wait for nothing.
func eager(p objects.Store) txn.ArchiveOptions {
	return txn.ArchiveOptions{
		Store: p, OpenTimeout: 20 * time.Second, CloseTimeout: 20 * time.Second, AckEvery: time.Millisecond,
		Ship: ship.Options{Interval: time.Millisecond, MaxBytes: 30 << 10, InlineBytes: 10 << 10, MarkEvery: 2, Retry: objects.RetryOptions{First: time.Millisecond, Most: 4 * time.Millisecond}},
	}
}

// newArchived opens a store whose archive is in a place.
func newArchived(t testing.TB, p *place) *archived {
	t.Helper()
	s := unopened(t, p)
	s.open()
	return s
}

// unopened is one that is still to be opened.
func unopened(t testing.TB, p *place) *archived { return unopenedIn(t, t.TempDir(), p) }

func unopenedIn(t testing.TB, base string, p *place) *archived {
	s := &archived{t: t, base: base, dir: filepath.Join(base, "store"), place: p, value: map[wal.LSN]uint64{}}
	s.opts = txn.Options{Create: true, CheckpointEvery: -1, Archive: eager(p), Logger: zerolog.New(&s.log)}
	return s
}

func (s *archived) open() {
	s.t.Helper()
	m, _, err := txn.Open(s.dir, s.opts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Manager = m
	s.t.Cleanup(func() { _ = m.Close() })
}

func (s *archived) close() {
	s.t.Helper()
	if err := s.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// write commits n values.
func (s *archived) write(n int) {
	s.t.Helper()
	for range n {
		value := rand.Uint64()
		c, err := s.Update(context.Background(), func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if errors.Is(err, txn.ErrNoVolume) {
				v, err = tx.CreateVolume("v", txn.VolumeOptions{})
			}
			if err != nil {
				return err
			}
			for no := range 1 + value%5 { // some go to blobs
				if err := v.WritePage(no, pageOf(value)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.value[c.Position.LSN] = value
	}
}

// overwrite commits many pages, so that a consumer lags.
func (s *archived) overwrite(pages uint64) {
	s.t.Helper()
	value := rand.Uint64()
	c, err := s.Update(context.Background(), func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		for no := uint64(0); no < pages && err == nil; no++ {
			err = v.WritePage(no, pageOf(value))
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.value[c.Position.LSN] = value
}

// trim fills the log until what follows a position is gone from it.
func (s *archived) trim(pos wal.Position) {
	s.t.Helper()
	eventually(s.t, "the log is trimmed", func() bool {
		for range 10 {
			value := rand.Uint64()
			c, err := s.UpdateWith(context.Background(), txn.TxOptions{Metadata: make([]byte, 60<<10)}, func(tx *txn.Tx) error { return put(tx, "v", 0, value) })
			if err != nil {
				s.t.Fatal(err)
			}
			s.value[c.Position.LSN] = value
		}
		if err := s.Checkpoint(context.Background()); err != nil {
			s.t.Fatal(err)
		}
		for _, err := range s.Watch(context.Background(), txn.WatchOptions{After: pos}) {
			return errors.Is(err, txn.ErrCompacted)
		}
		return false
	})
}

func (s *archived) stats() txn.ArchiveStats { return s.Stats().Archive }

// await waits until the archive has everything.
func (s *archived) await() {
	s.t.Helper()
	var st txn.ArchiveStats
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%+v\n%s", st, s.log.String())
		}
	}()
	eventually(s.t, "all is archived", func() bool {
		st = s.stats()
		return st.State == txn.ArchiveRunning && st.Shipped == s.Stats().Head && st.Acked == st.Shipped
	})
}

// awaitState waits for a state.
func (s *archived) awaitState(want txn.ArchiveState) {
	s.t.Helper()
	eventually(s.t, "the state is "+want.String(), func() bool { return s.stats().State == want })
}

// verified verifies the archive.
func (s *archived) verified() *ship.Report {
	s.t.Helper()
	r, err := ship.Verify(context.Background(), s.place.Store, ship.ReadOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	if !r.Sound() {
		s.t.Fatal(r.Problems)
	}
	return r
}

// restored restores to a target, and returns the LSN, and page 0 of volume "v".
func (s *archived) restored(target restore.Target) (wal.LSN, uint64, error) {
	s.t.Helper()
	s.news++
	dir := filepath.Join(s.base, fmt.Sprint("restored", s.news))
	got, err := txn.Restore(context.Background(), s.place.Store, dir, target, restore.Options{Follower: true}, txn.Options{FS: s.opts.FS})
	if err != nil {
		return 0, 0, err
	}
	m, _, err := txn.Open(dir, txn.Options{FS: s.opts.FS})
	if err != nil {
		s.t.Fatal(err)
	}
	defer m.Close()
	var value uint64
	err = m.View(context.Background(), func(tx *txn.Tx) (err error) {
		value, err = get(tx, "v", 0)
		return err
	})
	if errors.Is(err, txn.ErrNoVolume) {
		err = nil
	}
	return got.Position.LSN, value, err
}

// restores fails unless the archive leads to an LSN.
func (s *archived) restores(target restore.Target) {
	s.t.Helper()
	lsn, value, err := s.restored(target)
	if err != nil || target.LSN != 0 && lsn != target.LSN || value != s.value[lsn] {
		s.t.Fatalf("%v: LSN %d, value %d, want %d: %v", target, lsn, value, s.value[lsn], err)
	}
}

// TestArchiveNeverStopsCommits: with a place that is never there commits, checkpoints and
// Close go on as ever, and what is to be known is said.
func TestArchiveNeverStopsCommits(t *testing.T) {
	t.Parallel()
	p := newPlace(t, crashfs.New())
	p.away(0)
	s := unopened(t, p)
	s.opts.Archive.OpenTimeout, s.opts.Archive.CloseTimeout = time.Millisecond, time.Hour
	for range 2 {
		s.open()
		s.write(20)
		if err := s.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the lag is told", func() bool {
			st := s.stats()
			return st.State == txn.ArchiveUnchecked && st.Failing && strings.Contains(st.LastError, errPlace.Error()) && st.LagEntries >= 20 && st.Lag > 0
		})
		s.close()
	}
	if !strings.Contains(s.log.String(), "the archive could not be reached") {
		t.Error(s.log.String())
	}
	p.away(-1)
	s.opts.Archive.OpenTimeout = 20 * time.Second
	s.open()
	s.close()
	if st := s.stats(); st.Shipped != s.Stats().Head {
		t.Errorf("%+v", st)
	}
	s.restores(restore.Target{})
}

// rolledBack is a store that is put back to an older copy of its disk, behind the
// back of its archive, and what the archive ends with.
func rolledBack(t *testing.T) (s *archived, old, newest wal.Position) {
	t.Helper()
	s = newArchived(t, newPlace(t, crashfs.New()))
	s.write(4)
	s.close()
	old = s.Stats().Head
	kept := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(kept, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	s.open()
	s.write(5)
	s.close()
	newest = s.Stats().Head
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries { // the directory stays, or it would be taken for a copy
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
	}
	if err := errors.Join(err, os.CopyFS(s.dir, os.DirFS(kept))); err != nil {
		t.Fatal(err)
	}
	return s, old, newest
}

// bothRestore fails unless the archive leads to the ends of both timelines.
func (s *archived) bothRestore(old, newest wal.Position) {
	s.t.Helper()
	if r := s.verified(); len(r.Skipped) > 0 {
		s.t.Errorf("%+v", r.Skipped)
	}
	if lsn, value, err := s.restored(restore.Target{Timeline: newest.Timeline}); err != nil || lsn != newest.LSN || value != s.value[lsn] {
		s.t.Errorf("the old timeline: LSN %d, value %d: %v", lsn, value, err)
	}
	delete(s.value, old.LSN+1) // which begins the timeline
	s.value[old.LSN+1] = s.value[old.LSN]
	head := s.Stats().Head
	s.write(2)
	s.await()
	s.restores(restore.Target{LSN: old.LSN})
	s.restores(restore.Target{Timeline: head.Timeline})
}

// TestArchiveOfARolledBackStore: it begins a timeline before its next write, says so, and
// both timelines can be restored.
func TestArchiveOfARolledBackStore(t *testing.T) {
	t.Parallel()
	s, old, newest := rolledBack(t)
	s.open()
	head := s.Stats().Head
	if head.LSN != old.LSN+1 || head.Timeline == old.Timeline {
		t.Fatalf("it is at %v, was at %v", head, old)
	}
	st := s.stats()
	if st.RolledBack == nil || st.RolledBack.Store != old || st.RolledBack.Archive != newest || !strings.Contains(s.log.String(), "the store was rolled back") {
		t.Errorf("%+v: %s", st, s.log.String())
	}
	for e, err := range s.Watch(context.Background(), txn.WatchOptions{After: old}) {
		if err != nil || e.Entry.Begin == nil || e.Entry.Begin.Reason != "rolled back" || e.Entry.Begin.ParentLSN != old.LSN {
			t.Errorf("%+v, %v", e, err)
		}
		break
	}
	s.bothRestore(old, newest)
	s.close()
	s.open() // once is enough
	if st := s.stats(); st.RolledBack != nil {
		t.Errorf("%+v", st)
	}
	s.await()
}

// TestArchiveOfARolledBackStoreIsFoundLater: the place is out of reach when it is opened. As
// long as nothing is written the same is done when it is back.
func TestArchiveOfARolledBackStoreIsFoundLater(t *testing.T) {
	t.Parallel()
	s, old, newest := rolledBack(t)
	s.opts.Archive.OpenTimeout = time.Millisecond
	s.place.away(3)
	s.open()
	if st := s.stats(); st.State != txn.ArchiveUnchecked {
		t.Fatalf("%+v", st)
	}
	s.place.away(-1)
	s.awaitState(txn.ArchiveRunning)
	if st := s.stats(); st.RolledBack == nil {
		t.Errorf("%+v", st)
	}
	s.bothRestore(old, newest)
}

// TestArchiveOfARolledBackStoreThatWrote: entries that were written before it was found out
// are another history of the same timeline. Archiving stops; neither is lost.
func TestArchiveOfARolledBackStoreThatWrote(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 5, 9} { // less, as much, and more than the archive has
		s, _, newest := rolledBack(t)
		s.opts.Archive.OpenTimeout = -1
		s.place.away(0)
		s.open()
		want := s.value[newest.LSN]
		s.write(n)
		s.place.away(-1)
		s.awaitState(txn.ArchiveStopped)
		st := s.stats()
		if !errors.Is(st.Err, ship.ErrDiverged) || st.LastError == "" || !strings.Contains(s.log.String(), "archiving has stopped") {
			t.Errorf("%+v", st)
		}
		s.write(2) // commits go on
		s.close()
		s.verified()
		if lsn, value, err := s.restored(restore.Target{}); err != nil || lsn != newest.LSN || value != want {
			t.Errorf("LSN %d, %d: %v", lsn, value, err)
		}
	}
}

// TestArchiveGoesOnBehindAGap: the place is out of reach for so long that the consumer is
// dropped: it is said loudly, and when the place is back the archive goes on behind a
// snapshot.
func TestArchiveGoesOnBehindAGap(t *testing.T) {
	t.Parallel()
	s := newArchived(t, newPlace(t, crashfs.New()))
	s.close()
	s.opts.ConsumerLagBytes, s.opts.GenerationBytes = 1<<20, wal.MinGenerationBytes
	s.open()
	s.write(3)
	s.await()
	shipped := s.stats().Shipped
	s.place.away(0)
	for try := 0; s.Stats().ConsumersDropped == 0; try++ {
		s.overwrite(100)
		if err := s.Checkpoint(context.Background()); err != nil || try > 100 {
			t.Fatal("it is never dropped", err)
		}
	}
	s.trim(shipped)
	var dropped *txn.DroppedError
	st := s.stats()
	if !errors.As(st.Dropped, &dropped) || dropped.Name != txn.ArchiveConsumer || st.LagEntries == 0 {
		t.Errorf("%+v", st)
	}
	eventually(t, "the place's failure is told", func() bool { return s.stats().Failing })
	if !strings.Contains(s.log.String(), `"level":"error","consumer":"quire-archive"`) {
		t.Errorf("no loud report: %s", s.log.String())
	}
	gap := s.Stats().Head.LSN
	s.place.away(-1)
	s.await()
	s.write(3)
	s.await()
	if st := s.stats(); st.Skipped == 0 || st.Err != nil || !errors.Is(st.Dropped, txn.ErrConsumerDropped) || st.Failing {
		t.Errorf("%+v", st)
	}
	s.close()
	r := s.verified()
	if len(r.Skipped) != 1 || r.Skipped[0].Last < gap {
		t.Fatalf("%+v, %+v", r.Skipped, r.Ranges)
	}
	first, last := r.Skipped[0].First, r.Skipped[0].Last
	if first <= shipped.LSN {
		t.Errorf("skipped from %d on, shipped up to %v", first, shipped)
	}
	for _, lsn := range []wal.LSN{first - 1, last, last + 1, s.Stats().Head.LSN} {
		s.restores(restore.Target{LSN: lsn})
	}
	for _, lsn := range []wal.LSN{first, last - 1} {
		if _, _, err := s.restored(restore.Target{LSN: lsn}); !errors.Is(err, restore.ErrRefused) {
			t.Errorf("within the gap: LSN %d: %v", lsn, err)
		}
	}
}

// TestArchiveOfAnOldStore: a store whose log does not reach back any more begins its archive
// with a snapshot.
func TestArchiveOfAnOldStore(t *testing.T) {
	t.Parallel()
	s := newArchived(t, newPlace(t, crashfs.New()))
	s.close()
	archive := s.opts.Archive
	s.opts.Archive = txn.ArchiveOptions{}
	s.open()
	s.write(5)
	if err := s.DropConsumer(txn.ArchiveConsumer); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st := s.stats(); st != (txn.ArchiveStats{}) {
		t.Errorf("without an archive: %+v", st)
	}
	s.write(2)
	s.close()
	s.place = newPlace(t, crashfs.New())
	archive.Store = s.place
	s.opts.Archive = archive
	s.open()
	s.write(2)
	s.await()
	s.close()
	s.restores(restore.Target{})
	s.verified()
}

// TestArchiveOfAFollower: its writer archives. When it is promoted it goes on in the same
// archive, on its own timeline.
func TestArchiveOfAFollower(t *testing.T) {
	t.Parallel()
	p := newPlace(t, crashfs.New())
	w := newArchived(t, p)
	w.write(4)
	f := unopened(t, p)
	f.value, f.opts.Follower = w.value, true
	f.open()
	for e, err := range w.Watch(context.Background(), txn.WatchOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		images, err := e.Images()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Apply(context.Background(), e.Entry, images); err != nil {
			t.Fatal(err)
		}
		if e.Position == w.Stats().Head {
			break
		}
	}
	at := w.Stats().Head
	w.write(3) // which it never gets
	newest := w.Stats().Head
	w.close()
	if st := f.stats(); st.State != txn.ArchiveFollower || len(f.Consumers()) > 0 {
		t.Errorf("%+v, %+v", st, f.Consumers())
	}
	begun, err := f.Promote(context.Background())
	if err != nil || begun.LSN != at.LSN+1 {
		t.Fatal(begun, err)
	}
	f.await()
	if st := f.stats(); st.RolledBack != nil {
		t.Errorf("%+v", st)
	}
	f.bothRestore(at, newest)
}

// TestArchiveIsAnothers: a place that has another store's archive is left as it is.
func TestArchiveIsAnothers(t *testing.T) {
	t.Parallel()
	p := newPlace(t, crashfs.New())
	one := newArchived(t, p)
	one.write(3)
	one.close()
	other := newArchived(t, p)
	if st := other.stats(); st.State != txn.ArchiveStopped || !errors.Is(st.Err, ship.ErrDiverged) {
		t.Errorf("%+v", st)
	}
	other.write(3)
	other.close()
	one.verified()
	one.restores(restore.Target{})
}

// TestArchiveOptions: what cannot be is refused, and secrets are not printed.
func TestArchiveOptions(t *testing.T) {
	t.Parallel()
	p := newPlace(t, crashfs.New())
	for what, o := range map[string]txn.Options{
		"a wait":   {Archive: txn.ArchiveOptions{Store: p, AckEvery: -1}},
		"a size":   {Archive: txn.ArchiveOptions{Store: p, Ship: ship.Options{MaxBytes: -1}}},
		"a secret": {CacheBytes: -1, Archive: txn.ArchiveOptions{Store: p}},
	} {
		o.Create = true
		if _, _, err := txn.Open(t.TempDir(), o); err == nil || strings.Contains(err.Error(), fmt.Sprint(p)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestArchiveOnARealDisk is the same on files, closed while it is busy.
func TestArchiveOnARealDisk(t *testing.T) {
	t.Parallel()
	d, err := objects.OpenDir(t.TempDir(), objects.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := eager(d)
	o.Ship.Interval = time.Hour // Close need not wait for it
	r := newRig(t, txn.Options{Archive: o})
	r.volume("v", 1)
	for i := range uint64(10) {
		c, err := r.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error { return put(tx, "v", 0, i) })
		if err != nil || c.Position.LSN != wal.LSN(i+3) {
			t.Fatal(c, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	got, err := txn.Restore(context.Background(), d, dir, restore.Target{}, restore.Options{}, txn.Options{})
	if err != nil || got.Position != r.Stats().Head {
		t.Fatalf("%+v, %v", got, err)
	}
	rep, err := ship.Verify(context.Background(), d, ship.ReadOptions{})
	if err != nil || len(rep.Problems) > 0 {
		t.Fatal(rep, err)
	}
}

// TestBackupIsEncrypted: with an archive that is encrypted snapshots are, too, if nothing else
// is said.
func TestBackupIsEncrypted(t *testing.T) {
	t.Parallel()
	ctx, p := context.Background(), newPlace(t, crashfs.New())
	key := func() *age.X25519Identity {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	own, other := key(), key()
	s := unopened(t, p)
	s.opts.Archive.Ship.Seal.Recipients, s.opts.Archive.Ship.Identities = []age.Recipient{own.Recipient()}, []age.Identity{own}
	s.open()
	for what, c := range map[string]struct {
		o     snapshot.Options
		opens age.Identity
	}{
		"the archive's": {opens: own},
		"another's":     {snapshot.Options{Seal: archive.SealOptions{Recipients: []age.Recipient{other.Recipient()}}}, other},
	} {
		s.write(1)
		made, err := s.Backup(ctx, p, c.o)
		if err != nil {
			t.Fatal(what, err)
		}
		if _, err := snapshot.Read(ctx, p, made.Position, nil); !errors.Is(err, archive.ErrLocked) {
			t.Errorf("%s: without a key: %v", what, err)
		}
		if _, err := snapshot.Read(ctx, p, made.Position, []age.Identity{c.opens}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestBackupIncrement: a service takes increments with the keys of its archive; without them,
// too, on what headers say.
func TestBackupIncrement(t *testing.T) {
	t.Parallel()
	ctx, p := context.Background(), newPlace(t, crashfs.New())
	own, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := unopened(t, p)
	s.opts.Archive.Ship.Seal.Recipients = []age.Recipient{own.Recipient()}
	for _, ids := range [][]age.Identity{{own}, nil} {
		s.opts.Archive.Ship.Identities = ids
		s.open()
		s.write(8)
		s.await()
		whole, err := s.Backup(ctx, p, snapshot.Options{})
		if err != nil || !whole.Whole() {
			t.Fatal(whole, err)
		}
		s.write(1)
		s.await()
		next, err := s.Backup(ctx, p, snapshot.Options{Increment: true})
		if err != nil || next.Whole() {
			t.Fatal(next, err)
		}
		if _, err := snapshot.Chain(ctx, p, next.Position, []age.Identity{own}); err != nil {
			t.Error(err)
		}
		s.close()
	}
}

// TestBackupIntoAnothersArchive: it is refused, with an archiver of its own and without, and what
// is there can be restored as before.
func TestBackupIntoAnothersArchive(t *testing.T) {
	t.Parallel()
	ctx, p := context.Background(), newPlace(t, crashfs.New())
	one := newArchived(t, p)
	one.write(3)
	one.close()
	refused := newArchived(t, p)
	without := unopened(t, p)
	without.opts.Archive = txn.ArchiveOptions{}
	without.open()
	for what, other := range map[string]*archived{"its archiver was refused": refused, "it archives nothing": without} {
		other.write(3)
		if _, err := other.Backup(ctx, p, snapshot.Options{}); !errors.Is(err, ship.ErrDiverged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	one.verified()
	one.restores(restore.Target{})

	one.open()
	one.write(1)
	if _, err := one.Backup(ctx, p, snapshot.Options{}); err != nil {
		t.Error(err)
	}
	one.await()
	one.close()
	dir := filepath.Join(one.base, "promoted")
	if _, err := txn.Restore(ctx, p, dir, restore.Target{}, restore.Options{}, txn.Options{}); err != nil {
		t.Fatal(err)
	}
	m, _, err := txn.Open(dir, txn.Options{Archive: eager(p)}) // on a timeline that the archive may not have seen yet
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Backup(ctx, p, snapshot.Options{}); err != nil {
		t.Error(err)
	}
}
