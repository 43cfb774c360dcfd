package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// gcDry says what gc would free, from what verify finds: slots that only the
// checkpoint reaches or only the log names are free behind the next one, unless
// a consumer has still to read what names them; how many these are is not known
// before it.
func (a *app) gcDry(ctx context.Context, dir string) (o gcOutput, err error) {
	bar := a.progress("look", 1) // the total comes with the first step
	rep, err := recovery.Verify(ctx, a.fs, dir, recovery.VerifyOptions{Progress: bar.of})
	bar.end()
	if err != nil {
		return o, a.noStore(dir, err)
	}
	if !rep.Clean {
		return o, fmt.Errorf("the store is damaged in %s; gc would stop there: %w", count(len(rep.Problems)+rep.More, "place"), wal.ErrCorrupt)
	}
	err = a.withView(0, func(v *recovery.Viewed) error {
		o = a.wouldFree(rep, v)
		slots, err := v.Snapshot().Unpinned()
		o.Slots, o.Exact = o.Slots+slots, o.Exact && slots == 0
		return overtaken(v, err)
	})
	return o, err
}

func (a *app) wouldFree(rep *recovery.VerifyReport, v *recovery.Viewed) gcOutput {
	facts, s := v.Facts(), rep.Slots
	o := gcOutput{DryRun: true, Exact: rep.ClosedCleanly, Checkpoint: uint64(facts.Checkpoint.LSN), Slots: s.Checkpoint + s.Log, Kept: []keptOutput{}}
	for _, c := range facts.Consumers {
		if !c.Dropped {
			o.Exact = false
			o.Kept = append(o.Kept, keptOutput{"consumer", c.Name, uint64(c.Acked.LSN) + 1, 0})
		}
	}
	needed := facts.Needed(rep.Last)
	if needed > facts.LowWater { // some got on, or were dropped
		o.Slots += s.Consumers
	} else {
		o.KeptSlots = s.Consumers
	}
	o.LogFiles, o.LogBytes = a.unneeded(facts, rep.Last, needed)
	return o
}

// unneeded counts the files of the log that end below an LSN.
func (a *app) unneeded(facts manifest.Facts, last, needed wal.LSN) (files int, bytes int64) {
	sizes := a.fileSizes(filepath.Join(a.dir, "wal"))
	for _, g := range facts.Generations {
		end := g.Last
		if !g.Sealed {
			end = last
		}
		if size, ok := sizes[filepath.Join(a.dir, "wal", g.ID.Path())]; ok && end < needed {
			files, bytes = files+1, bytes+size
		}
	}
	return files, bytes
}
