package pagestore

import (
	"bytes"
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/wal"
)

// requests checks the records of actors, and counts them all: that each actor
// has its outcomes, as many as it must, with rising seqs, and one place in the
// queue, and that there is nothing else of that kind.
func (c *snapshotCheck) requests() (records uint64, err error) {
	var outcomes, kept, queued uint64
	actors, err := c.records(prefixActor, func(key string, v catalogue.Value) error {
		n, err := c.actor(key, v)
		outcomes += n
		return err
	})
	if err != nil {
		return 0, err
	}
	if kept, err = c.records(prefixOutcome, func(_ string, v catalogue.Value) error { return nil }); err != nil {
		return 0, err
	}
	if queued, err = c.records(prefixQueue, c.queued); err != nil {
		return 0, err
	}
	records = actors + kept + queued
	if actors > 0 {
		records++ // the summary
	}
	return records, c.tell(c.actorCounts(actors, outcomes, kept, queued))
}

// actor checks one actor and says how many outcomes it must have.
func (c *snapshotCheck) actor(key string, v catalogue.Value) (outcomes uint64, err error) {
	raw, ok := v.(catalogue.Raw)
	if !ok || len(key) != len(wal.ActorID{}) {
		return 0, badRecord("actor", fmt.Sprintf("its key is %x", key))
	}
	a, err := decodeActor(raw)
	if err != nil {
		return 0, err
	}
	id := wal.ActorID([]byte(key))
	outcomes = min(a.Count, RequestWindow)
	if err := c.placeOf(id, a); err != nil {
		return outcomes, err
	}
	var before Outcome
	for n := a.Count - outcomes + 1; n <= a.Count; n++ {
		o, err := lookupOutcome(c.s.store, c.s.cat, id, n)
		if err != nil {
			return outcomes, fmt.Errorf("request number %d of actor %s: %w", n, id, err)
		}
		if o.Seq <= before.Seq || o.Position.LSN <= before.Position.LSN || o.Time <= before.Time {
			return outcomes, badRecord("outcome", fmt.Sprintf("request %d of actor %s does not come after the one before", o.Seq, id))
		}
		before = o.Outcome
	}
	if before.Seq != a.Last || before.Position.LSN != a.LSN || a.LSN > c.s.LSN() {
		return outcomes, badRecord("actor", fmt.Sprintf("actor %s has request %d, by entry %d, for its last, its outcomes end with %d, by entry %d",
			id, a.Last, a.LSN, before.Seq, before.Position.LSN))
	}
	return outcomes, nil
}

// placeOf checks the actor's place in the order of eviction.
func (c *snapshotCheck) placeOf(id wal.ActorID, a actorRecord) error {
	b, err := lookupRaw(c.s.store, c.s.cat, queueKey(a.LSN))
	if err == nil && !bytes.Equal(b, id[:]) {
		err = badRecord("actor", fmt.Sprintf("actor %s is not in the queue with entry %d", id, a.LSN))
	}
	return err
}

func (c *snapshotCheck) queued(_ string, v catalogue.Value) error {
	_, err := decodeActorID(v)
	return err
}

func (c *snapshotCheck) actorCounts(actors, outcomes, kept, queued uint64) error {
	all, err := currentSummary(c.s.store, c.s.cat, nil)
	if err != nil {
		return err
	}
	if all.Count != actors || queued != actors || kept != outcomes {
		return badRecord("summary of actors", fmt.Sprintf("it counts %d, there are %d, %d in the queue, and %d outcomes where %d must be",
			all.Count, actors, queued, kept, outcomes))
	}
	return nil
}
