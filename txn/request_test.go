package txn_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var ctx = context.Background()

// request commits one page as a request, and says whether its closure ran.
func (r *rig) request(o txn.TxOptions, value uint64) (c txn.Commit, ran bool, err error) {
	c, err = r.UpdateWith(ctx, o, func(tx *txn.Tx) error {
		ran = true
		return put(tx, "v", 0, value)
	})
	return c, ran, err
}

// first commits a request that must be new.
func (r *rig) first(o txn.TxOptions, value uint64) txn.Commit {
	r.t.Helper()
	c, ran, err := r.request(o, value)
	if err != nil || !ran || c.Repeated || c.Empty {
		r.t.Fatalf("request %d: %+v, ran %v, %v", o.Seq, c, ran, err)
	}
	return c
}

// again sends a request that has committed as want says.
func (r *rig) again(o txn.TxOptions, want txn.Commit) {
	r.t.Helper()
	c, ran, err := r.request(o, 99)
	if err != nil || ran || !c.Repeated || c.Position != want.Position || c.Txn != want.Txn || !c.Time.Equal(want.Time) || !c.Durable {
		r.t.Errorf("request %d again: %+v, ran %v, %v\nwant %+v", o.Seq, c, ran, err, want)
	}
	var known *txn.RepeatedError
	if tx, err := r.Begin(ctx, o); tx != nil || !errors.As(err, &known) || !errors.Is(err, txn.ErrRepeated) || known.First.Position != want.Position {
		r.t.Errorf("begin with request %d: %v", o.Seq, err)
	}
	got := r.outcome(txn.OutcomeKey{Actor: o.Actor, Seq: o.Seq}, txn.Committed)
	if got.Position != want.Position || got.Txn != want.Txn || !got.Time.Equal(want.Time) || got.Repeated {
		r.t.Errorf("outcome of request %d: %+v\nwant %+v", o.Seq, got, want)
	}
}

func (r *rig) outcome(k txn.OutcomeKey, want txn.OutcomeStatus) txn.Outcome {
	r.t.Helper()
	o, err := r.Outcome(ctx, k)
	if err != nil || o.Status != want {
		r.t.Errorf("outcome of %s: %v, %v, want %v", k, o.Status, err, want)
	}
	return o
}

// refused sends a request that cannot commit.
func (r *rig) refused(o txn.TxOptions, why error, last uint64) {
	r.t.Helper()
	var typed *txn.RequestError
	_, ran, err := r.request(o, 99)
	if ran || !errors.Is(err, why) || !errors.Is(err, txn.ErrRequest) || !errors.As(err, &typed) || typed.Last != last {
		r.t.Errorf("request %d: %v, ran %v; want %v, last %d", o.Seq, err, ran, why, last)
	}
}

