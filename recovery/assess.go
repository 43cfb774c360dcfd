package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Loss says what of a damaged store is lost, unless it can be had elsewhere.
type Loss struct {
	Verified *VerifyReport
	Opens    error // why the store does not open as it is; nil when it does

	// Unread is why the newest manifest cannot be read. Without it nobody can say where
	// anything lies: State is not surveyed then.
	Unread  error
	Durable wal.LSN // highest LSN known durable
	Needed  wal.LSN // entries below it are history: no state needs them
	Log     []LogLoss

	// At is the LSN of the state that was surveyed, the newest that can be reached; 0
	// when there is none. Lost are parts of its volumes and tags that cannot be read,
	// at most MaxLost, and Catalogue why some volumes could not even be named.
	At        wal.LSN
	Hash      wal.Hash // of entry At
	Digest    wal.PageHash
	Digested  bool   // Digest is that of the surveyed state: the catalogue is whole
	Volumes   uint64 // that it has; 0 when the catalogue does not say
	Lost      []pagestore.Damage
	More      int   // parts lost beyond those
	Catalogue error // nil when all volumes were named
}

// LogLoss is entries that were durable, and are not whole any more.
type LogLoss struct {
	First, Last wal.LSN
	Reason      string
}

// MaxLost is how many parts of volumes, and how many ranges of entries, a Loss lists.
const MaxLost = 1000

// Extent of what is lost.
type Extent uint8

// Extents, each worse than the one before.
const (
	LostNothing Extent = iota // nothing that was committed, as far as can be told
	LostHistory               // tags, or entries that only those who follow the log still need
	LostState                 // something of the newest state of volumes
	LostAll                   // without the manifest nothing can be found
)

func (e Extent) String() string {
	return [...]string{"nothing", "history", "state", "everything"}[min(e, LostAll)]
}

// Extent is how bad it is.
func (l *Loss) Extent() Extent {
	worst := LostNothing
	if l.Unread != nil {
		return LostAll
	}
	if l.Catalogue != nil || l.At < l.Durable || l.More > 0 {
		worst = LostState
	}
	for _, d := range l.Lost {
		if d.Ref == "" {
			worst = max(worst, LostState)
		}
		worst = max(worst, LostHistory)
	}
	for _, r := range l.Log {
		if r.Last >= l.Needed {
			worst = max(worst, LostState)
		}
		worst = max(worst, LostHistory)
	}
	return worst
}

// Assess verifies a store, and when something is wrong finds out what is lost by it: which
// pages of which volumes and tags, which entries of the log, and whether the store
// opens. It changes not one byte. Errors and cost are Verify's, and fs.ErrNotExist for a
// directory that has nothing of a store; what is in use is read once more when there are
// problems.
func Assess(ctx context.Context, fsys vfs.FS, dir string, o VerifyOptions) (*Loss, error) {
	rep, err := Verify(ctx, fsys, dir, o)
	if err != nil {
		return nil, err
	}
	l := &Loss{Verified: rep, Durable: rep.Durable, At: rep.Last, Volumes: rep.Volumes, Needed: rep.Checkpoint + 1}
	if rep.Clean {
		return l, nil
	}
	if err := isStore(fsys, dir); err != nil {
		return nil, fmt.Errorf("recovery: assess %s: %w", dir, err)
	}
	a := assessment{ctx: ctx, fs: fsys, dir: dir, loss: l}
	if err := a.run(); err != nil {
		return nil, fmt.Errorf("recovery: assess %s: %w", dir, err)
	}
	return l, nil
}

