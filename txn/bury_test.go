package txn_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// gate makes the operations that match wait, when it is shut, until opened.
type gate struct {
	op, part string
	mu       sync.Mutex
	met      chan struct{} // closed by the first that waits
	open     chan struct{} // nil while nobody need wait
}

func (g *gate) shut() (met <-chan struct{}, open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.met, g.open = make(chan struct{}), make(chan struct{})
	return g.met, sync.OnceFunc(func() { close(g.open) })
}

func (g *gate) pass(op, name string) error {
	if op != g.op || !strings.Contains(name, g.part) {
		return nil
	}
	g.mu.Lock()
	open := g.open
	if g.met != nil {
		close(g.met)
		g.met = nil
	}
	g.mu.Unlock()
	if open != nil {
		<-open
	}
	return nil
}

// currentLog is the log file that commits go to, and nothing else: the flusher is
// idle (see idle).
func (r *rig) currentLog() (name string) {
	r.t.Helper()
	return r.idle(func() {
		r.t.Helper()
		empty := func(*txn.Tx) error { return nil } // as a request it is logged all the same
		if _, err := r.UpdateWith(context.Background(), requestOf(r.NewActor(), 1), empty); err != nil {
			r.t.Fatal(err)
		}
	})
}

// idle waits until the flusher has nothing left to do of what write has made
// durable: a while behind it the flusher writes and syncs a mark, unless somebody
// writes again. It returns the log file that both went to. From then on nobody
// syncs that file but who comes next; another may be made ready at any time, but is
// synced once only.
func (r *rig) idle(write func()) (log string) {
	r.t.Helper()
	var mu sync.Mutex
	syncs := map[string][]wal.LSN{} // what was durable before each sync of a log file
	r.disk.fail(func(op, name string) error {
		if op == "sync" && strings.Contains(name, "/wal/") {
			durable := r.Stats().Durable
			mu.Lock()
			defer mu.Unlock()
			syncs[name] = append(syncs[name], durable)
		}
		return nil
	})
	write()
	last := r.Stats().Head.LSN
	eventually(r.t, "the durable mark", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for name, durable := range syncs {
			if n := len(durable); durable[0] < last && durable[n-1] >= last {
				log = name
			}
		}
		return log != ""
	})
	r.disk.fail(nil)
	return log
}

// logs are the files of the log that the manifest names, or none when it is just
// being replaced.
func (r *rig) logs() []wal.Generation {
	facts, _, err := manifest.Load(r.opts.FS, r.dir)
	if err != nil {
		return nil
	}
	return facts.Generations
}

// nextLog waits until the file of the log is named that commits go to when the
// current one is full.
func (r *rig) nextLog() (next wal.GenID) {
	r.t.Helper()
	eventually(r.t, "the next log generation is named", func() bool {
		list := r.logs()
		if len(list) > 1 {
			next = list[len(list)-1].ID
		}
		return len(list) > 1
	})
	return next
}

// What a checkpoint replaced is free only when the log names its manifest
// record, also if a transaction that was refused has opened a group meanwhile:
// that group writes nothing.
func TestEmptyGroupBuriesNothing(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointEvery: -1})
	r.volume("v", 2)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.Checkpoint(ctx))
	// From here on nobody but the checkpoint writes the manifest.
	r.nextLog()
	record, log := &gate{op: "sync", part: "MANIFEST"}, &gate{op: "sync", part: r.currentLog()}
	r.disk.fail(func(op, name string) error { return errors.Join(record.pass(op, name), log.pass(op, name)) })

	// The checkpoint is about to be durable,
	writing, written := record.shut()
	defer written()
	seq := r.Stats().Pages.ManifestSeq
	checkpoint := make(chan error)
	go func() { checkpoint <- r.Checkpoint(ctx) }()
	<-writing
	// the flusher is at a commit, whose frame names the manifest before it,
	late := r.begin(txn.TxOptions{})
	_, err := get(late, "v", 1)
	must(errors.Join(err, put(late, "v", 1, 6)))
	syncing, synced := log.shut()
	defer synced()
	commit := make(chan error)
	go func() {
		_, err := r.Update(ctx, func(tx *txn.Tx) error { return put(tx, "v", 1, 7) })
		commit <- err
	}()
	<-syncing
	// and one that conflicts with it is refused and leaves an empty group.
	if _, err := late.Commit(ctx); !errors.Is(err, txn.ErrConflict) {
		t.Fatalf("commit: %v", err)
	}
	written()
	eventually(t, "the manifest record", func() bool { return r.Stats().Pages.ManifestSeq > seq })
	synced()
	must(errors.Join(<-commit, <-checkpoint))

	ids, err := wal.List(r.opts.FS, filepath.Join(r.dir, "wal"))
	must(err)
	named := uint64(0)
	for _, id := range ids {
		n, _, err := wal.NewestManifest(r.opts.FS, filepath.Join(r.dir, "wal"), id)
		must(err)
		named = max(named, n)
	}
	if now := r.Stats().Pages.ManifestSeq; named < now {
		t.Errorf("the checkpoint is over at manifest record %d, the log names %d", now, named)
	}
}
