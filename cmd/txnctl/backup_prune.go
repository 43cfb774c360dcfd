package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/retain"
)

// pruneOutput is what backup prune prints.
type pruneOutput struct {
	URL       string          `json:"url" doc:"of the archive"`
	DryRun    bool            `json:"dry_run" doc:"nothing was changed"`
	Snapshots []pruneSnapshot `json:"snapshots" doc:"that there were, the oldest first"`
	Logs      []pruneLog      `json:"logs" doc:"one for each timeline, the oldest first"`
	Gone      pruneAmount     `json:"gone" doc:"what was deleted, or would be"`
	Stays     pruneAmount     `json:"stays" doc:"what stays"`
	Leftover  pruneAmount     `json:"leftover" doc:"of what goes, parts of snapshots that were never finished"`
	Merged    []pruneMerged   `json:"merged" doc:"with --merge: snapshots that were merged with those before them, or would be"`
	InUse     []string        `json:"in_use" doc:"with --dry-run: who uses the archive, so that nothing could be deleted now"`
}

// pruneSnapshot is a snapshot, and what becomes of it.
type pruneSnapshot struct {
	Timeline string   `json:"timeline" doc:"UUID"`
	LSN      uint64   `json:"lsn" doc:"whose state it is"`
	Time     string   `json:"time" doc:"of that entry, RFC 3339, UTC"`
	Objects  int      `json:"objects" doc:"that hold it"`
	Bytes    int64    `json:"bytes" doc:"of these"`
	Keep     []string `json:"keep" doc:"why it stays: last, hourly, daily, weekly, monthly, within, from (points in time need it), base (an increment needs it), damaged; none: it goes"`
	Problem  string   `json:"problem" doc:"why it cannot be restored, or is not known to be; empty when it can"`
}

// pruneLog is a timeline's log, and what becomes of it.
type pruneLog struct {
	Timeline string      `json:"timeline" doc:"UUID"`
	From     uint64      `json:"from" doc:"LSN from which on every point stays that the archive has; 0: none is kept for itself"`
	Trim     uint64      `json:"trim" doc:"LSN of the first entry that stays; 0 when none goes"`
	Gone     pruneAmount `json:"gone" doc:"objects of entries that go"`
}

// pruneMerged is a snapshot that was merged.
type pruneMerged struct {
	Timeline string `json:"timeline" doc:"UUID"`
	LSN      uint64 `json:"lsn" doc:"whose state it is"`
	Base     uint64 `json:"base" doc:"LSN of the snapshot that it is an increment on now; 0: it is whole"`
	With     int    `json:"with" doc:"that many snapshots before it"`
}

type pruneAmount struct {
	Objects int   `json:"objects" doc:"objects"`
	Bytes   int64 `json:"bytes" doc:"of these"`
}

func (a pruneAmount) String() string {
	return fmt.Sprintf("%s, %s", count(a.Objects, "object"), bytesText(a.Bytes))
}

// pruner is one run of backup prune.
type pruner struct {
	*app
	keys
	policy retain.Policy
	dry    bool
	merge  bool
}

