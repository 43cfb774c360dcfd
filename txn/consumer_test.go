package txn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

func (r *rig) consumer(name string) *txn.Consumer {
	r.t.Helper()
	c, err := r.Consumer(context.Background(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) ack(name string, pos wal.Position) {
	r.t.Helper()
	if err := r.consumer(name).Ack(context.Background(), pos); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) checkpoint() {
	r.t.Helper()
	if err := r.Checkpoint(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// overwrite commits all of 40 pages of v, in slots.
func (r *rig) overwrite(value uint64) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		for no := uint64(0); no < 40 && err == nil; no++ {
			err = v.WritePage(no, pageOf(value*100+no))
		}
		return err
	})
}

// consume reads what a consumer has still to read, images too, up to an LSN.
// Entry LSN of overwrite holds the values that first + LSN says.
func (r *rig) consume(name string, from, to wal.LSN, value func(wal.LSN) uint64) (all []wal.Position) {
	r.t.Helper()
	for e, err := range r.consumer(name).Watch(context.Background(), txn.WatchOptions{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if want := from + wal.LSN(len(all)); e.Position.LSN != want {
			r.t.Fatalf("entry %d, want %d", e.Position.LSN, want)
		}
		all = append(all, e.Position)
		buf := make([]byte, wal.DefaultPageSize)
		for row, err := range e.Rows(&e.Entry.Sections[0]) {
			if err == nil {
				err = e.ReadPage(row, buf)
			}
			if err != nil || !bytes.Equal(buf, pageOf(value(e.Position.LSN)*100+row.Page)) {
				r.t.Fatalf("page %d of entry %d: %v", row.Page, e.Position.LSN, err)
			}
		}
		if e.Position.LSN == to {
			return all
		}
	}
	r.t.Fatal("it ended")
	return nil
}

func lsnAsValue(lsn wal.LSN) uint64 { return uint64(lsn) }

// What a consumer has not acknowledged is kept, images and all, through
// checkpoints that would let go of it, through closing and opening, and through
// a kill; what it has is let go of.
func TestAConsumerKeepsWhatItHasNotAcknowledged(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	r.volume("v", 1)
	r.consumer("feed")
	var all []wal.Position
	value := uint64(2)
	write := func(n int) {
		for range n {
			value++
			r.overwrite(value)
		}
	}
	write(5)
	r.checkpoint()
	write(5)
	r.checkpoint()
	all = append(all, r.consume("feed", 3, 12, lsnAsValue)...)
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	write(5)
	r.checkpoint()
	r.consume("feed", 3, 17, lsnAsValue)
	kept := r.Stats().Pages.LimboSlots

	r.ack("feed", all[7]) // LSN 10
	r.checkpoint()
	eventually(t, "slots are freed", func() bool { return r.Stats().Pages.LimboSlots < kept })
	r.consume("feed", 11, 17, lsnAsValue)
	for range 3 { // what is free is used again, and nothing else
		write(3)
		r.checkpoint()
	}
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	end := r.consume("feed", 11, wal.LSN(value), lsnAsValue)
	r.ack("feed", end[len(end)-1])
	write(1)
	r.checkpoint()
	r.ack("feed", r.Stats().Head)
	write(1)
	r.checkpoint()
	if info := r.Consumers(); len(info) != 1 || info[0].Acked.LSN != wal.LSN(value)-1 {
		t.Errorf("%+v", info)
	}
	if _, err := firstOf(r, txn.WatchOptions{After: all[0]}); !errors.Is(err, txn.ErrCompacted) {
		t.Errorf("what was acknowledged is still there: %v", err)
	}
}

// Files of the log are kept for a consumer although a checkpoint covers them, and
// go when it has acknowledged them.
func TestAConsumerKeepsTheLog(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	r.volume("v", 1)
	c := r.consumer("feed")
	fill := func() (last wal.Position) {
		for range 80 {
			got, err := r.UpdateWith(context.Background(), txn.TxOptions{Metadata: make([]byte, 60<<10)}, func(tx *txn.Tx) error { return put(tx, "v", 0, 1) })
			if err != nil {
				t.Fatal(err)
			}
			last = got.Position
		}
		return last
	}
	kept := func() uint64 { return r.Consumers()[0].Kept }
	first, err := c.Acked()
	if err != nil {
		t.Fatal(err)
	}
	last := fill()
	fill()
	eventually(t, "a full file is sealed, and a checkpoint covers it", func() bool { r.checkpoint(); return kept() > 4<<20 })
	r.put("v", 0, 9)
	w := r.watch(txn.WatchOptions{After: first})
	wantDense(t, w.upTo(t, last.LSN), first.LSN+1, last.LSN)
	before := kept()
	r.ack("feed", last)
	r.checkpoint()
	if got := kept(); got >= before {
		t.Errorf("kept %d bytes, before acknowledging %d", got, before)
	}
	w.stop()
}

// Positions only rise.
func TestAcknowledgingALaterPositionBeforeAnEarlierOne(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	c := r.consumer("feed")
	var all []wal.Position
	for i := range uint64(5) {
		r.put("v", 0, i)
		all = append(all, r.Stats().Head)
	}
	for _, i := range []int{3, 1, 3, 0} {
		if err := c.Ack(context.Background(), all[i]); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Acked(); err != nil || got != all[3] {
			t.Fatalf("behind number %d it stands at %v: %v", i, got, err)
		}
	}
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	if got, err := r.consumer("feed").Acked(); err != nil || got != all[3] {
		t.Errorf("after reopening it stands at %v: %v", got, err)
	}
	if e, err := firstConsumed(r, "feed"); err != nil || e != all[4] {
		t.Errorf("the next is %v: %v", e, err)
	}
}

func firstConsumed(r *rig, name string) (wal.Position, error) {
	c, err := r.Consumer(context.Background(), name)
	if err != nil {
		return wal.Position{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for e, err := range c.Watch(ctx, txn.WatchOptions{}) {
		if err != nil {
			return wal.Position{}, err
		}
		return e.Position, nil
	}
	return wal.Position{}, errors.New("the loop ended")
}

// Only positions of this store are acknowledged.
func TestAcknowledgingWhatIsNoPosition(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	c := r.consumer("feed")
	begun, _ := c.Acked()
	r.put("v", 0, 1)
	middle := r.Stats().Head
	r.put("v", 0, 2)
	future := r.Stats().Head
	future.LSN++
	other := middle
	other.Hash[3]++
	same := begun
	same.Hash[3]++
	for pos, want := range map[wal.Position]error{future: txn.ErrFuture, other: txn.ErrDiverged, same: txn.ErrDiverged} {
		if err := c.Ack(context.Background(), pos); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", pos, err, want)
		}
	}
	if got, err := c.Acked(); err != nil || got != begun {
		t.Errorf("it stands at %v: %v", got, err)
	}
}

// A consumer that never acknowledges keeps more and more, until it is dropped:
// reported, told to it at its next call, and the disk gets its space back.
func TestAConsumerThatNeverAcknowledges(t *testing.T) {
	var log syncedBuffer
	const limit = 2 << 20
	r := newRig(t, txn.Options{ConsumerLagBytes: limit, Logger: zerolog.New(&log)})
	r.volume("v", 1)
	c := r.consumer("silent")
	live := r.consumer("live")
	w := make(chan error, 1)
	go func() {
		for _, err := range c.Watch(context.Background(), txn.WatchOptions{}) {
			if err != nil {
				w <- err
				return
			}
		}
	}()
	most := uint64(0)
	for value := uint64(1); r.Stats().ConsumersDropped == 0; value++ {
		if value > 100 {
			t.Fatalf("it is never dropped: %+v", r.Consumers())
		}
		r.overwrite(value)
		if err := live.Ack(context.Background(), r.Stats().Head); err != nil {
			t.Fatal(err)
		}
		most = max(most, r.Consumers()[1].Kept)
		r.checkpoint()
	}
	var dropped *txn.DroppedError
	if err := c.Ack(context.Background(), r.Stats().Head); !errors.Is(err, txn.ErrConsumerDropped) || !errors.As(err, &dropped) || dropped.Name != "silent" || dropped.Kept <= limit {
		t.Errorf("acknowledging: %v", err)
	}
	if most > limit+1<<20 {
		t.Errorf("%d bytes were kept, the limit is %d", most, limit)
	}
	if _, err := r.Consumer(context.Background(), "silent"); !errors.Is(err, txn.ErrConsumerDropped) {
		t.Errorf("opening it again: %v", err)
	}
	for _, err := range c.Watch(context.Background(), txn.WatchOptions{}) {
		if !errors.Is(err, txn.ErrConsumerDropped) {
			t.Errorf("watching: %v", err)
		}
	}
	if !strings.Contains(log.String(), `"level":"error","consumer":"silent"`) {
		t.Errorf("no loud report: %s", log.String())
	}
	r.checkpoint()
	eventually(t, "the space is free", func() bool { return r.Stats().Pages.LimboSlots < 100 })
	if err := live.Ack(context.Background(), r.Stats().Head); err != nil {
		t.Errorf("the other one: %v", err)
	}
	// It stays dropped, until its name is, and begins anew.
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	if err := <-w; !errors.Is(err, txn.ErrClosed) {
		t.Errorf("its watcher, which kept up, ended with %v", err)
	}
	if _, err := r.Consumer(context.Background(), "silent"); !errors.Is(err, txn.ErrConsumerDropped) {
		t.Errorf("after reopening: %v", err)
	}
	if err := r.DropConsumer("silent"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.consumer("silent").Acked(); err != nil || got != r.Stats().Head {
		t.Errorf("it begins anew at %v: %v", got, err)
	}
}

// syncedBuffer is a log for several goroutines.
type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Names, numbers and what is not there.
func TestConsumersByName(t *testing.T) {
	r := newRig(t, txn.Options{})
	ctx := context.Background()
	for _, name := range []string{"", strings.Repeat("n", txn.MaxConsumerName+1)} {
		if _, err := r.Consumer(ctx, name); !errors.Is(err, wal.ErrTooLarge) {
			t.Errorf("a name of %d bytes: %v", len(name), err)
		}
	}
	for i := range txn.MaxConsumers {
		r.consumer(fmt.Sprintf("%02d\x00\xff", i))
	}
	if _, err := r.Consumer(ctx, "one more"); !errors.Is(err, wal.ErrTooLarge) {
		t.Errorf("one more: %v", err)
	}
	if err := r.DropConsumer("nobody"); !errors.Is(err, txn.ErrNoConsumer) {
		t.Errorf("dropping nobody: %v", err)
	}
	c := r.consumer("07\x00\xff")
	if err := r.DropConsumer("07\x00\xff"); err != nil {
		t.Fatal(err)
	}
	if err := c.Ack(ctx, r.Stats().Head); !errors.Is(err, txn.ErrNoConsumer) {
		t.Errorf("acknowledging for nobody: %v", err)
	}
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	list := r.Consumers()
	if len(list) != txn.MaxConsumers-1 || list[0].Name != "00\x00\xff" || list[7].Name != "08\x00\xff" {
		t.Errorf("%d consumers: %+v", len(list), list)
	}
	r.volume("w", 1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Consumer(ctx, "late"); !errors.Is(err, txn.ErrClosed) {
		t.Errorf("after closing: %v", err)
	}
	if err := r.DropConsumer("08\x00\xff"); !errors.Is(err, txn.ErrClosed) {
		t.Errorf("dropping after closing: %v", err)
	}
}

// A full disk refuses an acknowledgement and changes nothing; it works again when
// there is room.
func TestAcknowledgingOnAFullDisk(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	c := r.consumer("feed")
	r.put("v", 0, 1)
	head := r.Stats().Head
	r.disk.fail(failing(syscall.ENOSPC, "MANIFEST", "grow"))
	var err error
	for i := 0; err == nil && i < 5000; i++ { // until the space written ahead is used up
		if _, err = r.Consumer(context.Background(), "other"); err == nil {
			err = r.DropConsumer("other")
		}
	}
	before, _ := c.Acked()
	if err = c.Ack(context.Background(), head); !errors.Is(err, manifest.ErrNoSpace) || errors.Is(err, txn.ErrPoisoned) {
		t.Errorf("acknowledging: %v", err)
	}
	if got, err := c.Acked(); err != nil || got != before {
		t.Errorf("it stands at %v: %v", got, err)
	}
	r.disk.fail(nil)
	r.ack("feed", head)
	r.put("v", 0, 2)
}

// A disk that fails poisons, as everywhere; reopened, the acknowledgement is
// there or not.
func TestAcknowledgingOnAFailingDisk(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	c := r.consumer("feed")
	begun, _ := c.Acked()
	r.put("v", 0, 1)
	head := r.Stats().Head
	r.disk.fail(failing(syscall.EIO, "MANIFEST", "sync"))
	if err := c.Ack(context.Background(), head); !errors.Is(err, txn.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("acknowledging: %v", err)
	}
	_ = r.reopen()
	if got, err := r.consumer("feed").Acked(); err != nil || got != begun && got != head {
		t.Errorf("it stands at %v: %v", got, err)
	}
	r.ack("feed", head)
}

// Wait counts the consumers that have acknowledged a position.
func TestWaitForConsumers(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	for _, name := range []string{"a", "b", "c"} {
		r.consumer(name)
	}
	r.put("v", 0, 1)
	pos := r.Stats().Head
	r.ack("a", pos)
	short, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	got, err := r.Wait(short, pos, txn.Ack{Applied: true, Consumers: 2})
	var w *txn.WaitError
	if !errors.As(err, &w) || !got.Applied || got.Consumers != 1 {
		t.Errorf("reached %+v: %v", got, err)
	}
	done := make(chan error, 1)
	go func() {
		got, err := r.Wait(context.Background(), pos, txn.Ack{Consumers: 2})
		if err == nil && got.Consumers < 2 {
			err = fmt.Errorf("reached %+v", got)
		}
		done <- err
	}()
	r.ack("c", pos)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Consumers that acknowledge, commits, checkpoints and reopening, all at once:
// each consumer sees each entry once, with the images that it had.
func TestConsumersBesideCommits(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes, CheckpointBytes: 256 << 10})
	r.volume("v", 40)
	begun := r.Stats().Head.LSN
	const commits = 120
	for _, name := range []string{"a", "b"} {
		r.consumer(name)
	}
	var wg sync.WaitGroup
	for i, name := range []string{"a", "b"} {
		c := r.consumer(name)
		wg.Go(func() {
			at := begun
			buf := make([]byte, wal.DefaultPageSize)
			for e, err := range c.Watch(context.Background(), txn.WatchOptions{}) {
				if err != nil || e.Position.LSN != at+1 {
					t.Errorf("%s: behind %d: %v", name, at, err)
					return
				}
				at++
				for row, err := range e.Rows(&e.Entry.Sections[0]) {
					if err == nil {
						err = e.ReadPage(row, buf)
					}
					if err != nil || !bytes.Equal(buf, pageOf(uint64(at)*100+row.Page)) {
						t.Errorf("%s: page %d of entry %d: %v", name, row.Page, at, err)
						return
					}
				}
				if int(at)%(3+4*i) == 0 || at == begun+commits {
					if err := c.Ack(context.Background(), e.Position); err != nil {
						t.Error(err)
					}
				}
				if at == begun+commits {
					return
				}
			}
		})
	}
	for i := range wal.LSN(commits) {
		r.overwrite(uint64(begun + 1 + i))
	}
	wg.Wait()
	got, err := r.Wait(context.Background(), r.Stats().Head, txn.Ack{Consumers: 2})
	if err != nil || got.Consumers != 2 {
		t.Errorf("%+v: %v", got, err)
	}
}

func BenchmarkAck(b *testing.B) {
	r := newRig(b, txn.Options{})
	r.volume("v", 1)
	c := r.consumer("feed")
	for b.Loop() {
		b.StopTimer()
		r.put("v", 0, 1)
		b.StartTimer()
		if err := c.Ack(context.Background(), r.Stats().Head); err != nil {
			b.Fatal(err)
		}
	}
}
