package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// Config of a demo.
type Config struct {
	Dir     string // where everything is made; must exist and be empty
	Root    string // the tree of files to import
	Bytes   int64  // of them, at most
	Writers int
	Commit  time.Duration // how long the child commits before it is killed
	Seed    uint64

	// Child is the command that calls Work on the directory.
	Child func(dir string) *exec.Cmd
	// Step is called after each step with the report so far; may be nil.
	Step func(name string, r *Report)
	// Progress of the step at work; may be nil.
	Progress func(step string, done, total int64)
}

// Names of the steps, in order.
const (
	StepImport   = "import"
	StepCommit   = "commit"
	StepRecover  = "recover"
	StepProve    = "prove"
	StepVerify   = "verify"
	StepBackup   = "backup"
	StepAccident = "accident"
	StepRestore  = "restore"
	StepCompare  = "compare"
)

// Report of a demo. The JSON names are stable.
type Report struct {
	Source   string       `json:"source" doc:"root of the files that were imported"`
	Import   ImportStep   `json:"import" doc:"what was imported"`
	Commit   CommitStep   `json:"commit" doc:"what the child did until it was killed"`
	Recover  RecoverStep  `json:"recover" doc:"what opening the store found and did"`
	Prove    ProveStep    `json:"prove" doc:"what was compared"`
	Verify   VerifyStep   `json:"verify" doc:"what the full check went through"`
	Backup   BackupStep   `json:"backup" doc:"the snapshot that was taken while others wrote"`
	Accident AccidentStep `json:"accident" doc:"what was lost, and what went on"`
	Restore  RestoreStep  `json:"restore" doc:"the store as it was one second before the accident"`
	Compare  CompareStep  `json:"compare" doc:"what was compared of the restored store"`
	Seconds  float64      `json:"seconds" doc:"all together"`
	Proven   bool         `json:"proven" doc:"every acknowledged commit is there and nothing else, the check found nothing wrong, and what was restored is what was"`
}

// ImportStep says what was imported.
type ImportStep struct {
	Files        int     `json:"files" doc:"each a volume"`
	Bytes        int64   `json:"bytes" doc:"of the files"`
	Pages        uint64  `json:"pages" doc:"of the volumes"`
	Transactions int     `json:"transactions" doc:"one a directory"`
	Last         uint64  `json:"last_lsn" doc:"of the import"`
	Seconds      float64 `json:"seconds" doc:"it took"`
}

// CommitStep says what the child did until it was killed.
type CommitStep struct {
	PID          int     `json:"pid" doc:"of the child"`
	Writers      int     `json:"writers" doc:"that committed at the same time"`
	Acknowledged int     `json:"acknowledged" doc:"transactions whose commit returned"`
	InFlight     int     `json:"in_flight" doc:"transactions begun and not acknowledged when the child was killed"`
	Seconds      float64 `json:"seconds" doc:"from the first acknowledgement to the kill"`
	Signal       string  `json:"signal" doc:"how the child ended"`
}

// RecoverStep says what opening the store found and did.
type RecoverStep struct {
	Checkpoint uint64  `json:"checkpoint_lsn" doc:"where replay began"`
	Last       uint64  `json:"last_lsn" doc:"where the log ended"`
	Replayed   int     `json:"entries_replayed" doc:"entries applied again"`
	Bytes      int64   `json:"bytes_replayed" doc:"of their records"`
	Rewritten  int     `json:"entries_rewritten" doc:"entries not known to be synced, written anew"`
	CutBytes   int64   `json:"bytes_cut" doc:"of the torn end of the log"`
	CutReason  string  `json:"cut_reason" doc:"why they were cut; empty when none were"`
	Seconds    float64 `json:"seconds" doc:"it took"`
}

// ProveStep says what was compared.
type ProveStep struct {
	Acknowledged int     `json:"acknowledged_found" doc:"acknowledged transactions that are in the store"`
	Unheard      int     `json:"unacknowledged_found" doc:"transactions in flight that are in the store, whole"`
	Absent       int     `json:"unacknowledged_absent" doc:"transactions in flight that left no trace"`
	Volumes      int     `json:"volumes_compared" doc:"all there are"`
	Pages        uint64  `json:"pages_compared" doc:"byte for byte"`
	Changed      int     `json:"pages_changed_since_import" doc:"pages that the child's commits wrote"`
	Seconds      float64 `json:"seconds" doc:"it took"`
}

// VerifyStep says what the full check went through and found.
type VerifyStep struct {
	Entries  uint64   `json:"entries" doc:"of the log"`
	Nodes    uint64   `json:"nodes" doc:"of the checkpoint's trees"`
	Pages    uint64   `json:"pages" doc:"images of pages"`
	Slots    uint64   `json:"slots" doc:"of the heap"`
	Problems []string `json:"problems" doc:"what is not as it must be"`
	Seconds  float64  `json:"seconds" doc:"it took"`
}

