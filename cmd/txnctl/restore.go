package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// restoreOutput is what restore prints: the proof.
type restoreOutput struct {
	URL       string       `json:"url" doc:"of the archive"`
	Dir       string       `json:"dir" doc:"directory of the store; empty after a dry run"`
	DryRun    bool         `json:"dry_run" doc:"all was read and verified, nothing was made"`
	Target    string       `json:"target" doc:"what was asked for"`
	LSN       uint64       `json:"lsn" doc:"of the last entry restored"`
	Timeline  string       `json:"timeline" doc:"UUID of its timeline"`
	Hash      string       `json:"hash" doc:"of that entry"`
	Time      string       `json:"time" doc:"of that entry, RFC 3339, UTC"`
	Volumes   uint64       `json:"volumes" doc:"in the store; of the last snapshot after a dry run"`
	Digest    string       `json:"digest" doc:"of all volumes, tags and states; of the last snapshot after a dry run"`
	Entries   uint64       `json:"entries" doc:"applied behind the last snapshot"`
	Snapshots []uint64     `json:"snapshots" doc:"LSNs of those that were loaded, in order"`
	Passed    []string     `json:"passed_over" doc:"why newer snapshots could not be used; the log was, instead"`
	Objects   int          `json:"objects" doc:"of snapshots that were read"`
	Bytes     int64        `json:"bytes" doc:"of these"`
	Kept      []keptVolume `json:"kept" doc:"the volumes that were named; empty for the whole store or a dry run"`
	Of        uint64       `json:"of" doc:"volumes that the whole state has, when some were named; 0 else"`
	Scratch   int64        `json:"scratch" doc:"about how many bytes the whole state takes meanwhile, for a dry run with volumes named; 0 else"`
	Role      string       `json:"role" doc:"of the store: writer or follower"`
	Began     uint64       `json:"began" doc:"LSN of the entry that begins the new timeline; 0 for a follower or dry run"`
	New       string       `json:"new_timeline" doc:"its UUID; empty for a follower or dry run"`
}

// keptVolume is a volume that was restored by name.
type keptVolume struct {
	Name  string    `json:"name" doc:"of the volume"`
	ID    string    `json:"id" doc:"its UUID"`
	Pages uint64    `json:"pages" doc:"its size in pages"`
	Sum   string    `json:"sum" doc:"of its pages, equal to that in the whole state"`
	Tags  []keptTag `json:"tags" doc:"that it has, by name"`
}

// keptTag is a tag of such a volume.
type keptTag struct {
	Name  string `json:"name" doc:"of the tag"`
	Pages uint64 `json:"pages" doc:"its size in pages"`
	Sum   string `json:"sum" doc:"of its pages, equal to that in the whole state"`
}

// restorer is one run of restore.
type restorer struct {
	*app
	keys
	targetFlags
	follower, dry bool
	volumes       []string
}

// targetFlags say which state is meant.
type targetFlags struct {
	lsn      lsnFlag
	time     string
	timeline string
}

func (t *targetFlags) add(c *cobra.Command) {
	c.Flags().Var(&t.lsn, "to-lsn", "the state after the entry with this `LSN` (default the newest)")
	c.Flags().StringVar(&t.time, "to-time", "", "the state at `TIME`: '2006-01-02 15:04:05', local time, or with Z or +01:00")
	c.Flags().StringVar(&t.timeline, "timeline", "", "of the timeline with this `UUID` (default the newest)")
	for _, f := range []string{"to-lsn", "to-time", "timeline"} {
		_ = c.RegisterFlagCompletionFunc(f, cobra.NoFileCompletions)
	}
}

func (t *targetFlags) target() (to restore.Target, err error) {
	if t.lsn != 0 && t.time != "" {
		return to, usagef("--to-lsn and --to-time are two points: which one?")
	}
	to.LSN = wal.LSN(t.lsn)
	if t.time != "" {
		if to.Time, err = parseTime(t.time); err != nil {
			return to, err
		}
	}
	if t.timeline != "" {
		id, err := uuid.Parse(t.timeline)
		if err != nil {
			return to, usagef("--timeline %q is no UUID; txnctl backup ls lists the timelines", t.timeline)
		}
		to.Timeline = wal.TimelineID(id)
	}
	return to, nil
}

// parseTime takes a time from the command line.
func parseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	if t, err := time.Parse("2006-01-02 15:04:05Z07:00", s); err == nil { // as ls, log and verify print it
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateTime, s, time.Local)
	if err != nil {
		return t, usagef("%q is no time: want 2006-01-02T15:04:05Z or '2006-01-02 15:04:05Z', with a fraction or an offset like +01:00 if need be, or '2006-01-02 15:04:05', local time", s)
	}
	return t, nil
}

