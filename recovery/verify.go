package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// VerifyOptions of Verify. The zero value is the default.
type VerifyOptions struct {
	// Progress is told now and then how many bytes of how many are verified.
	Progress func(done, total int64)
	Locked   bool // the caller has the store's lock, so that nobody else writes it
}

// Problem is one thing that is not as it must be.
type Problem struct {
	File   string  // path below the store's directory
	Offset int64   // byte in File; -1 when it cannot be told, or all of it is meant
	LSN    wal.LSN // the entry concerned; 0 when none is
	Reason string
}

func (p Problem) String() string {
	return (&wal.CorruptError{File: p.File, Offset: p.Offset, LSN: p.LSN, Reason: p.Reason}).Error()
}

// MaxProblems is the number of problems that a report lists.
const MaxProblems = 1000

// VerifyReport is what Verify found.
type VerifyReport struct {
	Clean    bool      // no problem was found
	Problems []Problem // at most MaxProblems
	More     int       // problems beyond those

	// How the store was left. What a kill leaves is no problem: opening puts it
	// right and says so.
	ClosedCleanly bool
	Checkpoint    wal.LSN
	Durable       wal.LSN  // up to here every damage is a problem
	Last          wal.LSN  // entry of the log
	Cut           *wal.Cut // the torn tail that opening will cut; nil when there is none
	TornManifest  int64    // bytes of a manifest record that never was acknowledged
	Leftovers     []string // files of no state that opening will remove
	Copied        bool     // it lies elsewhere than where it was last opened: it may be a copy (place.go)

	// What was verified.
	Entries  uint64 // of the log
	LogBytes int64
	Volumes  uint64
	Nodes    uint64 // of the checkpoint's trees
	Pages    uint64 // of the checkpoint's trees, and images of entries behind it
	Slots    SlotCounts
}

// SlotCounts says what the slots of the heap are there for. They add up to
// Total, unless there are problems.
type SlotCounts struct {
	Total      uint64
	Current    uint64 // reached by the newest state
	Checkpoint uint64 // held back: only the checkpoint reaches them; the next one frees them
	Log        uint64 // held back: only the log behind the checkpoint names them; the next checkpoint frees them
	Consumers  uint64 // held back: only older log names them, which consumers have still to read
	Free       uint64
	Leaked     uint64 // a problem: the manifest says that the checkpoint reaches them, and it does not
}

// Verify reads everything in the store in dir and checks it: names, manifest,
// log and its chain of hashes, every node and page of the checkpoint, sums and
// counts recomputed, the images of all entries behind it, those entries applied
// again, and for every slot whether it is reached, held back, or free. It
// changes not one byte. What it finds is in the report; an error means that it
// could not look, or not to the end: fs.ErrNotExist, wal.ErrVersion, a
// *vfs.LockedError when somebody has the store open, the context's.
//
// Cost: every byte in use is read once, the log three times. Memory: four bits
// a slot, 128 MiB a TiB of 4 KiB slots; and what replaying the log takes.
func Verify(ctx context.Context, fsys vfs.FS, dir string, o VerifyOptions) (*VerifyReport, error) {
	v := &verifier{ctx: ctx, fs: fsys, dir: dir, progress: o.Progress, locked: o.Locked, rep: &VerifyReport{}}
	if err := v.refuseHeld(); err != nil {
		return nil, fmt.Errorf("recovery: verify %s: %w", dir, err)
	}
	if err := errors.Join(v.run(), v.close()); err != nil {
		return nil, fmt.Errorf("recovery: verify %s: %w", dir, err)
	}
	v.rep.Clean = len(v.rep.Problems) == 0
	return v.rep, nil
}

// verifier is the state of a Verify.
type verifier struct {
	ctx      context.Context
	fs       vfs.FS
	dir      string
	progress func(done, total int64)
	locked   bool
	rep      *VerifyReport

	found Findings
	look  *look
	slots *slotBook

	done, total, told int64 // bytes
}