// BackupStep says what was backed up, and who wrote meanwhile.
type BackupStep struct {
	LSN       uint64  `json:"lsn" doc:"whose state the snapshot is"`
	Volumes   uint64  `json:"volumes" doc:"in it"`
	Pages     uint64  `json:"pages" doc:"in it"`
	Parts     int     `json:"parts" doc:"objects that hold it"`
	Bytes     int64   `json:"bytes" doc:"of these"`
	Meanwhile int     `json:"commits_meanwhile" doc:"acknowledged while it was taken"`
	Writers   int     `json:"writers" doc:"that committed at the same time"`
	Seconds   float64 `json:"seconds" doc:"it took, with the commits before and behind it"`
}

// AccidentStep says what was lost, and what went on.
type AccidentStep struct {
	Volume  string    `json:"volume" doc:"that was deleted"`
	Pages   uint64    `json:"pages" doc:"that it was imported with"`
	LSN     uint64    `json:"lsn" doc:"of the commit that deleted it"`
	Time    time.Time `json:"time" doc:"of that commit, RFC 3339, UTC; this step's clock is fast"`
	After   int       `json:"commits_after" doc:"acknowledged behind it"`
	Refused int       `json:"refused" doc:"transactions that did not find the volume"`
	Last    uint64    `json:"last_lsn" doc:"up to which all is in the archive"`
	Shipped uint64    `json:"entries_shipped" doc:"of the log, since the backup began"`
	Bytes   uint64    `json:"bytes_shipped" doc:"of their objects"`
	Seconds float64   `json:"seconds" doc:"it took"`
}

// RestoreStep says what was restored.
type RestoreStep struct {
	Target  time.Time `json:"target" doc:"the time asked for, RFC 3339, UTC: one second before the accident"`
	LSN     uint64    `json:"lsn" doc:"restored"`
	Time    time.Time `json:"time" doc:"of that entry"`
	Bytes   int64     `json:"bytes" doc:"of the snapshot"`
	Entries uint64    `json:"entries" doc:"applied behind the snapshot"`
	Lost    int       `json:"commits_left_out" doc:"between then and the accident"`
	Seconds float64   `json:"seconds" doc:"it took"`
}

// CompareStep says what was compared of the restored store.
type CompareStep struct {
	Digest   string  `json:"digest" doc:"of all volumes and states that the store had at that LSN"`
	Restored string  `json:"digest_restored" doc:"of those in the restored store: the same"`
	Volumes  int     `json:"volumes_compared" doc:"all there are"`
	Pages    uint64  `json:"pages_compared" doc:"byte for byte, with the files and the commits up to then"`
	Seconds  float64 `json:"seconds" doc:"it took"`
}

// ErrNotProven: the store holds something else than it should.
var ErrNotProven = errors.New("demo: NOT proven")

// Run goes through all steps. Errors: ErrNotProven, wal.ErrCorrupt, ErrNoFiles,
// and what the disk says.
func Run(ctx context.Context, c Config) (*Report, error) {
	began := time.Now()
	d := &demo{c: c, report: &Report{Source: c.Root}}
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{StepImport, d.imports}, {StepCommit, d.commits}, {StepRecover, d.recovers}, {StepProve, d.proves}, {StepVerify, d.verifies},
		{StepBackup, d.backsUp}, {StepAccident, d.hasAccident}, {StepRestore, d.restores}, {StepCompare, d.compares},
	} {
		if err := s.do(ctx); err != nil {
			return d.report, errors.Join(fmt.Errorf("%s: %w", s.name, err), d.close(), d.dies())
		}
		d.step(s.name)
	}
	if err := d.dies(); err != nil {
		return d.report, err
	}
	d.report.Seconds, d.report.Proven = time.Since(began).Seconds(), true
	return d.report, nil
}

// demo is a demo under way.
type demo struct {
	c      Config
	plan   *Plan
	report *Report
	logged map[wal.LSN]logged // after the kill, as far as the log goes back
	m      *txn.Manager       // after recovery, until it was verified; then of the restored store

	childs   []commitID // the child's commits that the store holds, in order
	life     *life      // from the backup on
	restored *restore.Restored
}

func (d *demo) step(name string) {
	if d.c.Step != nil {
		d.c.Step(name, d.report)
	}
}

func (d *demo) progress(step string, done, total int64) {
	if d.c.Progress != nil {
		d.c.Progress(step, done, total)
	}
}

func (d *demo) close() error {
	if d.m == nil {
		return nil
	}
	m := d.m
	d.m = nil
	return m.Close()
}

// dies ends the store's life.
func (d *demo) dies() error {
	if d.life == nil {
		return nil
	}
	l := d.life
	d.life = nil
	return l.close()
}

