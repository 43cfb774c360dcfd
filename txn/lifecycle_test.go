package txn_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// A panic in the closure of Update or View passes through; the transaction is
// rolled back, its locks and slots are released, and the manager goes on.
func TestPanicInClosure(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{StageBytes: 64 << 10})
	r.volume("v", 10)
	write := func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		for no := uint64(0); no < 200 && err == nil; no++ { // past StageBytes: some is in the heap
			err = v.WritePage(no, pageOf(1000+no))
		}
		return err
	}
	iterate := func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		for range v.Pages(0, 10) {
			panic("in the loop")
		}
		return nil
	}
	panicking := map[string]func(){
		"update, at once":       func() { r.Update(ctx, func(*txn.Tx) error { panic("boo") }) },
		"update, after writing": func() { r.Update(ctx, func(tx *txn.Tx) error { panic(fmt.Sprint(write(tx))) }) },
		"update, in a loop":     func() { r.Update(ctx, iterate) },
		"view, in a loop":       func() { r.View(ctx, iterate) },
		"view, a nil volume":    func() { r.View(ctx, func(*txn.Tx) error { var v *txn.Volume; return v.ReadPage(0, nil) }) },
	}
	for name, f := range panicking {
		t.Run(name, func(t *testing.T) {
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				f()
			}()
			if s := r.Stats(); s.OpenTxs != 0 || s.StagedBytes != 0 || s.Pages.Holds.Readers != 0 {
				t.Errorf("left behind: %d transactions, %d bytes staged, %d holds", s.OpenTxs, s.StagedBytes, s.Pages.Holds.Readers)
			}
			r.put("v", 3, 33)
			if got := r.get("v", 2); got != 3 {
				t.Errorf("page 2 is %d", got)
			}
		})
	}
}

// An error of the closure is returned as it is, and nothing is written.
func TestErrorInClosure(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	own := errors.New("own")
	before := r.Stats().Published
	if _, err := r.Update(ctx, func(tx *txn.Tx) error { return errors.Join(put(tx, "v", 0, 9), own) }); !errors.Is(err, own) {
		t.Error(err)
	}
	if err := r.View(ctx, func(*txn.Tx) error { return own }); err != own {
		t.Error(err)
	}
	_, err := r.Update(ctx, func(tx *txn.Tx) error { tx.Rollback(); return nil })
	if !errors.Is(err, txn.ErrTxDone) {
		t.Errorf("a closure that rolls back: %v", err)
	}
	if s := r.Stats(); s.Published != before || s.OpenTxs != 0 || r.get("v", 0) != 1 {
		t.Errorf("something was committed: %+v", s)
	}
}

// A context that ends stops Begin, every call, Commit and Update.
func TestContext(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 2)
	ctx, cancel := context.WithCancel(context.Background())
	tx, err := r.Begin(ctx, txn.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := tx.Volume("v")
	if err != nil {
		t.Fatal(err)
	}
	sp, err := tx.Savepoint()
	if err != nil {
		t.Fatal(err)
	}
	other := r.begin(txn.TxOptions{})
	if err := errors.Join(v.WritePage(0, pageOf(5)), put(other, "v", 1, 5)); err != nil {
		t.Fatal(err)
	}
	cancel()
	for call, err := range allCalls(tx, v, sp) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", call, err)
		}
	}
	if _, err := other.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if _, err := other.Commit(context.Background()); !errors.Is(err, txn.ErrTxDone) {
		t.Errorf("commit again: %v", err)
	}
	for call, err := range map[string]error{
		"begin":      func() error { _, err := r.Begin(ctx, txn.TxOptions{}); return err }(),
		"update":     func() error { _, err := r.Update(ctx, func(*txn.Tx) error { return nil }); return err }(),
		"view":       r.View(ctx, func(*txn.Tx) error { return nil }),
		"checkpoint": r.Checkpoint(ctx),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", call, err)
		}
	}
	// Nobody rolls the first one back, and still it goes.
	eventually(t, "the cancelled transaction is rolled back", func() bool { return r.Stats().OpenTxs == 0 })
	if r.get("v", 0) != 1 || r.get("v", 1) != 2 {
		t.Error("a cancelled transaction was committed")
	}
}

