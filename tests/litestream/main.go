// Litestream compares backups of Quire with those of Litestream, of the same pages
// and the same history, and prints a table.
//
//	cd tests/litestream && go run -mod=mod .
//
// It needs the Go module proxy, from which it builds Litestream, and no more: SQLite
// is modernc.org/sqlite. It takes about three minutes.
//
// # What is compared
//
// A database of one table, each of whose rows fills a page of 4 KiB, half of it random
// bytes and half words, is filled to 64 MiB, and then each of 2,000 transactions
// changes eight rows at random, a hundred transactions a second. SQLite does so first
// without anybody watching; the pages that each transaction has put into its log are
// what Quire commits, in the same transactions, to one volume: that is the database
// file, byte for byte. Then both do it again, each with its archiver, into a
// directory, with the default options of each (but that Quire takes a snapshot when the
// archiver begins, which Litestream does by itself).
//
//   - Restorable: from a commit behind which nothing happens to when an object with it
//     is in the archive. Twenty such commits, at random moments.
//   - Bytes: of all files of the archive, at the end.
//   - Restore: the whole command, to the newest state; the median of three.
//   - What a restore makes: which state, and how the command ends. Also to a time, of
//     a copy of the archive whose files have new dates, and when a file is missing: of
//     those which the newest state is restored from, and which hold changes, the middle
//     one is deleted; and then every other file that holds the same changes.
//
// What was restored is compared page by page with what each transaction wrote, but for
// page 1, whose counters SQLite changes when it likes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// release of Litestream that is compared with.
const release = "v0.5.18"

var (
	rate    = flag.Int("rate", 100, "transactions a second")
	commit  = flag.Int("transactions", 2000, "of the history")
	probes  = flag.Int("probes", 20, "commits whose way into the archive is timed")
	program = flag.String("litestream", "", "the program; built of "+release+" when empty")
	keep    = flag.String("dir", "", "where all of it is made, and kept; a temporary directory when empty")
)

var ctx = context.Background()

// result is a column of the table.
type result struct {
	name       string
	restorable []time.Duration
	bytes      int64
	files      int
	restore    time.Duration
	rows       []row // what restores did
}

type row struct{ what, did string }

// side is one of the two.
type side interface {
	name() string
	// start opens the database with the pages of before the history, and archives it.
	start() error
	// do does transaction n.
	do(n int) error
	// archived is the files that hold changes, and grow when one is archived.
	archived() ([]string, error)
	stop() error
	// restore restores the archive in a directory, to the newest state when the time is
	// zero, and returns what the command said.
	restore(archive, to string, at time.Time) (output string, err error)
	// content is the database file of what was restored.
	content(restored string) (file string, err error)
	// needed is the files of changes which the newest state is restored from, with covers
	// also all others that hold changes which one of them holds.
	needed(archive string) ([]string, error)
	covers(archive, file string) ([]string, error)
	dir() string // of the archive
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	dir := *keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "quire-litestream"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if err := build(dir); err != nil {
		return err
	}
	h, err := record(filepath.Join(dir, "recorded.db"))
	if err != nil {
		return fmt.Errorf("record the history: %w", err)
	}
	var results []*result
	for _, s := range []side{&quire{root: filepath.Join(dir, "quire"), bin: filepath.Join(dir, "txnctl"), h: h}, &litestream{root: filepath.Join(dir, "litestream"), h: h}} {
		r, err := measure(s, h, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		results = append(results, r)
	}
	show(results)
	return nil
}

// build makes both commands, outside of this module.
func build(dir string) error {
	if err := command("..", "go", "build", "-o", filepath.Join(dir, "txnctl"), "../cmd/txnctl"); err != nil {
		return err
	}
	if *program != "" {
		return nil
	}
	*program = filepath.Join(dir, "litestream-"+release)
	log.Print("building Litestream ", release)
	cmd := exec.Command("go", "install", "github.com/benbjohnson/litestream/cmd/litestream@"+release)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build Litestream: %w\n%s", err, out)
	}
	return os.Rename(filepath.Join(dir, "litestream"), *program)
}

func command(dir string, words ...string) error {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out)
	}
	return nil
}

// measure runs one side from start to end.
func measure(s side, h *history, dir string) (*result, error) {
	r := &result{name: s.name()}
	if err := s.start(); err != nil {
		return nil, err
	}
	log.Printf("%s: %d transactions, %d a second", s.name(), len(h.transactions), *rate)
	var done []time.Time
	err := func() error {
		if err := settled(s); err != nil {
			return err
		}
		for n := range len(h.transactions) - *probes {
			began := time.Now()
			if err := s.do(n); err != nil {
				return err
			}
			done = append(done, time.Now())
			time.Sleep(time.Second/time.Duration(*rate) - time.Since(began))
		}
		for n := len(h.transactions) - *probes; n < len(h.transactions); n++ {
			took, err := timed(s, n)
			if err != nil {
				return err
			}
			done = append(done, time.Now())
			r.restorable = append(r.restorable, took)
		}
		return settled(s)
	}()
	if err = errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	if r.bytes, r.files, err = sizeOf(s.dir()); err != nil {
		return nil, err
	}
	return r, r.restores(s, h, dir, done)
}

