package pagestore

import (
	"bytes"
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/wal"
)

// # Requests
//
// An actor is a client that numbers its requests: (actor, seq) names a request
// for ever, and the entry that commits it carries both. What became of it is a
// log fact: a record of the catalogue that the entry itself makes, so it is there
// exactly if the entry is, on every store that applies it, whatever became of
// the log.
//
//	Request   what is known of (actor, seq)         reads, changes nothing
//	Admit     gets ready to record a new one        reads, changes nothing
//	Advance   records it as part of its entry       cannot fail
//
// A request is, for the draft or a snapshot,
//
//	RequestNew      above all of its actor that committed: it may commit
//	RequestDone     committed; its outcome is kept
//	RequestPassed   never committed, and never will: a later one has
//	RequestExpired  committed or not, nobody here knows any more
//
// Bounds. The last RequestWindow outcomes of an actor are kept, in a ring, and
// MaxActors actors. One more evicts the actor whose last request has the lowest
// LSN, with all its outcomes. Both are constants and not options, since every
// store that applies the log must decide alike. At the worst the records take
// 2.4 GiB of the heap; in memory they take what the cache of nodes holds.
//
// An evicted actor must not be taken for a new one: its requests may have
// committed. Who was evicted is not kept, only the greatest UUID among them, and
// an unknown actor is new only if its UUID is above. Therefore actors have UUIDs
// of version 7, which rise with time, and one that was made before the youngest
// evicted one, but is not known, is Expired: wrongly if it was never used, which
// costs its client a new UUID, and never the other way round.
//
// Invariants:
//
//  1. Seqs of an actor rise with LSNs. Gaps are allowed.
//  2. The outcomes kept of an actor are those of its last requests, as many as
//     committed or RequestWindow.
//  3. "q" has one record for each actor: by LSN, the order of eviction.
//  4. Everything here is a function of the entries applied: how they were
//     grouped, checkpoints and reopening change nothing.
//
// Cost: 0.9 microseconds a request of one busy actor in groups of 16, 6 when it is
// another of a thousand actors each time; evicting an actor with a full ring
// 0.2 ms. `go test -bench Request ./apply/pagestore` measures. A transaction
// without an actor costs one comparison.

// Bounds of what is kept of requests.
const (
	RequestWindow = 1024
	MaxActors     = 16384
)

// RequestStatus is what is known of a request.
type RequestStatus uint8

const (
	RequestNew RequestStatus = iota
	RequestDone
	RequestPassed
	RequestExpired
)

func (s RequestStatus) String() string {
	return [...]string{"new", "committed", "passed by a later one", "expired"}[s&3]
}

// Request is what is known of a request, and of its actor.
type Request struct {
	Status  RequestStatus
	Outcome Outcome // when it is RequestDone
	Last    uint64  // seq of the actor's last request that committed; 0 when it has none here
}

// Outcome is what became of a request.
type Outcome struct {
	Seq      uint64
	Txn      wal.TxnID
	Position wal.Position
	Time     int64 // of the entry, nanoseconds since 1970
	Digest   RequestDigest
}

// draftRequests is what entries since the last Cut did to actors.
type draftRequests struct {
	actors  map[wal.ActorID]*draftActor
	summary *actorsRecord // nil while it is what the catalogue says
	next    *admitted
}

// draftActor is an actor that has committed, or was evicted, since the last Cut.
type draftActor struct {
	id      wal.ActorID
	was     actorRecord // in the catalogue
	now     actorRecord // zero when evicted
	fresh   []Outcome   // of its last requests, oldest first; up to 2*RequestWindow
	evicted bool
}

// admitted is what Advance will do.
type admitted struct {
	actor   *draftActor
	summary actorsRecord
	victim  *draftActor
}

// Request says what is known of a request at the snapshot.
func (s *Snapshot) Request(actor wal.ActorID, seq uint64) (Request, error) {
	return findRequest(s.store, s.cat, nil, nil, actor, seq)
}

// WarmRequest reads into the cache what the next request of an actor will
// change.
func (s *Snapshot) WarmRequest(actor wal.ActorID) error {
	a, err := lookupActor(s.store, s.cat, actor)
	if err != nil || a.Count == 0 {
		return err
	}
	if _, _, err = s.cat.Get(s.store.nodes, queueKey(a.LSN)); err == nil {
		_, _, err = s.cat.Get(s.store.nodes, outcomeKey(actor, a.Count+1))
	}
	return err
}

// Request says what is known of a request among the entries applied, published
// or not.
func (d *Draft) Request(actor wal.ActorID, seq uint64) (Request, error) {
	return findRequest(d.store, d.cat, d.requests.actors[actor], d.requests.summary, actor, seq)
}

// Admit gets the draft ready to record a request that is RequestNew as part of
// the next entry. It is for the last of what may fail before that entry is applied: what
// it found holds until the next Admit or Advance. The errors are those of
// reading, and one for a request that is not new.
func (d *Draft) Admit(actor wal.ActorID, seq uint64) error {
	r, err := d.Request(actor, seq)
	if err != nil {
		return err
	}
	if r.Status != RequestNew {
		return fmt.Errorf("pagestore: request %d of actor %s is %s, not new; nothing was changed", seq, actor, r.Status)
	}
	n := &admitted{actor: d.requests.actors[actor]}
	if n.summary, err = d.actorsSummary(); err != nil {
		return err
	}
	if n.actor == nil {
		was, err := lookupActor(d.store, d.cat, actor)
		if err != nil {
			return err
		}
		n.actor = &draftActor{id: actor, was: was, now: was}
	}
	if n.actor.now.Count == 0 {
		if err := d.makeRoom(n); err != nil {
			return err
		}
	}
	d.requests.next = n
	return nil
}

