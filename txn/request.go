package txn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// # Requests that commit once
//
// A client that may lose an answer numbers its requests: TxOptions.Actor is who
// it is, a UUID of version 7 made once (NewActor), Seq which request it is. Numbers rise,
// with gaps if it likes. The entry carries both, and making the entry's changes
// records its outcome in the catalogue (pagestore's requests.go), so what is
// known of a request survives whatever its entry survives: reopening, trimming of the
// log, promotion of a follower.
//
//	the request                      Begin, Update                   Outcome
//	committed                        first result; f is not run      Committed
//	  with another RequestDigest     ErrOtherRequest                 Committed
//	is above all that committed      goes on                         NotCommitted, or
//	                                                                 Unknown while one is under way
//	is below one that committed      ErrRequestPassed                NotCommitted
//	is older than what is kept       ErrOutcomeExpired               Expired
//
// What is kept are the last RequestWindow outcomes of an actor and MaxActors
// actors; one more evicts the actor that has not committed for the longest time.
// Its requests, and those of any unknown actor whose UUID was made earlier than
// an evicted one's, are ErrOutcomeExpired, and never taken for new. The client then
// makes a new actor; it cannot be told any more what became of its old requests.
//
// Two transactions of the same request may run at once: the first to be
// sequenced commits, the other's Commit returns the first's result. It waits until
// that is visible and, if it asked for it, synced.
//
// A number belongs to a request, not to a try: after a conflict, a rollback or
// ErrUnknownOutcome the same number is used again. Transactions without Actor
// cost nothing more.

// Bounds of what is kept, the same for every store, since outcomes are log
// facts.
const (
	RequestWindow = pagestore.RequestWindow // outcomes of one actor
	MaxActors     = pagestore.MaxActors     // that are known
)

// maxActorAhead is how far a new actor's UUID may be from the future: once
// evicted, no older one is taken for new.
const maxActorAhead = 24 * time.Hour

// Errors of requests. Every *RequestError is ErrRequest and one of the others.
var (
	ErrRequest = errors.New("txn: the request cannot be carried out")
	// ErrOtherRequest: a request with another digest has committed as that number.
	ErrOtherRequest = errors.New("another request was committed under the same actor and number")
	// ErrRequestPassed: it was never committed, and a later one of the actor was.
	ErrRequestPassed = errors.New("a later request of the actor was committed, and this one was not; give it a higher number")
	// ErrOutcomeExpired: it may have committed, but that is not kept any more.
	ErrOutcomeExpired = errors.New("what became of it is not kept any more, it may have been committed; look at the data, then go on as a new actor")
	// ErrActor: the UUID is not one that an actor may have.
	ErrActor = errors.New("an actor needs a UUID of version 7 that is not from the future")
	// ErrRepeated: it has committed before. Every *RepeatedError is one.
	ErrRepeated = errors.New("txn: the request was committed before")
)

// RequestError says why a request is refused. Nothing was written.
type RequestError struct {
	Actor wal.ActorID
	Seq   uint64
	Last  uint64 // seq of the last request of the actor that committed; 0 when none is known
	Why   error  // ErrOtherRequest, ErrRequestPassed, ErrOutcomeExpired or ErrActor
}

func (e *RequestError) Error() string {
	s := fmt.Sprintf("txn: request %d of actor %s: %v", e.Seq, e.Actor, e.Why)
	if e.Last != 0 {
		s += fmt.Sprintf(" (the actor's last is %d)", e.Last)
	}
	return s + "; nothing was written"
}

// Is makes every RequestError an ErrRequest.
func (e *RequestError) Is(target error) bool { return target == ErrRequest }

func (e *RequestError) Unwrap() error { return e.Why }

// RepeatedError is Begin's answer to a request that has committed: there is
// nothing to do, First is its result.
type RepeatedError struct {
	Actor wal.ActorID
	Seq   uint64
	First Commit
}

func (e *RepeatedError) Error() string {
	return fmt.Sprintf("txn: request %d of actor %s was committed before, at LSN %d; nothing was written again", e.Seq, e.Actor, e.First.Position.LSN)
}

// Is makes every RepeatedError an ErrRepeated.
func (e *RepeatedError) Is(target error) bool { return target == ErrRepeated }

// NewActor makes a UUID for a client that numbers its requests from now on.
// Nothing is written: an actor is known from its first commit on.
func (m *Manager) NewActor() wal.ActorID {
	id := m.newUUID()
	var ms [8]byte // of the manager's clock, as TxOptions.Actor is held to it
	binary.BigEndian.PutUint64(ms[:], uint64(m.opts.Now().UnixMilli()))
	copy(id[:6], ms[2:])
	return wal.ActorID(id)
}

// validateRequest is for options that have something of a request.
func (o TxOptions) validateRequest() error {
	switch id := uuid.UUID(o.Actor); {
	case o.Seq == 0 || o.Actor == wal.ActorID{}:
		return fmt.Errorf("txn: transaction options: actor %s, seq %d and a request digest of %d bytes: an actor and a seq from 1 on go together, a digest needs both",
			o.Actor, o.Seq, len(o.RequestDigest))
	case o.ReadOnly:
		return fmt.Errorf("txn: request %d of actor %s in a read-only transaction: it cannot be recorded: %w", o.Seq, o.Actor, ErrReadOnly)
	case len(o.RequestDigest) > wal.MaxExtensionBytes:
		return fmt.Errorf("txn: request digest of %d bytes, at most %d: %w", len(o.RequestDigest), wal.MaxExtensionBytes, wal.ErrTooLarge)
	case id.Version() != 7 || id.Variant() != uuid.RFC4122:
		return &RequestError{Actor: o.Actor, Seq: o.Seq, Why: ErrActor}
	}
	return nil
}