// trim leaves no entry up to now in the log.
func (r *rig) trim() {
	r.t.Helper()
	if err := r.Checkpoint(ctx); err != nil {
		r.t.Fatal(err)
	}
	if err := r.reopen(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Checkpoint(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func requestOf(a wal.ActorID, seq uint64) txn.TxOptions { return txn.TxOptions{Actor: a, Seq: seq} }

// A commit whose acknowledgement was lost is found again: at once, after
// reopening, when the log has been trimmed, and its closure is not run again.
func TestRetriedRequestCommitsOnce(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	o := requestOf(r.NewActor(), 7)
	r.outcome(txn.OutcomeKey{Actor: o.Actor, Seq: 7}, txn.NotCommitted)
	c := r.first(o, 50)
	r.again(o, c)
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	r.again(o, c)
	r.trim()
	r.again(o, c)
	r.outcome(txn.OutcomeKey{Txn: c.Txn}, txn.Expired)
	if last, published := r.first(requestOf(o.Actor, 8), 51), r.Stats().Published; last.Position.LSN != c.Position.LSN+1 || published != last.Position.LSN {
		t.Errorf("the next has LSN %d, the last is %d, the first %d", last.Position.LSN, published, c.Position.LSN)
	}
	r.again(o, c)
	if got := r.get("v", 0); got != 51 {
		t.Errorf("the page holds %d", got)
	}
}

// The request's digest, and not its pages, tells another request with the same
// number.
func TestAnotherRequestUnderTheSameNumber(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	for seq, digest := range map[uint64]string{1: "", 2: "short", 3: fmt.Sprintf("%099d", 7)} {
		o := requestOf(r.NewActor(), seq)
		o.RequestDigest = []byte(digest)
		c := r.first(o, seq)
		r.again(o, c)
		o.RequestDigest = append(o.RequestDigest, 'x')
		r.refused(o, txn.ErrOtherRequest, seq)
	}
}

// A transaction of a request that changes nothing is logged, so that the retry
// is recognised.
func TestEmptyRequestIsLogged(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	o := requestOf(r.NewActor(), 1)
	c, err := r.UpdateWith(ctx, o, func(*txn.Tx) error { return nil })
	if err != nil || c.Empty || c.Position.LSN != 3 || r.Stats().Published != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	r.again(o, c)
	r.trim()
	r.again(o, c)
}

// Numbers rise, with gaps; what was left out can never commit any more.
func TestNumbersRise(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	a := r.NewActor()
	r.first(requestOf(a, 5), 1)
	nine := r.first(requestOf(a, 9), 2)
	for _, seq := range []uint64{1, 4, 6, 8} {
		r.refused(requestOf(a, seq), txn.ErrRequestPassed, 9)
		r.outcome(txn.OutcomeKey{Actor: a, Seq: seq}, txn.NotCommitted)
	}
	r.again(requestOf(a, 9), nine)
	r.outcome(txn.OutcomeKey{Actor: a, Seq: 10}, txn.NotCommitted)
	r.first(requestOf(r.NewActor(), 1), 3) // another's numbers are its own
}

// Below the window a request is expired, never not committed.
func TestRequestBelowTheWindow(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	a := r.NewActor()
	commits := map[uint64]txn.Commit{}
	o := txn.TxOptions{Actor: a, Durability: txn.Buffered}
	for seq := uint64(2); seq <= 2*(txn.RequestWindow+40); seq += 2 {
		o.Seq = seq
		commits[seq] = r.first(o, seq)
		if seq == 600 {
			r.trim()
		}
	}
	check := func() {
		t.Helper()
		last := uint64(2 * (txn.RequestWindow + 40))
		for _, seq := range []uint64{1, 2, 40, 79, 80, 81} {
			r.refused(requestOf(a, seq), txn.ErrOutcomeExpired, last)
			r.outcome(txn.OutcomeKey{Actor: a, Seq: seq}, txn.Expired)
		}
		for _, seq := range []uint64{82, 84, 600, 602, 1000, last - 2, last} {
			r.again(requestOf(a, seq), commits[seq])
		}
		r.refused(requestOf(a, 601), txn.ErrRequestPassed, last)
	}
	check()
	r.trim()
	check()
}

// Beyond MaxActors the one that has not committed for the longest time is
// evicted: its requests are expired, and it is never taken for a new one.
func TestActorsAreBounded(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	var actors []wal.ActorID
	late := r.NewActor() // made before them, used behind
	for i := range txn.MaxActors {
		actors = append(actors, r.NewActor())
		if _, err := r.UpdateWith(ctx, txn.TxOptions{Actor: actors[i], Seq: 1, Durability: txn.Buffered}, func(*txn.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	r.first(requestOf(actors[0], 2), 1) // now the second is the oldest
	r.outcome(txn.OutcomeKey{Actor: late, Seq: 1}, txn.NotCommitted)
	r.first(requestOf(r.NewActor(), 1), 2)
	check := func() {
		t.Helper()
		for _, gone := range []wal.ActorID{actors[1], late} {
			for _, seq := range []uint64{1, 2} {
				r.refused(requestOf(gone, seq), txn.ErrOutcomeExpired, 0)
				r.outcome(txn.OutcomeKey{Actor: gone, Seq: seq}, txn.Expired)
			}
		}
		for _, kept := range []wal.ActorID{actors[0], actors[2], actors[len(actors)-1]} {
			r.outcome(txn.OutcomeKey{Actor: kept, Seq: 1}, txn.Committed)
		}
	}
	check()
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	check()
	r.trim()
	check()
	r.first(requestOf(r.NewActor(), 1), 3)
	r.outcome(txn.OutcomeKey{Actor: actors[2], Seq: 1}, txn.Expired)
	r.first(requestOf(actors[3], 2), 4)
}

// Two transactions of one request: the first commits, the other gets its
// result, whatever it has read and written itself.
func TestRequestTwiceAtOnce(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	o := requestOf(r.NewActor(), 1)
	one, two := r.begin(o), r.begin(o)
	for i, tx := range []*txn.Tx{one, two} {
		if _, err := get(tx, "v", 0); err != nil {
			t.Fatal(err)
		}
		if err := put(tx, "v", 0, uint64(60+i)); err != nil {
			t.Fatal(err)
		}
	}
	r.outcome(txn.OutcomeKey{Actor: o.Actor, Seq: 1}, txn.Unknown)
	c, err := two.Commit(ctx)
	if err != nil || c.Repeated {
		t.Fatalf("%+v, %v", c, err)
	}
	again, err := one.Commit(ctx)
	if err != nil || !again.Repeated || again.Position != c.Position || again.Txn != two.ID() || !again.Durable {
		t.Fatalf("%+v, %v; want %+v", again, err, c)
	}
	if got := r.get("v", 0); got != 61 {
		t.Errorf("the page holds %d", got)
	}
	other := o
	other.RequestDigest = []byte("x")
	r.refused(other, txn.ErrOtherRequest, 1)
}

// Many at once, some of which do not wait for the disk, commit each request
// once.
func TestRequestsBesideEachOther(t *testing.T) {
	const actors, requests, tries = 3, 20, 4
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	before := r.get("v", 0)
	var wg sync.WaitGroup
	for range actors {
		a := r.NewActor()
		for try := range tries {
			wg.Go(func() {
				for seq := uint64(1); seq <= requests; seq++ {
					o := requestOf(a, seq)
					o.Durability = txn.Durability(try % 2)
					c, err := r.UpdateWith(ctx, o, func(tx *txn.Tx) error {
						n, err := get(tx, "v", 0)
						if err != nil {
							return err
						}
						return put(tx, "v", 0, n+1)
					})
					if errors.Is(err, txn.ErrRequestPassed) {
						t.Errorf("request %d: %v", seq, err)
					}
					if err != nil || o.Durability == txn.Synced && !c.Durable {
						t.Errorf("request %d: %+v, %v", seq, c, err)
					}
				}
			})
		}
	}
	wg.Wait()
	if got := r.get("v", 0); got != before+actors*requests {
		t.Errorf("%d commits of %d requests", got-before, actors*requests)
	}
}

// The retry of a commit that was buffered waits for the disk if it wants to.
func TestRetryOfBufferedRequestIsDurable(t *testing.T) {
	r := newRig(t, txn.Options{SyncEvery: 20 * time.Millisecond})
	r.volume("v", 1)
	o := requestOf(r.NewActor(), 1)
	o.Durability = txn.Buffered
	c := r.first(o, 5)
	o.Durability = txn.Synced
	r.again(o, c)
	if d := r.Stats().Durable; d < c.Position.LSN {
		t.Errorf("durable up to %d, the retry was told that %d is", d, c.Position.LSN)
	}
}

// A commit whose outcome is unknown, since the log or what comes before it
// failed, is resolved after reopening, by request and by transaction, and its
// retry commits exactly once.
func TestUnknownOutcomeIsResolved(t *testing.T) {
	for part, c := range map[string]struct {
		op   string
		want error
		then txn.OutcomeStatus
	}{
		"/wal/":  {"sync", txn.ErrUnknownOutcome, txn.Committed}, // it was written; no power was cut
		"/heap/": {"write", txn.ErrPoisoned, txn.NotCommitted},
	} {
		t.Run(part, func(t *testing.T) {
			r := newRig(t, txn.Options{InlineBytes: 1})
			r.volume("v", 1)
			if part == "/wal/" {
				part = r.currentLog() // and not the next, which is made ready meanwhile
			}
			o := requestOf(r.NewActor(), 3)
			tx := r.begin(o)
			if err := put(tx, "v", 0, 70); err != nil {
				t.Fatal(err)
			}
			lsn := r.Stats().Published + 1
			r.disk.fail(failing(errDisk, part, c.op))
			if _, err := tx.Commit(ctx); !errors.Is(err, c.want) {
				t.Fatalf("commit: %v", err)
			}
			keys := []txn.OutcomeKey{{Actor: o.Actor, Seq: 3}, {Txn: tx.ID()}, {Txn: tx.ID(), LSN: lsn}}
			for _, k := range keys {
				r.outcome(k, txn.Unknown)
			}
			if _, ran, err := r.request(o, 71); ran || !errors.Is(err, txn.ErrUnknownOutcome) {
				t.Errorf("retry in vain: ran %v, %v", ran, err)
			}
			if err := r.reopen(); !errors.Is(err, txn.ErrPoisoned) {
				t.Fatal(err)
			}
			for _, k := range keys {
				r.outcome(k, c.then)
			}
			again, ran, err := r.request(o, 71)
			if err != nil || ran == (c.then == txn.Committed) || again.Repeated == ran || again.Position.LSN != lsn {
				t.Errorf("retry: %+v, ran %v, %v", again, ran, err)
			}
			r.again(o, again)
		})
	}
}

// What a transaction ID proves, and what not.
func TestOutcomeByTransaction(t *testing.T) {
	r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes})
	r.volume("v", 1)
	tx, other := r.begin(txn.TxOptions{}), r.begin(txn.TxOptions{})
	key := txn.OutcomeKey{Txn: tx.ID()}
	if err := put(tx, "v", 0, 3); err != nil {
		t.Fatal(err)
	}
	r.outcome(key, txn.Unknown) // it may still
	c, err := tx.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other.Rollback()
	lost := txn.OutcomeKey{Txn: other.ID()}
	check := func(found, absent txn.OutcomeStatus) {
		t.Helper()
		for _, lsn := range []wal.LSN{0, c.Position.LSN} {
			key.LSN, lost.LSN = lsn, lsn
			if o := r.outcome(key, found); found == txn.Committed && (o.Position != c.Position || !o.Durable || !o.Time.Equal(c.Time)) {
				t.Errorf("%+v, want %+v", o, c)
			}
			r.outcome(lost, absent)
		}
		lost.LSN = c.Position.LSN + 1000
		r.outcome(lost, txn.NotCommitted) // the log ends before
	}
	check(txn.Committed, txn.NotCommitted)
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	check(txn.Committed, txn.NotCommitted)
	r.trim()
	check(txn.Expired, txn.Expired)
}

func TestOutcomeTakesOneKey(t *testing.T) {
	r := newRig(t, txn.Options{})
	a, id := r.NewActor(), wal.TxnID(r.NewActor())
	for _, k := range []txn.OutcomeKey{{}, {Actor: a}, {Seq: 1}, {LSN: 1}, {Actor: a, Seq: 1, Txn: id}, {Actor: a, Seq: 1, LSN: 1}, {Txn: id, Seq: 1}} {
		if o, err := r.Outcome(ctx, k); err == nil {
			t.Errorf("%+v: %+v", k, o)
		}
	}
	ended, stop := context.WithCancel(ctx)
	stop()
	if _, err := r.Outcome(ended, txn.OutcomeKey{Txn: id}); !errors.Is(err, context.Canceled) {
		t.Errorf("context ended: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Outcome(ctx, txn.OutcomeKey{Txn: id}); !errors.Is(err, txn.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestRequestOptions(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	a := r.NewActor()
	random, ahead := a, a
	random[6] = 0x40 | random[6]&0xf
	ahead[0]++ // by 34 years
	for name, c := range map[string]struct {
		o    txn.TxOptions
		want error
	}{
		"no seq":      {txn.TxOptions{Actor: a}, nil},
		"no actor":    {txn.TxOptions{Seq: 1}, nil},
		"digest only": {txn.TxOptions{RequestDigest: []byte("x")}, nil},
		"read-only":   {txn.TxOptions{Actor: a, Seq: 1, ReadOnly: true}, txn.ErrReadOnly},
		"digest":      {txn.TxOptions{Actor: a, Seq: 1, RequestDigest: make([]byte, wal.MaxExtensionBytes+1)}, wal.ErrTooLarge},
		"version 4":   {txn.TxOptions{Actor: random, Seq: 1}, txn.ErrActor},
		"future":      {txn.TxOptions{Actor: ahead, Seq: 1}, txn.ErrActor},
	} {
		if tx, err := r.Begin(ctx, c.o); tx != nil || err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	o := requestOf(a, ^uint64(0))
	o.RequestDigest = make([]byte, wal.MaxExtensionBytes)
	r.again(o, r.first(o, 5))
}

// The log is what outcomes are made of: applied anew they are the same.
func TestOutcomesAreLogFacts(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 1)
	a, b := r.NewActor(), r.NewActor()
	r.first(requestOf(a, 1), 1)
	c := r.first(requestOf(b, 4), 2)
	view, err := recovery.View(vfs.OS(), r.dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	got, err := view.Snapshot().Request(b, 4)
	if err != nil || got.Outcome.Position != c.Position || got.Outcome.Txn != c.Txn {
		t.Errorf("%+v, %v; want %+v", got, err, c)
	}
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(r.dir, "wal"), view.Facts().Generations, c.Position.LSN, c.Position.LSN) {
		if err != nil || rec.Entry.Actor != b || rec.Entry.Seq != 4 {
			t.Errorf("the entry: %+v, %v", rec.Entry, err)
		}
	}
}

// A commit that was given up by its context is found by its retry.
func TestRequestGivenUpByItsContext(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	gone, actor := 0, r.NewActor()
	for seq := uint64(1); seq <= 50; seq++ {
		o := txn.TxOptions{Actor: actor, Seq: seq}
		tx := r.begin(o)
		if err := put(tx, "v", 0, seq); err != nil {
			t.Fatal(err)
		}
		soon, stop := context.WithTimeout(ctx, time.Duration(seq)*10*time.Microsecond)
		c, err := tx.Commit(soon)
		stop()
		var unknown *txn.UnknownError
		if errors.As(err, &unknown) {
			gone++
			c.Position.LSN = unknown.LSN
		}
		again, ran, bad := r.request(o, seq)
		if bad != nil || again.Repeated == ran || !ran && again.Position.LSN != c.Position.LSN || err == nil && ran {
			t.Fatalf("request %d: %+v, %v; again %+v, ran %v, %v", seq, c, err, again, ran, bad)
		}
		if r.Stats().Published != wal.LSN(seq+2) {
			t.Fatalf("request %d: the last LSN is %d", seq, r.Stats().Published)
		}
	}
	t.Logf("%d of 50 were given up on their way", gone)
}
