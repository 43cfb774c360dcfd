package crash

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// request is a numbered one.
type request struct {
	actor wal.ActorID
	seq   uint64
}

func (q request) options() txn.TxOptions { return txn.TxOptions{Actor: q.actor, Seq: q.seq} }

// requests are those that committed, or may have, at their LSNs.
type requests map[wal.LSN]request

// upTo are the requests of a history that was cut to an LSN.
func (q requests) upTo(lsn wal.LSN) requests {
	q = maps.Clone(q)
	maps.DeleteFunc(q, func(n wal.LSN, _ request) bool { return n > lsn })
	return q
}

// number makes the writer's transaction its next request.
func (l *life) number(w int, o *txn.TxOptions) {
	q := &l.numbers[w]
	if q.seq == 0 {
		q.actor = l.o.NewActor()
	}
	q.seq += uint64(1 + w) // some leave gaps
	o.Actor, o.Seq = q.actor, q.seq
}

// requested notes a request that has an LSN, or that another transaction has it.
func (r *recorder) requested(lsn wal.LSN, o txn.TxOptions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.requests, lsn)
	if o.Seq != 0 {
		r.requests[lsn] = request{o.Actor, o.Seq}
	}
}

// outcomes checks that the store knows of each request what became of it: those
// up to its last LSN committed where they did, those above are not there.
func outcomes(m *txn.Manager, asked requests, last wal.LSN) error {
	for lsn, q := range asked {
		o, err := m.Outcome(context.Background(), txn.OutcomeKey{Actor: q.actor, Seq: q.seq})
		if err != nil {
			return err
		}
		if lsn <= last && (o.Status != txn.Committed || o.Position.LSN != lsn) || lsn > last && o.Status != txn.NotCommitted {
			return wrongf("request %d of LSN %d in a store that ends at %d: %v at LSN %d", q.seq, lsn, last, o.Status, o.Position.LSN)
		}
	}
	return nil
}

// retry sends all requests again, as clients do that got no answer. Those that
// survived are not carried out again; those that were lost are, once.
func (l *life) retry(asked requests, last wal.LSN) error {
	for _, lsn := range slices.Sorted(maps.Keys(asked)) { // of an actor in the order of their numbers
		q, ran := asked[lsn], false
		c, err := l.o.UpdateWith(l.o.ctx(), q.options(), func(*txn.Tx) error { ran = true; return nil })
		if err != nil {
			return fmt.Errorf("retry of request %d, LSN %d: %w", q.seq, lsn, err)
		}
		if survived := lsn <= last; ran == survived || c.Repeated != survived || survived && c.Position.LSN != lsn || !c.Durable {
			return wrongf("retry of request %d, which had LSN %d and the store ended at %d: %+v, ran %v", q.seq, lsn, last, c, ran)
		}
		if ran {
			l.rec.committed(c.Position.LSN, l.disk.Ops(), []effect{})
			l.rec.requested(c.Position.LSN, q.options())
		}
	}
	return nil
}

// retryTwice is a life that begins with retries, and ends with those of what
// they made.
func (l *life) retryTwice(asked requests, last wal.LSN) error {
	for range 2 {
		if err := l.open(); err != nil {
			return err
		}
		if err := l.retry(asked, last); err != nil {
			return err
		}
		if err := l.close(); err != nil {
			return err
		}
		asked = asked.upTo(last)
		maps.Copy(asked, l.rec.requests)
		last = l.last + wal.LSN(len(l.rec.requests))
	}
	return nil
}
