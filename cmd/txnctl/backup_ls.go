package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

// archiveListing is what backup ls prints.
type archiveListing struct {
	URL     string       `json:"url" doc:"of the archive"`
	Archive string       `json:"archive" doc:"its UUID"`
	Logs    []logListing `json:"logs" doc:"one for each timeline, the oldest first"`
}

// logListing is a timeline's log in an archive.
type logListing struct {
	Timeline  string            `json:"timeline" doc:"its UUID"`
	Epoch     uint64            `json:"epoch" doc:"of the timeline"`
	Parent    string            `json:"parent" doc:"UUID of the timeline that it goes on from; empty for none"`
	ParentLSN uint64            `json:"parent_lsn" doc:"where it left that"`
	First     uint64            `json:"first" doc:"LSN of the first entry; 0 when there is none"`
	Last      uint64            `json:"last" doc:"LSN of the last entry; what is missing between, verify says"`
	FirstTime string            `json:"first_time" doc:"of these entries, RFC 3339, UTC; empty for none"`
	LastTime  string            `json:"last_time" doc:"of these entries, RFC 3339, UTC; empty for none"`
	Objects   uint64            `json:"objects" doc:"that hold entries, without images in blobs"`
	Bytes     int64             `json:"bytes" doc:"of these"`
	Encrypted bool              `json:"encrypted" doc:"the last of these is"`
	Snapshots []snapshotListing `json:"snapshots" doc:"the oldest first"`
}

// snapshotListing is a snapshot in an archive.
type snapshotListing struct {
	LSN       uint64 `json:"lsn" doc:"whose state it is"`
	Time      string `json:"time" doc:"of that entry, RFC 3339, UTC"`
	Parts     int    `json:"parts" doc:"objects that hold it"`
	Bytes     int64  `json:"bytes" doc:"of these"`
	Base      uint64 `json:"base" doc:"LSN of the snapshot that it is an increment on; 0 when it is whole, or locked"`
	Locked    bool   `json:"locked" doc:"it is encrypted, and no identity given opens it: the base is not known"`
	Encrypted bool   `json:"encrypted" doc:"it is"`
	Problem   string `json:"problem" doc:"why it cannot be read; empty when it can"`
}

