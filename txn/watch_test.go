package txn_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// watching is a watcher in a goroutine of its own.
type watching struct {
	events chan seen
	stop   context.CancelFunc
	done   chan error // what the watcher ended with; nil if the loop was left
}

// seen is what is kept of an event.
type seen struct {
	pos      wal.Position
	progress bool
	volumes  []wal.VolumeID
}

func keepOf(e *txn.Event) seen {
	s := seen{pos: e.Position, progress: e.Progress()}
	if e.Entry != nil {
		for i := range e.Entry.Sections {
			s.volumes = append(s.volumes, e.Entry.Sections[i].Ref.Volume)
		}
	}
	return s
}

// watch starts a watcher; it is over when the test is.
func (r *rig) watch(o txn.WatchOptions) *watching {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{events: make(chan seen), stop: cancel, done: make(chan error, 1)}
	go func() {
		defer close(w.done)
		for e, err := range r.Watch(ctx, o) {
			if err != nil {
				w.done <- err
				return
			}
			select {
			case w.events <- keepOf(e):
			case <-ctx.Done():
				return
			}
		}
	}()
	r.t.Cleanup(cancel)
	return w
}

// upTo takes events until an LSN.
func (w *watching) upTo(t testing.TB, lsn wal.LSN) (list []seen) {
	t.Helper()
	for {
		select {
		case s := <-w.events:
			if list = append(list, s); s.pos.LSN >= lsn {
				return list
			}
		case err := <-w.done:
			t.Fatalf("the watcher ended before LSN %d: %v", lsn, err)
		case <-time.After(20 * time.Second):
			t.Fatalf("waited in vain for LSN %d", lsn)
		}
	}
}

// end is what the watcher ends with.
func (w *watching) end(t testing.TB) error {
	t.Helper()
	for {
		select {
		case <-w.events:
		case err := <-w.done:
			return err
		case <-time.After(20 * time.Second):
			t.Fatal("the watcher does not end")
		}
	}
}

// wantDense checks that entries are those from one LSN to another, each once.
func wantDense(t testing.TB, list []seen, from, to wal.LSN) {
	t.Helper()
	for i, s := range list {
		if want := from + wal.LSN(i); s.pos.LSN != want || s.progress {
			t.Fatalf("event %d is %+v, want entry %d", i, s, want)
		}
	}
	if want := int(to - from + 1); len(list) != want {
		t.Fatalf("%d entries, want %d", len(list), want)
	}
}