func (d *demo) imports(ctx context.Context) error {
	began := time.Now()
	files, err := FindFiles(ctx, d.c.Root, d.c.Bytes)
	if err != nil {
		return err
	}
	d.plan = &Plan{Seed: d.c.Seed, Writers: d.c.Writers, Files: files}
	total := int64(0)
	for _, f := range files {
		total += f.Bytes
	}
	d.report.Import, err = importAll(ctx, d.c.Dir, files, func(done int64) { d.progress(StepImport, done, total) })
	d.report.Import.Seconds = time.Since(began).Seconds()
	return errors.Join(err, d.plan.save(d.c.Dir))
}

// commits lets the child commit for its time and kills it.
func (d *demo) commits(ctx context.Context) error {
	cmd := d.c.Child(d.c.Dir)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	orders, err := cmd.StdinPipe() // its end tells the child that we are gone
	if err != nil {
		return err
	}
	defer orders.Close()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = d.watch(ctx, ended)
	began := d.report.Commit.Seconds
	killed := cmd.Process.Kill()
	if err != nil { // it ended by itself, or we are to stop
		if ctx.Err() != nil {
			<-ended
		}
		return fmt.Errorf("the child: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	<-ended
	d.report.Commit = CommitStep{
		PID: cmd.Process.Pid, Writers: d.c.Writers, Seconds: began, Signal: cmd.ProcessState.String(),
	}
	if killed != nil {
		return fmt.Errorf("kill the child: %w", killed)
	}
	acks, err := readAcks(d.c.Dir)
	if err != nil {
		return err
	}
	tries, err := readTries(d.c.Dir)
	if err != nil {
		return err
	}
	d.report.Commit.Acknowledged, d.report.Commit.InFlight = len(acks), len(tries)-len(acks)
	return nil
}

// watch returns when the child has committed for long enough, at a moment that
// nobody has chosen.
func (d *demo) watch(ctx context.Context, ended <-chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var first time.Time
	want := d.c.Commit + rand.N(50*time.Millisecond)
	for patience := time.Now().Add(d.c.Commit + time.Minute); ; {
		select {
		case err := <-ended:
			return fmt.Errorf("it ended too early: %v", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if info, err := os.Stat(filepath.Join(d.c.Dir, acksFile)); first.IsZero() && err == nil && info.Size() > 0 {
			first = time.Now()
		}
		if first.IsZero() {
			if time.Now().After(patience) {
				return errors.New("it acknowledged nothing for a minute")
			}
			continue
		}
		since := time.Since(first)
		d.progress(StepCommit, int64(min(since, want)), int64(want))
		if since >= want {
			d.report.Commit.Seconds = since.Seconds()
			return nil
		}
	}
}

// recovers reads the log as the kill left it, and opens the store.
func (d *demo) recovers(context.Context) (err error) {
	if d.logged, err = readLog(filepath.Join(d.c.Dir, storeDir)); err != nil {
		return err
	}
	began := time.Now()
	m, rep, err := txn.Open(filepath.Join(d.c.Dir, storeDir), txn.Options{})
	if err != nil {
		return err
	}
	d.m = m
	r := RecoverStep{
		Checkpoint: uint64(rep.Checkpoint), Last: uint64(rep.Last), Replayed: rep.Replayed, Bytes: rep.ReplayedBytes,
		Rewritten: rep.Rewritten, Seconds: time.Since(began).Seconds(),
	}
	if rep.Cut != nil {
		r.CutReason = rep.Cut.Reason
		for _, p := range rep.Cut.Parts {
			r.CutBytes += p.Bytes
		}
	}
	d.report.Recover = r
	return nil
}

// verifies closes the store and checks all of it.
func (d *demo) verifies(ctx context.Context) error {
	began := time.Now()
	if err := d.close(); err != nil {
		return err
	}
	rep, err := recovery.Verify(ctx, vfs.OS(), filepath.Join(d.c.Dir, storeDir), recovery.VerifyOptions{
		Progress: func(done, total int64) { d.progress(StepVerify, done, total) },
	})
	if err != nil {
		return err
	}
	v := VerifyStep{
		Entries: rep.Entries, Nodes: rep.Nodes, Pages: rep.Pages, Slots: rep.Slots.Total,
		Problems: []string{}, Seconds: time.Since(began).Seconds(),
	}
	for _, p := range rep.Problems {
		v.Problems = append(v.Problems, p.String())
	}
	d.report.Verify = v
	if !rep.Clean || len(v.Problems) > 0 {
		return fmt.Errorf("%w: the check found %d problems, the first: %v", wal.ErrCorrupt, len(v.Problems), v.Problems[:min(1, len(v.Problems))])
	}
	return nil
}
