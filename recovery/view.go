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

// ErrMoving: a service writes the store so fast that no look at it came to its
// end. Nothing says that it is damaged; look again, or at a quieter moment.
var ErrMoving = errors.New("the store is being written and changed while it was looked at")

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
// wal.ErrCompacted when at is before the checkpoint, ErrFuture, ErrMoving.
func View(fsys vfs.FS, dir string, at wal.LSN) (*Viewed, error) {
	var last sight
	for began, wait := time.Now(), minPause; ; wait = min(2*wait, maxPause) {
		v, err := view(fsys, dir, at)
		if err == nil {
			return v, nil
		}
		now := seen(fsys, dir, err)
		if !mayPass(err) || now == last {
			return nil, fmt.Errorf("recovery: view %s: %w", dir, err)
		}
		if time.Since(began) > viewPatience {
			return nil, fmt.Errorf("recovery: view %s: %w; the last look met: %v", dir, ErrMoving, err)
		}
		last = now
		time.Sleep(wait)
	}
}

const (
	viewPatience       = 5 * time.Second
	minPause, maxPause = 2 * time.Millisecond, 50 * time.Millisecond
)

// sight is a finding and where the store was. A writer at work trims the log,
// folds the manifest and reuses slots, which may look like damage; but what is
// found twice while neither manifest nor log moved is real.
type sight struct {
	found string
	seq   uint64  // of the manifest
	tail  wal.LSN // of the log
}

func seen(fsys vfs.FS, dir string, found error) sight {
	s := sight{found: found.Error()}
	facts, _, err := manifest.Load(fsys, dir)
	if err != nil {
		return s
	}
	s.seq, s.tail = facts.Seq, facts.Checkpoint.LSN
	for rec, err := range wal.Records(fsys, filepath.Join(dir, "wal"), facts.Generations, s.tail+1, 0) {
		if err != nil {
			break
		}
		s.tail = rec.LSN
	}
	return s
}

// mayPass reports whether an error may come from a writer at work.
func mayPass(err error) bool {
	for _, target := range []error{ErrMoving, wal.ErrCorrupt, fs.ErrNotExist, apply.ErrMismatch} {
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
		if moved, err := l.moved(); err != nil || moved {
			return nil, errors.Join(ErrMoving, err) // a look that was overtaken may end early
		}
		return nil, fmt.Errorf("LSN %d is behind %d, the last: %w", at, last, ErrFuture)
	}
	return l.replay(context.Background(), at, nil)
}

// Snapshot is the state; it may be read until Close.
func (v *Viewed) Snapshot() *pagestore.Snapshot { return v.snap }

// At is the state at a later LSN of the store that is viewed, 0 for the newest.
// It may be read, and compared with the one before, until Close. Errors are
// those of View.
func (v *Viewed) At(at wal.LSN) (*pagestore.Snapshot, error) {
	if now := v.look.draft.Head.LSN; at != 0 && at < now {
		return nil, fmt.Errorf("recovery: view %s at LSN %d: the view is at %d already: %w", v.look.dir, at, now, wal.ErrCompacted)
	}
	snap, err := v.look.stateAt(at)
	if err != nil {
		return nil, fmt.Errorf("recovery: view %s: %w", v.look.dir, err)
	}
	return snap, nil
}

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
			return nil, errors.Join(ErrMoving, l.close())
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

// replay applies the entries behind those applied, at first those behind the
// checkpoint, up to one in memory, and returns the state after it. each, when there is one, sees every record before.
func (l *look) replay(ctx context.Context, to wal.LSN, each func(*wal.Record) error) (*pagestore.Snapshot, error) {
	facts, h := l.found.Facts, l.store.Heap()
	err := eachRecord(l.fs, l.dir, facts.Generations, l.draft.Head.LSN+1, to, func(rec *wal.Record) error {
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