// isStore is fs.ErrNotExist for a directory in which nothing is what a store has: somebody
// mistyped, and a repair would put a store in its place.
func isStore(fsys vfs.FS, dir string) error {
	for _, name := range []string{manifest.Name, "wal", "heap"} {
		if _, err := fsys.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("it is no store, there is neither a MANIFEST nor a log nor a heap; nothing was changed: %w", fs.ErrNotExist)
}

type assessment struct {
	ctx  context.Context
	fs   vfs.FS
	dir  string
	own  *Salvage
	loss *Loss
}

func (a *assessment) run() (err error) {
	a.loss.Opens = a.opens()
	if a.own, err = OpenSalvage(a.fs, a.dir); err != nil {
		return err
	}
	l := a.loss
	l.At, l.Volumes = 0, 0
	l.Unread, l.Durable = a.own.Unread, a.own.Durable
	if l.Unread == nil {
		l.Needed = a.own.Facts.Checkpoint.LSN + 1
		err = a.state()
	}
	if err == nil {
		err = a.log()
	}
	return errors.Join(err, a.own.Close())
}

// opens is what an opening would say before it changes anything.
func (a *assessment) opens() error {
	found, err := Examine(a.fs, a.dir)
	if err != nil {
		return err
	}
	return rehearse(a.fs, a.dir, found)
}

// log finds the entries that are not whole.
func (a *assessment) log() error {
	next, kept := a.own.First, a.own.Facts.Kept()
	if next == 0 {
		next = 1
	}
	for _, run := range a.own.Runs() {
		if run.First > next {
			a.entries(next, run.First-1, "no whole record of it is there")
		}
		for rec, err := range run.Records(a.fs, a.own.log()) {
			if err != nil && !errors.Is(err, wal.ErrCorrupt) {
				return err
			}
			if err != nil {
				break // it was whole a moment ago
			}
			if rec.LSN < next {
				continue
			}
			next = rec.LSN + 1
			if rec.LSN < kept || rec.LSN > a.own.Durable {
				continue // its images are not kept, or a torn tail's
			}
			if _, err := a.own.images(rec); err != nil {
				a.entries(rec.LSN, rec.LSN, err.Error())
			}
			if err := a.ctx.Err(); err != nil {
				return err
			}
		}
	}
	if next <= a.own.Durable {
		a.entries(next, a.own.Durable, "no whole record of it is there")
	}
	return nil
}

// entries notes lost ones.
func (a *assessment) entries(first, last wal.LSN, reason string) {
	list := &a.loss.Log
	if n := len(*list); n > 0 && (*list)[n-1].Last+1 == first && ((*list)[n-1].Reason == reason || n >= MaxLost) {
		(*list)[n-1].Last = last
		return
	}
	if len(*list) >= MaxLost {
		(*list)[MaxLost-1].Last = last
		return
	}
	*list = append(*list, LogLoss{first, last, reason})
}

// state surveys the newest state that can be reached.
func (a *assessment) state() error {
	look, err := openLenient(a.fs, a.dir, a.own)
	if errors.Is(err, wal.ErrVersion) {
		return err
	}
	if err != nil { // damaged, or no directory is where the heap must be
		a.loss.Catalogue = err
		return nil
	}
	snap, err := look.replayWhole(a.ctx, a.own)
	if err == nil {
		a.loss.At = snap.LSN()
		if n, err := snap.VolumeCount(); err == nil {
			a.loss.Volumes = n
		}
	}
	if err == nil {
		a.loss.Catalogue, err = snap.Survey(a.ctx, a.lost)
	}
	if err == nil && a.loss.Catalogue == nil {
		a.loss.Hash = snap.Head.Hash
		_, a.loss.Digest, err = snap.Digest()
		a.loss.Digested = err == nil
	}
	return errors.Join(err, look.close())
}

func (a *assessment) lost(d pagestore.Damage) error {
	if errors.Is(d.Err, wal.ErrVersion) {
		return d.Err
	}
	list := &a.loss.Lost
	if n := len(*list); n > 0 && (*list)[n-1].Joins(d) {
		(*list)[n-1].Pages += d.Pages
		(*list)[n-1].Present += d.Present
		return nil
	}
	if len(*list) < MaxLost {
		*list = append(*list, d)
	} else {
		a.loss.More++
	}
	return nil
}

// openLenient is openLook of a store that may be damaged.
func openLenient(fsys vfs.FS, dir string, own *Salvage) (*look, error) {
	store, draft, err := pagestore.Open(pagestore.Options{FS: fsys, Dir: dir, CacheBytes: lookCacheBytes, ReadOnly: true, Lenient: true})
	if err != nil {
		return nil, err
	}
	l := &look{fs: fsys, dir: dir, found: &Findings{Facts: own.Facts}, store: store, draft: draft, ordinals: map[wal.GenID]uint32{}}
	for _, g := range own.Facts.Generations {
		if f, err := fsys.OpenRead(filepath.Join(dir, "wal", g.ID.Path())); err == nil {
			l.ordinals[g.ID] = store.AddLog(g, f)
		}
	}
	return l, nil
}

// replayWhole applies the entries behind the checkpoint for as far as their records are
// whole and fit, whatever became of their images, and returns the state then.
func (l *look) replayWhole(ctx context.Context, own *Salvage) (*pagestore.Snapshot, error) {
	for e, err := range own.entries(ctx, l.draft.Head.Position, func(*wal.Record) (io.ReaderAt, error) { return nil, nil }) {
		if err == nil {
			err = l.applyWhole(e)
		}
		if ended := ctx.Err(); ended != nil || errors.Is(err, wal.ErrVersion) {
			return nil, errors.Join(ended, err)
		}
		if err != nil {
			break
		}
	}
	snap, err := l.draft.Cut()
	if err == nil {
		l.store.Publish(snap)
	}
	return snap, err
}

func (l *look) applyWhole(e SalvagedEntry) error {
	h := l.store.Heap()
	if err := markUsed(h, e.Record); err != nil {
		return err
	}
	body, err := apply.BodyOf(h, l.ordinals[e.Gen], e.Record)
	if err != nil {
		return err
	}
	return apply.Entry(l.draft, e.Entry, e.Hash, body)
}
