package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// quire keeps the pages in a volume, and archives it in this process.
type quire struct {
	root, bin string
	h         *history

	m     *txn.Manager
	ended chan error
	end   func()
}

func (q *quire) name() string { return "Quire" }
func (q *quire) dir() string  { return filepath.Join(q.root, "archive") }

func (q *quire) start() (err error) {
	if err = os.MkdirAll(q.root, 0o700); err != nil {
		return err
	}
	if q.m, _, err = txn.Open(filepath.Join(q.root, "store"), txn.Options{Create: true}); err != nil {
		return err
	}
	c, err := q.m.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("db", txn.VolumeOptions{PageSize: pageSize})
		for no := 0; no < len(q.h.before)/pageSize && err == nil; no++ {
			err = v.WritePage(uint64(no), q.h.before[no*pageSize:][:pageSize])
		}
		return err
	})
	if err != nil {
		return err
	}
	store, err := objects.OpenDir(q.dir(), objects.DirOptions{Create: true})
	if err != nil {
		return err
	}
	a, err := ship.Open(ctx, store, ship.History{c.Position}, ship.Options{})
	if err != nil {
		return err
	}
	src, stop := ship.Pull(ctx, func(ctx context.Context) iter.Seq2[ship.Entry, error] { return q.entries(ctx, c.Position) })
	running, cancel := context.WithCancel(ctx)
	q.ended, q.end = make(chan error, 1), func() { cancel(); stop() }
	go func() { q.ended <- a.Run(running, src) }()
	_, err = q.m.Backup(ctx, store, snapshot.Options{})
	return err
}

func (q *quire) entries(ctx context.Context, after wal.Position) iter.Seq2[ship.Entry, error] {
	return func(yield func(ship.Entry, error) bool) {
		for e, err := range q.m.Watch(ctx, txn.WatchOptions{After: after}) {
			var images io.ReaderAt
			if err == nil {
				images, err = e.Images()
			}
			if err != nil {
				yield(ship.Entry{}, err)
				return
			}
			if !yield(ship.Entry{Entry: e.Entry, Images: images}, nil) {
				return
			}
		}
	}
}

func (q *quire) do(n int) error {
	_, err := q.m.Update(ctx, func(tx *txn.Tx) error {
		v, err := tx.Volume("db")
		for no, b := range q.h.transactions[n] {
			err = errors.Join(err, v.WritePage(uint64(no), b))
		}
		return err
	})
	return err
}

func (q *quire) archived() ([]string, error) {
	return filepath.Glob(filepath.Join(q.dir(), "logs", "*", "append", "*"))
}

func (q *quire) stop() error {
	q.end()
	err := <-q.ended
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, q.m.Close())
}

func (q *quire) restore(archive, to string, at time.Time) (string, error) {
	words := []string{"restore", "file://" + archive, to}
	if !at.IsZero() {
		words = append(words, "--to-time", at.UTC().Format(time.RFC3339Nano))
	}
	out, err := exec.Command(q.bin, words...).CombinedOutput()
	return string(out), err
}

func (q *quire) content(restored string) (string, error) {
	file := restored + ".db"
	out, err := exec.Command(q.bin, "--dir", restored, "export", "db", file).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return file, err
}

func (q *quire) needed(archive string) ([]string, error) {
	return filepath.Glob(filepath.Join(archive, "logs", "*", "append", "*"))
}

func (q *quire) covers(_, file string) ([]string, error) { return []string{file}, nil }