func newBackupPruneCommand(a *app) *cobra.Command {
	p := &pruner{app: a}
	c := &cobra.Command{
		Use:   "prune URL",
		Short: "Delete what need not be kept from an archive",
		Long: `Delete from the archive at URL what none of the --keep flags keeps. Each adds to
the others; without one it is refused. They count the snapshots of each line of history by
itself, by the times in their entries; days begin as the local time has it.

A snapshot that stays can be restored: those that it is an increment on stay with it.
With --keep-within every LSN and time since then can be restored, too: the entries stay, and
a snapshot that they go on from. Without it, every LSN and time from the oldest snapshot that
stays. Older snapshots can be restored at exactly their LSN.

Nothing is deleted while somebody restores from the archive, verifies it or puts a snapshot
there: they pin it. Come again later then; a pin whose holder died ends after 10 minutes.
Archiving goes on beside it. A run that is interrupted leaves nothing in half: the next
one finishes.

With --merge, snapshots that stay only because another one is an increment on them are
merged into it first, where that makes the archive no larger. Snapshots are read, and a store
as large as theirs is made below $TMPDIR and deleted again.

Encrypted snapshots need --identity: without the key it is not known what they are
increments on, and all that are older stay. To be merged they need --recipient as well.`,
		Example: `  txnctl backup prune file:///srv/archive --keep-last 3 --keep-daily 14 --keep-within 7d --dry-run
  txnctl backup prune file:///srv/archive --keep-daily 7 --keep-weekly 5 --keep-monthly 12
  txnctl backup prune file:///srv/archive --keep-daily 14 --merge
  txnctl backup prune file:///srv/archive --keep-within 30d --json | jq .gone`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeURL,
		RunE:              func(c *cobra.Command, args []string) error { return p.run(c.Context(), args[0]) },
	}
	f := c.Flags()
	f.IntVar(&p.policy.Last, "keep-last", 0, "keep the newest `N` snapshots")
	f.IntVar(&p.policy.Hourly, "keep-hourly", 0, "keep the newest snapshot of each of the last `N` hours that have one")
	f.IntVar(&p.policy.Daily, "keep-daily", 0, "keep the newest snapshot of each of the last `N` days that have one")
	f.IntVar(&p.policy.Weekly, "keep-weekly", 0, "keep the newest snapshot of each of the last `N` weeks that have one")
	f.IntVar(&p.policy.Monthly, "keep-monthly", 0, "keep the newest snapshot of each of the last `N` months that have one")
	f.Var((*spanFlag)(&p.policy.Within), "keep-within", "keep all snapshots, LSNs and times of the last `TIME`: 12h, 30d, 8w, 1y")
	f.Var((*spanFlag)(&p.policy.Left), "keep-left", "keep an abandoned timeline `TIME` behind its last entry (default 30d)")
	f.BoolVar(&p.merge, "merge", false, "merge increments, so that fewer older snapshots need be kept")
	f.BoolVar(&p.dry, "dry-run", false, "say what stays and why, and what goes, and delete nothing")
	for _, name := range []string{"keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-within", "keep-left"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	p.recipientFlag(c)
	p.identityFlag(c)
	return c
}

func (p *pruner) run(ctx context.Context, url string) error {
	if err := p.policy.Check(); err != nil {
		return usagef("say what to keep, with --keep-last, -hourly, -daily, -weekly, -monthly or -within, of more than 0")
	}
	store, _, err := p.findArchive(ctx, url, &p.keys)
	if err != nil {
		return err
	}
	ids, err := p.identities()
	if err != nil {
		return err
	}
	plan, err := p.prune(ctx, store, retain.Options{Identities: ids})
	if err != nil {
		return err
	}
	p.problems(plan)
	out := pruneOutputOf(plan)
	out.URL, out.DryRun = url, p.dry
	return p.print(out, func(w io.Writer) { out.text(w, p.bold) })
}

// prune merges, if that is asked for, and deletes; or says what that would do.
func (p *pruner) prune(ctx context.Context, store objects.Store, o retain.Options) (plan *retain.Planned, err error) {
	bar := p.newProgress("prune", 1, false)
	defer bar.end()
	o.Progress = func(done, of int) { bar.of(int64(done), int64(of)) }
	if p.merge {
		seal, err := p.seal()
		if err != nil {
			return nil, err
		}
		o.Merge = &retain.Merge{Seal: seal, Disk: p.fs}
	}
	if p.dry {
		return retain.Plan(ctx, store, p.policy, o)
	}
	if p.merge {
		if o.Merge.Dir, err = os.MkdirTemp("", "txnctl-merge-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Merge.Dir)) }()
	}
	return retain.Run(ctx, store, p.policy, o)
}

// problems tells of what is damaged, and what is locked, once.
func (p *pruner) problems(plan *retain.Planned) {
	locked := 0
	for _, err := range plan.Problems {
		if errors.Is(err, archive.ErrLocked) {
			locked++
			continue
		}
		if errors.Is(err, retain.ErrNotMerged) {
			p.note("Not merged: %v", err)
			continue
		}
		p.note("Damaged, and kept as long as what is around it: %v", err)
	}
	if locked > 0 {
		p.note("%s encrypted, and none of the identities given opens them: what they are increments on is not known, so all that are older stay. Give --identity.", isAre(locked, "snapshot"))
	}
}

func isAre(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return count(n, what) + " are"
}

func pruneOutputOf(p *retain.Planned) pruneOutput {
	o := pruneOutput{
		Snapshots: []pruneSnapshot{}, Logs: []pruneLog{}, InUse: []string{}, Merged: []pruneMerged{},
		Gone: pruneAmount(p.Gone), Leftover: pruneAmount(p.Leftover),
		Stays: pruneAmount{p.All.Objects - p.Gone.Objects, p.All.Bytes - p.Gone.Bytes},
	}
	for _, s := range p.Snapshots {
		out := pruneSnapshot{s.Position.Timeline.String(), uint64(s.Position.LSN), jsonTime(s.Time.UnixNano()), s.Objects, s.Bytes, append([]string{}, s.Keep...), ""}
		if s.Err != nil {
			out.Problem = s.Err.Error()
		}
		o.Snapshots = append(o.Snapshots, out)
	}
	for _, l := range p.Logs {
		o.Logs = append(o.Logs, pruneLog{l.Timeline.String(), uint64(l.From), uint64(l.Trim), pruneAmount(l.Gone)})
	}
	for _, m := range p.Merged {
		o.Merged = append(o.Merged, pruneMerged{m.At.Timeline.String(), uint64(m.At.LSN), uint64(m.Base.LSN), m.With})
	}
	for _, s := range p.Pinned {
		o.InUse = append(o.InUse, s.String())
	}
	return o
}

func (o pruneOutput) text(w io.Writer, head style) {
	verdict := "deleted " + o.Gone.String()
	switch {
	case o.Gone.Objects == 0:
		verdict = "nothing is to go"
	case o.DryRun:
		verdict = o.Gone.String() + " would be deleted; nothing was changed"
	}
	printFacts(w, head, fact{"verdict", verdict}, fact{"stays", o.Stays.String()}, fact{"in use", strings.Join(o.InUse, "; ")})
	would := "merged"
	if o.DryRun {
		would = "would be merged"
	}
	for _, m := range o.Merged {
		fmt.Fprintf(w, "Snapshot at LSN %d: %s with %d before it, %s.\n", m.LSN, would, m.With, kindText(m.Base))
	}
	for _, l := range o.Logs {
		o.log(w, head, l)
	}
}

// log prints what becomes of a timeline.
func (o pruneOutput) log(w io.Writer, head style, l pruneLog) {
	points := "nothing but snapshots that are listed"
	if l.From != 0 {
		points = fmt.Sprintf("every LSN and time from LSN %d on", l.From)
	}
	fmt.Fprintln(w)
	printFacts(w, head, fact{"timeline", l.Timeline}, fact{"keeps", points})
	t := newTable(">SNAPSHOT", "TIME", ">SIZE", "STAYS")
	for _, s := range o.Snapshots {
		if s.Timeline == l.Timeline {
			t.add(fmt.Sprint(s.LSN), shortTime(s.Time), bytesText(s.Bytes), s.stays())
		}
	}
	if len(t.rows) > 0 {
		t.print(w, head)
	}
}

func (s pruneSnapshot) stays() string {
	if len(s.Keep) == 0 {
		return "no"
	}
	return strings.Join(s.Keep, ", ")
}

// spanFlag is a span of time on the command line, of days and weeks, too.
type spanFlag time.Duration

// spans are the units of a spanFlag. There are no months: they differ, and m is not one
// thing to everybody.
var spans = map[string]time.Duration{
	"s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "y": 365 * 24 * time.Hour,
}

var spanPart = regexp.MustCompile(`^([0-9]{1,6})(s|min|h|d|w|y)`)

// Set implements pflag.Value.
func (f *spanFlag) Set(s string) error {
	sum := time.Duration(0)
	for rest := s; rest != "" || sum == 0; {
		m := spanPart.FindStringSubmatch(rest)
		if m == nil {
			return fmt.Errorf("%q is no span of time: want 12h, 30d, 8w, 1y or 1w3d", s)
		}
		n, _ := strconv.Atoi(m[1]) // of 6 digits
		if one := time.Duration(n) * spans[m[2]]; n > 0 && one/time.Duration(n) == spans[m[2]] && sum+one > 0 {
			sum += one
		} else {
			return fmt.Errorf("%q is no span of time that can be", s)
		}
		rest = rest[len(m[0]):]
	}
	*f = spanFlag(sum)
	return nil
}

// String implements pflag.Value.
func (f *spanFlag) String() string {
	rest, text := time.Duration(*f), ""
	for _, unit := range []string{"y", "w", "d", "h", "min", "s"} {
		if n := rest / spans[unit]; n > 0 {
			text += fmt.Sprint(int64(n)) + unit
			rest -= n * spans[unit]
		}
	}
	return text
}

// Type implements pflag.Value.
func (f *spanFlag) Type() string { return "time" }
