package txn

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"time"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// # What became of it
//
// Outcome answers for a request, or for a transaction by its ID, what a lost
// acknowledgement or an *UnknownError left open. It is a function of durable facts and
// of what is under way in this manager; it never guesses. What each answer
// rests on:
//
//	asked by      Committed            NotCommitted                        Unknown          Expired
//	Actor, Seq    its outcome record   a later number has committed, or    under way, or    not in the window, or
//	                                   none as high has                    lost by poison   the actor may have been evicted
//	Txn           its entry in the     the log goes back to LSN 1 and      the same         the log was trimmed
//	              log                  has no such entry
//	Txn and LSN   the entry at LSN     the entry at LSN is another's, or   the same         the log was trimmed
//	              is its               the log ends before LSN                              past LSN
//
// NotCommitted says: not by an entry up to Outcome.AsOf, and by none of the
// transactions that had begun on this manager when Outcome was called. A number
// that is above its actor's last may still be used by a later one.
//
// That a transaction ID is not in what is left of a trimmed log proves nothing,
// and the time in the ID proves nothing either, since clocks jump. So whoever
// wants to ask long after uses Actor and Seq; UnknownError.LSN serves until the
// next checkpoint trims the log.

// OutcomeKey names a request, by Actor and Seq, or a transaction, by Txn.
type OutcomeKey struct {
	Actor wal.ActorID
	Seq   uint64

	Txn wal.TxnID
	// LSN that the transaction has if it committed, as *UnknownError says it;
	// 0 when it is not known. With it one entry is read instead of the log.
	LSN wal.LSN
}

// OutcomeStatus is what became of a transaction.
type OutcomeStatus uint8

// What is known. The zero value is no knowledge.
const (
	Unknown      OutcomeStatus = iota // under way, or handed to a log that failed: known after reopening
	Committed                         // with position and time
	NotCommitted                      // proven
	Expired                           // it may have committed; what would tell is not kept any more
)

func (s OutcomeStatus) String() string {
	return [...]string{"unknown", "committed", "not committed", "expired"}[s&3]
}

// Outcome is what became of a transaction.
type Outcome struct {
	Status OutcomeStatus
	Commit         // its result when Committed; Durable says what is known now
	AsOf   wal.LSN // the published LSN it was found at
}

// Outcome says what became of a request or a transaction. It waits for entries
// that are being written when it is called, at most until ctx ends.
//
// Cost: by request a few looks into the catalogue; by Txn and LSN one log file;
// by Txn alone the whole log, which Options.CheckpointBytes bounds. The error means that
// it could not look: ErrClosed, a key that names both or nothing, a disk's.
func (m *Manager) Outcome(ctx context.Context, key OutcomeKey) (Outcome, error) {
	if err := key.validate(); err != nil {
		return Outcome{}, err
	}
	q := inquiry{m: m, key: key}
	if err := q.settle(ctx); err != nil {
		return Outcome{}, err
	}
	view, err := m.Begin(ctx, TxOptions{ReadOnly: true})
	if err != nil {
		return Outcome{}, err
	}
	defer view.Rollback()
	if err := view.use(); err != nil { // it is not rolled back under our eyes
		return Outcome{}, err
	}
	defer view.mu.Unlock()
	var o Outcome
	if key.Seq != 0 {
		o, err = q.request(view.snap)
	} else {
		o, err = q.transaction(ctx, view.snap)
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("txn: outcome of %s: %w", key, err)
	}
	return o, nil
}

func (k OutcomeKey) validate() error {
	byRequest, byTxn := k.Seq != 0 && k.Actor != wal.ActorID{}, k.Txn != wal.TxnID{}
	if byRequest == byTxn || !byRequest && (k.Seq != 0 || k.Actor != wal.ActorID{}) || byRequest && k.LSN != 0 {
		return fmt.Errorf("txn: outcome: the key must name an actor and a seq, or a transaction, and an LSN with the latter only: %+v", k)
	}
	return nil
}

func (k OutcomeKey) String() string {
	if k.Seq != 0 {
		return fmt.Sprintf("request %d of actor %s", k.Seq, k.Actor)
	}
	return "transaction " + k.Txn.String()
}

