package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// holdOutput is one of those who keep old tips or the log, as hold ls prints it.
type holdOutput struct {
	Kind      string `json:"kind" doc:"transaction, hold, consumer, tag, or origin of a fork; others may come"`
	Owner     string `json:"owner" doc:"who: a transaction's UUID, a consumer's name, VOLUME@TAG, or what the hold says"`
	Reason    string `json:"reason" doc:"what for, if it says so"`
	LSN       uint64 `json:"lsn" doc:"that it reads or keeps; of a consumer, what it has acknowledged"`
	Since     string `json:"since" doc:"RFC 3339, UTC; empty if not known"`
	Expires   string `json:"expires" doc:"RFC 3339, UTC; empty if it does not"`
	KeptBytes uint64 `json:"kept_bytes" doc:"of the heap that only this LSN, or only this tip, keeps; of a consumer, of log files that are there for consumers only"`

	since, expires time.Time
}

func newHoldCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "hold",
		Short: "List who keeps old states",
		Long: `Who reads an old state keeps its pages from being reused: a transaction until it
ends, a hold until a service releases it or its time is up, a tag until it is moved
or deleted, a fork what it was forked from until it is deleted. Consumers keep log.`,
	}, newHoldLsCommand(a))
}

func newHoldLsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List transactions, holds, tags, origins and consumers",
		Long: `List who keeps old states of the store, the oldest first, and what each keeps that
would be free without.

Transactions and holds are a service's own and in its memory. It says what it
has, the oldest 1,000 and none that began within the last second, in a file
beside the store, once a second while that changes: so what is listed may be
some seconds old. Nothing is listed of a service that is closed or was killed.`,
		Example: `  txnctl hold ls
  txnctl hold ls --json | jq -r 'select(.kept_bytes > 1e9) | .owner'`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.holds() },
	}
}

func (a *app) holds() error {
	list, notice, err := a.heldBy()
	if err != nil {
		return err
	}
	if notice.Written.IsZero() {
		notice.Written = time.Now() // nobody tells of transactions and holds
	}
	t := newTable("KIND", "OWNER", ">LSN", ">AGE", ">EXPIRES IN", ">KEPT", "REASON")
	for _, o := range list {
		if err := a.print(o, func(io.Writer) { t.addHold(o, notice.Written) }); err != nil {
			return err
		}
	}
	switch {
	case a.json:
	case len(t.rows) == 0:
		a.note("Nobody holds anything.")
	default:
		t.print(a.out, a.bold)
	}
	if left := notice.Total - len(notice.Holds); left > 0 {
		a.note("%d younger transactions and holds are not listed.", left)
	}
	return nil
}

// heldBy lists who keeps old states, whatever its kind, the oldest first.
func (a *app) heldBy() (list []holdOutput, notice txn.HoldsNotice, err error) {
	err = a.withView(0, func(v *recovery.Viewed) error {
		for _, c := range v.Facts().Consumers {
			if c.Dropped {
				continue
			}
			o := consumerOf(c, v.Facts(), v.Findings().Scan.Last)
			list = append(list, holdOutput{Kind: string(txn.HoldConsumer), Owner: o.Name, LSN: o.LSN, KeptBytes: uint64(o.LogBytes)})
		}
		tags, err := keptByTags(v.Snapshot())
		list = append(list, tags...)
		return overtaken(v, err)
	})
	if err != nil {
		return nil, notice, err
	}
	if notice, _, err = txn.ReadHolds(a.fs, a.dir); err != nil {
		return nil, notice, err
	}
	for _, h := range notice.Holds {
		list = append(list, holdOutput{
			Kind: string(h.Kind), Owner: h.Owner, Reason: h.Reason, LSN: uint64(h.LSN), KeptBytes: h.KeptBytes,
			Since: timeOrNone(h.Since), Expires: timeOrNone(h.Expires), since: h.Since, expires: h.Expires,
		})
	}
	slices.SortStableFunc(list, func(a, b holdOutput) int { return cmp.Compare(a.LSN, b.LSN) })
	return list, notice, nil
}