// begun looks up the request that a transaction is for.
func (tx *Tx) begun(ctx context.Context) error {
	if err := tx.use(); err != nil {
		return err
	}
	defer tx.mu.Unlock()
	r, err := tx.m.request(tx.snap, tx.opts.Actor, tx.opts.Seq)
	if err == nil {
		err = tx.opts.mayGoOn(r)
	}
	if err == nil && r.Last == 0 {
		err = tx.opts.checkAhead(tx.m.opts.Now())
	}
	if err != nil {
		c, err := tx.m.orFirst(ctx, tx.opts, err)
		if err == nil {
			err = &RepeatedError{Actor: tx.opts.Actor, Seq: tx.opts.Seq, First: c}
		}
		return err
	}
	return tx.m.poisoned()
}

// request is what the logical tips know of a request. snap is looked at first,
// so that nobody waits for the disk under the sequencer's mutex.
func (m *Manager) request(snap *pagestore.Snapshot, actor wal.ActorID, seq uint64) (pagestore.Request, error) {
	r, err := snap.Request(actor, seq)
	if err != nil || r.Status == pagestore.RequestDone {
		return r, err
	}
	m.seq.mu.Lock()
	defer m.seq.mu.Unlock()
	return m.seq.draft.Request(actor, seq)
}

// mayGoOn is nil for a request that is new; a *RepeatedError, whose First may
// not be visible yet, for one that has been sequenced.
func (o TxOptions) mayGoOn(r pagestore.Request) error {
	refused := &RequestError{Actor: o.Actor, Seq: o.Seq, Last: r.Last}
	switch r.Status {
	case pagestore.RequestNew:
		return nil
	case pagestore.RequestPassed:
		refused.Why = ErrRequestPassed
	case pagestore.RequestExpired:
		refused.Why = ErrOutcomeExpired
	case pagestore.RequestDone:
		if r.Outcome.Digest == pagestore.DigestRequest(o.RequestDigest) {
			return &RepeatedError{Actor: o.Actor, Seq: o.Seq, First: repeated(r.Outcome)}
		}
		refused.Why = ErrOtherRequest
	}
	return refused
}

func repeated(o pagestore.Outcome) Commit {
	return Commit{Txn: o.Txn, Position: o.Position, Time: time.Unix(0, o.Time), Repeated: true}
}

// checkAhead is for an actor that is not known yet.
func (o TxOptions) checkAhead(now time.Time) error {
	var ms [8]byte
	copy(ms[2:], o.Actor[:6])
	if made := time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))); made.Sub(now) > maxActorAhead {
		return &RequestError{Actor: o.Actor, Seq: o.Seq, Why: ErrActor}
	}
	return nil
}

// orFirst turns the discovery that a request was sequenced before into the
// result of that, once it is as visible and as durable as this try wants it.
func (m *Manager) orFirst(ctx context.Context, o TxOptions, err error) (Commit, error) {
	var known *RepeatedError
	if !errors.As(err, &known) {
		return Commit{}, err
	}
	c := known.First
	if err := m.awaitLSN(ctx, c.Position.LSN, o.Durability == Synced); err != nil {
		return Commit{}, &UnknownError{Txn: c.Txn, LSN: c.Position.LSN, Cause: err}
	}
	c.Durable = m.durable() >= c.Position.LSN
	return c, nil
}

// firstOf is the result that Begin found.
func firstOf(err error) (Commit, error) {
	if known := (*RepeatedError)(nil); errors.As(err, &known) {
		return known.First, nil
	}
	return Commit{}, err
}

// awaitLSN waits until an entry that was sequenced is published, and durable if
// wanted: a group's time, or Options.SyncEvery behind a buffered one. The error is why it
// will not be, or is not known to be.
func (m *Manager) awaitLSN(ctx context.Context, lsn wal.LSN, synced bool) error {
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, time.Millisecond) {
		failed := m.poisoned() // before looking: what was published stays so
		if m.store.Published().LSN >= lsn && (!synced || m.durable() >= lsn) {
			return nil
		}
		if failed != nil {
			return failed
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// isNew refuses a request that was sequenced before. Under m.seq.mu.
func (s *sealed) isNew(d *pagestore.Draft) error {
	o := &s.tx.opts
	if o.Seq == 0 {
		return nil
	}
	r, err := d.Request(o.Actor, o.Seq)
	if err != nil {
		return fmt.Errorf("txn: look up request %d of actor %s: %w", o.Seq, o.Actor, err)
	}
	return o.mayGoOn(r)
}

// admit is the last that may refuse. Under m.seq.mu.
func (s *sealed) admit(d *pagestore.Draft) error {
	o := &s.tx.opts
	if o.Seq == 0 {
		return nil
	}
	return d.Admit(o.Actor, o.Seq)
}

// warmRequest reads what recording the request will change, so that the
// sequencer finds it in memory.
func (s *sealed) warmRequest() error {
	o := &s.tx.opts
	if o.Seq == 0 {
		return nil
	}
	if err := s.tx.snap.WarmRequest(o.Actor); err != nil {
		return fmt.Errorf("txn: look up actor %s: %w", o.Actor, err)
	}
	return nil
}