func newRestoreCommand(a *app) *cobra.Command {
	r := &restorer{app: a}
	c := &cobra.Command{
		Use:   "restore URL DIR",
		Short: "Make a store of an archive, as it was at any LSN or time",
		Long: `Make a store in DIR, which is not there or empty, of the archive at URL: the newest
state, or that at an LSN or a time. It begins with the newest snapshot that is not
behind that, and applies the entries up to there. A time is that of the last entry that is
not younger.

Every object, page and entry is verified on the way, and what was restored is printed as
the proof. It is made in DIR.restoring and renamed at the end: DIR is there whole, or as
it was. If anything is missing on the way, it is refused (exit code 6), with the nearest
points that can be restored: never is less restored than was asked for.

The store is a writer on a timeline of its own, which leaves the old one at that point;
with --follower it is a follower of the old one. With --dry-run all that is needed is read
and verified, and nothing is made.

With --volume the store has only the volumes of these names at that point, or UUIDs, with
their tags, each proven equal to what it is in the whole state. That is made first, in
DIR.restoring.whole, and deleted at the end: --dry-run says how much space it takes. The
volumes are a store of their own: archive it in a place of its own.`,
		Example: `  txnctl restore file:///srv/archive /srv/new
  txnctl restore file:///srv/archive /srv/new --to-lsn 4711
  txnctl restore file:///srv/archive /srv/new --to-time '2026-11-21 02:59:59'
  txnctl restore file:///srv/archive /srv/new --to-time 2026-11-21T01:59:59.5Z --dry-run
  txnctl restore file:///srv/archive /srv/mail --volume inbox --volume outbox --to-lsn 4711
  txnctl restore file:///srv/archive /srv/second --follower   # then txnctl follow`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return completeURL(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error { return r.run(c.Context(), args[0], args[1]) },
	}
	r.add(c)
	c.Flags().BoolVar(&r.follower, "follower", false, "leave it a follower of the old timeline, which writes nothing of its own")
	c.Flags().BoolVar(&r.dry, "dry-run", false, "read and verify all that is needed, and make nothing")
	c.Flags().StringArrayVar(&r.volumes, "volume", nil, "only the volume with this `NAME` at that point, or UUID; may be repeated")
	_ = c.RegisterFlagCompletionFunc("volume", cobra.NoFileCompletions)
	r.identityFlag(c)
	return c
}

func (r *restorer) run(ctx context.Context, url, dir string) error {
	to, err := r.target()
	if err != nil {
		return err
	}
	if r.follower && len(r.volumes) > 0 {
		return usagef("--follower keeps the old history, which has all volumes: --volume makes a store of its own")
	}
	if err := outsideArchive(dir, url); err != nil {
		return err
	}
	room := roomFor(dir)
	if room != nil && !r.dry {
		return room
	}
	store, logs, err := r.findArchive(ctx, url, &r.keys)
	if err != nil {
		return err
	}
	ids, err := r.identities()
	if err != nil {
		return err
	}
	if err := hasTimeline(ctx, logs, to); err != nil {
		return err
	}
	got, err := r.restore(ctx, store, dir, to, restore.Options{Identities: ids, Follower: r.follower, Volumes: r.volumes, Along: []string{backup.LengthsVolume}, DryRun: r.dry})
	if err != nil {
		return err
	}
	if err := r.noteEnd(ctx, store, logs, got); err != nil {
		return err
	}
	if room != nil {
		r.note("It cannot be restored there: %v.", room)
	}
	o := restoreOutputOf(got)
	if r.dry && len(r.volumes) > 0 {
		o.Scratch = got.Scratch
	}
	o.URL, o.DryRun, o.Role = url, r.dry, "writer"
	if r.follower {
		o.Role = "follower"
	}
	if !r.dry {
		o.Dir = dir
	}
	return r.print(o, func(w io.Writer) { o.text(w, r.bold) })
}

// roomFor says why a store cannot be made in a directory.
func roomFor(dir string) error {
	above := filepath.Dir(filepath.Clean(dir))
	if _, err := os.Stat(above); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no directory %s to make %s in; nothing was changed", above, filepath.Base(dir))
	}
	in, err := os.ReadDir(dir)
	if err == nil && len(in) > 0 {
		return fmt.Errorf("%s: %w: %s is in it; restore into a new one; nothing was changed", dir, restore.ErrNotEmpty, in[0].Name())
	}
	return nil // and if it cannot be read, the restore says so
}

// hasTimeline refuses a timeline that an archive has not got.
func hasTimeline(ctx context.Context, logs *ship.Reader, to restore.Target) error {
	if to.Timeline == (wal.TimelineID{}) {
		return nil
	}
	_, err := logs.Log(ctx, to.Timeline)
	if errors.Is(err, objects.ErrNotFound) {
		return &refusal{fmt.Sprintf("cannot restore timeline %s: the archive has none of that UUID; txnctl backup ls lists them", to.Timeline), err}
	}
	return err
}