// run checks one thing after the other, each as far as what it needs is sound.
func (v *verifier) run() error {
	if ok, err := v.try(v.manifest()); !ok || err != nil {
		return err
	}
	logOK, err := v.try(v.log())
	if err != nil {
		return err
	}
	heapOK, err := v.try(v.openHeap())
	if err != nil || !heapOK {
		return errors.Join(err, v.stillSame())
	}
	if logOK {
		if logOK, err = v.try(v.claim()); err != nil {
			return err
		}
	}
	whole, err := v.checkpoint()
	if err == nil && logOK && whole {
		_, err = v.try(v.replay())
	}
	if err := errors.Join(err, v.slots.count(v, logOK && whole), v.stillSame()); err != nil {
		return err
	}
	v.advance(max(v.total, progressBytes+v.told) - v.done)
	return nil
}

// try notes a problem; what it returns as an error ends the verification.
func (v *verifier) try(err error) (ok bool, fatal error) {
	if err == nil {
		return true, nil
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded, wal.ErrVersion, ErrMoving, errNoStore} {
		if errors.Is(err, end) {
			return false, err
		}
	}
	p := Problem{Offset: -1, Reason: err.Error()}
	var c *wal.CorruptError
	if errors.As(err, &c) {
		p = Problem{c.File, c.Offset, c.LSN, c.Reason}
	}
	v.problem(p)
	return false, nil
}

func (v *verifier) problem(p Problem) {
	switch {
	case slices.Contains(v.rep.Problems, p):
	case len(v.rep.Problems) < MaxProblems:
		v.rep.Problems = append(v.rep.Problems, p)
	default:
		v.rep.More++
	}
}

// wrong is try for those who go on anyway.
func (v *verifier) wrong(err error) error {
	_, fatal := v.try(err)
	return fatal
}

// refuseHeld refuses a store that somebody writes: what is read of it now and
// what later would not fit.
func (v *verifier) refuseHeld() error {
	if v.locked {
		return nil
	}
	owner, held, err := LockHolder(v.fs, v.dir)
	switch {
	case errors.Is(err, vfs.ErrNotRegular):
		return nil // the names tell
	case err != nil:
		return err
	case held:
		return &vfs.LockedError{Name: filepath.Join(v.dir, LockName), Owner: owner}
	}
	return nil
}

// stillSame makes sure that nobody wrote the store meanwhile.
func (v *verifier) stillSame() error {
	if err := v.refuseHeld(); err != nil {
		return err
	}
	now := Findings{}
	if err := now.load(v.fs, v.dir); err != nil || now.Facts.Seq != v.found.Facts.Seq {
		return errors.Join(ErrMoving, err)
	}
	return nil
}

// manifest reads what says where everything is.
func (v *verifier) manifest() error {
	if err := v.found.load(v.fs, v.dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, wal.ErrCorrupt) {
			return errors.Join(errNoStore, err)
		}
		return err
	}
	facts := v.found.Facts
	v.rep.ClosedCleanly, v.rep.TornManifest = facts.Clean != 0, v.found.Manifest.TornBytes
	v.rep.Copied = v.found.Copied
	v.rep.Checkpoint, v.rep.Durable, v.rep.Last = facts.Checkpoint.LSN, facts.Checkpoint.LSN, facts.Checkpoint.LSN
	return nil
}

// log checks the names in the directory and the chain of records.
func (v *verifier) log() error {
	for _, err := range strangers(v.fs, v.dir) {
		if err := v.wrong(err); err != nil {
			return err
		}
	}
	if err := v.wrong(v.found.checkUnnamed(v.fs, v.dir)); err != nil {
		return err
	}
	v.rep.Leftovers = leftovers(v.fs, v.dir, v.found.Unnamed)
	for _, g := range v.found.Facts.Generations {
		e, err := v.fs.Lstat(filepath.Join(v.dir, "wal", g.ID.Path()))
		if err == nil {
			v.rep.LogBytes += e.Size
		}
	}
	if err := v.scan(); err != nil {
		return err
	}
	s := v.found.Scan
	v.rep.Durable, v.rep.Last, v.rep.Cut = s.Durable.LSN, s.Last, s.Cut
	if gens := v.found.Facts.Generations; len(gens) > 0 && gens[0].First != 0 && s.Last >= gens[0].First {
		v.rep.Entries = uint64(s.Last - gens[0].First + 1)
	}
	return nil
}