// inquiry is one call of Outcome.
type inquiry struct {
	m       *Manager
	key     OutcomeKey
	open    bool // such a transaction had begun and not ended
	pending bool // entries that were sequenced are not published, and it may be one of them
	head    wal.LSN
}

// settle notes what is under way, first who is open, then what is sequenced:
// whoever is in neither has been published, or never will be. It waits for
// what is sequenced.
func (q *inquiry) settle(ctx context.Context) error {
	m := q.m
	for _, tx := range m.open.all() {
		q.open = q.open || tx.answers(q.key)
	}
	m.seq.mu.Lock()
	q.head = m.seq.draft.Head.LSN
	m.seq.mu.Unlock()
	err := m.awaitLSN(ctx, q.head, false)
	q.pending = err != nil
	if q.pending && m.poisoned() == nil && ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// answers reports whether the transaction is one that the key names.
func (tx *Tx) answers(k OutcomeKey) bool {
	if k.Seq != 0 {
		return tx.opts.Actor == k.Actor && tx.opts.Seq == k.Seq
	}
	return tx.id == k.Txn
}

// request answers from the snapshot, which has all that was sequenced when
// settle looked, unless that is pending.
func (q *inquiry) request(snap *pagestore.Snapshot) (Outcome, error) {
	r, err := snap.Request(q.key.Actor, q.key.Seq)
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{AsOf: snap.LSN()}
	switch r.Status {
	case pagestore.RequestDone:
		o.Commit = repeated(r.Outcome)
		q.committed(&o)
	case pagestore.RequestExpired:
		o.Status = Expired
	case pagestore.RequestPassed:
		o.Status = NotCommitted // and none that is under way can
	case pagestore.RequestNew:
		o.Status = q.absent()
	}
	return o, nil
}

func (q *inquiry) committed(o *Outcome) {
	o.Status, o.Repeated = Committed, false
	o.Durable = q.m.durable() >= o.Position.LSN
}

// absent is the answer when nothing was found where all that was published is.
func (q *inquiry) absent() OutcomeStatus {
	if q.open || q.pending {
		return Unknown
	}
	return NotCommitted
}

// transaction answers from the log.
func (q *inquiry) transaction(ctx context.Context, snap *pagestore.Snapshot) (Outcome, error) {
	o := Outcome{AsOf: snap.LSN()}
	from, to := wal.LSN(1), snap.LSN()
	if lsn := q.key.LSN; lsn > to {
		o.Status = q.absent()
		return o, nil
	} else if lsn != 0 {
		from, to = lsn, lsn
	}
	whole, err := q.scan(ctx, from, to, &o)
	switch {
	case err != nil || o.Status == Committed:
	case q.key.LSN != 0 && whole:
		o.Status = NotCommitted // its place in the log is another's
	case q.open || q.pending:
		o.Status = Unknown
	case whole:
		o.Status = NotCommitted
	default:
		o.Status = Expired
	}
	return o, err
}

// scan looks for the transaction in the entries from LSN from to LSN to, as
// far as they are left, and says whether they all are. Generations may be let go
// meanwhile: it looks again then.
func (q *inquiry) scan(ctx context.Context, from, to wal.LSN, o *Outcome) (whole bool, err error) {
	for {
		gens := q.m.store.Facts().Generations
		if len(gens) == 0 {
			return false, nil
		}
		first := max(from, gens[0].First) // that one is always known
		err := q.look(ctx, gens, first, to, o)
		if err == nil || ctx.Err() != nil || reflect.DeepEqual(gens, q.m.store.Facts().Generations) {
			return first == from, err
		}
	}
}

func (q *inquiry) look(ctx context.Context, gens []wal.Generation, from, to wal.LSN, o *Outcome) error {
	for rec, err := range wal.Records(q.m.opts.FS, filepath.Join(q.m.dir, "wal"), gens, from, to) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if e := rec.Entry; e.Txn == q.key.Txn {
			o.Commit = Commit{
				Txn: e.Txn, Time: time.Unix(0, e.Time),
				Position: wal.Position{Timeline: e.Timeline, LSN: e.Last, Hash: rec.Hash},
			}
			q.committed(o)
			return nil
		}
	}
	return nil
}
