package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// entryOutput is an entry, as log prints it.
type entryOutput struct {
	LSN     uint64         `json:"lsn" doc:"number of the entry"`
	Time    string         `json:"time" doc:"of the entry, RFC 3339, UTC"`
	Kind    string         `json:"kind" doc:"transaction or begin-timeline"`
	Txn     string         `json:"txn" doc:"UUID of the transaction"`
	Message string         `json:"message" doc:"what it says for people"`
	Volumes []changeOutput `json:"volumes" doc:"what it changed"`

	ns int64
}

// changeOutput is what an entry does to one volume.
type changeOutput struct {
	ID        string `json:"id" doc:"UUID of the volume"`
	Name      string `json:"name" doc:"present name of the volume; empty when it is gone"`
	Ref       string `json:"ref" doc:"name of the tag that is set or deleted; empty for the volume itself"`
	Change    string `json:"change" doc:"created, forked, changed, renamed or deleted; of a tag tagged, retagged or untagged"`
	From      string `json:"from" doc:"what a fork or tag begins as, a volume or VOLUME@TAG; else empty"`
	Written   uint64 `json:"written" doc:"pages written"`
	Discarded uint64 `json:"discarded" doc:"pages made absent below the size"`
	Pages     uint64 `json:"pages" doc:"size of the volume afterwards, in pages"`
}

// logger is one run of log.
type logger struct {
	*app
	volume string
	from   lsnFlag
	follow bool

	names names
	only  wal.VolumeID // zero: all
	begun bool         // the heading was printed
	last  wal.LSN      // that was read

	gens []wal.Generation // that the reader knows, and
	seq  uint64           // the manifest record that names them; 0 at first
}

func newLogCommand(a *app) *cobra.Command {
	l := &logger{app: a}
	c := &cobra.Command{
		Use:   "log",
		Short: "List the entries of the log",
		Long: `List the entries of the log, oldest first: what each transaction changed. A
checkpoint lets go of the entries before it, so the list may begin late; --from
an entry that is gone is an error.

With --follow it goes on with entries as a service that has the store open
commits them, until it is interrupted.`,
		Example: `  txnctl log
  txnctl log --volume notes --from 100
  txnctl log --follow --json | jq -r .message`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return l.run(c.Context()) },
	}
	c.Flags().StringVar(&l.volume, "volume", "", "only entries that change `VOLUME`, a name or UUID")
	c.Flags().Var(&l.from, "from", "begin with this entry (default the oldest there is)")
	c.Flags().BoolVarP(&l.follow, "follow", "f", false, "go on with new entries")
	_ = c.RegisterFlagCompletionFunc("volume", a.completeOnlyVolume)
	return c
}

func (l *logger) run(ctx context.Context) error {
	return l.withView(0, func(v *recovery.Viewed) error {
		if err := l.begin(v); err != nil {
			return err
		}
		gens, last := v.Facts().Generations, v.Findings().Scan.Last
		r, err := l.reader(gens)
		if err != nil || r == nil {
			return err
		}
		defer r.Close()
		if l.follow {
			return l.goOn(ctx, r)
		}
		if err := l.upTo(ctx, r, last); err != nil || l.begun || l.json {
			return err
		}
		l.note("No such entries; the log begins with LSN %d.", oldest(gens))
		return nil
	})
}

// begin finds the volume that is asked for.
func (l *logger) begin(v *recovery.Viewed) error {
	l.names = newNames(v.Snapshot())
	if l.volume == "" {
		return nil
	}
	vol, err := findVolume(v.Snapshot(), l.volume)
	l.only = vol.ID
	return err
}

// reader begins at --from, or at the oldest entry; nil when there is none.
func (l *logger) reader(gens []wal.Generation) (*wal.Reader, error) {
	from := wal.LSN(l.from)
	if from == 0 {
		if from = oldest(gens); from == 0 {
			return nil, nil
		}
	}
	l.last = from - 1
	r, err := wal.NewReader(l.fs, filepath.Join(l.dir, "wal"), gens, from)
	if errors.Is(err, wal.ErrCompacted) {
		err = errGone(from, gens)
	}
	return r, err
}

// errGone: a checkpoint let the entry go.
func errGone(lsn wal.LSN, gens []wal.Generation) error {
	return fmt.Errorf("the entry with LSN %d is gone: the log begins with LSN %d", lsn, oldest(gens))
}

