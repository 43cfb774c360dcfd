package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// gcOutput is what gc prints.
type gcOutput struct {
	DryRun      bool         `json:"dry_run" doc:"nothing was changed: slots, log_files and log_bytes are what would be freed"`
	Exact       bool         `json:"exact" doc:"false, with --dry-run only: slots is an estimate"`
	Checkpoint  uint64       `json:"checkpoint" doc:"LSN of the last checkpoint"`
	Checkpoints int          `json:"checkpoints" doc:"how many were made"`
	Slots       uint64       `json:"slots" doc:"of the heap, freed for what is written next"`
	Bytes       uint64       `json:"bytes" doc:"of those slots; 0 with --dry-run, which counts slots only"`
	LogFiles    int          `json:"log_files" doc:"files of the log, removed"`
	LogBytes    int64        `json:"log_bytes" doc:"of those files"`
	KeptSlots   uint64       `json:"kept_slots" doc:"dead slots that stay for those in kept"`
	HeapUsed    int64        `json:"heap_used" doc:"bytes of slots in use; 0 with --dry-run"`
	HeapBytes   int64        `json:"heap_bytes" doc:"bytes of all slots, which stay the heap's; 0 with --dry-run"`
	Kept        []keptOutput `json:"kept" doc:"for whom something is kept"`
}

// keptOutput is somebody for whom something is kept.
type keptOutput struct {
	Kind  string `json:"kind" doc:"what it is: consumer"`
	Owner string `json:"owner" doc:"whose it is"`
	LSN   uint64 `json:"lsn" doc:"from where on it keeps"`
	Bytes uint64 `json:"bytes" doc:"of the disk, log and heap, kept for it; what several keep counts for each; 0 with --dry-run"`
}

func newGCCommand(a *app) *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "Reclaim all that nothing needs any more",
		Long: `Reclaim all that nothing needs any more: write checkpoints until the log is gone
up to what recovery or a consumer still needs, and every slot of the heap that no
state, tag, fork, hold or consumer needs is free. Then say what stays, and for whom. No
consumer is dropped. Past states that export --at could reach are let go, as
checkpoint does. Files of the heap keep their size: what is written next takes the
free slots first.

A service that has the store open reclaims by itself; gc needs the store for itself.

With --dry-run not one byte is changed. All of the store is read for that, as
recovery verify does.`,
		Example: `  txnctl gc --dry-run
  txnctl gc
  txnctl gc --json | jq '.kept[] | {owner, bytes}'`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := a.gc(c.Context(), dry)
			if err != nil {
				return err
			}
			return a.print(o, func(w io.Writer) { o.text(w, a.bold) })
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be freed")
	return c
}

func (a *app) gc(ctx context.Context, dry bool) (o gcOutput, err error) {
	dir, err := a.storeDir()
	switch {
	case err != nil:
		return o, err
	case dry:
		return a.gcDry(ctx, dir)
	}
	return a.gcNow(ctx, filepath.Join(dir, "wal"))
}

func (a *app) gcNow(ctx context.Context, logs string) (gcOutput, error) {
	o := gcOutput{Exact: true, Kept: []keptOutput{}}
	before := a.fileSizes(logs)
	err := a.withStore(txn.Options{}, func(m *txn.Manager, _ *recovery.Report) error {
		wait := a.wait("reclaim")
		c, err := m.Collect(ctx)
		wait.end()
		if err != nil {
			return err
		}
		pages := m.Stats().Pages
		o.Checkpoint, o.Checkpoints, o.Slots, o.Bytes = uint64(pages.Checkpoint), c.Checkpoints, pages.FreedSlots, pages.FreedBytes
		o.KeptSlots, o.HeapUsed, o.HeapBytes = pages.LimboSlots, pages.Heap.Used, pages.Heap.Bytes
		for _, x := range m.Consumers() {
			if !x.Dropped {
				o.Kept = append(o.Kept, keptOutput{"consumer", x.Name, uint64(x.Acked.LSN) + 1, x.Kept})
			}
		}
		return nil
	})
	after := a.fileSizes(logs)
	for name, size := range before {
		if _, ok := after[name]; !ok {
			o.LogFiles, o.LogBytes = o.LogFiles+1, o.LogBytes+size
		}
	}
	return o, err
}

// fileSizes are the files below a directory and their lengths in bytes.
func (a *app) fileSizes(dir string) map[string]int64 {
	sizes := map[string]int64{}
	entries, _ := a.fs.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name)
		switch {
		case e.Mode.IsDir():
			for below, size := range a.fileSizes(name) {
				sizes[below] = size
			}
		case e.Mode.IsRegular():
			sizes[name] = e.Size
		}
	}
	return sizes
}

func (o gcOutput) text(w io.Writer, name style) {
	done, most := "freed", ""
	if o.DryRun {
		done = "would free"
	}
	if !o.Exact {
		most = "about "
	}
	slots := most + count(o.Slots, "slot")
	if o.Bytes > 0 {
		slots += ", " + bytesText(int64(o.Bytes))
	}
	facts := []fact{
		{done, slots + " of the heap"},
		{"", count(o.LogFiles, "file") + " of the log, " + bytesText(o.LogBytes)},
		{"checkpoint", lsnText(o.Checkpoint)},
	}
	if !o.DryRun {
		facts = append(facts, fact{"heap", fmt.Sprintf("%s in use of %s", bytesText(o.HeapUsed), bytesText(o.HeapBytes))})
	}
	if o.KeptSlots > 0 {
		facts = append(facts, fact{"kept", count(o.KeptSlots, "dead slot")})
	}
	printFacts(w, name, facts...)
	for _, k := range o.Kept {
		fmt.Fprintf(w, "%s\n", k)
	}
}

func (k keptOutput) String() string {
	s := fmt.Sprintf("Kept for %s %s: the log from LSN %d on, and what its entries name", k.Kind, printable(k.Owner), k.LSN)
	if k.Bytes > 0 {
		s += ", " + bytesText(int64(k.Bytes))
	}
	return s + "."
}