// makeRoom counts one more actor, and says which has to go for it.
func (d *Draft) makeRoom(n *admitted) (err error) {
	if n.summary.Count < MaxActors {
		n.summary.Count++
		return nil
	}
	if n.victim, err = d.oldestActor(); err != nil {
		return err
	}
	if bytes.Compare(n.victim.id[:], n.summary.Evicted[:]) > 0 {
		n.summary.Evicted = n.victim.id
	}
	return nil
}

// oldestActor is the one whose last request has the lowest LSN. Those that the
// draft has touched have higher ones than all others.
func (d *Draft) oldestActor() (*draftActor, error) {
	for it, err := range d.cat.Scan(d.store.nodes, prefixQueue, keyAfter(prefixQueue)) {
		if err != nil {
			return nil, err
		}
		id, err := decodeActorID(it.Value)
		if err != nil {
			return nil, err
		}
		if d.requests.actors[id] != nil {
			continue
		}
		was, err := lookupActor(d.store, d.cat, id)
		return &draftActor{id: id, was: was, now: was}, err
	}
	var oldest *draftActor
	for _, a := range d.requests.actors {
		if !a.evicted && (oldest == nil || a.now.LSN < oldest.now.LSN) {
			oldest = a
		}
	}
	if oldest == nil {
		return nil, badRecord("summary of actors", "it counts actors, but there are none")
	}
	return oldest, nil
}

func (d *Draft) actorsSummary() (actorsRecord, error) {
	return currentSummary(d.store, d.cat, d.requests.summary)
}

// record does what Admit has prepared: the entry is the actor's last request.
func (d *Draft) record(e *wal.Entry, hash wal.Hash) {
	n := d.requests.next
	if n == nil || n.actor.id != e.Actor {
		panic(fmt.Sprintf("pagestore: entry %d is a request of actor %s, and Admit was not asked", e.First, e.Actor))
	}
	r := &d.requests
	r.next = nil
	if r.actors == nil {
		r.actors = map[wal.ActorID]*draftActor{}
	}
	if n.victim != nil {
		n.victim.evict()
		r.actors[n.victim.id] = n.victim
	}
	if n.actor.now.Count == 0 {
		r.summary = &n.summary
	}
	r.actors[e.Actor] = n.actor
	n.actor.add(Outcome{
		Seq: e.Seq, Txn: e.Txn, Time: e.Time, Digest: digestOf(e),
		Position: wal.Position{Timeline: e.Timeline, LSN: e.Last, Hash: hash},
	})
}

func digestOf(e *wal.Entry) RequestDigest {
	for _, x := range e.Exts {
		if x.Type == wal.ExtRequestDigest {
			return DigestRequest(x.Bytes)
		}
	}
	return RequestDigest{}
}

func (a *draftActor) evict() { a.now, a.fresh, a.evicted = actorRecord{}, nil, true }

func (a *draftActor) add(o Outcome) {
	a.now = actorRecord{Last: o.Seq, Count: a.now.Count + 1, LSN: o.Position.LSN}
	if len(a.fresh) == 2*RequestWindow {
		a.fresh = a.fresh[:copy(a.fresh, a.fresh[RequestWindow:])]
	}
	a.fresh = append(a.fresh, o)
}

// flushRequests puts what became of requests into the catalogue.
func (d *Draft) flushRequests(e catalogue.Edit) error {
	r := &d.requests
	for _, a := range r.actors {
		if err := a.flush(e, &d.cat); err != nil {
			return err
		}
	}
	if r.summary != nil {
		if err := e.Put(&d.cat, keyActors, r.summary.encode()); err != nil {
			return err
		}
	}
	clear(r.actors)
	r.summary, r.next = nil, nil
	return nil
}

func (a *draftActor) flush(e catalogue.Edit, c *catalogue.Catalogue) error {
	if a.was.Count > 0 {
		if _, err := e.Delete(c, queueKey(a.was.LSN)); err != nil {
			return err
		}
	}
	if a.evicted {
		return a.flushEvicted(e, c)
	}
	kept := a.fresh[max(0, len(a.fresh)-RequestWindow):]
	for i := range kept {
		o := outcomeRecord{a.now.Count - uint64(len(kept)-1-i), kept[i]}
		if err := e.Put(c, outcomeKey(a.id, o.Number), o.encode()); err != nil {
			return err
		}
	}
	if err := e.Put(c, queueKey(a.now.LSN), catalogue.Raw(bytes.Clone(a.id[:]))); err != nil {
		return err
	}
	return e.Put(c, actorKey(a.id), a.now.encode())
}

func (a *draftActor) flushEvicted(e catalogue.Edit, c *catalogue.Catalogue) error {
	for n := uint64(1); n <= min(a.was.Count, RequestWindow); n++ {
		if _, err := e.Delete(c, outcomeKey(a.id, n)); err != nil {
			return err
		}
	}
	_, err := e.Delete(c, actorKey(a.id))
	return err
}
