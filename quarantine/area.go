package quarantine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Limits of an Area.
type Limits struct {
	// StageBytes is how much one stage keeps in memory before it spills to the
	// heap: 4 MiB when zero.
	StageBytes int64
	// TotalBytes is how much all stages keep in memory: 64 MiB when zero.
	// Beyond it, whoever stages a page spills what it has; one page a stage
	// may exceed it.
	TotalBytes int64
}

func (l Limits) withDefaults() Limits {
	if l.StageBytes == 0 {
		l.StageBytes = 4 << 20
	}
	if l.TotalBytes == 0 {
		l.TotalBytes = 64 << 20
	}
	return l
}

// Area is a store's quarantine. Its methods may be called by several
// goroutines at once.
type Area struct {
	fs     vfs.FS
	dir    string
	heap   *heap.Heap
	limits Limits
	bytes  atomic.Int64 // of page images in memory
	tails  int          // that KeepTail made; recovery's alone
	pools  [heap.MaxClass + 1]sync.Pool
}

const (
	ledgerSuffix = ".stage"
	tailSuffix   = ".tail"
	tempSuffix   = ".tmp"
)

// Open opens the quarantine in directory dir, which it makes when there is
// none. Stages spill to slots of h.
func Open(fsys vfs.FS, dir string, h *heap.Heap, limits Limits) (*Area, error) {
	a := &Area{fs: fsys, dir: dir, heap: h, limits: limits.withDefaults()}
	if _, err := fsys.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return a, wrap("open", err)
	}
	if err := fsys.Mkdir(dir); err != nil {
		return nil, wrap("make directory", err)
	}
	return a, wrap("sync directory", fsys.SyncDir(filepath.Dir(dir)))
}

func wrap(what string, err error) error {
	if err != nil {
		err = fmt.Errorf("quarantine: %s: %w", what, err)
	}
	return err
}

// Begin begins the stage of a transaction. It touches no disk.
func (a *Area) Begin(txn wal.TxnID) *Stage {
	return &Stage{area: a, txn: txn, volumes: make(map[wal.VolumeID]*Pages)}
}

// Bytes is how much page images take in memory.
func (a *Area) Bytes() int64 { return a.bytes.Load() }

func (a *Area) get(c heap.Class) *buffer {
	if b, ok := a.pools[c].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, c.Bytes())}
}

func (a *Area) put(c heap.Class, b *buffer) { a.pools[c].Put(b) }

// Swept is what Sweep found of stages that a crash ended, and removed of tails.
type Swept struct {
	Stages  int
	Extents int   // that they held in the heap at some time
	Bytes   int64 // of those
	Tails   int   // copies of cut tails, older than the newest MaxTails
}

// Sweep removes what stages left when the process ended, temporary files, and
// copies of cut tails but for the newest MaxTails and those of this Area.
// It must be called before the first Begin. The slots need no freeing: nobody
// marked them used.
func (a *Area) Sweep() (Swept, error) {
	var swept Swept
	entries, err := a.fs.ReadDir(a.dir)
	if err != nil {
		return swept, wrap("sweep", err)
	}
	for _, e := range entries {
		name := filepath.Join(a.dir, e.Name)
		switch {
		case strings.HasSuffix(e.Name, ledgerSuffix):
			err = a.sweepLedger(name, &swept)
		case strings.HasSuffix(e.Name, tempSuffix):
			err = a.fs.Remove(name)
		}
		if err != nil {
			return swept, wrap("sweep "+e.Name, err)
		}
	}
	swept.Tails, err = a.sweepTails(entries)
	return swept, err
}

// sweepLedger counts a ledger and removes it. A torn one counts as far as it
// goes.
func (a *Area) sweepLedger(name string, swept *Swept) error {
	f, err := a.fs.OpenRead(name)
	if errors.Is(err, vfs.ErrNotRegular) {
		return &wal.CorruptError{File: filepath.Join("quarantine", filepath.Base(name)), Offset: -1, Reason: err.Error()}
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_, extents, bytes, err := decodeLedger(bufio.NewReader(io.NewSectionReader(f, 0, size)))
	if err := errors.Join(err, f.Close()); err != nil && !errors.Is(err, errLedger) {
		return err
	}
	swept.Stages++
	swept.Extents += extents
	swept.Bytes += bytes
	return a.fs.Remove(name)
}

// ledger is an open ledger file.
type ledger struct {
	area *Area
	name string
	f    vfs.File
	end  int64
}

func (a *Area) newLedger(txn wal.TxnID) (*ledger, error) {
	l := &ledger{area: a, name: filepath.Join(a.dir, txn.String()+ledgerSuffix)}
	var err error
	if l.f, err = a.fs.Create(l.name); err != nil {
		return nil, err
	}
	if err := l.write(encodeLedgerHeader(txn)); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	return l, nil
}

func (l *ledger) append(class heap.Class, extents []heap.Extent) error {
	for part := range slices.Chunk(extents, maxLedgerExtents) {
		if err := l.write(encodeLedgerRecord(class, part)); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) write(b []byte) error {
	if _, err := l.f.WriteAt(b, l.end); err != nil {
		return err
	}
	l.end += int64(len(b))
	return nil
}

func (l *ledger) remove() error { return errors.Join(l.f.Close(), l.area.fs.Remove(l.name)) }
