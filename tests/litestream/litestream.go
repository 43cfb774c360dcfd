package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// litestream keeps the pages in SQLite, and has Litestream beside it.
type litestream struct {
	root string
	h    *history

	db  *sql.DB
	cmd *exec.Cmd
	log *os.File
}

func (l *litestream) name() string { return "Litestream " + release }
func (l *litestream) dir() string  { return filepath.Join(l.root, "replica") }

func (l *litestream) start() (err error) {
	if err = os.MkdirAll(l.root, 0o700); err != nil {
		return err
	}
	file, config := filepath.Join(l.root, "live.db"), filepath.Join(l.root, "litestream.yml")
	if l.db, err = open(file); err != nil {
		return err
	}
	if err = fill(l.db); err != nil {
		return err
	}
	text := fmt.Sprintf("dbs:\n  - path: %s\n    replica:\n      path: %s\n", file, l.dir())
	if err = os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	if l.log, err = os.Create(filepath.Join(l.root, "log")); err != nil {
		return err
	}
	l.cmd = exec.Command(*program, "replicate", "-config", config)
	l.cmd.Stdout, l.cmd.Stderr = l.log, l.log
	if err = l.cmd.Start(); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
		if files, err := l.archived(); err != nil || len(files) > 0 {
			return err
		}
	}
	return errors.New("litestream put nothing into its archive in a minute")
}

func (l *litestream) do(n int) error { return change(l.db, n) }

// archived is the files of level 0: one for each time that changes were put.
func (l *litestream) archived() ([]string, error) {
	return filepath.Glob(filepath.Join(l.dir(), "ltx", "0", "*.ltx"))
}

func (l *litestream) stop() error {
	err := l.cmd.Process.Signal(os.Interrupt)
	if err == nil {
		err = l.cmd.Wait()
	}
	return errors.Join(err, l.db.Close(), l.log.Close())
}

func (l *litestream) restore(archive, to string, at time.Time) (string, error) {
	words := []string{"restore", "-o", to}
	if !at.IsZero() {
		words = append(words, "-timestamp", at.UTC().Format(time.RFC3339Nano))
	}
	out, err := exec.Command(*program, append(words, "file://"+archive)...).CombinedOutput()
	return string(out), err
}

func (l *litestream) content(restored string) (string, error) { return restored, nil }

// needed is what the plan of a restore names, but for the whole snapshot it begins with.
func (l *litestream) needed(archive string) (files []string, err error) {
	cmd := exec.Command(*program, "restore", "-dry-run", "-json", "-o", filepath.Join(l.root, "planned.db"), "file://"+archive)
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("plan: %w\n%s", err, words.String())
	}
	var plan struct {
		Files []struct {
			Level int
			Name  string
		}
	}
	if err := json.Unmarshal(out, &plan); err != nil {
		return nil, fmt.Errorf("plan: %w\n%s", err, out)
	}
	for _, f := range plan.Files[1:] {
		files = append(files, filepath.Join(archive, "ltx", fmt.Sprint(f.Level), f.Name))
	}
	return files, nil
}

// covers is the files of all levels, but for whole snapshots, with any of its changes.
func (l *litestream) covers(archive, file string) (files []string, err error) {
	all, err := filepath.Glob(filepath.Join(archive, "ltx", "[0-8]", "*.ltx"))
	first, last := rangeOf(file)
	for _, f := range all {
		if a, b := rangeOf(f); a <= last && first <= b {
			files = append(files, f)
		}
	}
	return files, err
}

// rangeOf is the range in a name: numbers of one length.
func rangeOf(file string) (first, last string) {
	first, last, _ = strings.Cut(strings.TrimSuffix(filepath.Base(file), ".ltx"), "-")
	return first, last
}