// A watcher sees every entry, from LSN 1 on, and then those that are committed
// while it watches; when it sees one, a transaction begun then sees it too.
func TestWatchSeesEverythingInOrder(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	w := r.watch(txn.WatchOptions{})
	first := w.upTo(t, 2)
	wantDense(t, first, 1, 2)
	for i := uint64(1); i <= 20; i++ {
		r.put("v", 0, i)
		wantDense(t, w.upTo(t, wal.LSN(2+i)), wal.LSN(2+i), wal.LSN(2+i))
		if got := r.get("v", 0); got != i {
			t.Fatalf("entry %d was seen, but the page is still %d", 2+i, got)
		}
	}
	w.stop()
	if err := w.end(t); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A watcher stops in the middle and resumes, again and again, while commits fill
// one file of the log after the other and the store is closed and opened: what
// it sees is every entry once.
func TestWatchResumesWithoutGapOrRepetition(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	r.volume("v", 1)
	metadata := make([]byte, 60<<10)
	commit := func() wal.LSN {
		c, err := r.UpdateWith(context.Background(), txn.TxOptions{Metadata: metadata}, func(tx *txn.Tx) error { return put(tx, "v", 0, 1) })
		if err != nil {
			t.Fatal(err)
		}
		return c.Position.LSN
	}
	var all []seen
	var after wal.Position
	take := func(to wal.LSN) {
		w := r.watch(txn.WatchOptions{After: after})
		all = append(all, w.upTo(t, to)...)
		w.stop()
		_ = w.end(t)
		after = all[len(all)-1].pos
	}
	last := wal.LSN(0)
	for range 6 { // three files of the log and more
		for range 20 {
			last = commit()
		}
		take(last - 7)
		if err := r.reopen(); err != nil {
			t.Fatal(err)
		}
		take(last)
	}
	wantDense(t, all, 1, last)
	if gens := r.Stats().LogBytes; gens == 0 && last < 100 {
		t.Fatal("nothing was written")
	}
}

// A watcher that keeps up crosses checkpoints that remove the files of the log
// behind it, without gap or repetition.
func TestWatchCrossesRotationCheckpointAndTrimming(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	r.volume("v", 1)
	w := r.watch(txn.WatchOptions{})
	all := w.upTo(t, 2)
	metadata := make([]byte, 60<<10)
	for range 4 {
		var last wal.LSN
		for range 40 {
			c, err := r.UpdateWith(context.Background(), txn.TxOptions{Metadata: metadata}, func(tx *txn.Tx) error { return put(tx, "v", 0, 1) })
			if err != nil {
				t.Fatal(err)
			}
			last = c.Position.LSN
		}
		all = append(all, w.upTo(t, last-5)...)
		if err := r.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
		all = append(all, w.upTo(t, last)...)
	}
	wantDense(t, all, 1, all[len(all)-1].pos.LSN)
	eventually(t, "the log is trimmed", func() bool { // as soon as a full file of it is sealed
		r.checkpoint()
		_, err := firstOf(r, txn.WatchOptions{})
		return errors.Is(err, txn.ErrCompacted)
	})
}

// firstOf is the first event behind a position, or why there is none.
func firstOf(r *rig, o txn.WatchOptions) (seen, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for e, err := range r.Watch(ctx, o) {
		if err != nil {
			return seen{}, err
		}
		return keepOf(e), nil
	}
	return seen{}, errors.New("the loop ended")
}

// A watcher that takes nothing for a long time delays no commit and no
// checkpoint. The log goes on without it: it gets what its file still has, and
// then ErrCompacted, never a gap.
func TestASlowWatcherDoesNotBlockCommits(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes, CheckpointBytes: 1 << 20})
	r.volume("v", 1)
	w := r.watch(txn.WatchOptions{})
	all := w.upTo(t, 1) // and now nothing is taken
	second := r.nextLog()
	metadata := make([]byte, 60<<10)
	var last wal.LSN
	for range 200 { // 12 MiB: pressure would stop commits at 2 MiB
		c, err := r.UpdateWith(context.Background(), txn.TxOptions{Metadata: metadata}, func(tx *txn.Tx) error { return put(tx, "v", 0, 1) })
		if err != nil {
			t.Fatal(err)
		}
		last = c.Position.LSN
	}
	eventually(t, "the file of the log behind the watcher's is sealed and removed", func() bool {
		r.checkpoint()
		list := r.logs()
		return len(list) > 0 && !slices.ContainsFunc(list, func(g wal.Generation) bool { return g.ID == second })
	})
	for {
		select {
		case s := <-w.events:
			all = append(all, s)
			continue
		case err := <-w.done:
			var p *txn.PositionError
			if !errors.Is(err, txn.ErrCompacted) || !errors.As(err, &p) || p.Position != all[len(all)-1].pos || p.First <= p.Position.LSN {
				t.Errorf("ended with %v, behind %v", err, all[len(all)-1])
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the watcher hangs")
		}
		break
	}
	wantDense(t, all, 1, all[len(all)-1].pos.LSN)
	if got := all[len(all)-1].pos.LSN; got >= last {
		t.Errorf("it saw all %d entries: nothing was trimmed", got)
	}
}

// A buffered commit is visible at once to transactions, but a watcher sees it
// when it is durable.
func TestBufferedCommitsAreNotSeenBeforeTheyAreDurable(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	head := r.Stats().Head
	gate, open := make(chan struct{}), atomic.Bool{}
	release := sync.OnceFunc(func() { open.Store(true); close(gate) })
	defer release()
	r.disk.fail(func(op, name string) error {
		// A mark behind what came before may be synced: the flusher goes on then.
		if op == "sync" && strings.Contains(name, "/wal/") && r.Stats().Published > head.LSN {
			<-gate
		}
		return nil
	})
	early := atomic.Bool{}
	done := make(chan wal.Position, 1)
	go func() {
		for e, err := range r.Watch(context.Background(), txn.WatchOptions{After: head}) {
			early.Store(!open.Load())
			if err == nil {
				done <- e.Position
			}
			return
		}
	}()
	c, err := r.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error { return put(tx, "v", 0, 7) })
	if err != nil || c.Durable {
		t.Fatal(c, err)
	}
	if got := r.get("v", 0); got != 7 {
		t.Errorf("the page is %d", got)
	}
	if s := r.Stats(); s.Durable >= c.Position.LSN {
		t.Fatalf("it is durable already: %+v", s)
	}
	release()
	if got := <-done; got != c.Position || early.Load() {
		t.Errorf("seen %v, early %v, want %v", got, early.Load(), c.Position)
	}
}

