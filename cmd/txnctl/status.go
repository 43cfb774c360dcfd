package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
)

// statusOutput is what status prints.
type statusOutput struct {
	Dir           string `json:"dir" doc:"directory of the store"`
	Store         string `json:"store" doc:"UUID of the store"`
	Open          bool   `json:"open" doc:"whether a process has it open"`
	Holder        string `json:"holder" doc:"which one"`
	ClosedCleanly bool   `json:"closed_cleanly" doc:"false: it is open, or the next opening recovers it"`
	Timeline      string `json:"timeline" doc:"UUID of the timeline"`
	Epoch         uint64 `json:"epoch" doc:"rank of the timeline"`
	LSN           uint64 `json:"lsn" doc:"of the last entry"`
	Hash          string `json:"hash" doc:"of the last entry"`
	Time          string `json:"time" doc:"of the last entry, RFC 3339, UTC"`
	Durable       uint64 `json:"durable" doc:"LSN up to which the log is known to be synced"`
	Checkpoint    uint64 `json:"checkpoint" doc:"LSN of the last checkpoint; export --at reaches back to it"`
	Oldest        uint64 `json:"oldest" doc:"LSN of the first entry that the log still has"`
	Volumes       uint64 `json:"volumes" doc:"how many there are, hidden ones included"`
	LogFiles      int    `json:"log_files" doc:"files of the log"`
	LogBytes      int64  `json:"log_bytes" doc:"their size, space for what is to come included"`
	HeapFiles     int    `json:"heap_files" doc:"files of the heap"`
	HeapBytes     int64  `json:"heap_bytes" doc:"their size, free space included"`
	Holds         int    `json:"holds" doc:"transactions and holds that keep old states, see hold ls"`
	OldestHeld    uint64 `json:"oldest_held" doc:"LSN of the oldest of them, 0 if there is none"`
	HeldBytes     uint64 `json:"held_bytes" doc:"of the heap that they keep together"`
	Consumers     int    `json:"consumers" doc:"for whom log is kept"`
	Archived      uint64 `json:"archived" doc:"LSN up to which the service's own archive had it, as last acknowledged; 0 when it has none"`
	ArchiveBehind uint64 `json:"archive_behind" doc:"entries behind that"`
	ArchiveKept   int64  `json:"archive_kept" doc:"bytes of log files that are kept for the archive and other consumers only"`
	ArchiveLost   bool   `json:"archive_lost" doc:"nothing is kept for the archive any more: it lagged too far behind"`
	Kept          uint64 `json:"kept" doc:"old states that tags and forks keep, see tag ls and graph"`
	Role          string `json:"role" doc:"writer, follower, or successor: a follower whose promotion the next opening completes"`
	Copied        bool   `json:"copied" doc:"it lies elsewhere than where it was last opened: a copy, or moved"`

	ns int64
}

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the store is",
		Long: `Show how the store is: who has it open, where its log stands, what lies behind
the last checkpoint, and how much space it takes.`,
		Example: `  txnctl status
  txnctl status --json | jq .lsn`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.status() },
	}
}

func (a *app) status() error {
	return a.withView(0, func(v *recovery.Viewed) error {
		o, err := a.statusOf(v)
		if err != nil {
			return overtaken(v, err)
		}
		return a.print(o, func(w io.Writer) { o.text(w, a.bold) })
	})
}

func (a *app) statusOf(v *recovery.Viewed) (o statusOutput, err error) {
	facts, scan, head := v.Facts(), v.Findings().Scan, v.Snapshot().Head
	o = statusOutput{
		Dir: a.dir, Store: facts.ID().String(), Role: facts.Node.Role.String(), Copied: v.Findings().Copied, ClosedCleanly: facts.Clean != 0,
		Timeline: head.Timeline.String(), Epoch: head.Epoch, LSN: uint64(head.LSN), Hash: head.Hash.String(),
		Time: jsonTime(head.Time), Durable: uint64(max(scan.Durable.LSN, facts.Checkpoint.LSN)),
		Checkpoint: uint64(facts.Checkpoint.LSN), Oldest: uint64(oldest(facts.Generations)), ns: head.Time,
	}
	if o.Volumes, err = v.Snapshot().VolumeCount(); err != nil {
		return o, err
	}
	if o.Kept, err = v.Snapshot().KeptTips(); err != nil {
		return o, err
	}
	if o.Holder, o.Open, err = recovery.LockHolder(a.fs, a.dir); err != nil {
		return o, err
	}
	o.addArchive(facts, scan.Last)
	if err := a.addHeld(&o, facts); err != nil {
		return o, err
	}
	o.LogFiles, o.LogBytes = a.space(filepath.Join(a.dir, "wal"))
	o.HeapFiles, o.HeapBytes = a.space(filepath.Join(a.dir, "heap"))
	return o, nil
}

// space counts the files below a directory. A file that goes meanwhile does not
// count.
func (a *app) space(dir string) (files int, bytes int64) {
	entries, _ := a.fs.ReadDir(dir)
	for _, e := range entries {
		switch {
		case e.Mode.IsDir():
			f, b := a.space(filepath.Join(dir, e.Name))
			files, bytes = files+f, bytes+b
		case e.Mode.IsRegular():
			files, bytes = files+1, bytes+e.Size
		}
	}
	return files, bytes
}

func (o statusOutput) text(w io.Writer, name style) {
	printFacts(w, name,
		fact{"store", o.Dir},
		fact{"state", o.state()},
		fact{"id", o.Store},
		fact{"role", o.Role},
		fact{"copy", copyText(o.Copied)},
		fact{"timeline", fmt.Sprintf("%s, epoch %d", o.Timeline, o.Epoch)},
		fact{"last entry", fmt.Sprintf("LSN %d of %s", o.LSN, timeText(o.ns))},
		fact{"durable", fmt.Sprintf("LSN %d", o.Durable)},
		fact{"checkpoint", fmt.Sprintf("%s, %s behind it", lsnText(o.Checkpoint), count(o.LSN-o.Checkpoint, "entry"))},
		fact{"volumes", fmt.Sprint(o.Volumes)},
		fact{"log", fmt.Sprintf("from LSN %d on, %s, %s", o.Oldest, count(o.LogFiles, "file"), bytesText(o.LogBytes))},
		fact{"heap", fmt.Sprintf("%s, %s", count(o.HeapFiles, "file"), bytesText(o.HeapBytes))},
		fact{"held", o.heldText()},
		fact{"kept", o.keptText()},
		fact{"consumers", o.consumersText()},
		fact{"archive", o.archiveText()},
	)
}

func (o statusOutput) state() string {
	switch {
	case o.Open && o.Holder != "":
		return "open, held by " + o.Holder
	case o.Open:
		return "open"
	case o.ClosedCleanly:
		return "closed cleanly"
	}
	return "not closed cleanly; the next opening recovers it (txnctl recovery status)"
}

// copyText says what is done about a store that may be a copy; empty when it is
// none.
func copyText(copied bool) string {
	if !copied {
		return ""
	}
	return "it lies elsewhere than where it was last opened: opening it makes it a store of its own, on a new timeline if it is a writer"
}