// restores restores the archive, whole and then with files missing.
func (r *result) restores(s side, h *history, dir string, done []time.Time) error {
	to := filepath.Join(dir, "restored")
	var took []time.Duration
	for range 3 {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		began := time.Now()
		if out, err := s.restore(s.dir(), to, time.Time{}); err != nil {
			return fmt.Errorf("restore: %w\n%s", err, out)
		}
		took = append(took, time.Since(began))
	}
	r.restore = median(took)
	early, late := done[len(h.transactions)/4], done[len(done)-2]
	try := func(what, archive string, at time.Time) {
		r.rows = append(r.rows, row{what, tried(s, h, archive, to, at)})
	}
	try("whole archive, newest state", s.dir(), time.Time{})
	try(fmt.Sprintf("whole archive, when transaction %d was committed", len(h.transactions)/4+1), s.dir(), early)

	other := filepath.Join(dir, "copy-"+strings.ReplaceAll(s.name(), " ", "-"))
	if err := os.CopyFS(other, os.DirFS(s.dir())); err != nil {
		return err
	}
	try("the same, of a copy whose files have new dates", other, early)
	if err := keepDates(s.dir(), other); err != nil {
		return err
	}
	files, err := s.needed(other)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("no files of changes are needed")
	}
	middle := files[len(files)/2]
	all, err := s.covers(other, middle)
	if err != nil {
		return err
	}
	log.Printf("%s: %s is deleted, the middle one of %d, and then %v", s.name(), middle, len(files), all)
	if err := os.Remove(middle); err != nil {
		return err
	}
	try("middle file of changes deleted, newest state", other, time.Time{})
	try("the same, a time behind it", other, late)
	for _, file := range all {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	try("every file with these changes deleted, newest state", other, time.Time{})
	try("the same, a time behind them", other, late)
	return nil
}

// keepDates gives the files of a copy the dates of the others.
func keepDates(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chtimes(filepath.Join(to, path[len(from):]), info.ModTime(), info.ModTime())
	})
}

// tried says what becomes of a restore.
func tried(s side, h *history, archive, to string, at time.Time) string {
	if err := os.RemoveAll(to); err != nil {
		return err.Error()
	}
	out, err := s.restore(archive, to, at)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	log.Printf("%s, %s, to %v: exit code %d\n%s", s.name(), filepath.Base(archive), at, code, out)
	return fmt.Sprintf("%s (exit code %d)", found(s, h, to), code)
}

func found(s side, h *history, restored string) string {
	if _, err := os.Stat(restored); err != nil {
		return "nothing restored"
	}
	file, err := s.content(restored)
	if err != nil {
		return err.Error()
	}
	return h.judge(file)
}

// timed is how long it takes until transaction n, behind which there is none, is in the
// archive.
func timed(s side, n int) (time.Duration, error) {
	if err := settled(s); err != nil {
		return 0, err
	}
	time.Sleep(time.Duration(n*7919%1000) * time.Millisecond) // at any moment of an interval
	before, err := s.archived()
	if err != nil {
		return 0, err
	}
	if err := s.do(n); err != nil {
		return 0, err
	}
	began := time.Now()
	for time.Since(began) < time.Minute {
		now, err := s.archived()
		if err != nil {
			return 0, err
		}
		if len(now) > 0 && (len(before) == 0 || slices.Max(now) > slices.Max(before)) {
			return time.Since(began), nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, errors.New("a minute behind a commit it is not in the archive")
}

// settled waits until nothing new came for three seconds.
func settled(s side) error {
	for last, since := "", time.Now(); time.Since(since) < 3*time.Second; time.Sleep(50 * time.Millisecond) {
		files, err := s.archived()
		if err != nil {
			return err
		}
		if now := fmt.Sprint(files); now != last {
			last, since = now, time.Now()
		}
	}
	return nil
}

func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

func show(results []*result) {
	row := func(what string, of func(*result) string) {
		fmt.Printf("| %s |", what)
		for _, r := range results {
			fmt.Printf(" %s |", of(r))
		}
		fmt.Println()
	}
	row("", func(r *result) string { return r.name })
	row("---", func(*result) string { return "---" })
	ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	row("from a commit to restorable, median (least to most)", func(r *result) string {
		return fmt.Sprintf("%s (%s to %s)", ms(median(r.restorable)), ms(slices.Min(r.restorable)), ms(slices.Max(r.restorable)))
	})
	row("bytes in the archive, and files", func(r *result) string {
		return fmt.Sprintf("%.1f MiB, %d", float64(r.bytes)/(1<<20), r.files)
	})
	row("restore, the whole command", func(r *result) string { return ms(r.restore) })
	for i, did := range results[0].rows {
		row(did.what, func(r *result) string { return r.rows[i].did })
	}
}