// keptByTags lists what tags keep, and what forks have in common with others.
func keptByTags(s *pagestore.Snapshot) (list []holdOutput, err error) {
	if n, err := s.KeptTips(); err != nil || n == 0 {
		return nil, err
	}
	for v, err := range s.Volumes() {
		if err != nil {
			return nil, err
		}
		for t, err := range s.Tags(v.ID) {
			if err != nil {
				return nil, err
			}
			o, err := keptByTag(t)
			if err != nil {
				return nil, err
			}
			list = append(list, o)
		}
	}
	return list, nil
}

func keptByTag(t pagestore.Volume) (o holdOutput, err error) {
	o = holdOutput{Kind: "tag", Owner: label(t), LSN: uint64(t.Tip), Since: jsonTime(t.Set), since: time.Unix(0, t.Set)}
	origin, err := t.IsOrigin()
	if err != nil {
		return o, err
	}
	if origin && t.Ref == txn.OriginTag {
		o.Kind, o.Reason = "origin", "what "+t.Attrs.Name+" was forked from"
	}
	o.KeptBytes, err = t.KeptOnly()
	return o, err
}

func timeOrNone(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return jsonTime(t.UnixNano())
}

// addHold shows ages as of the time when the service told them.
func (t *table) addHold(o holdOutput, at time.Time) {
	t.add(printable(o.Kind), printable(o.Owner), strconv.FormatUint(o.LSN, 10), span(o.since, at), span(at, o.expires),
		bytesText(int64(o.KeptBytes)), printable(o.Reason))
}

// span is the time between two, in seconds; a dash when one is not known.
func span(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return "-"
	}
	return to.Sub(from).Round(time.Second).String()
}

// heldText is what status says of them; empty when nobody holds anything.
func (o statusOutput) heldText() string {
	if o.Holds == 0 {
		return ""
	}
	return fmt.Sprintf("%s by transactions and holds, the oldest at LSN %d, %s kept for them (txnctl hold ls)",
		count(o.Holds, "time"), o.OldestHeld, bytesText(int64(o.HeldBytes)))
}

func (o statusOutput) keptText() string {
	if o.Kept == 0 {
		return ""
	}
	return count(o.Kept, "state") + " by tags and forks (txnctl tag ls, graph)"
}

func (o statusOutput) consumersText() string {
	if o.Consumers == 0 {
		return ""
	}
	return fmt.Sprintf("%d, for whom log is kept (txnctl consumer ls)", o.Consumers)
}

// addArchive adds how far a service that archives by itself (txn.Options.Archive) has come.
func (o *statusOutput) addArchive(facts manifest.Facts, last wal.LSN) {
	if c, ok := facts.Consumer(txn.ArchiveConsumer); ok {
		is := consumerOf(c, facts, last)
		o.Archived, o.ArchiveBehind, o.ArchiveKept, o.ArchiveLost = is.LSN, is.Behind, is.LogBytes, is.Dropped
	}
}

// archiveText is empty when the service does not archive.
func (o statusOutput) archiveText() string {
	switch {
	case o.ArchiveLost:
		return fmt.Sprintf("has the log up to LSN %d; it lagged too far behind, and nothing is kept for it: the service goes on behind a snapshot when the archive can be reached", o.Archived)
	case o.Archived == 0 && o.ArchiveBehind == 0:
		return ""
	}
	return fmt.Sprintf("has the log up to LSN %d, %s behind, %s of log kept for it", o.Archived, count(o.ArchiveBehind, "entry"), bytesText(o.ArchiveKept))
}

// addHeld adds what the process that has the store open holds. What it says
// wrongly of that is no reason not to say the rest.
func (a *app) addHeld(o *statusOutput, facts manifest.Facts) error {
	for _, c := range facts.Consumers {
		if !c.Dropped {
			o.Consumers++
		}
	}
	notice, ok, err := txn.ReadHolds(a.fs, a.dir)
	switch {
	case errors.Is(err, wal.ErrVersion):
		return err
	case err != nil:
		a.note("%v", err)
	case ok:
		o.Holds, o.HeldBytes = notice.Total, notice.KeptBytes
		if len(notice.Holds) > 0 {
			o.OldestHeld = uint64(notice.Holds[0].LSN)
		}
	}
	return nil
}
