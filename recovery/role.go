package recovery

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/wal"
)

// # Roles
//
// Whether a store writes entries of its own is a node fact (manifest.Role):
// opening a follower without Options.Follower does not make it a writer. What
// opening does about it, at the step begin, which may add one entry:
//
//	the store is            Options.Follower  adds                    the role becomes
//	new                     no                LSN 1                   writer
//	new                     yes               nothing: LSN 1 comes    follower
//	                                          from the writer
//	a writer's              no                nothing                 -
//	a writer's              yes               nothing                 follower
//	a follower's            either            nothing                 -
//	a successor's           no                begin-timeline,         writer
//	                                          reason "promotion"
//	a successor's           yes               nothing                 follower: the promotion
//	                                                                  is taken back
//	a writer's, that may    no                begin-timeline,         -
//	be a copy (place.go)                      reason "copy"
//
// A follower without any entry is not called closed cleanly: there is no last LSN to
// say so with, and nothing to lose.
//
// A successor was promoted and then killed before its timeline had begun.
//
// Entry and role become true together: the entry is in a generation of the log
// that the manifest does not name before the record (adopt) that also holds the
// role. So a crash leaves both or none.

// roleNow is the role from this opening on.
func (r *opening) roleNow() manifest.Role {
	switch was := r.facts.Node.Role; {
	case r.o.Follower:
		return manifest.Follower
	case was == manifest.Successor:
		return manifest.Writer
	default:
		return was
	}
}

// begin writes the entry that begins a timeline, if one is due.
func (r *opening) begin() error {
	r.node = r.facts.Node
	r.node.Role = r.roleNow()
	if r.found.place != "" {
		r.node.Place = r.found.place
	}
	if r.found.Copied {
		r.node.ID = r.newUUID()
	}
	switch {
	case r.node.Role == manifest.Follower:
		return nil
	case r.found.Scan.Last == 0:
		return r.beginTimeline(&wal.Entry{Timeline: r.facts.Timeline, Epoch: r.facts.Epoch}, ReasonCreated)
	case r.facts.Node.Role == manifest.Successor:
		return r.beginTimeline(r.successor(), ReasonPromotion)
	case r.found.Copied:
		return r.beginTimeline(r.successor(), ReasonCopy)
	}
	return nil
}

// Reasons of begin-timeline entries.
const (
	ReasonCreated    = "store created"
	ReasonPromotion  = "promotion"
	ReasonCopy       = "copy"
	ReasonRolledBack = "rolled back" // its archive is ahead of it: package txn
)

// successor is the beginning of a timeline behind the last entry.
func (r *opening) successor() *wal.Entry {
	scan := r.found.Scan
	return &wal.Entry{Timeline: wal.TimelineID(r.newUUID()), Epoch: scan.Epoch + 1, Prev: scan.Hash,
		Begin: &wal.BeginTimeline{Parent: scan.Timeline, ParentLSN: scan.Last, ParentHash: scan.Hash}}
}

// beginTimeline completes a begin-timeline entry and appends it, synced.
func (r *opening) beginTimeline(e *wal.Entry, reason string) error {
	scan := r.found.Scan
	if e.Begin == nil {
		e.Begin = &wal.BeginTimeline{}
	}
	e.Kind, e.First, e.Last = wal.KindTimeline, scan.Last+1, scan.Last+1
	e.Txn = wal.TxnID(r.newUUID())
	e.Time = max(r.o.Now().UnixNano(), scan.Time+1, r.facts.Checkpoint.Time+1)
	facts := r.facts
	facts.Node = r.node
	e.Begin.Store, e.Begin.PageAlgo, e.Begin.HashAlgo, e.Begin.Reason = facts.ID(), wal.AlgoXXH3, wal.AlgoSHA256, reason
	g, err := r.add(nil, e, wal.Body{})
	if err != nil {
		return fmt.Errorf("begin a timeline: %w", err)
	}
	scan.Last, r.out.Report.Last = e.Last, e.Last
	r.out.Report.Began = reason
	return r.flush(g)
}

// nodeEdit is what the manifest has to learn of the node; nil when it knows.
func (r *opening) nodeEdit() *manifest.Node {
	if r.node == r.facts.Node {
		return nil
	}
	return &r.node
}