// noteEnd says so when the time asked for is behind all that the archive has: what was
// committed until then may not have been shipped.
func (r *restorer) noteEnd(ctx context.Context, store objects.Store, logs *ship.Reader, got *restore.Restored) error {
	if got.Target.Time.IsZero() {
		return nil
	}
	l, err := listLog(ctx, store, logs, got.Target.Timeline, nil)
	if err == nil && uint64(got.Position.LSN) >= l.Last {
		r.note("The archive of timeline %s ends with LSN %d (%s): what was committed between then and %s, if anything, is not in it.",
			l.Timeline, got.Position.LSN, jsonTime(got.Time.UnixNano()), got.Target)
	}
	return err
}

// restore restores, with a bar for whoever watches.
func (a *app) restore(ctx context.Context, store objects.Store, dir string, to restore.Target, o restore.Options) (*restore.Restored, error) {
	bars := &restoreBars{app: a, to: to}
	o.Progress = bars.show
	got, err := txn.Restore(ctx, store, dir, to, o, txn.Options{FS: a.fs})
	bars.end()
	if err == nil {
		a.noteUnpinned(got.Unpinned)
	}
	return got, refused(to, err)
}

// restoreBars shows how far a restore is.
type restoreBars struct {
	*app
	to   restore.Target
	step string
	bar  *progress
}

func (b *restoreBars) show(p restore.Progress) {
	if b.step != p.Step {
		b.end()
		b.step, b.bar = p.Step, b.newProgress("restore: "+map[string]string{"load": "snapshot", "follow": "entries", "extract": "volumes"}[p.Step], 1, p.Step != "follow")
	}
	switch {
	case p.Step == "load":
		b.bar.of(p.Done, p.Of)
	case p.Step == "extract":
		b.bar.of(p.Done, p.Done+1) // how much there is is known at the end only
	case b.to.LSN != 0:
		b.bar.of(int64(p.LSN), int64(b.to.LSN))
	default:
		b.bar.of(int64(p.LSN), int64(p.LSN)+1) // where it ends is known at the end only
	}
}

func (b *restoreBars) end() {
	if b.bar != nil {
		b.bar.end()
	}
}

// refusal says shortly why a point cannot be restored, and which can.
type refusal struct {
	text string
	err  error
}

func (e *refusal) Error() string   { return e.text }
func (e *refusal) Unwrap() []error { return []error{restore.ErrRefused, e.err} }

// refused makes errors of what is missing refusals that can be read at night.
func refused(to restore.Target, err error) error {
	var r *restore.RefusedError
	var ambiguous *restore.AmbiguousError
	var none *restore.NoVolumeError
	switch {
	case errors.As(err, &none):
		return &refusal{noVolumeText(none), err}
	case errors.As(err, &ambiguous):
		return ambiguousText(ambiguous)
	case errors.As(err, &r):
		return &refusal{refusedText(to, r), err}
	case errors.Is(err, objects.ErrNotFound):
		return &refusal{fmt.Sprintf("cannot restore to %s: an object is missing: %v; nothing was changed", to, err), err}
	}
	return err
}

func noVolumeText(e *restore.NoVolumeError) string {
	text := fmt.Sprintf("cannot restore volume %s: at LSN %d there is none of that name", printable(e.Name), e.At.LSN)
	if e.Gone != "" {
		text += ": " + e.Gone
	}
	text += "; nothing was changed"
	if len(e.Near) > 0 {
		text += "; there is " + strings.Join(printables(e.Near), ", ")
	}
	return text
}

// ambiguousText says how to choose.
func ambiguousText(e *restore.AmbiguousError) error {
	var list []string
	for _, s := range e.Starts {
		list = append(list, fmt.Sprintf("--timeline %s (begun with LSN %d, behind LSN %d of %s)", s.Timeline, s.First, s.Parent.LSN, s.Parent.Timeline))
	}
	return fmt.Errorf("which timeline? the archive has %s of epoch %d, and none is newer: name one, %s; nothing was changed",
		count(len(e.Starts), "timeline"), e.Starts[0].Epoch, strings.Join(list, " or "))
}