func newBackupLsCommand(a *app) *cobra.Command {
	k := new(keys)
	c := &cobra.Command{
		Use:   "ls URL",
		Short: "List what an archive has: logs and snapshots",
		Long: `List what the archive at URL has: for each timeline the range of entries and
their times, and its snapshots. Ends are looked at, not what lies between: backup verify
finds what is missing. No key is needed, but for the bases of encrypted snapshots.`,
		Example: `  txnctl backup ls file:///srv/archive
  txnctl backup ls file:///srv/archive --json | jq '.logs[].snapshots[].lsn'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeURL,
		RunE:              func(c *cobra.Command, args []string) error { return a.backupLs(c.Context(), args[0], k) },
	}
	k.identityFlag(c)
	return c
}

func (a *app) backupLs(ctx context.Context, url string, k *keys) error {
	store, r, err := a.findArchive(ctx, url, k)
	if err != nil {
		return err
	}
	ids, err := k.identities()
	if err != nil {
		return err
	}
	timelines, err := r.Logs(ctx)
	if err != nil {
		return err
	}
	o := archiveListing{URL: url, Archive: r.Format.Archive.String(), Logs: []logListing{}}
	for _, t := range timelines {
		l, err := listLog(ctx, store, r, t, ids)
		if err != nil {
			return err
		}
		o.Logs = append(o.Logs, l)
	}
	slices.SortFunc(o.Logs, func(x, y logListing) int { return int(int64(x.Epoch - y.Epoch)) })
	return a.print(o, func(w io.Writer) { o.text(w, a.bold) })
}

// lister goes through the keys of a log.
type lister struct {
	first, last archive.Key // of objects with entries
	parts       map[uuid.UUID]snapshotListing
	manifests   []wal.LSN
	logListing
}

func listLog(ctx context.Context, store objects.Store, r *ship.Reader, t wal.TimelineID, ids []age.Identity) (logListing, error) {
	l := &lister{parts: map[uuid.UUID]snapshotListing{}}
	log, err := r.Log(ctx, t)
	if err != nil && !errors.Is(err, objects.ErrNotFound) {
		return l.logListing, err
	}
	l.Timeline, l.Epoch, l.Snapshots = t.String(), log.Start.Epoch, []snapshotListing{}
	if p := log.Start.Parent; p.LSN != 0 {
		l.Parent, l.ParentLSN = p.Timeline.String(), uint64(p.LSN)
	}
	for item, err := range store.List(ctx, archive.LogPrefix(t)) {
		if err != nil {
			return l.logListing, err
		}
		if k, err := archive.ParseKey(item.Key); err == nil {
			l.note(k, item.Size)
		}
	}
	if err := l.ends(ctx, store); err != nil {
		return l.logListing, err
	}
	slices.Sort(l.manifests)
	l.manifests = slices.Compact(l.manifests) // one that was merged may be there twice
	for _, lsn := range l.manifests {
		l.Snapshots = append(l.Snapshots, l.snapshot(ctx, store, wal.Position{Timeline: t, LSN: lsn}, ids))
	}
	return l.logListing, nil
}

func (l *lister) note(k archive.Key, size int64) {
	switch k.Kind {
	case archive.KindPart:
		s := l.parts[k.ID]
		s.Parts++
		s.Bytes += size
		l.parts[k.ID] = s
	case archive.KindManifest:
		l.manifests = append(l.manifests, k.First)
	case archive.KindAppend, archive.KindPack:
		l.Objects++
		l.Bytes += size
		if l.first.First == 0 || k.First < l.first.First {
			l.first = k
		}
		if max(k.First, k.Last) > max(l.last.First, l.last.Last) {
			l.last = k
		}
	}
}

// ends reads what the first and the last object of the log say of themselves.
func (l *lister) ends(ctx context.Context, store objects.Store) error {
	if l.first.First == 0 {
		return nil
	}
	first, err := archive.ReadHeader(ctx, store, l.first)
	if err != nil {
		return err
	}
	last, err := archive.ReadHeader(ctx, store, l.last)
	l.First, l.FirstTime = uint64(first.First), jsonTime(first.FirstTime)
	l.Last, l.LastTime = uint64(last.Last), jsonTime(last.LastTime)
	l.Encrypted = last.Encryption != archive.EncryptionNone
	return err
}

func (l *lister) snapshot(ctx context.Context, store objects.Store, at wal.Position, ids []age.Identity) snapshotListing {
	h, err := snapshot.Header(ctx, store, at)
	if err != nil {
		return snapshotListing{LSN: uint64(at.LSN), Problem: err.Error()}
	}
	s := l.parts[h.ID]
	s.LSN, s.Time, s.Encrypted = uint64(at.LSN), jsonTime(h.LastTime), h.Encryption != archive.EncryptionNone
	m, err := snapshot.Read(ctx, store, at, ids)
	switch {
	case err == nil:
		s.Base = uint64(m.Base.LSN)
	case errors.Is(err, archive.ErrLocked):
		s.Locked = true
	default:
		s.Problem = err.Error()
	}
	return s
}

func (o archiveListing) text(w io.Writer, head style) {
	if len(o.Logs) == 0 {
		fmt.Fprintln(w, "The archive is empty.")
	}
	for i, l := range o.Logs {
		if i > 0 {
			fmt.Fprintln(w)
		}
		l.text(w, head)
	}
}

func (l logListing) text(w io.Writer, head style) {
	parent, entries := "", "none"
	if l.Parent != "" {
		parent = fmt.Sprintf("left %s at LSN %d", l.Parent, l.ParentLSN)
	}
	if l.First != 0 {
		entries = fmt.Sprintf("LSN %d to %d, %s to %s, %s in %s%s", l.First, l.Last, shortTime(l.FirstTime), shortTime(l.LastTime),
			bytesText(l.Bytes), count(l.Objects, "object"), encryptedText(l.Encrypted))
	}
	printFacts(w, head, fact{"timeline", l.Timeline}, fact{"parent", parent}, fact{"entries", entries})
	if len(l.Snapshots) == 0 {
		fmt.Fprintln(w, "No snapshot.")
		return
	}
	t := newTable(">SNAPSHOT", "TIME", ">SIZE", "KIND")
	for _, s := range l.Snapshots {
		t.add(fmt.Sprint(s.LSN), shortTime(s.Time), bytesText(s.Bytes), s.kind())
	}
	t.print(w, head)
}

func (s snapshotListing) kind() string {
	switch {
	case s.Problem != "":
		return "cannot be read: " + s.Problem
	case s.Locked:
		return "encrypted"
	}
	return kindText(s.Base) + encryptedText(s.Encrypted)
}

func encryptedText(is bool) string {
	if is {
		return ", encrypted"
	}
	return ""
}

// shortTime is jsonTime's text for people, rounded up: restore --to-time with it finds the
// entry of that time, and none before it.
func shortTime(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return t.Add(time.Millisecond - 1).UTC().Format("2006-01-02 15:04:05.000Z")
}
