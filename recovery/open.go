package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/quarantine"
	"github.com/quire-db/quire/wal"
)

// Options of Open.
type Options struct {
	FS              vfs.FS
	Dir             string
	Create          bool // make the store when there is none
	Follower        bool // it takes its entries from another store (role.go)
	CacheBytes      int64
	GenerationBytes int64
	Stage           quarantine.Limits
	Now             func() time.Time
	Random          io.Reader // of UUIDs and nonces; crypto/rand when nil
}

// Opened is a store ready to be written: everything that was committed is
// published, and the log goes on in a generation of its own.
type Opened struct {
	Unlock   func() error
	Store    *pagestore.Store
	Draft    *pagestore.Draft
	Log      *wal.Log
	Area     *quarantine.Area
	Ordinals map[wal.GenID]uint32 // of the log generations, in log addresses
	Report   Report
}

// Report says what Open found and did.
type Report struct {
	Created    bool   // the store was made
	Began      string // why opening began a timeline, the last entry; empty when it did not
	Role       manifest.Role
	Demoted    bool    // it was a writer, and is a follower since it was opened as one
	Copied     bool    // it was opened in another directory before: it may be a copy, and is a store of its own now
	Clean      bool    // it had been closed cleanly
	Checkpoint wal.LSN // where replay began
	Last       wal.LSN // where the log ends

	Replayed      int              // entries applied again
	ReplayedBytes int64            // of their records
	Rewritten     int              // entries not known durable, written anew
	Cut           *wal.Cut         // the torn tail that was cut, and why; nil when there was none
	CutFiles      []string         // the copies of it in quarantine/
	TornManifest  int64            // bytes of a manifest record that never was acknowledged
	Stages        quarantine.Swept // what transactions in flight had staged; old copies of cut tails, removed
	Leftovers     []string         // files of no state, removed
	Took          time.Duration
}

// Open recovers the store in a directory and readies it for writing. It is
// idempotent and may be interrupted at any point (promise 7). Until everything
// was checked nothing is changed, so every wal.ErrCorrupt leaves the directory
// byte for byte as it was.
func Open(o Options) (*Opened, error) {
	began := o.Now()
	if err := prepareDir(o); err != nil {
		return nil, err
	}
	unlock, err := o.FS.Lock(filepath.Join(o.Dir, LockName), owner())
	if err != nil {
		return nil, fmt.Errorf("recovery: open %s: %w", o.Dir, err)
	}
	r := &opening{o: o, out: &Opened{Unlock: unlock, Ordinals: map[wal.GenID]uint32{}}}
	if err := r.run(); err != nil {
		return nil, errors.Join(fmt.Errorf("recovery: open %s: %w", o.Dir, err), r.abandon(), unlock())
	}
	r.out.Report.Took = o.Now().Sub(began)
	return r.out, nil
}

// LockName is the file in the store's directory that its writer locks.
const LockName = "LOCK"

// owner tells who is refused who holds the lock.
func owner() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}