// hold makes the disk wait in the operations that match until it is let go.
func (r *rig) hold(part string, ops ...string) (entered <-chan struct{}, letGo func()) {
	in, out := make(chan struct{}), make(chan struct{})
	var once, free sync.Once
	wait := errors.New("wait")
	match := failing(wait, part, ops...)
	r.disk.fail(func(op, name string) error {
		if match(op, name) != nil {
			once.Do(func() { close(in) })
			<-out
		}
		return nil
	})
	letGo = func() { free.Do(func() { close(out) }) }
	r.t.Cleanup(letGo)
	return in, letGo
}

// A commit that is given up while the disk is at it has an unknown outcome;
// here it is committed all the same.
func TestContextWhileSyncing(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 2)
	entered, letGo := r.hold(r.currentLog(), "sync")
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-entered; cancel() }()
	tx := r.begin(txn.TxOptions{})
	if err := put(tx, "v", 0, 5); err != nil {
		t.Fatal(err)
	}
	_, err := tx.Commit(ctx)
	var unknown *txn.UnknownError
	if !errors.As(err, &unknown) || unknown.Txn != tx.ID() || !errors.Is(err, context.Canceled) || !errors.Is(err, txn.ErrUnknownOutcome) {
		t.Fatalf("commit: %v", err)
	}
	if r.get("v", 0) != 1 {
		t.Error("visible before it is durable")
	}
	letGo()
	eventually(t, "the group is published", func() bool { return r.Stats().Published >= unknown.LSN })
	if got := r.get("v", 0); got != 5 {
		t.Errorf("page 0 is %d", got)
	}
	r.put("v", 1, 6)
}

// fillLog commits until no log generation is left: then a commit waits. It
// returns what the last one said.
func (r *rig) fillLog(ctx context.Context) error {
	data := make([]byte, wal.MaxExtensionBytes)
	for i := range 1000 {
		_, err := r.UpdateWith(ctx, txn.TxOptions{Durability: txn.Buffered, Metadata: data},
			func(tx *txn.Tx) error { return put(tx, "v", 0, uint64(10+i)) })
		if err != nil {
			return err
		}
	}
	return errors.New("the log is never full")
}

// A commit that waits for room in the log is rolled back when its context ends.
func TestContextWhileLogIsFull(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	r.volume("v", 1)
	_, letGo := r.hold("/wal/", "mkdir")
	var err error
	for patience := time.Second; ; patience *= 2 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = r.fillLog(ctx)
		cancel()
		if !errors.Is(err, txn.ErrUnknownOutcome) || patience > 20*time.Second {
			break
		}
		// The time was up while a commit was written, so slowly: there was room yet.
	}
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, txn.ErrUnknownOutcome) {
		t.Fatalf("commit: %v", err)
	}
	if s := r.Stats(); s.OpenTxs != 0 {
		t.Errorf("%d transactions are open", s.OpenTxs)
	}
	letGo()
	r.put("v", 0, 1)
}

// Without space for the log a commit fails, with the reason, and is rolled
// back; Close does not wait for it, and with space all goes on.
func TestNoSpaceForLog(t *testing.T) {
	for _, open := range []bool{true, false} {
		t.Run(fmt.Sprintf("goes on=%v", open), func(t *testing.T) {
			r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
			r.volume("v", 1)
			r.disk.fail(failing(syscall.ENOSPC, "/wal/", "mkdir"))
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := r.fillLog(ctx); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, txn.ErrUnknownOutcome) {
				t.Fatalf("commit: %v", err)
			}
			if s := r.Stats(); s.OpenTxs != 0 || s.Poisoned != "" {
				t.Errorf("%d transactions are open; %s", s.OpenTxs, s.Poisoned)
			}
			if !open {
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				return
			}
			r.disk.fail(nil)
			r.put("v", 0, 1) // at once: a commit waits for a try of its own
		})
	}
}

