package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// archiveReport is what backup verify prints.
type archiveReport struct {
	URL        string           `json:"url" doc:"of the archive"`
	Clean      bool             `json:"clean" doc:"nothing is damaged or missing"`
	Problems   []archiveProblem `json:"problems" doc:"all that is wrong"`
	Notes      []archiveProblem `json:"notes" doc:"what is no damage: leftovers, logs without a mark at their end"`
	Objects    uint64           `json:"objects" doc:"that were read"`
	Bytes      uint64           `json:"bytes" doc:"of these"`
	Entries    uint64           `json:"entries" doc:"verified with all their images"`
	Snapshots  int              `json:"snapshots" doc:"verified with all their parts"`
	Locked     uint64           `json:"locked" doc:"encrypted objects and snapshots that no identity given opens: verified as far as that goes without"`
	Skipped    []skippedRange   `json:"skipped" doc:"ranges of entries that were never archived: of the states within only those of snapshots can be restored"`
	Restorable []restorable     `json:"restorable" doc:"ranges of LSNs that can be restored, every one and every time between"`
	Restored   *restoreOutput   `json:"restored" doc:"with --restore the proof; else null"`
}

// archiveProblem is an object that is not as it must be.
type archiveProblem struct {
	Key    string `json:"key" doc:"of the object that is damaged or missing"`
	Kind   string `json:"kind" doc:"damaged, missing, conflict, foreign, unreadable, leftover or unmarked end"`
	Reason string `json:"reason" doc:"what is wrong"`
}

// restorable is a range of points that can be restored.
type restorable struct {
	Timeline  string `json:"timeline" doc:"UUID"`
	First     uint64 `json:"first" doc:"LSN"`
	Last      uint64 `json:"last" doc:"LSN"`
	FirstTime string `json:"first_time" doc:"of that entry, RFC 3339, UTC"`
	LastTime  string `json:"last_time" doc:"of that entry, RFC 3339, UTC"`

	at wal.TimelineID
}

// skippedRange is a range of entries that were never archived.
type skippedRange struct {
	Timeline string `json:"timeline" doc:"UUID"`
	First    uint64 `json:"first" doc:"LSN"`
	Last     uint64 `json:"last" doc:"LSN; the log goes on behind it"`
}

// archiveVerifier is one run of backup verify.
type archiveVerifier struct {
	*app
	keys
	targetFlags
	restore bool

	store objects.Store
	logs  *ship.Reader
	ids   []age.Identity
	out   archiveReport
	sound []*snapshot.Manifest
}