// The position of a buffered commit is none of the future, though nothing
// durable is there: the watcher waits for it.
func TestWatchAfterABufferedCommit(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	c, err := r.UpdateWith(context.Background(), txn.TxOptions{Durability: txn.Buffered}, func(tx *txn.Tx) error { return put(tx, "v", 0, 7) })
	if err != nil {
		t.Fatal(err)
	}
	w := r.watch(txn.WatchOptions{After: c.Position})
	r.put("v", 0, 8)
	wantDense(t, w.upTo(t, c.Position.LSN+1), c.Position.LSN+1, c.Position.LSN+1)
}

// Three ways in which nothing follows a position, told apart, each at once.
func TestCompactedFutureAndDivergedAreToldApart(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	r.volume("v", 1)
	old := r.Stats().Head
	r.put("v", 0, 1)
	middle := r.Stats().Head
	r.put("v", 0, 2)
	head := r.Stats().Head

	other := func(p wal.Position) wal.Position { p.Hash[0] ^= 1; return p }
	stranger := func(p wal.Position) wal.Position { p.Timeline[0] ^= 1; return p }
	future := head
	future.LSN += 3
	check := func(name string, after wal.Position, want error) {
		t.Helper()
		_, err := firstOf(r, txn.WatchOptions{After: after})
		var p *txn.PositionError
		if !errors.Is(err, want) || !errors.As(err, &p) || p.Position != after {
			t.Errorf("%s: %v", name, err)
		}
		for _, e := range []error{txn.ErrCompacted, txn.ErrFuture, txn.ErrDiverged} {
			if e != want && errors.Is(err, e) {
				t.Errorf("%s is %v as well", name, e)
			}
		}
	}
	check("the future", future, txn.ErrFuture)
	check("another hash", other(middle), txn.ErrDiverged)
	check("another timeline", stranger(middle), txn.ErrDiverged)
	check("another hash at the head", other(head), txn.ErrDiverged)
	check("a hash of nothing", wal.Position{Hash: wal.Hash{1}}, txn.ErrDiverged)

	// After a clean close and a checkpoint the log begins behind the head.
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	if err := r.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	check("what was trimmed", old, txn.ErrCompacted)
	check("everything", wal.Position{}, txn.ErrCompacted)
	check("another hash at the checkpoint", other(head), txn.ErrDiverged)
	w := r.watch(txn.WatchOptions{After: head})
	r.put("v", 0, 3)
	wantDense(t, w.upTo(t, head.LSN+1), head.LSN+1, head.LSN+1)
	check("another hash before the log", other(head), txn.ErrDiverged)
}

// A filtered watcher sees the entries of its volumes only, and progress over the
// others, from which it can resume.
func TestWatchFiltersByVolumeAndRefAndReportsProgress(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("a", 1)
	r.volume("b", 1)
	var id wal.VolumeID
	all := r.watch(txn.WatchOptions{})
	for _, s := range all.upTo(t, 3) {
		if s.pos.LSN == 2 {
			id = s.volumes[0]
		}
	}
	for name, o := range map[string]txn.WatchOptions{
		"volume": {Volumes: []wal.VolumeID{id}},
		"ref":    {Refs: []wal.Ref{{Volume: id}}},
	} {
		t.Run(name, func(t *testing.T) {
			o.After = r.Stats().Head
			w := r.watch(o)
			last := r.Stats().Head.LSN
			for range 5 {
				r.put("b", 0, 1)
				last++
			}
			var got seen
			for _, got = range w.upTo(t, last) {
				if !got.progress {
					t.Fatalf("saw %+v", got)
				}
			}
			w.stop()
			o.After = got.pos
			w = r.watch(o)
			r.put("a", 0, 1)
			if list := w.upTo(t, last+1); len(list) != 1 || list[0].progress || list[0].volumes[0] != id {
				t.Errorf("resumed with %+v", list)
			}
		})
	}
}

// The pages of an entry are read through its event, wherever they lie.
func TestWatchReadsThePagesOfAnEntry(t *testing.T) {
	r := newRig(t, txn.Options{StageBytes: 64 << 10})
	for name, pages := range map[string]uint64{"inline": 1, "slots": 40, "staged": 300, "chunks": 5000} {
		before := r.Stats().Head
		r.volume(name, pages)
		for e, err := range r.Watch(context.Background(), txn.WatchOptions{After: before}) {
			if err != nil {
				t.Fatal(name, err)
			}
			n, buf := uint64(0), make([]byte, wal.DefaultPageSize)
			for row, err := range e.Rows(&e.Entry.Sections[0]) {
				if err != nil {
					t.Fatal(name, err)
				}
				if err := e.ReadPage(row, buf); err != nil || row.Page != n || string(buf) != string(pageOf(n+1)) {
					t.Fatalf("%s: page %d, want %d: %v", name, row.Page, n, err)
				}
				n++
			}
			if n != pages {
				t.Errorf("%s: %d pages, want %d", name, n, pages)
			}
			break
		}
	}
}

