package model

import (
	"context"
	"errors"

	"pgregory.net/rapid"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// request is what the model has for (actor, seq).
type request struct {
	actor wal.ActorID
	seq   uint64
}

// requests are those that committed, of two actors.
type requests struct {
	actors [2]wal.ActorID
	last   map[wal.ActorID]uint64
	done   map[request]wal.Position
}

func (q *requests) init(m *txn.Manager) {
	q.actors = [2]wal.ActorID{m.NewActor(), m.NewActor()}
	q.last, q.done = map[wal.ActorID]uint64{}, map[request]wal.Position{}
}

// draw numbers some of the transactions: with a new number, one left out, or
// one that was used.
func (q *requests) draw(t *rapid.T, o *txn.TxOptions) {
	if o.ReadOnly || rapid.IntRange(0, 2).Draw(t, "numbered") > 0 {
		return
	}
	o.Actor = q.actors[rapid.IntRange(0, 1).Draw(t, "actor")]
	last := q.last[o.Actor]
	o.Seq = rapid.Uint64Range(max(last, 4)-3, last+3).Draw(t, "seq")
}

// expected reports whether err is what the model has for a request that is not
// new, and whether it is new.
func (q *requests) expected(t *rapid.T, o txn.TxOptions, c txn.Commit, err error) (isNew bool) {
	at, done := q.done[request{o.Actor, o.Seq}]
	var known *txn.RepeatedError
	if errors.As(err, &known) {
		c, err = known.First, nil
	}
	switch {
	case o.Seq == 0 || o.Seq > q.last[o.Actor]:
		if c.Repeated || errors.Is(err, txn.ErrRequest) {
			t.Fatalf("request %d after %d: %+v, %v", o.Seq, q.last[o.Actor], c, err)
		}
		return true
	case done && (err != nil || !c.Repeated || c.Position != at):
		t.Fatalf("request %d was committed at LSN %d: %+v, %v", o.Seq, at.LSN, c, err)
	case !done && !errors.Is(err, txn.ErrRequestPassed):
		t.Fatalf("request %d was left out, the last is %d: %+v, %v", o.Seq, q.last[o.Actor], c, err)
	}
	return false
}

// committed notes a request that was new.
func (q *requests) committed(o txn.TxOptions, at wal.Position) {
	if o.Seq != 0 {
		q.done[request{o.Actor, o.Seq}] = at
		q.last[o.Actor] = o.Seq
	}
}

// retry sends requests again, which commits nothing and runs nothing.
func (r *run) retry(t *rapid.T) {
	for q, at := range r.requests.done {
		c, err := r.m.UpdateWith(context.Background(), txn.TxOptions{Actor: q.actor, Seq: q.seq, Durability: txn.Buffered}, func(*txn.Tx) error {
			t.Fatalf("request %d of LSN %d runs again", q.seq, at.LSN)
			return nil
		})
		o, bad := r.m.Outcome(context.Background(), txn.OutcomeKey{Actor: q.actor, Seq: q.seq})
		if err != nil || bad != nil || c.Position != at || !c.Repeated || o.Status != txn.Committed || o.Position != at {
			t.Fatalf("request %d of LSN %d: %+v, %v; outcome %+v, %v", q.seq, at.LSN, c, err, o, bad)
		}
	}
}