func refusedText(to restore.Target, r *restore.RefusedError) string {
	why := r.Why.Error()
	var gap *ship.GapError
	switch {
	case !errors.As(r.Why, &gap):
	case !to.Time.IsZero() && r.Before.LSN == 0:
		why = "the archive does not reach back to then"
	default:
		why = fmt.Sprintf("%s, timeline %s", missingText(gap.First, gap.Last), gap.Timeline)
	}
	var near []string
	if r.Before.LSN != 0 {
		near = append(near, fmt.Sprintf("--to-lsn %d (%s) before it", r.Before.LSN, r.Time.UTC().Format(time.RFC3339Nano)))
	}
	if n := len(r.After); n > 0 {
		near = append(near, fmt.Sprintf("--to-lsn %d (%s) behind it", r.After[0].LSN, r.AfterTime.UTC().Format(time.RFC3339Nano)))
	}
	if n := uint64(len(r.Passed)); n > 0 {
		why += fmt.Sprintf("; %s cannot be used: %v", count(n, "snapshot"), strings.Join(reasons(r.Passed), "; "))
	}
	text := fmt.Sprintf("cannot restore to %s: %s; nothing was changed", to, why)
	if len(near) > 0 {
		text += "; what can be restored: " + strings.Join(near, ", ")
	}
	return text
}

// reasons are the texts of errors, each once: a snapshot and its increments fail alike.
func reasons(errs []error) (texts []string) {
	for _, err := range errs {
		if text := err.Error(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

func restoreOutputOf(g *restore.Restored) restoreOutput {
	o := restoreOutput{
		Target: g.Target.String(), LSN: uint64(g.Position.LSN), Timeline: g.Position.Timeline.String(), Hash: g.Position.Hash.String(),
		Time: jsonTime(g.Time.UnixNano()), Volumes: g.Volumes, Digest: g.Digest.String(), Entries: g.Entries, Snapshots: []uint64{}, Passed: []string{},
		Objects: g.Objects, Bytes: g.Bytes, Kept: []keptVolume{}, Of: g.Of,
	}
	for _, k := range g.Kept {
		o.Kept = append(o.Kept, keptVolumeOf(k))
	}
	for _, p := range g.Snapshots {
		o.Snapshots = append(o.Snapshots, uint64(p.LSN))
	}
	o.Passed = append(o.Passed, reasons(g.Passed)...)
	if g.Began.LSN != 0 {
		o.Began, o.New = uint64(g.Began.LSN), g.Began.Timeline.String()
	}
	return o
}

func keptVolumeOf(k restore.Kept) keptVolume {
	own := k.Refs[0].State
	v := keptVolume{Name: k.Name, ID: k.ID.String(), Pages: own.Pages, Sum: own.Sum.String(), Tags: []keptTag{}}
	for _, t := range k.Refs[1:] {
		v.Tags = append(v.Tags, keptTag{string(t.Ref), t.State.Pages, t.State.Sum.String()})
	}
	return v
}

func (o restoreOutput) text(w io.Writer, name style) {
	what := "restored " + o.Dir + ", a " + o.Role
	if o.DryRun {
		what = "can be restored; nothing was made"
	}
	began := ""
	if o.Began != 0 {
		began = fmt.Sprintf("LSN %d begins timeline %s", o.Began, o.New)
	}
	printFacts(w, name,
		fact{"verdict", what},
		fact{"state", fmt.Sprintf("LSN %d of timeline %s, %s", o.LSN, o.Timeline, o.Time)},
		fact{"entry hash", o.Hash},
		fact{"volumes", o.volumes()},
		fact{"made of", o.madeOf()},
		fact{"goes on", began},
		fact{"scratch", o.scratch()},
	)
	for _, v := range o.Kept {
		fmt.Fprintf(w, "  %s: %s, sum %s, as in the whole state", printable(v.Name), count(v.Pages, "page"), v.Sum)
		if n := len(v.Tags); n > 0 {
			fmt.Fprintf(w, "; %s, the same", count(n, "tag"))
		}
		fmt.Fprintln(w)
	}
	for _, why := range o.Passed {
		fmt.Fprintf(w, "Passed over, and the log used instead: %s\n", why)
	}
}

// volumes is empty after a dry run, which has seen those of a snapshot only.
func (o restoreOutput) volumes() string {
	if o.DryRun {
		return ""
	}
	if o.Of > 0 {
		return fmt.Sprintf("%d of %d, digest %s", o.Volumes, o.Of, o.Digest)
	}
	return fmt.Sprintf("%d, digest %s", o.Volumes, o.Digest)
}

// scratch is for a dry run with volumes named.
func (o restoreOutput) scratch() string {
	if o.Scratch == 0 {
		return ""
	}
	return fmt.Sprintf("about %s beside DIR while the volumes are restored; whether they are there is seen then", bytesText(o.Scratch))
}

func (o restoreOutput) madeOf() string {
	if len(o.Snapshots) == 0 {
		return count(o.Entries, "entry")
	}
	var at []string
	for _, lsn := range o.Snapshots {
		at = append(at, fmt.Sprint(lsn))
	}
	return fmt.Sprintf("%s (LSN %s; %s in %s) and %s", count(len(at), "snapshot"), strings.Join(at, ", "), bytesText(o.Bytes), count(o.Objects, "object"), count(o.Entries, "entry"))
}