// scan decides what of the log is valid. Images of entries that are not known
// durable count, if the heap can be opened; whether it can, is openHeap's to say.
func (v *verifier) scan() error {
	h, err := openHeap(v.fs, v.dir, v.found.Facts)
	if err != nil {
		return v.found.scan(v.fs, v.dir, nil)
	}
	err = v.found.scan(v.fs, v.dir, func(rec *wal.Record) error {
		return errors.Join(v.ctx.Err(), checkImages(h, rec))
	})
	return errors.Join(err, h.Close())
}

// openHeap opens the store as the checkpoint left it.
func (v *verifier) openHeap() (err error) {
	if v.look, err = openLook(v.fs, v.dir, &v.found); err != nil {
		return err
	}
	v.slots = newSlotBook(v.look.store.Heap(), v.look.store.Facts().Used, v.found.Facts.Used)
	v.total = v.slots.bytes() + v.rep.LogBytes
	return nil
}

// claim notes the slots that entries behind the checkpoint name.
func (v *verifier) claim() error {
	facts := v.found.Facts
	err := eachRecord(v.fs, v.dir, facts.Generations, facts.Checkpoint.LSN+1, v.rep.Last, func(rec *wal.Record) error {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		for _, x := range rec.Extents {
			v.total += int64(x.Length)
		}
		return v.slots.claim(rec, v.wrong)
	})
	return errors.Join(err, v.consumers())
}

// checkpoint verifies all that the checkpoint reaches.
func (v *verifier) checkpoint() (whole bool, err error) {
	snap := v.look.store.Acquire()
	defer v.look.store.Release(snap)
	if v.rep.Volumes, err = snap.VolumeCount(); err != nil {
		if err := v.wrong(err); err != nil {
			return false, err
		}
	}
	buf := make([]byte, wal.MaxPageSize)
	return snap.Check(func(u pagestore.Use) error {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		size, err := v.slots.reach(u)
		if err := v.wrong(err); err != nil {
			return err
		}
		v.advance(size)
		if u.PageSize == 0 {
			v.rep.Nodes++
			return nil
		}
		v.rep.Pages++
		return v.wrong(snap.ReadUse(u, buf[:u.PageSize]))
	}, v.wrong)
}

// replay verifies the images of the entries behind the checkpoint, applies
// them in memory, and checks the trees they make.
func (v *verifier) replay() error {
	h := v.look.store.Heap()
	snap, err := v.look.replay(v.ctx, v.rep.Last, func(rec *wal.Record) error {
		v.advance(rec.Length)
		for _, x := range rec.Extents {
			v.advance(int64(x.Length))
		}
		for i := range rec.Entry.Sections {
			v.rep.Pages += uint64(rec.Entry.Sections[i].Delta.RowCount())
		}
		return v.wrong(checkImages(h, rec))
	})
	if err != nil {
		return err
	}
	if v.rep.Volumes, err = snap.VolumeCount(); err != nil {
		return err
	}
	v.slots.kept = true
	_, err = snap.Check(func(u pagestore.Use) error {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		return v.wrong(v.slots.keep(u))
	}, v.wrong)
	return err
}

func (v *verifier) advance(bytes int64) {
	v.done += bytes
	if v.progress != nil && v.done-v.told >= progressBytes {
		v.told = v.done
		v.progress(min(v.done, v.total), v.total)
	}
}

const progressBytes = 1 << 20

func (v *verifier) close() error {
	if v.look == nil {
		return nil
	}
	return v.look.close()
}

// errNoStore: there is nothing to verify.
var errNoStore = errors.New("there is no store")