// Images that a checkpoint has let go of, and whose slots were used anew, are
// ErrCompacted: not damage, and never other bytes.
func TestWatchNamesImagesThatAreGone(t *testing.T) {
	r := newRig(t, txn.Options{})
	before := r.Stats().Head
	r.volume("v", 40)
	rewrite := func(value uint64) {
		r.update(func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			for no := uint64(0); no < 40 && err == nil; no++ {
				err = v.WritePage(no, pageOf(value))
			}
			return err
		})
	}
	for e, err := range r.Watch(context.Background(), txn.WatchOptions{After: before}) {
		if err != nil {
			t.Fatal(err)
		}
		var gone error
		for value := uint64(1); value < 200 && gone == nil; value++ {
			rewrite(1000 + value)
			if _, err := r.Collect(context.Background()); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, wal.DefaultPageSize)
			for row, err := range e.Rows(&e.Entry.Sections[0]) {
				if err != nil {
					t.Fatal(err)
				}
				if gone = e.ReadPage(row, buf); gone != nil {
					break
				}
			}
		}
		if !errors.Is(gone, txn.ErrCompacted) || errors.Is(gone, wal.ErrCorrupt) {
			t.Errorf("reading what is gone: %v", gone)
		}
		break
	}
}

// Close, poison and the context end a watcher that waits, each with its error,
// after all that is durable.
func TestWatchEnds(t *testing.T) {
	t.Run("close", func(t *testing.T) {
		r := newRig(t, txn.Options{})
		w := r.watch(txn.WatchOptions{})
		w.upTo(t, 1)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.end(t); !errors.Is(err, txn.ErrClosed) {
			t.Error(err)
		}
		if _, err := firstOf(r, txn.WatchOptions{}); !errors.Is(err, txn.ErrClosed) {
			t.Errorf("watching a closed store: %v", err)
		}
		if _, err := r.Wait(context.Background(), wal.Position{LSN: 1}, txn.Ack{}); !errors.Is(err, txn.ErrClosed) && !errors.Is(err, txn.ErrDiverged) {
			t.Errorf("waiting on a closed store: %v", err)
		}
	})
	t.Run("poison", func(t *testing.T) {
		r := newRig(t, txn.Options{})
		r.volume("v", 1)
		w := r.watch(txn.WatchOptions{})
		w.upTo(t, 1)
		r.disk.fail(failing(syscall.EIO, "wal", "sync"))
		if _, err := r.Update(context.Background(), func(tx *txn.Tx) error { return put(tx, "v", 0, 1) }); err == nil {
			t.Fatal("it was committed")
		}
		wantDense(t, w.upTo(t, 2), 2, 2)
		if err := w.end(t); !errors.Is(err, txn.ErrPoisoned) {
			t.Error(err)
		}
		r.disk.fail(nil)
	})
	t.Run("context", func(t *testing.T) {
		r := newRig(t, txn.Options{})
		ctx, cancel := context.WithCancel(context.Background())
		for e, err := range r.Watch(ctx, txn.WatchOptions{}) {
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if e != nil {
				cancel()
			}
		}
		cancel()
	})
}

// Many watchers, from different places, with commits, checkpoints and trimming
// beside them: each sees a dense run of entries.
func TestManyWatchersBesideCommits(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes, CheckpointBytes: 1 << 20})
	r.volume("v", 8)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			at := r.Stats().Head
			for ctx.Err() == nil {
				for e, err := range r.Watch(ctx, txn.WatchOptions{After: at}) {
					if errors.Is(err, txn.ErrCompacted) {
						at = r.Stats().Head
						break
					}
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						return
					}
					if e.Position.LSN != at.LSN+1 {
						t.Errorf("entry %d behind %d", e.Position.LSN, at.LSN)
					}
					if at = e.Position; at.LSN%17 == 0 {
						break // and resume
					}
				}
			}
		})
	}
	for i := range 600 {
		d := txn.Durability(i % 2)
		_, err := r.UpdateWith(context.Background(), txn.TxOptions{Durability: d, Metadata: make([]byte, 16<<10)},
			func(tx *txn.Tx) error { return put(tx, "v", uint64(i%8), uint64(i)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
}
