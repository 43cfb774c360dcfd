package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// ErrFuture: no entry has that LSN yet.
var ErrFuture = errors.New("not committed yet")

// errMoved: a service that has the store open went on while it was looked at.
var errMoved = errors.New("the store is being written and changed while it was looked at")

// Viewed is one state of a store, to be read. It costs the memory that the log
// behind the checkpoint takes when it is replayed.
type Viewed struct {
	look *look
	snap *pagestore.Snapshot
}

// View reads the state of the store in dir at an LSN, or the newest when at is
// 0, without changing a byte or taking a lock. It works beside a service that
// has the store open. That service goes on, and may write anew the slots of
// what it has replaced: then reads of the snapshot fail with wal.ErrCorrupt,
// never with wrong data, and Moved is true; view again.
//
// Errors: fs.ErrNotExist when there is no store, wal.ErrCorrupt, wal.ErrVersion,
// wal.ErrCompacted when at is before the checkpoint, ErrFuture.
func View(fsys vfs.FS, dir string, at wal.LSN) (*Viewed, error) {
	for try := 1; ; try++ {
		v, err := view(fsys, dir, at)
		if err == nil {
			return v, nil
		}
		if try == viewTries || !mayPass(err) || !held(fsys, dir) {
			return nil, fmt.Errorf("recovery: view %s: %w", dir, err)
		}
		time.Sleep(time.Duration(try) * 5 * time.Millisecond)
	}
}

const viewTries = 8

// mayPass reports whether an error may come from a writer at work: it trims the
// log, folds the manifest and reuses slots.
func mayPass(err error) bool {
	for _, target := range []error{errMoved, wal.ErrCorrupt, fs.ErrNotExist, apply.ErrMismatch, ErrFuture, wal.ErrCompacted} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func held(fsys vfs.FS, dir string) bool {
	_, held, err := LockHolder(fsys, dir)
	return err == nil && held
}

func view(fsys vfs.FS, dir string, at wal.LSN) (*Viewed, error) {
	found, err := examine(fsys, dir, &Findings{live: held(fsys, dir)})
	if err != nil {
		return nil, err
	}
	l, err := openLook(fsys, dir, found)
	if err != nil {
		return nil, err
	}
	snap, err := l.stateAt(at)
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return &Viewed{l, snap}, nil
}

func (l *look) stateAt(at wal.LSN) (*pagestore.Snapshot, error) {
	checkpoint, last := l.found.Facts.Checkpoint.LSN, l.found.Scan.Last
	switch {
	case at == 0:
		at = last
	case at < checkpoint:
		return nil, fmt.Errorf("LSN %d is before the checkpoint at %d: %w", at, checkpoint, wal.ErrCompacted)
	case at > last:
		return nil, fmt.Errorf("LSN %d is behind %d, the last: %w", at, last, ErrFuture)
	}
	return l.replay(context.Background(), at, nil)
}

// Snapshot is the state; it may be read until Close.
func (v *Viewed) Snapshot() *pagestore.Snapshot { return v.snap }

// Findings is what Examine found.
func (v *Viewed) Findings() *Findings { return v.look.found }

// Facts are the manifest's.
func (v *Viewed) Facts() manifest.Facts { return v.look.found.Facts }

// Moved reports whether the manifest has changed since: slots of the snapshot
// may have been written anew.
func (v *Viewed) Moved() (bool, error) { return v.look.moved() }

// Close lets go of the files. Nobody reads the snapshot any more.
func (v *Viewed) Close() error { return v.look.close() }

// look is a store opened for reading only, at its checkpoint.
type look struct {
	fs       vfs.FS
	dir      string
	found    *Findings
	store    *pagestore.Store
	draft    *pagestore.Draft
	ordinals map[wal.GenID]uint32
}

const lookCacheBytes = 8 << 20

func openLook(fsys vfs.FS, dir string, found *Findings) (*look, error) {
	store, draft, err := pagestore.Open(pagestore.Options{FS: fsys, Dir: dir, CacheBytes: lookCacheBytes, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	l := &look{fs: fsys, dir: dir, found: found, store: store, draft: draft, ordinals: map[wal.GenID]uint32{}}
	if now := store.Facts(); now.Seq != found.Facts.Seq {
		// The log that was scanned goes on from the newer checkpoint as well.
		if !found.live || now.Checkpoint.LSN > found.Scan.Last {
			return nil, errors.Join(errMoved, l.close())
		}
		found.Facts = now
	}
	if err := l.openLogs(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// openLogs opens the log's files, which stay readable when they are unlinked.
func (l *look) openLogs() error {
	for _, g := range l.found.Facts.Generations {
		f, err := l.fs.OpenRead(filepath.Join(l.dir, "wal", g.ID.Path()))
		if err != nil {
			return err
		}
		l.ordinals[g.ID] = l.store.AddLog(g, f)
	}
	return nil
}

// replay applies the entries behind the checkpoint up to one in memory, and
// returns the state after it. each, when there is one, sees every record before.
func (l *look) replay(ctx context.Context, to wal.LSN, each func(*wal.Record) error) (*pagestore.Snapshot, error) {
	facts, h := l.found.Facts, l.store.Heap()
	err := eachRecord(l.fs, l.dir, facts.Generations, facts.Checkpoint.LSN+1, to, func(rec *wal.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := markUsed(h, rec); err != nil {
			return err
		}
		if each != nil {
			if err := each(rec); err != nil {
				return err
			}
		}
		body, err := apply.BodyOf(h, l.ordinals[rec.Gen], rec)
		if err != nil {
			return err
		}
		return apply.Entry(l.draft, rec.Entry, rec.Hash, body)
	})
	if err != nil {
		return nil, err
	}
	snap, err := l.draft.Cut()
	if err != nil {
		return nil, err
	}
	l.store.Publish(snap)
	return snap, nil
}

// moved reports whether the manifest is no longer the one that was found.
func (l *look) moved() (bool, error) {
	facts, _, err := manifest.Load(l.fs, l.dir)
	return err == nil && facts.Seq != l.found.Facts.Seq, err
}

func (l *look) close() error { return l.store.Close() }

// lockLooker is a disk that can tell who holds a lock without trying to take it.
type lockLooker interface {
	LockHolder(name string) (owner string, held bool, err error)
}

// LockHolder says whether somebody has the store in dir open, and who: this
// process included. It neither disturbs the holder nor keeps others out, and
// makes no file.
func LockHolder(fsys vfs.FS, dir string) (owner string, held bool, err error) {
	looker, ok := fsys.(lockLooker)
	if !ok {
		return "", false, fmt.Errorf("recovery: this disk cannot tell who holds %s", filepath.Join(dir, LockName))
	}
	if owner, held, err = looker.LockHolder(filepath.Join(dir, LockName)); err != nil {
		err = fmt.Errorf("recovery: look at the lock: %w", err)
	}
	return owner, held, err
}