func newBackupVerifyCommand(a *app) *cobra.Command {
	v := &archiveVerifier{app: a}
	c := &cobra.Command{
		Use:   "verify URL",
		Short: "Check every object of an archive, and what can be restored",
		Long: `Check every object of the archive at URL: that none is damaged or missing, that
entries follow each other without a gap, that snapshots have all their parts and
bases. Then it says which points can be restored. The archive is not changed, but for a
pin that keeps txnctl backup prune away meanwhile.

With --restore the newest state, or the one at --to-lsn or --to-time, is restored
to a temporary directory as a full proof: every page of it is verified, and it is
deleted again. It needs as much space below $TMPDIR as the store has.

Exit code 3 says that something is damaged or missing, and the output what. Without the
key of what is encrypted, chains, checksums and gaps are checked, not contents.`,
		Example: `  txnctl backup verify file:///srv/archive
  txnctl backup verify file:///srv/archive --restore
  txnctl backup verify file:///srv/archive --json | jq '.problems[], .restorable[]'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeURL,
		RunE:              func(c *cobra.Command, args []string) error { return v.run(c.Context(), args[0]) },
	}
	c.Flags().BoolVar(&v.restore, "restore", false, "restore it to a temporary directory, too, verify that, and delete it")
	v.add(c)
	v.identityFlag(c)
	return c
}

func (v *archiveVerifier) run(ctx context.Context, url string) (err error) {
	to, err := v.target()
	if err != nil {
		return err
	}
	if !v.restore && to != (restore.Target{}) {
		return usagef("--to-lsn, --to-time and --timeline are for --restore")
	}
	if v.store, v.logs, err = v.findArchive(ctx, url, &v.keys); err != nil {
		return err
	}
	if v.ids, err = v.identities(); err != nil {
		return err
	}
	pin, err := v.pin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = pin.Release(ctx) }() // else it ends by itself
	v.out = archiveReport{URL: url, Problems: []archiveProblem{}, Notes: []archiveProblem{}, Skipped: []skippedRange{}, Restorable: []restorable{}}
	if err := v.verify(ctx); err != nil {
		return err
	}
	var failed error
	if v.restore {
		failed = v.prove(ctx, to)
	}
	v.out.Clean = len(v.out.Problems) == 0
	if err := v.print(v.out, func(w io.Writer) { v.out.text(w, v.bold, v.red) }); err != nil {
		return err
	}
	if failed != nil && !v.out.Clean { // it is what was listed, or because of it
		v.note("%v", failed)
	}
	if !v.out.Clean {
		return errProblems
	}
	return failed
}

// pin keeps prunes away until it is released. One that is at work is waited for, since what
// it deletes would be reported as missing.
func (v *archiveVerifier) pin(ctx context.Context) (*pins.Pin, error) {
	pin, err := pins.Hold(ctx, v.store, pins.Options{Holder: "txnctl backup verify"})
	if err != nil {
		v.noteUnpinned(err)
		return nil, nil
	}
	wheel := v.wait("wait for a prune to end")
	err = pin.Await(ctx)
	wheel.end()
	if err != nil {
		return nil, errors.Join(err, pin.Release(ctx))
	}
	return pin, nil
}

// noteUnpinned says that nothing keeps an archive from being pruned.
func (a *app) noteUnpinned(err error) {
	if err != nil {
		a.note("The archive cannot be pinned: if it is pruned now, objects may be missing. %v", err)
	}
}

// verify checks the log's objects, then what snapshots have within.
func (v *archiveVerifier) verify(ctx context.Context) error {
	wheel := v.wait("verify the log")
	rep, err := ship.Verify(ctx, v.store, ship.ReadOptions{Identities: v.ids})
	wheel.end()
	if err != nil {
		return err
	}
	o := &v.out
	o.Objects, o.Bytes, o.Entries, o.Locked = rep.Objects, rep.Bytes, rep.Entries, rep.Locked
	for _, p := range rep.Problems {
		if p.Kind >= ship.Leftover {
			o.Notes = append(o.Notes, archiveProblem{p.Key, p.Kind.String(), p.Err.Error()})
			continue
		}
		v.problem(p.Key, p.Kind, p.Err)
	}
	for _, g := range rep.Skipped {
		o.Skipped = append(o.Skipped, skippedRange{g.Timeline.String(), uint64(g.First), uint64(g.Last)})
	}
	if err := v.snapshots(ctx); err != nil {
		return err
	}
	return v.points(ctx, rep.Ranges)
}

// problem adds one, unless the object has one already.
func (v *archiveVerifier) problem(key string, kind ship.ProblemKind, err error) {
	if !slices.ContainsFunc(v.out.Problems, func(p archiveProblem) bool { return p.Key == key }) {
		v.out.Problems = append(v.out.Problems, archiveProblem{key, kind.String(), err.Error()})
	}
}

// snapshots verifies all of them, each log's in order: what one is based on comes
// before it.
func (v *archiveVerifier) snapshots(ctx context.Context) error {
	var manifests []archive.Key
	for item, err := range v.store.List(ctx, archive.LogsPrefix) {
		if err != nil {
			return err
		}
		if k, err := archive.ParseKey(item.Key); err == nil && k.Kind == archive.KindManifest {
			manifests = append(manifests, k)
		}
	}
	slices.SortFunc(manifests, func(a, b archive.Key) int { return int(int64(a.First - b.First)) })
	bar := v.newProgress("verify snapshots", int64(max(1, len(manifests))), false)
	defer bar.end()
	for i, k := range manifests {
		if err := v.snapshot(ctx, k); err != nil {
			return err
		}
		bar.at(int64(i + 1))
	}
	return nil
}

// snapshot verifies one: its manifest, its base, and every part.
func (v *archiveVerifier) snapshot(ctx context.Context, k archive.Key) error {
	m, err := snapshot.Read(ctx, v.store, wal.Position{Timeline: k.Log, LSN: k.First}, v.ids)
	if errors.Is(err, archive.ErrLocked) {
		v.out.Locked++
		return nil
	}
	if err != nil {
		return v.bad(ctx, k.String(), err)
	}
	based := m.Whole() || slices.ContainsFunc(v.sound, func(s *snapshot.Manifest) bool { return s.Position == m.Base })
	if !based {
		if err := v.base(ctx, m); err != nil {
			return err
		}
	}
	p := snapshot.NewReader(ctx, v.store, m, v.ids)
	_, err = io.Copy(io.Discard, p)
	p.Close()
	if err != nil {
		return v.bad(ctx, v.badPart(ctx, m), err)
	}
	v.out.Snapshots++
	if based {
		v.sound = append(v.sound, m)
	}
	return nil
}

// base says what is wrong with the base of an increment, if nothing else does.
func (v *archiveVerifier) base(ctx context.Context, m *snapshot.Manifest) error {
	_, err := snapshot.Read(ctx, v.store, m.Base, v.ids)
	if err == nil { // it is there, and has a problem of its own
		return nil
	}
	key := archive.Key{Kind: archive.KindManifest, Log: m.Base.Timeline, First: m.Base.LSN}
	return v.bad(ctx, key.String(), fmt.Errorf("the snapshot at LSN %d is an increment on it: %w", m.Position.LSN, err))
}

// badPart is the first part that is not there, or the manifest's key when all are.
func (v *archiveVerifier) badPart(ctx context.Context, m *snapshot.Manifest) string {
	for i, part := range m.Parts {
		h, err := archive.ReadHeader(ctx, v.store, m.PartKey(i))
		if err != nil || h.Sum != part.Sum {
			return m.PartKey(i).String()
		}
	}
	return m.Key().String()
}

// bad adds a problem of a snapshot. The error is that of a context that ended.
func (v *archiveVerifier) bad(ctx context.Context, key string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var damaged *wal.CorruptError
	switch {
	case errors.Is(err, objects.ErrNotFound):
		v.problem(key, ship.Missing, err)
	case errors.Is(err, snapshot.ErrDiverged):
		v.problem(key, ship.Conflict, err)
	case errors.As(err, &damaged):
		v.problem(damaged.File, ship.Damaged, err)
	default:
		v.problem(key, ship.Unreadable, err)
	}
	return nil
}

// points finds out what can be restored: of each range of entries what is behind its
// first snapshot, or all, if it begins with LSN 1 or where its parent can be restored.
func (v *archiveVerifier) points(ctx context.Context, ranges []ship.Range) error {
	used := map[wal.Position]bool{}
	for _, r := range ranges {
		begins, err := v.begins(ctx, r.Timeline)
		if err != nil {
			return err
		}
		if !begins {
			continue
		}
		first, firstTime, err := v.firstPoint(ctx, r)
		if err != nil {
			return err
		}
		for _, m := range v.sound {
			at := m.Position
			if at.Timeline != r.Timeline || at.LSN+1 < r.First || at.LSN > r.Last {
				continue
			}
			used[at] = true
			if first == 0 || at.LSN < first {
				first, firstTime = at.LSN, m.Time
			}
		}
		if first != 0 {
			v.addPoints(r.Timeline, first, r.Last, firstTime, r.LastTime)
		}
	}
	for _, m := range v.sound {
		begins, err := v.begins(ctx, m.Position.Timeline)
		if err != nil {
			return err
		}
		if begins && !used[m.Position] {
			v.addPoints(m.Position.Timeline, m.Position.LSN, m.Position.LSN, m.Time, m.Time)
		}
	}
	slices.SortFunc(v.out.Restorable, func(a, b restorable) int { return int(int64(a.First - b.First)) })
	return nil
}

// begins reports whether a log's start can be read, without which nothing of it is
// restored.
func (v *archiveVerifier) begins(ctx context.Context, log wal.TimelineID) (bool, error) {
	_, err := v.logs.Log(ctx, log)
	return err == nil, ignoreBad(ctx, err) // said already
}

func (v *archiveVerifier) addPoints(t wal.TimelineID, first, last wal.LSN, from, to int64) {
	v.out.Restorable = append(v.out.Restorable, restorable{t.String(), uint64(first), uint64(last), jsonTime(from), jsonTime(to), t})
}

// firstPoint is the first LSN of a range if that needs no snapshot in its own log; 0 if
// it does. Parents come before: their ranges begin earlier.
func (v *archiveVerifier) firstPoint(ctx context.Context, r ship.Range) (wal.LSN, int64, error) {
	if r.First == 1 {
		return 1, r.FirstTime, nil
	}
	l, err := v.logs.Log(ctx, r.Timeline)
	if err != nil {
		return 0, 0, ignoreBad(ctx, err) // said already
	}
	p := l.Start.Parent
	for _, before := range v.out.Restorable {
		if before.at == p.Timeline && p.LSN+1 == r.First && wal.LSN(before.First) <= p.LSN && p.LSN <= wal.LSN(before.Last) {
			return r.First, r.FirstTime, nil
		}
	}
	return 0, 0, nil
}

func ignoreBad(ctx context.Context, err error) error {
	if errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion) || errors.Is(err, objects.ErrNotFound) {
		return ctx.Err()
	}
	return err
}

// prove restores to a temporary directory, verifies what is there, and deletes it.
func (v *archiveVerifier) prove(ctx context.Context, to restore.Target) (err error) {
	if err := hasTimeline(ctx, v.logs, to); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "txnctl-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	dir := filepath.Join(temp, "store")
	got, err := v.app.restore(ctx, v.store, dir, to, restore.Options{Identities: v.ids, Follower: true})
	if err != nil {
		return err
	}
	bar := v.progress("verify the store", 1)
	rep, err := recovery.Verify(ctx, v.fs, dir, recovery.VerifyOptions{Progress: bar.of})
	bar.end()
	if err != nil {
		return err
	}
	for _, p := range rep.Problems {
		v.problem("restored store: "+p.File, ship.Damaged, errors.New(p.Reason))
	}
	o := restoreOutputOf(got)
	o.URL, o.Role = v.out.URL, "follower"
	v.out.Restored = &o
	return nil
}

func (o archiveReport) text(w io.Writer, name, bad style) {
	verdict := "all is well"
	switch {
	case o.Clean && len(o.Restorable) == 0 && o.Locked == 0:
		verdict = "nothing is damaged, but there is nothing to restore"
	case !o.Clean:
		verdict = bad.paint(count(len(o.Problems), "problem")) + ", listed below; nothing was changed"
	}
	locked, proof := "", ""
	if o.Locked > 0 {
		locked = fmt.Sprintf("%s without its key: contents were not checked; give --identity", count(o.Locked, "object"))
	}
	if r := o.Restored; r != nil {
		proof = fmt.Sprintf("restored LSN %d (%s), verified and deleted: %s, digest %s", r.LSN, r.Time, count(r.Volumes, "volume"), r.Digest)
	}
	printFacts(w, name,
		fact{"verdict", verdict},
		fact{"read", fmt.Sprintf("%s, %s: %s and %s", count(o.Objects, "object"), bytesText(int64(o.Bytes)), count(o.Entries, "entry"), count(o.Snapshots, "snapshot"))},
		fact{"encrypted", locked},
		fact{"proof", proof},
		fact{"restorable", o.nothing()}, // last: the ranges follow
	)
	for _, r := range o.Restorable {
		fmt.Fprintf(w, "  %s of %s\n", r.text(), r.Timeline)
	}
	for _, g := range o.Skipped {
		fmt.Fprintf(w, "  never archived: LSN %d to %d of %s\n", g.First, g.Last, g.Timeline)
	}
	for _, p := range o.Problems {
		fmt.Fprintf(w, "  %s %s: %s\n", bad.paint(p.Kind+":"), p.Key, p.Reason)
	}
	for _, p := range o.Notes {
		fmt.Fprintf(w, "  %s: %s: %s\n", p.Kind, p.Key, p.Reason)
	}
}

func (r restorable) text() string {
	if r.First == r.Last {
		return fmt.Sprintf("LSN %d, %s,", r.First, shortTime(r.FirstTime))
	}
	return fmt.Sprintf("LSN %d to %d, %s to %s,", r.First, r.Last, shortTime(r.FirstTime), shortTime(r.LastTime))
}

func (o archiveReport) nothing() string {
	if len(o.Restorable) > 0 {
		return "every LSN and time in"
	}
	if o.Locked > 0 {
		return "cannot be told without the key"
	}
	return "nothing"
}
