package pagestore

import (
	"bytes"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/wal"
)

// findRequest looks a request up in the catalogue and in what a draft has
// changed since; both of that may be nil. Cost: one look into the catalogue for a
// number above all others, two for the last, twelve for one in the window.
func findRequest(s *Store, c catalogue.Catalogue, a *draftActor, summary *actorsRecord, actor wal.ActorID, seq uint64) (Request, error) {
	f := requestFinder{store: s, cat: c, actor: actor}
	var err error
	if a != nil {
		f.rec, f.fresh = a.now, a.fresh
	} else if f.rec, err = lookupActor(s, c, actor); err != nil {
		return Request{}, err
	}
	switch {
	case f.rec.Count == 0:
		return unknownActor(s, c, summary, actor)
	case seq > f.rec.Last:
		return Request{Status: RequestNew, Last: f.rec.Last}, nil
	}
	r, err := f.find(seq)
	r.Last = f.rec.Last
	return r, err
}

// unknownActor is new only if none with a UUID as high was evicted.
func unknownActor(s *Store, c catalogue.Catalogue, pending *actorsRecord, actor wal.ActorID) (Request, error) {
	all, err := currentSummary(s, c, pending)
	if err != nil {
		return Request{}, err
	}
	if bytes.Compare(actor[:], all.Evicted[:]) > 0 {
		return Request{Status: RequestNew}, nil
	}
	return Request{Status: RequestExpired}, nil
}

// requestFinder searches the ring of an actor.
type requestFinder struct {
	store *Store
	cat   catalogue.Catalogue
	actor wal.ActorID
	rec   actorRecord
	fresh []Outcome
}

// find looks for a seq that is not above the last: the first number whose seq
// is not below, by halving.
func (f *requestFinder) find(seq uint64) (Request, error) {
	oldest := uint64(1)
	if f.rec.Count > RequestWindow {
		oldest = f.rec.Count - RequestWindow + 1
	}
	low, high := oldest, f.rec.Count
	found, err := f.outcome(high) // a retry is of the last, most of the time
	if err == nil && found.Seq == seq {
		low = high
	}
	for err == nil && low < high {
		mid := low + (high-low)/2
		var o Outcome
		if o, err = f.outcome(mid); o.Seq >= seq {
			high, found = mid, o
		} else {
			low = mid + 1
		}
	}
	switch {
	case err != nil:
		return Request{}, err
	case found.Seq == seq:
		return Request{Status: RequestDone, Outcome: found}, nil
	case high == oldest && oldest > 1:
		return Request{Status: RequestExpired}, nil
	}
	return Request{Status: RequestPassed}, nil
}

// outcome of the actor's nth request.
func (f *requestFinder) outcome(n uint64) (Outcome, error) {
	if behind := f.rec.Count - n; behind < uint64(len(f.fresh)) {
		return f.fresh[len(f.fresh)-1-int(behind)], nil
	}
	o, err := lookupOutcome(f.store, f.cat, f.actor, n)
	return o.Outcome, err
}

// lookupOutcome finds the outcome of an actor's nth request, which must be
// there.
func lookupOutcome(s *Store, c catalogue.Catalogue, actor wal.ActorID, n uint64) (outcomeRecord, error) {
	b, err := lookupRaw(s, c, outcomeKey(actor, n))
	if err != nil {
		return outcomeRecord{}, err
	}
	o, err := decodeOutcome(b)
	if err == nil && o.Number != n {
		err = badRecord("outcome", "another request's lies in its place")
	}
	return o, err
}

// lookupActor finds an actor; the zero record is of one that is not there.
func lookupActor(s *Store, c catalogue.Catalogue, id wal.ActorID) (actorRecord, error) {
	b, err := lookupRaw(s, c, actorKey(id))
	if err != nil || b == nil {
		return actorRecord{}, err
	}
	return decodeActor(b)
}

// currentSummary is what a draft has made of the summary, else what the
// catalogue says.
func currentSummary(s *Store, c catalogue.Catalogue, pending *actorsRecord) (actorsRecord, error) {
	if pending != nil {
		return *pending, nil
	}
	b, err := lookupRaw(s, c, keyActors)
	if err != nil || b == nil {
		return actorsRecord{}, err
	}
	return decodeActors(b)
}

// lookupRaw is the value of a key, nil when it is not there.
func lookupRaw(s *Store, c catalogue.Catalogue, key string) ([]byte, error) {
	v, ok, err := c.Get(s.nodes, key)
	if err != nil || !ok {
		return nil, err
	}
	b, ok := v.(catalogue.Raw)
	if !ok {
		return nil, badRecord("request", "it is a lineage")
	}
	return b, nil
}

func decodeActorID(v catalogue.Value) (wal.ActorID, error) {
	b, ok := v.(catalogue.Raw)
	if !ok || len(b) != len(wal.ActorID{}) {
		return wal.ActorID{}, badRecord("queue of actors", "it is not an actor's UUID")
	}
	return wal.ActorID(b), nil
}
