package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// showOutput is all there is to know of one entry.
type showOutput struct {
	entryOutput
	Timeline   string            `json:"timeline" doc:"UUID of the timeline"`
	Epoch      uint64            `json:"epoch" doc:"rank of the timeline"`
	Hash       string            `json:"hash" doc:"SHA-256 of the entry"`
	Prev       string            `json:"prev" doc:"hash of the entry before"`
	Actor      string            `json:"actor" doc:"UUID of the client whose request it commits; empty when the client does not number them"`
	Seq        uint64            `json:"seq" doc:"number that the client gave the request; 0 without one"`
	Reason     string            `json:"reason" doc:"why the timeline began; of begin-timeline only"`
	Extensions []extensionOutput `json:"extensions" doc:"what the entry carries besides, message included"`
	Sections   []sectionOutput   `json:"sections" doc:"each volume's states before and after, in the order of volumes"`
	Record     recordOutput      `json:"record" doc:"where the entry lies"`
}

// extensionOutput is an extension of an entry.
type extensionOutput struct {
	Type  string `json:"type" doc:"message, metadata, another name, or a number"`
	Bytes []byte `json:"bytes" doc:"its content, base64"`
}

// sectionOutput is what an entry does to one volume, in full.
type sectionOutput struct {
	ID        string      `json:"id" doc:"UUID of the volume"`
	Before    stateOutput `json:"before" doc:"the state that the entry expects"`
	After     stateOutput `json:"after" doc:"the state that it makes"`
	Seq       uint64      `json:"seq" doc:"number of the change of this volume, from 1"`
	Previous  uint64      `json:"previous" doc:"LSN of the change before; 0 for the first"`
	Written   [][2]uint64 `json:"written" doc:"runs of pages written, each [first, count]"`
	Lost      bool        `json:"lost" doc:"written is not known any more: a checkpoint let go of a long index; of watch only"`
	Discarded [][2]uint64 `json:"discarded" doc:"runs of pages made absent, each [first, count]"`
}

// stateOutput is what a volume holds.
type stateOutput struct {
	PageSize uint32 `json:"page_size" doc:"in bytes; 0 when the volume is not there"`
	Pages    uint64 `json:"pages" doc:"size in pages"`
	Sum      string `json:"sum" doc:"sum of the hashes of its pages"`
}

// recordOutput is where an entry lies on this disk.
type recordOutput struct {
	File    string `json:"file" doc:"of the log, below the store's directory"`
	Offset  int64  `json:"offset" doc:"of the record in the file, in bytes"`
	Length  int64  `json:"length" doc:"of the record, in bytes"`
	Inline  int    `json:"inline" doc:"bytes of images in the record"`
	InHeap  uint64 `json:"in_heap" doc:"bytes of images and index in the heap"`
	Extents int    `json:"extents" doc:"pieces of the heap that hold them"`
	Group   uint64 `json:"group" doc:"LSN of the first entry that was written together with it"`
	Durable uint64 `json:"durable" doc:"LSN up to which all was synced when it was written"`
}

func newShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show LSN",
		Short: "Show one entry of the log",
		Long: `Show the entry with that LSN in full: identity, whose request it commits, what
it changed page by page, states before and after, and where it lies. Entries before
the last checkpoint may be gone.`,
		Example: `  txnctl show 7
  txnctl show 7 --json | jq '.sections[].written'
  txnctl show 7 --json | jq '.actor, .seq'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			lsn, err := parseLSN(args[0])
			if err != nil {
				return err
			}
			return a.show(lsn)
		},
	}
}

func (a *app) show(lsn wal.LSN) error {
	return a.withView(0, func(v *recovery.Viewed) error {
		rec, err := a.record(v, lsn)
		if err != nil {
			return err
		}
		o, err := a.showRecord(v.Facts(), newNames(v.Snapshot()), rec, sectionOf)
		if err != nil {
			return overtaken(v, err)
		}
		return a.print(o, func(w io.Writer) { o.text(w, a.bold) })
	})
}

// record reads one record of the log.
func (a *app) record(v *recovery.Viewed, lsn wal.LSN) (*wal.Record, error) {
	if last := v.Findings().Scan.Last; lsn > last {
		return nil, fmt.Errorf("there is no entry with LSN %d yet; the last is %d", lsn, last)
	}
	gens := v.Facts().Generations
	for rec, err := range wal.Records(a.fs, filepath.Join(a.dir, "wal"), gens, lsn, lsn) {
		if errors.Is(err, wal.ErrCompacted) {
			err = errGone(lsn, gens)
		}
		return rec, err
	}
	return nil, fmt.Errorf("there is no entry with LSN %d", lsn)
}

// showRecord describes a record in full; of is how a section of it is described.
func (a *app) showRecord(facts manifest.Facts, names names, rec *wal.Record, of func(*wal.Section, io.ReaderAt) (sectionOutput, error)) (o showOutput, err error) {
	e := rec.Entry
	h, err := heap.Open(heap.Options{FS: a.fs, Dir: filepath.Join(a.dir, "heap"), Store: facts.Store, ReadOnly: true}, facts.Heap)
	if err != nil {
		return o, err
	}
	defer h.Close()
	body, err := apply.BodyOf(h, 0, rec)
	if err != nil {
		return o, err
	}
	o = showOutput{
		entryOutput: names.entry(e), Timeline: e.Timeline.String(), Epoch: e.Epoch, Hash: rec.Hash.String(), Prev: e.Prev.String(),
		Extensions: []extensionOutput{}, Sections: []sectionOutput{}, Record: recordOf(rec),
	}
	if e.Actor != (wal.ActorID{}) {
		o.Actor, o.Seq = e.Actor.String(), e.Seq
	}
	if e.Begin != nil {
		o.Reason = e.Begin.Reason
	}
	for _, x := range e.Exts {
		o.Extensions = append(o.Extensions, extensionOutput{x.Type.String(), x.Bytes})
	}
	for i := range e.Sections {
		s, err := of(&e.Sections[i], body)
		if err != nil {
			return o, err
		}
		o.Sections = append(o.Sections, s)
	}
	return o, nil
}

func recordOf(rec *wal.Record) recordOutput {
	o := recordOutput{
		File: filepath.Join("wal", rec.Gen.Path()), Offset: rec.Offset, Length: rec.Length, Inline: len(rec.Inline),
		Extents: len(rec.Extents), Group: uint64(rec.GroupFirst), Durable: uint64(rec.Durable),
	}
	for _, x := range rec.Extents {
		o.InHeap += x.Length
	}
	return o
}

func sectionOf(s *wal.Section, body io.ReaderAt) (sectionOutput, error) {
	o := sectionOutput{
		ID: s.Ref.Volume.String(), Before: stateOf(s.Expect.State), After: stateOf(s.Result),
		Seq: s.Seq, Previous: uint64(s.PrevChange), Written: [][2]uint64{}, Discarded: [][2]uint64{},
	}
	for _, d := range s.Delta.Discards {
		o.Discarded = append(o.Discarded, [2]uint64{d.First, d.Count})
	}
	for row, err := range s.EachRow(body) {
		if err != nil {
			return o, err
		}
		o.Written = addToRuns(o.Written, row.Page)
	}
	return o, nil
}

func stateOf(s wal.State) stateOutput { return stateOutput{s.PageSize, s.Pages, s.Sum.String()} }

// addToRuns adds a page above all others.
func addToRuns(runs [][2]uint64, page uint64) [][2]uint64 {
	if n := len(runs); n > 0 && runs[n-1][0]+runs[n-1][1] == page {
		runs[n-1][1]++
		return runs
	}
	return append(runs, [2]uint64{page, 1})
}

func (o showOutput) text(w io.Writer, name style) {
	printFacts(w, name,
		fact{"lsn", fmt.Sprint(o.LSN)},
		fact{"time", timeText(o.ns)},
		fact{"kind", o.Kind},
		fact{"reason", printable(o.Reason)},
		fact{"message", printable(o.Message)},
		fact{"transaction", o.Txn},
		fact{"request", o.request()},
		fact{"timeline", fmt.Sprintf("%s, epoch %d", o.Timeline, o.Epoch)},
		fact{"hash", o.Hash},
		fact{"previous", o.Prev},
		fact{"record", o.Record.String()},
		fact{"written with", fmt.Sprintf("the group that begins with LSN %d; durable up to LSN %d then", o.Record.Group, o.Record.Durable)},
	)
	for _, x := range o.Extensions {
		if x.Type != wal.ExtMessage.String() {
			fmt.Fprintf(w, "\n%s\n  %s\n", name.paint(x.Type+", "+count(len(x.Bytes), "byte")), firstBytes(x.Bytes))
		}
	}
	for i, s := range o.Sections {
		fmt.Fprintf(w, "\n%s\n", name.paint(o.Volumes[i].heading()))
		s.text(w)
	}
}

// request is empty for an entry that commits no numbered request.
func (o showOutput) request() string {
	if o.Actor == "" {
		return ""
	}
	return fmt.Sprintf("number %d of actor %s", o.Seq, o.Actor)
}

func (r recordOutput) String() string {
	s := fmt.Sprintf("%s at byte %d, %s", r.File, r.Offset, count(r.Length, "byte"))
	if r.Inline > 0 {
		s += fmt.Sprintf(" with images of %s", bytesText(int64(r.Inline)))
	}
	if r.InHeap > 0 {
		s += fmt.Sprintf("; images of %s in %s of the heap", bytesText(int64(r.InHeap)), count(r.Extents, "extent"))
	}
	return s
}

func (c changeOutput) heading() string {
	name := c.Name
	if name == "" {
		name = c.ID
	}
	if c.Ref != "" {
		return "tag " + printable(c.Ref) + " of volume " + printable(name) + " " + c.Change + c.fromText()
	}
	return "volume " + printable(name) + " " + c.Change + c.fromText()
}

func (c changeOutput) fromText() string {
	if c.From == "" {
		return ""
	}
	return " from " + printable(c.From)
}

func (s sectionOutput) text(w io.Writer) {
	var text strings.Builder
	printFacts(&text, "",
		fact{"id", s.ID},
		fact{"change", s.change()},
		fact{"before", s.Before.String()},
		fact{"after", s.After.String()},
		fact{"written", runsText(s.Written)},
		fact{"discarded", runsText(s.Discarded)},
	)
	for line := range strings.Lines(text.String()) {
		fmt.Fprint(w, "  ", line)
	}
}

func (s sectionOutput) change() string {
	if s.Previous == 0 {
		return fmt.Sprintf("number %d", s.Seq)
	}
	return fmt.Sprintf("number %d, after that by LSN %d", s.Seq, s.Previous)
}

func (s stateOutput) String() string {
	if s.PageSize == 0 {
		return "not there"
	}
	return fmt.Sprintf("%s of %s, sum %s", count(s.Pages, "page"), bytesText(int64(s.PageSize)), s.Sum)
}

// maxRuns is how many runs of pages people are shown.
const maxRuns = 12

// runsText is "13 pages: 0-9, 12, 14-15".
func runsText(runs [][2]uint64) string {
	if len(runs) == 0 {
		return ""
	}
	var pages uint64
	var parts []string
	for i, r := range runs {
		pages += r[1]
		switch {
		case i >= maxRuns:
		case r[1] == 1:
			parts = append(parts, fmt.Sprint(r[0]))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", r[0], r[0]+r[1]-1))
		}
	}
	if len(runs) > maxRuns {
		parts = append(parts, fmt.Sprintf("and %d more runs (--json has all)", len(runs)-maxRuns))
	}
	return count(pages, "page") + ": " + strings.Join(parts, ", ")
}

// firstBytes is the beginning of an extension's content.
func firstBytes(b []byte) string {
	const most = 60
	if len(b) > most {
		return fmt.Sprintf("%q...", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