// Without space for the manifest nothing is poisoned and nothing left behind:
// commits fail, with the reason, and with space all goes on.
func TestNoSpaceForManifest(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes, CheckpointBytes: 1 << 40})
	r.volume("v", 1)
	r.disk.fail(failing(syscall.ENOSPC, "/MANIFEST", "create", "grow"))
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var err error
	for range 5 { // until the space taken ahead is used up
		if err = r.fillLog(ctx); errors.Is(err, syscall.ENOSPC) {
			break
		}
	}
	for range 3 {
		if !errors.Is(err, manifest.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || errors.Is(err, txn.ErrUnknownOutcome) || errors.Is(err, txn.ErrPoisoned) {
			t.Fatalf("commit: %v", err)
		}
		_, err = r.Update(ctx, func(tx *txn.Tx) error { return put(tx, "v", 0, 1) })
	}
	if err := r.Checkpoint(ctx); err != nil && !errors.Is(err, manifest.ErrNoSpace) {
		t.Errorf("checkpoint: %v", err)
	}
	if s := r.Stats(); s.OpenTxs != 0 || s.Poisoned != "" {
		t.Errorf("%d transactions are open; %s", s.OpenTxs, s.Poisoned)
	}
	r.disk.fail(failing(syscall.ENOSPC, "/MANIFEST", "create")) // room, but not for a second file
	r.put("v", 0, 1)
	if err := r.Checkpoint(ctx); err != nil {
		t.Error(err)
	}
	r.disk.fail(nil)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	facts, _, err := manifest.Load(r.disk, r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := wal.List(r.disk, filepath.Join(r.dir, "wal")); err != nil || len(ids) != len(facts.Generations) {
		t.Errorf("%d generations lie in wal/, the manifest names %d: %v", len(ids), len(facts.Generations), err)
	}
}

// What is past its deadline is rolled back and pins nothing.
func TestDeadline(t *testing.T) {
	ctx := context.Background()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	r := newRig(t, txn.Options{StageBytes: 64 << 10, Now: now})
	r.volume("v", 100)
	if err := r.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	abandon := func(o txn.TxOptions) (*txn.Tx, *txn.Volume, txn.Savepoint) {
		tx := r.begin(o)
		v, err := tx.Volume("v")
		if err != nil {
			t.Fatal(err)
		}
		if o.ReadOnly {
			return tx, v, txn.Savepoint{}
		}
		sp, err := tx.Savepoint()
		for no := uint64(0); no < 100 && err == nil; no++ {
			err = v.WritePage(no, pageOf(1))
		}
		if err != nil {
			t.Fatal(err)
		}
		return tx, v, sp
	}
	reader, rv, _ := abandon(txn.TxOptions{ReadOnly: true, Timeout: time.Hour})
	writer, wv, sp := abandon(txn.TxOptions{Timeout: time.Hour})
	// The context's deadline counts too.
	for short := 20 * time.Millisecond; ; short *= 2 {
		dctx, cancel := context.WithTimeout(ctx, short)
		defer cancel()
		_, err := r.Begin(dctx, txn.TxOptions{Timeout: 3 * time.Hour})
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) || short > 10*time.Second {
			t.Fatal(err)
		}
	}
	lazy := r.begin(txn.TxOptions{ReadOnly: true, Timeout: 3 * time.Hour})

	r.update(func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		for no := uint64(0); no < 100 && err == nil; no++ {
			err = v.WritePage(no, pageOf(2))
		}
		return err
	})
	ahead.Add(int64(time.Hour))
	eventually(t, "three transactions are rolled back", func() bool { return r.Stats().Expired == 3 })
	for call, err := range allCalls(writer, wv, sp) {
		if !errors.Is(err, txn.ErrExpired) {
			t.Errorf("%s: %v", call, err)
		}
	}
	if err := rv.ReadPage(0, make([]byte, 4096)); !errors.Is(err, txn.ErrExpired) {
		t.Errorf("read: %v", err)
	}
	reader.Rollback()
	lazy.Rollback()
	if s := r.Stats(); s.OpenTxs != 0 || s.StagedBytes != 0 || s.Pages.Holds.Readers != 0 {
		t.Errorf("left behind: %d transactions, %d bytes staged, %d holds", s.OpenTxs, s.StagedBytes, s.Pages.Holds.Readers)
	}
	if err := r.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "old pages are freed", func() bool { return r.Stats().Pages.LimboSlots == 0 })
}

