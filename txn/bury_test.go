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

// currentLog is the log file that commits go to: unlike one that is being
// prepared it is synced by each of them.
func (r *rig) currentLog() (name string) {
	var mu sync.Mutex
	times := map[string]int{}
	r.disk.fail(func(op, file string) error {
		mu.Lock()
		defer mu.Unlock()
		if op == "sync" && strings.Contains(file, "/wal/") {
			if times[file]++; times[file] > 1 {
				name = file
			}
		}
		return nil
	})
	for range 2 {
		r.put("v", 0, 5)
	}
	r.disk.fail(nil)
	mu.Lock()
	defer mu.Unlock()
	return name
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
	eventually(t, "the next log generation is named", func() bool {
		facts, _, err := manifest.Load(r.opts.FS, r.dir)
		return err == nil && len(facts.Generations) > 1
	})
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
