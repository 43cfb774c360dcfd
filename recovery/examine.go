package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Findings is what a look at a store's directory finds.
type Findings struct {
	Facts    manifest.Facts
	Manifest manifest.Report
	Scan     *wal.ScanResult
	Unnamed  []wal.GenID // log generations that the manifest does not name; they hold nothing that is needed

	// Copied: the directory is not the one in which the store was last opened
	// (place.go). Opening a writer begins a timeline then.
	Copied bool

	place string
	live  bool // somebody writes the store: the log may be ahead of the manifest read
}

// Examine reads manifest and log of a store and decides what of the log is
// valid, without changing a byte or taking a lock. Errors: fs.ErrNotExist,
// wal.ErrCorrupt, wal.ErrVersion.
func Examine(fsys vfs.FS, dir string) (*Findings, error) {
	return examine(fsys, dir, &Findings{})
}

func examine(fsys vfs.FS, dir string, f *Findings) (*Findings, error) {
	if found := strangers(fsys, dir); len(found) > 0 {
		return nil, found[0]
	}
	if err := f.load(fsys, dir); err != nil {
		return nil, err
	}
	if err := f.checkUnnamed(fsys, dir); err != nil {
		return nil, err
	}
	h, err := openHeap(fsys, dir, f.Facts)
	if err != nil {
		return nil, err
	}
	scan := f.scan
	if f.live {
		scan = f.follow
	}
	err = scan(fsys, dir, func(rec *wal.Record) error { return checkImages(h, rec) })
	return f, errors.Join(err, h.Close())
}

// follow is scan for a log that is being written. Its writer has found it
// sound, and what is true of all of it at one moment cannot be asked: records
// are taken in order up to the first that is not there yet.
func (f *Findings) follow(fsys vfs.FS, dir string, check func(*wal.Record) error) error {
	c := f.Facts.Checkpoint
	s := &wal.ScanResult{Last: c.LSN, Hash: c.Hash, Time: c.Time, Timeline: f.Facts.Timeline, Epoch: f.Facts.Epoch}
	s.Durable = wal.Position{Timeline: s.Timeline, LSN: c.LSN, Hash: c.Hash}
	f.Scan = s
	durable, end, log := c.LSN, c.LSN, filepath.Join(dir, "wal")
	for rec, err := range wal.Records(fsys, log, f.Facts.Generations, c.LSN+1, 0) {
		if err != nil {
			return err
		}
		end, durable = rec.LSN, max(durable, rec.Durable)
	}
	// Once more, knowing the mark: the images of what is behind it may still be
	// on their way.
	for rec, err := range wal.Records(fsys, log, f.Facts.Generations, c.LSN+1, end) {
		if err != nil {
			return err
		}
		if rec.LSN > durable && len(rec.Extents) > 0 && !rec.Exempt {
			if err := check(rec); errors.Is(err, wal.ErrCorrupt) {
				return nil
			} else if err != nil {
				return err
			}
		}
		s.Last, s.Hash, s.Time, s.Timeline, s.Epoch = rec.LSN, rec.Hash, rec.Entry.Time, rec.Timeline, rec.Entry.Epoch
		if rec.LSN <= durable {
			s.Durable = wal.Position{Timeline: s.Timeline, LSN: s.Last, Hash: s.Hash}
		}
	}
	return nil
}

// load reads the manifest. One that is missing beside a log or a heap was lost.
func (f *Findings) load(fsys vfs.FS, dir string) (err error) {
	f.Facts, f.Manifest, err = manifest.Load(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(remains(fsys, dir), err)
	}
	f.locate(fsys, dir)
	return err
}

// remains is a *wal.CorruptError when a directory without a manifest holds
// anything else that is no store's beginning.
func remains(fsys vfs.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name != LockName && e.Name != manifest.Name+".tmp" {
			return &wal.CorruptError{File: manifest.Name, Offset: -1,
				Reason: fmt.Sprintf("it is missing, but %s is there: a store that lost its manifest, or not a place for one; nothing was changed", e.Name)}
		}
	}
	return nil
}

// scan decides what of the log is valid.
func (f *Findings) scan(fsys vfs.FS, dir string, check func(*wal.Record) error) (err error) {
	f.Scan, err = wal.Scan(wal.ScanInput{
		FS: fsys, Dir: filepath.Join(dir, "wal"), Generations: f.Facts.Generations,
		Checkpoint: f.Facts.Checkpoint.LSN, CheckpointHash: f.Facts.Checkpoint.Hash,
		Timeline: f.Facts.Timeline, Epoch: f.Facts.Epoch, Clean: f.Facts.Clean, ManifestSeq: f.Facts.Seq,
		CheckImages: check,
	})
	return err
}

func openHeap(fsys vfs.FS, dir string, facts manifest.Facts) (*heap.Heap, error) {
	return heap.Open(heap.Options{FS: fsys, Dir: filepath.Join(dir, "heap"), Store: facts.Store, ReadOnly: true}, facts.Heap)
}

// checkUnnamed looks at log generations that the manifest does not name. They
// were dropped, or prepared and never used; but one written under a newer
// manifest says that this manifest is an older one put back.
func (f *Findings) checkUnnamed(fsys vfs.FS, dir string) error {
	ids, err := wal.List(fsys, filepath.Join(dir, "wal"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, id := range ids {
		if slices.ContainsFunc(f.Facts.Generations, func(g wal.Generation) bool { return g.ID == id }) {
			continue
		}
		newest, lsn, err := wal.NewestManifest(fsys, filepath.Join(dir, "wal"), id)
		if err != nil {
			return err
		}
		if newest > f.Facts.Seq && !f.live {
			return &wal.CorruptError{File: filepath.Join("wal", id.Path()), Offset: -1, LSN: lsn,
				Reason: fmt.Sprintf("it was written under manifest record %d, the manifest ends at %d: an older manifest was put back, or its end is lost", newest, f.Facts.Seq)}
		}
		f.Unnamed = append(f.Unnamed, id)
	}
	return nil
}

// checkImages verifies the images of a record whose extents may not have
// reached the disk.
func checkImages(h *heap.Heap, rec *wal.Record) error {
	if err := markUsed(h, rec); err != nil {
		return err
	}
	body, err := apply.BodyOf(h, 0, rec)
	if err != nil {
		return err
	}
	buf := make([]byte, wal.MaxPageSize)
	for i := range rec.Entry.Sections {
		for row, err := range rec.Entry.Sections[i].EachRow(body) {
			if err != nil {
				return err
			}
			image := buf[:row.Locator.Length()]
			if _, err := body.ReadAt(image, int64(row.Locator.Offset())); err != nil {
				return &wal.CorruptError{File: "heap", Offset: -1, LSN: rec.LSN, Reason: err.Error()}
			}
			if wal.HashPage(row.Page, image) != row.Hash {
				return &wal.CorruptError{File: "heap", Offset: -1, LSN: rec.LSN,
					Reason: fmt.Sprintf("the image of page %d does not match its hash", row.Page)}
			}
		}
	}
	return nil
}
