package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// eventOutput is an event, as watch prints it.
type eventOutput struct {
	Event    string      `json:"event" doc:"entry, or progress: up to this position nothing else concerns --volume"`
	LSN      uint64      `json:"lsn" doc:"of the position; resume with --after"`
	Timeline string      `json:"timeline" doc:"UUID of the timeline at the position"`
	Hash     string      `json:"hash" doc:"SHA-256 of the entry at the position"`
	Entry    *showOutput `json:"entry,omitempty" doc:"the whole entry; not in progress"`
}

// watchRun is one run of watch. What it shares with log is in logger; it prints
// only what is known to be durable. Beside a service that is what durable marks
// in the log say: a second reader, the scout, reads ahead for them, so that
// nothing has to be kept until its mark comes.
type watchRun struct {
	logger
	after lsnFlag

	scout   *wal.Reader
	durable wal.LSN
	skipped *wal.Record // the last entry, passed over; its position only
}

func newWatchCommand(a *app) *cobra.Command {
	w := &watchRun{logger: logger{app: a}}
	c := &cobra.Command{
		Use:   "watch",
		Short: "Print whole entries as they become durable",
		Long: `Print the entries behind an LSN, oldest first, each in full with --json: a
stream of events, one line each, that misses nothing and repeats nothing, to be
resumed with --after the last LSN that was read.

Unlike log, watch prints no entry that a crash could still take back: beside a
running service an entry comes when the log says that it is on the disk, with
the next commit or a moment later. With --volume there are progress events too,
so that who resumes need not read again what did not concern it.

A checkpoint lets go of the entries before it. Whoever has fallen that far behind
is told so: the command fails, and never leaves anything out.`,
		Example: `  txnctl watch --after 100
  txnctl watch --follow --json --volume notes | jq -c '[.lsn, .entry.sections[].written]'`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return w.run(c.Context()) },
	}
	c.Flags().StringVar(&w.volume, "volume", "", "only entries that change `VOLUME`, a name or UUID")
	c.Flags().Var(&w.after, "after", "begin behind the entry with this LSN (default with the oldest there is)")
	c.Flags().BoolVarP(&w.follow, "follow", "f", false, "go on with new entries")
	_ = c.RegisterFlagCompletionFunc("volume", a.completeOnlyVolume)
	return c
}

func (w *watchRun) run(ctx context.Context) error {
	return w.withView(0, func(v *recovery.Viewed) error {
		if err := w.begin(v); err != nil {
			return err
		}
		if last := v.Findings().Scan.Last; wal.LSN(w.after) > last {
			return fmt.Errorf("there is no entry with LSN %d yet; the last is %d", w.after, last)
		}
		if w.after != 0 {
			w.from = w.after + 1
		}
		w.gens, w.seq = v.Facts().Generations, v.Facts().Seq
		r, err := w.reader(w.gens)
		if err != nil || r == nil {
			return err
		}
		defer r.Close()
		w.scout, err = wal.NewReader(w.fs, filepath.Join(w.dir, "wal"), w.gens, w.last+1)
		if err != nil {
			return err
		}
		defer func() { w.scout.Close() }()
		return w.events(ctx, r)
	})
}

// events prints what is durable, and with --follow what becomes so until it is
// interrupted, which is a good end.
func (w *watchRun) events(ctx context.Context, r *wal.Reader) error {
	for {
		err := w.survey()
		if err == nil {
			err = w.upToDurable(ctx, r)
		}
		if err == nil {
			err = w.progress()
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || !w.follow {
			return err
		}
		if err := w.await(ctx, r); err != nil {
			return err
		}
		w.scout.Update(w.gens)
	}
}

// survey finds out up to where the log is durable.
func (w *watchRun) survey() error {
	for {
		_, err := w.scout.Next()
		if errors.Is(err, wal.ErrCorrupt) {
			err = w.moved(w.scout, err)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, wal.ErrCompacted):
			return errGone(w.last+1, w.gens)
		case err != io.EOF:
			return err
		}
		break
	}
	w.durable = max(w.durable, w.scout.Durable())
	for _, g := range w.gens {
		if g.Sealed {
			w.durable = max(w.durable, g.Last)
		}
	}
	return nil
}

// upToDurable prints the entries that are durable. There may be less to read
// than there is: of a new file of the log the next look tells.
func (w *watchRun) upToDurable(ctx context.Context, r *wal.Reader) error {
	for w.last < w.durable && ctx.Err() == nil {
		rec, err := r.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, wal.ErrCompacted):
			return errGone(w.last+1, w.gens)
		case errors.Is(err, wal.ErrCorrupt):
			err = w.moved(r, err)
		case err == nil:
			err = w.event(rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *watchRun) event(rec *wal.Record) error {
	w.last = rec.LSN
	if !w.wants(rec.Entry) {
		w.skipped = rec
		return nil
	}
	w.skipped = nil
	if !w.json {
		w.printLine(w.out, w.names.entry(rec.Entry))
		return nil
	}
	facts, _, err := manifest.Load(w.fs, w.dir)
	if err != nil {
		return err
	}
	entry, err := w.showRecord(facts, w.names, rec, sectionOrLost)
	if err != nil {
		return err
	}
	return w.print(eventOf("entry", rec, &entry), nil)
}

// progress says how far nothing concerned the volume.
func (w *watchRun) progress() error {
	rec := w.skipped
	if w.skipped = nil; rec == nil || !w.json {
		return nil
	}
	return w.print(eventOf("progress", rec, nil), nil)
}

func eventOf(what string, rec *wal.Record, entry *showOutput) eventOutput {
	return eventOutput{Event: what, LSN: uint64(rec.LSN), Timeline: rec.Timeline.String(), Hash: rec.Hash.String(), Entry: entry}
}

// sectionOrLost is sectionOf, of which an index that lay beside the log may be
// gone.
func sectionOrLost(s *wal.Section, body io.ReaderAt) (sectionOutput, error) {
	o, err := sectionOf(s, body)
	if err != nil && len(s.Delta.Chunks) > 0 {
		o.Written, o.Lost, err = [][2]uint64{}, true, nil
	}
	return o, err
}