// prepareDir makes the directory of a store that is to be made, and refuses,
// before anything is made in it, one that holds no store.
func prepareDir(o Options) error {
	e, err := o.FS.Lstat(o.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.Create:
		if err := o.FS.Mkdir(o.Dir); err != nil {
			return fmt.Errorf("recovery: make the store's directory: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("recovery: no store at %s: %w", o.Dir, err)
	case !e.Mode.IsDir():
		return fmt.Errorf("recovery: no store at %s: it is not a directory", o.Dir)
	}
	if _, err := vacant(o); err != nil {
		return fmt.Errorf("recovery: open %s: %w", o.Dir, err)
	}
	return nil
}

// vacant reports whether a store has to be made, and refuses to where it may
// not be. Logs or heaps without a manifest are a store that lost it, never an
// empty one.
func vacant(o Options) (bool, error) {
	_, err := o.FS.Lstat(filepath.Join(o.Dir, manifest.Name))
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := remains(o.FS, o.Dir); err != nil {
		return false, err
	}
	if !o.Create {
		return false, fmt.Errorf("there is no store; make one with Options.Create or txnctl init: %w", err)
	}
	return true, nil
}

// opening is the state of an Open.
type opening struct {
	o     Options
	out   *Opened
	facts manifest.Facts // as found
	found *Findings
	node  manifest.Node    // from this opening on
	gens  []wal.Generation // made by this opening
	moved []heap.Extent    // slots whose images were written anew elsewhere
}

func (r *opening) run() error {
	steps := []func() error{
		r.create, r.examine, r.openStore, r.reserve, r.keepTail, r.startLog, r.rewrite,
		r.begin, r.dropFiles, r.adopt, r.retire, r.replay, r.sweep,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// abandon lets go of what a failed Open had opened.
func (r *opening) abandon() error {
	var errs []error
	if r.out.Log != nil {
		_, err := r.out.Log.Close()
		errs = append(errs, err)
	}
	if r.out.Store != nil {
		errs = append(errs, r.out.Store.Close())
	}
	return errors.Join(errs...)
}

// create makes the manifest of a new store.
func (r *opening) create() error {
	if vacant, err := vacant(r.o); !vacant || err != nil {
		return err
	}
	// Whoever made the directory may not have come to sync its name.
	if err := r.o.FS.SyncDir(filepath.Dir(r.o.Dir)); err != nil {
		return err
	}
	r.out.Report.Created = true
	facts := manifest.Facts{
		Store:   r.newUUID(),
		Node:    manifest.Node{Place: placeOf(r.o.FS, r.o.Dir)},
		Options: manifest.Options{Created: r.o.Now().UnixNano(), PageSize: wal.DefaultPageSize, HeapFileBytes: manifest.DefaultHeapFileBytes},
	}
	if r.o.Follower {
		facts.Node.Role = manifest.Follower
	} else {
		facts.Timeline, facts.Epoch = wal.TimelineID(r.newUUID()), 1
	}
	return pagestore.Create(r.o.FS, r.o.Dir, facts)
}

func (r *opening) path(name string) string { return filepath.Join(r.o.Dir, name) }

func (r *opening) newUUID() uuid.UUID {
	if r.o.Random == nil {
		return uuid.Must(uuid.NewV7())
	}
	return uuid.Must(uuid.NewV7FromReader(r.o.Random))
}

// examine checks everything that opening depends on, changing nothing.
func (r *opening) examine() (err error) {
	r.found, err = Examine(r.o.FS, r.o.Dir)
	if err != nil {
		return err
	}
	r.facts = r.found.Facts
	rep := &r.out.Report
	rep.Copied = r.found.Copied
	rep.Clean, rep.Checkpoint, rep.Last = r.facts.Clean != 0, r.facts.Checkpoint.LSN, r.found.Scan.Last
	rep.Cut, rep.TornManifest = r.found.Scan.Cut, r.found.Manifest.TornBytes
	return rehearse(r.o.FS, r.o.Dir, r.found)
}

// rehearse replays the log in memory and forgets the result, so that a node
// that cannot be read, or an entry that does not fit, refuses the store before
// a byte of it was changed (promise 8). It costs what replay does, a tenth of
// a second for 256 MiB of log.
func rehearse(fsys vfs.FS, dir string, found *Findings) error {
	l, err := openLook(fsys, dir, found)
	if err != nil {
		return err
	}
	err = eachKept(fsys, dir, found.Facts, func(rec *wal.Record) error { return markUsed(l.store.Heap(), rec) })
	if err == nil {
		_, err = l.replay(context.Background(), found.Scan.Last, nil)
	}
	return errors.Join(err, l.close())
}

// openStore writes the manifest anew, since what the page cache showed of it
// is not believed, and opens what it names.
func (r *opening) openStore() (err error) {
	r.out.Store, r.out.Draft, err = pagestore.Open(pagestore.Options{FS: r.o.FS, Dir: r.o.Dir, CacheBytes: r.o.CacheBytes})
	if err != nil {
		return err
	}
	r.out.Area, err = quarantine.Open(r.o.FS, r.path("quarantine"), r.out.Store.Heap(), r.o.Stage)
	return err
}

// reserve marks every slot that a record names before anything is allocated:
// those that consumers have still to read, then those behind the checkpoint.
func (r *opening) reserve() error {
	if err := r.keepForConsumers(); err != nil {
		return err
	}
	return r.records(r.facts.Generations, func(rec *wal.Record) error {
		r.out.Report.Replayed++
		r.out.Report.ReplayedBytes += rec.Length
		return markUsed(r.out.Store.Heap(), rec)
	})
}

// markUsed reserves the extents of a record, adopting heap files made after
// the manifest was written.
func markUsed(h *heap.Heap, rec *wal.Record) error {
	for _, x := range rec.Extents {
		// The file's class is known once one of its slots is marked.
		if err := h.MarkUsed(heap.Extent{First: heap.Slot(x.Slot), Count: 1}); err != nil {
			return err
		}
	}
	extents, err := apply.Extents(h, rec)
	if err != nil {
		return err
	}
	for _, e := range extents {
		if err := h.MarkUsed(e); err != nil {
			return err
		}
	}
	return nil
}

// records calls f for every entry behind the checkpoint.
func (r *opening) records(gens []wal.Generation, f func(*wal.Record) error) error {
	return eachRecord(r.o.FS, r.o.Dir, gens, r.facts.Checkpoint.LSN+1, r.found.Scan.Last, f)
}

func eachRecord(fsys vfs.FS, dir string, gens []wal.Generation, from, to wal.LSN, f func(*wal.Record) error) error {
	if from > to {
		return nil
	}
	for rec, err := range wal.Records(fsys, filepath.Join(dir, "wal"), gens, from, to) {
		if err != nil {
			return err
		}
		if err := f(rec); err != nil {
			return err
		}
	}
	return nil
}

// keepTail copies what will be cut to quarantine/.
func (r *opening) keepTail() error {
	if r.found.Scan.Cut == nil {
		return nil
	}
	for _, part := range r.found.Scan.Cut.Parts {
		f, err := r.o.FS.OpenRead(filepath.Join(r.o.Dir, "wal", part.Gen.Path()))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s-%d", part.Gen, part.Offset)
		kept, err := r.out.Area.KeepTail(name, io.NewSectionReader(f, part.Offset, part.Bytes))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		r.out.Report.CutFiles = append(r.out.Report.CutFiles, filepath.Join("quarantine", kept))
	}
	return nil
}

// startLog readies a generation of this opening's own.
func (r *opening) startLog() (err error) {
	r.out.Log, err = wal.OpenLog(wal.LogOptions{
		FS: r.o.FS, Dir: r.path("wal"), GenerationBytes: r.o.GenerationBytes, After: r.found.Scan.Durable, Random: r.o.Random,
	})
	if err != nil {
		return err
	}
	return r.nextGeneration(r.found.Scan.Durable.LSN + 1)
}

func (r *opening) nextGeneration(first wal.LSN) error {
	g, err := r.out.Log.Prepare(first)
	if err != nil {
		return err
	}
	r.gens = append(r.gens, g)
	return r.out.Log.Adopt(g)
}

// rewrite writes anew what the log shows but is not known to be on the disk:
// the page cache is not believed after a kill.
func (r *opening) rewrite() error {
	var group *wal.Group
	var err error
	durable := r.found.Scan.Durable.LSN
	err = eachRecord(r.o.FS, r.o.Dir, r.facts.Generations, durable+1, r.found.Scan.Last, func(rec *wal.Record) error {
		r.out.Report.Rewritten++
		body, err := r.rewriteBody(rec)
		if err != nil {
			return err
		}
		group, err = r.add(group, rec.Entry, body)
		return err
	})
	if err != nil {
		return err
	}
	return r.flush(group)
}

// rewriteBody is the record's body at a place that is synced with it.
func (r *opening) rewriteBody(rec *wal.Record) (wal.Body, error) {
	if len(rec.Extents) == 0 {
		return wal.Body{Inline: rec.Inline}, nil
	}
	if rec.Exempt {
		return wal.Body{Extents: rec.Extents, Exempt: true}, nil
	}
	h := r.out.Store.Heap()
	old, err := apply.Extents(h, rec)
	if err != nil {
		return wal.Body{}, err
	}
	r.moved = append(r.moved, old...)
	var fresh []wal.Extent
	for _, e := range old {
		class, err := h.Class(e.First.File())
		if err != nil {
			return wal.Body{}, err
		}
		data := make([]byte, int(e.Count)<<class)
		if err := h.ReadExtent(e, 0, data); err != nil {
			return wal.Body{}, err
		}
		placed, err := h.Place(class, data)
		if err != nil {
			return wal.Body{}, err
		}
		for _, p := range placed {
			fresh = append(fresh, wal.Extent{Slot: uint64(p.First), Length: uint64(p.Count) << class})
		}
	}
	return wal.Body{Extents: fresh}, nil
}

// add adds an entry to the group, or, when it is full, to the next one.
func (r *opening) add(g *wal.Group, e *wal.Entry, body wal.Body) (*wal.Group, error) {
	for {
		var err error
		if g == nil {
			if g, err = r.newGroup(); err != nil {
				return nil, err
			}
		}
		if _, err = g.Add(e, body); !errors.Is(err, wal.ErrGroupFull) {
			return g, err
		}
		if err := r.flush(g); err != nil {
			return nil, err
		}
		g = nil
	}
}

func (r *opening) newGroup() (*wal.Group, error) {
	g, err := r.out.Log.NewGroup(r.out.Store.ManifestSeq())
	if errors.Is(err, wal.ErrNotReady) {
		if err := r.nextGeneration(0); err != nil {
			return nil, err
		}
		return r.out.Log.NewGroup(r.out.Store.ManifestSeq())
	}
	return g, err
}

func (r *opening) flush(g *wal.Group) error {
	if g == nil {
		return nil
	}
	if err := r.out.Log.Append(g, r.found.Scan.Durable.LSN); err != nil {
		return err
	}
	return errors.Join(r.out.Store.Heap().Sync(), r.out.Log.Sync())
}

// dropFiles removes heap files that a crash left and that no record names. The
// manifest is about to name those with higher numbers that records do name; a
// file below them that it does not name would be refused by the next opening.
func (r *opening) dropFiles() error {
	for _, number := range r.out.Store.Heap().Leftovers() {
		r.out.Report.Leftovers = append(r.out.Report.Leftovers, fmt.Sprintf("heap/%08x", number))
	}
	return r.out.Store.Heap().RemoveLeftovers()
}

// adopt names the new generations in the manifest: from here on they stand for
// what they were copied from.
func (r *opening) adopt() error {
	sealed, err := r.out.Log.SealRetired(r.found.Scan.Last)
	if err != nil {
		return err
	}
	for i := range r.gens {
		for _, g := range sealed {
			if r.gens[i].ID == g.ID {
				r.gens[i] = g
			}
		}
	}
	if err := r.name(r.facts.Generations); err != nil {
		return err
	}
	r.out.Report.Role = r.node.Role
	r.out.Report.Demoted = r.node.Role == manifest.Follower && r.facts.Node.Role != manifest.Follower
	// A frame under this record: no older manifest passes for the newest now.
	r.out.Log.SetManifest(r.out.Store.ManifestSeq())
	if err := r.out.Log.AppendMark(r.found.Scan.Last); err != nil {
		return err
	}
	return r.out.Log.Sync()
}

// name makes old and the new generations those of the manifest.
func (r *opening) name(old []wal.Generation) error {
	return r.out.Store.EditManifest(func(manifest.Facts) manifest.Edit {
		gens := append(append([]wal.Generation(nil), old...), r.gens...)
		return manifest.Edit{Generations: &gens, Heap: r.out.Store.Heap().Files(), Node: r.nodeEdit()}
	})
}

// retire cuts and seals the generations found, and frees what was written anew.
func (r *opening) retire() error {
	sealed := map[wal.GenID]bool{}
	for _, g := range r.facts.Generations {
		sealed[g.ID] = g.Sealed
	}
	for _, g := range r.found.Scan.Keep {
		if sealed[g.ID] {
			continue
		}
		if err := wal.CutBack(r.o.FS, r.path("wal"), g); err != nil {
			return err
		}
	}
	if err := r.name(r.found.Scan.Keep); err != nil {
		return err
	}
	return r.out.Store.Heap().ReleaseAll(r.moved)
}

// replay applies the entries behind the checkpoint with the code that commits
// use, and publishes the result.
func (r *opening) replay() error {
	for _, g := range r.out.Store.Facts().Generations {
		f, err := r.out.Log.OpenReader(g.ID)
		if err != nil {
			return err
		}
		r.out.Ordinals[g.ID] = r.out.Store.AddLog(g, f)
	}
	d, h := r.out.Draft, r.out.Store.Heap()
	err := r.records(r.out.Store.Facts().Generations, func(rec *wal.Record) error {
		body, err := apply.BodyOf(h, r.out.Ordinals[rec.Gen], rec)
		if err != nil {
			return err
		}
		return apply.Entry(d, rec.Entry, rec.Hash, body)
	})
	if err != nil {
		return err
	}
	snap, err := d.Cut()
	if err != nil {
		return err
	}
	r.out.Store.Publish(snap)
	return nil
}

// sweep removes what else belongs to no state. It is the last step: until here
// only heap files that nothing names were removed.
func (r *opening) sweep() (err error) {
	rep := &r.out.Report
	if rep.Stages, err = r.out.Area.Sweep(); err != nil {
		return err
	}
	named := map[wal.GenID]bool{}
	for _, g := range r.out.Store.Facts().Generations {
		named[g.ID] = true
	}
	ids, err := wal.List(r.o.FS, r.path("wal"))
	if err != nil {
		return err
	}
	for _, id := range ids {
		if named[id] {
			continue
		}
		rep.Leftovers = append(rep.Leftovers, filepath.Join("wal", id.String()))
		if err := wal.Remove(r.o.FS, r.path("wal"), id); err != nil {
			return err
		}
	}
	return nil
}