// A deadline holds for whoever uses the transaction, at once: it is rolled back
// and nothing of it is written.
func TestDeadlineInUse(t *testing.T) {
	var ahead atomic.Int64
	r := newRig(t, txn.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	r.volume("v", 2)
	for name, use := range map[string]func(*txn.Tx, *txn.Volume) error{
		"read":   func(_ *txn.Tx, v *txn.Volume) error { return v.ReadPage(0, make([]byte, 4096)) },
		"write":  func(_ *txn.Tx, v *txn.Volume) error { return v.WritePage(1, pageOf(9)) },
		"commit": func(tx *txn.Tx, _ *txn.Volume) error { _, err := tx.Commit(context.Background()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			tx := r.begin(txn.TxOptions{Timeout: time.Hour})
			v, err := tx.Volume("v")
			if err == nil {
				err = v.WritePage(0, pageOf(9))
			}
			if err != nil {
				t.Fatal(err)
			}
			ahead.Add(int64(time.Hour))
			if err := use(tx, v); !errors.Is(err, txn.ErrExpired) {
				t.Errorf("past the deadline: %v", err)
			}
			if s := r.Stats(); s.OpenTxs != 0 || s.StagedBytes != 0 || s.Expired == 0 {
				t.Errorf("left behind: %d transactions, %d bytes staged; %d have expired", s.OpenTxs, s.StagedBytes, s.Expired)
			}
			if got := r.get("v", 0); got != 1 {
				t.Errorf("page 0 is %d", got)
			}
		})
	}
}

// What was abandoned is rolled back although a checkpoint waits for the disk.
// The log tells, since statistics may wait for the checkpoint too.
func TestDeadlineDuringCheckpoint(t *testing.T) {
	said := make(lines, 100)
	r := newRig(t, txn.Options{Logger: zerolog.New(said)})
	r.volume("v", 10)
	if err := r.Checkpoint(context.Background()); err != nil { // so that there are files
		t.Fatal(err)
	}
	r.put("v", 0, 5)
	entered, letGo := r.hold("/heap/", "sync")
	checkpoint := make(chan error, 1)
	go func() { checkpoint <- r.Checkpoint(context.Background()) }()
	<-entered
	tx := r.begin(txn.TxOptions{Timeout: time.Millisecond})
	eventually(t, "the abandoned transaction is rolled back", func() bool {
		select {
		case line := <-said:
			return strings.Contains(line, tx.ID().String()) && strings.Contains(line, "past its deadline")
		default:
			return false
		}
	})
	select {
	case err := <-checkpoint:
		t.Errorf("the checkpoint had ended: %v", err)
	default:
	}
	letGo()
	if err := <-checkpoint; err != nil {
		t.Error(err)
	}
}

// lines is a log that keeps as many lines as it has room for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}

// A transaction whose own context has ended ends with Commit, whatever context
// Commit has.
func TestCommitAfterContext(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	ctx, cancel := context.WithCancel(context.Background())
	tx, err := r.Begin(ctx, txn.TxOptions{})
	if err == nil {
		err = put(tx, "v", 0, 9)
	}
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := tx.Commit(context.Background()); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if s := r.Stats(); s.OpenTxs != 0 || s.StagedBytes != 0 || s.Pages.Holds.Readers != 0 {
		t.Errorf("left behind: %d transactions, %d bytes staged, %d holds", s.OpenTxs, s.StagedBytes, s.Pages.Holds.Readers)
	}
	if _, err := tx.Commit(context.Background()); err == nil {
		t.Error("committed the second time")
	}
	if got := r.get("v", 0); got != 1 {
		t.Errorf("page 0 is %d", got)
	}
}

// An iteration that outlives its transaction ends with ErrExpired, not with
// what became of its slots.
func TestDeadlineInLoop(t *testing.T) {
	var ahead atomic.Int64
	r := newRig(t, txn.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	r.volume("v", 2000)
	if err := r.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	tx := r.begin(txn.TxOptions{ReadOnly: true, Timeout: time.Hour})
	v, err := tx.Volume("v")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range v.Pages(0, 2000) {
		if n++; n == 10 {
			ahead.Add(int64(time.Hour))
			eventually(t, "the reader expires", func() bool { return r.Stats().Expired == 1 })
		}
		if n > 10 && !errors.Is(err, txn.ErrExpired) || n > 11 {
			t.Fatalf("page %d: %v", n, err)
		}
	}
	if n != 11 {
		t.Errorf("the loop ended after %d pages", n)
	}
}

// Close waits for the commits in flight, whose writers it stops, and rolls
// back what is open. All that was acknowledged is there after reopening, and
// nothing that was not.
func TestCloseUnderLoad(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointBytes: 256 << 10})
	const writers = 8
	for w := range writers {
		r.volume(fmt.Sprint(w), 1)
	}
	for round := range uint64(3) {
		var acked [writers]uint64
		for w := range writers {
			acked[w] = r.get(fmt.Sprint(w), 0) // on a busy machine none may commit in time
		}
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := round * 1_000_000; ; i++ {
					o := txn.TxOptions{Durability: txn.Durability(rand.N(2))}
					c, err := r.UpdateWith(ctx, o, func(tx *txn.Tx) error { return put(tx, fmt.Sprint(w), 0, i+1) })
					if err != nil {
						if !errors.Is(err, txn.ErrClosed) {
							t.Errorf("writer %d: %v", w, err)
						}
						return
					}
					if c.Empty || o.Durability == txn.Synced && !c.Durable {
						t.Errorf("%+v", c)
					}
					acked[w] = i + 1
				}
			})
		}
		open := r.begin(txn.TxOptions{})
		if err := put(open, "0", 0, 666); err != nil {
			t.Fatal(err)
		}
		checkpoint := make(chan error)
		go func() { checkpoint <- r.Checkpoint(ctx) }()
		time.Sleep(50 * time.Millisecond)
		closed := make(chan error)
		go func() { closed <- r.Close() }()
		if err := errors.Join(r.Close(), <-closed); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if err := <-checkpoint; err != nil && !errors.Is(err, txn.ErrClosed) {
			t.Errorf("checkpoint: %v", err)
		}
		if _, err := open.Commit(ctx); !errors.Is(err, txn.ErrClosed) {
			t.Errorf("commit of an open transaction: %v", err)
		}
		r.open()
		for w := range writers {
			if got := r.get(fmt.Sprint(w), 0); got != acked[w] {
				t.Errorf("writer %d: %d is there, %d was acknowledged", w, got, acked[w])
			}
		}
	}
}

func TestUseAfterClose(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	nothing := func(*txn.Tx) error { t.Error("the closure ran"); return nil }
	_, begin := r.Begin(ctx, txn.TxOptions{})
	_, update := r.Update(ctx, nothing)
	for call, err := range map[string]error{
		"begin": begin, "update": update, "view": r.View(ctx, nothing), "checkpoint": r.Checkpoint(ctx),
	} {
		if !errors.Is(err, txn.ErrClosed) {
			t.Errorf("%s: %v", call, err)
		}
	}
	if s := r.Stats(); s.Published == 0 || s.OpenTxs != 0 {
		t.Errorf("%+v", s)
	}
}

// Begin races Close: whoever got a transaction can use it or hears ErrClosed.
func TestBeginRacesClose(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	for range 10 {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					tx, err := r.Begin(context.Background(), txn.TxOptions{Timeout: 1})
					if err == nil {
						_, err = get(tx, "v", 0)
						tx.Rollback()
					}
					if errors.Is(err, txn.ErrClosed) {
						return
					}
					if err != nil && !errors.Is(err, txn.ErrExpired) {
						t.Error(err)
						return
					}
				}
			})
		}
		time.Sleep(time.Millisecond)
		err := r.Close()
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		r.open()
	}
}