// oldest is the first LSN that the log still has; 0 when it has none.
func oldest(gens []wal.Generation) wal.LSN {
	if len(gens) == 0 {
		return 0
	}
	return gens[0].First
}

// upTo prints the entries up to the last valid one.
func (l *logger) upTo(ctx context.Context, r *wal.Reader, last wal.LSN) error {
	for {
		rec, err := r.Next()
		if err == io.EOF || err == nil && rec.LSN > last {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = l.entry(rec.Entry)
		}
		if err != nil {
			return err
		}
	}
}

// followEvery is how often a log that does not grow is looked at.
const followEvery = 100 * time.Millisecond

// goOn prints entries until it is interrupted, which is a good end.
func (l *logger) goOn(ctx context.Context, r *wal.Reader) error {
	for {
		rec, err := r.Next()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == io.EOF:
			err = l.await(ctx, r)
		case errors.Is(err, wal.ErrCompacted):
			return errGone(l.last+1, l.gens)
		case errors.Is(err, wal.ErrCorrupt):
			err = l.moved(r, err)
		case err == nil:
			err = l.entry(rec.Entry)
		}
		if err != nil {
			return err
		}
	}
}

// await waits a moment, and tells the reader of new files of the log.
func (l *logger) await(ctx context.Context, r *wal.Reader) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(followEvery):
	}
	_, err := l.update(r)
	return err
}

// moved is nil when a file may be missing only because the log was trimmed.
func (l *logger) moved(r *wal.Reader, found error) error {
	if moved, err := l.update(r); err != nil || !moved {
		return errors.Join(found, err)
	}
	return nil
}

// update tells the reader what the manifest names now, and reports whether
// that is news.
func (l *logger) update(r *wal.Reader) (news bool, err error) {
	facts, _, err := manifest.Load(l.fs, l.dir)
	if err != nil {
		return false, err
	}
	r.Update(facts.Generations)
	l.gens, news, l.seq = facts.Generations, facts.Seq != l.seq, facts.Seq
	return news, nil
}

func (l *logger) entry(e *wal.Entry) error {
	l.last = e.Last
	if !l.wants(e) {
		return nil
	}
	o := l.names.entry(e)
	return l.print(o, func(w io.Writer) { l.printLine(w, o) })
}

func (l *logger) wants(e *wal.Entry) bool {
	return l.only == (wal.VolumeID{}) || concerns(e, l.only)
}

// printLine prints an entry for people, below the heading.
func (l *logger) printLine(w io.Writer, o entryOutput) {
	if !l.begun {
		l.begun = true
		fmt.Fprintln(w, l.bold.paint(fmt.Sprintf(logLine, "LSN", "TIME", "CHANGES")))
	}
	fmt.Fprintln(w, o.line())
}

func concerns(e *wal.Entry, id wal.VolumeID) bool {
	for i := range e.Sections {
		if e.Sections[i].Ref.Volume == id {
			return true
		}
	}
	return false
}

const logLine = "%7s  %-20s  %s"

// line is the entry for people: what it says, then what it did.
func (o entryOutput) line() string {
	var parts []string
	for _, c := range o.Volumes {
		if !hidden(c.Name) && !c.isOrigin() {
			parts = append(parts, c.String())
		}
	}
	if o.Kind != wal.KindTransaction.String() {
		parts = append(parts, strings.ReplaceAll(o.Kind, "-", " "))
	}
	text := strings.Join(parts, ", ")
	if o.Message != "" {
		text += "  # " + printable(o.Message)
	}
	return fmt.Sprintf(logLine, fmt.Sprint(o.LSN), timeText(o.ns), text)
}

// isOrigin: the tag comes with a fork, which says the same.
func (c changeOutput) isOrigin() bool { return c.Ref == txn.OriginTag && c.Change == "tagged" }

func (c changeOutput) String() string {
	s := c.Name
	if s == "" {
		s = c.ID
	}
	if c.Ref != "" {
		s += "@" + c.Ref
	}
	s = printable(s)
	if c.Change != "changed" {
		s += " " + c.Change
	}
	if c.Change == "forked" {
		s += " from " + printable(c.From)
	}
	if c.Written > 0 {
		s += " +" + count(c.Written, "page")
	}
	if c.Discarded > 0 {
		s += " -" + count(c.Discarded, "page")
	}
	if s == c.Name {
		s += fmt.Sprintf(" now %s", count(c.Pages, "page"))
	}
	return s
}
