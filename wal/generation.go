package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"

	tidwall "github.com/tidwall/wal"

	"github.com/quire-db/quire/internal/vfs"
)

// GenID is a generation's nonce. It is random and not a counter: a copy of an
// own older log, inside a page or behind the tail, must never pass for this one.
type GenID uint64

// String is 16 hexadecimal digits: the name of the generation's directory.
func (id GenID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseGenID is the inverse of GenID.String.
func ParseGenID(s string) (GenID, error) {
	var id GenID
	if n, err := fmt.Sscanf(s, "%016x", (*uint64)(&id)); n != 1 || err != nil || id == 0 || id.String() != s {
		return 0, fmt.Errorf("wal: %q is not a log generation: want 16 hexadecimal digits", s)
	}
	return id, nil
}

// Generation is what the manifest keeps of one file of the log.
type Generation struct {
	ID     GenID
	First  LSN   // of its entries; 0 in an open one when the one before was not sealed yet
	Sealed bool  // never written again; the rest is known only then
	Last   LSN   // First-1 when it has no entry
	Length int64 // bytes of the file
	Chain  Hash  // of entry Last
}

// segment is the library's name of the only file of a generation.
const segment = "00000000000000000001"

// Path of the generation's file below the log's directory.
func (id GenID) Path() string { return filepath.Join(id.String(), segment) }

// File is where the generation lies below the store's directory, for errors.
func (id GenID) file() string { return filepath.Join("wal", id.Path()) }

// generation is one that this process writes.
type generation struct {
	id    GenID
	lib   *tidwall.Log
	file  vfs.File // our descriptor: zero-fills, syncs, cuts; opened before the first record
	index uint64   // of the library's last record
	dirty bool     // written since the last sync

	// Guarded by Log.mu.
	first   LSN
	end     Position // its last appended entry, or the one before its first
	planned int64    // end of the file when all groups sequenced so far are appended
	written int64    // end of the file now
}

// makeGeneration creates generation id with size zero bytes, everything synced.
// The library makes the file, because it must not find one: it would take each
// zero byte for an entry. It writes at its own offset, so the zeros that follow
// are overwritten in place.
func makeGeneration(fsys vfs.FS, dir string, id GenID, size int64) (*generation, error) {
	if err := fsys.Mkdir(filepath.Join(dir, id.String())); err != nil {
		return nil, err
	}
	g := &generation{id: id}
	if err := g.make(fsys, dir, size); err != nil {
		g.close()
		return nil, errors.Join(err, Remove(fsys, dir, id)) // recovery removes what is left
	}
	return g, nil
}

func (g *generation) make(fsys vfs.FS, dir string, size int64) (err error) {
	own := filepath.Join(dir, g.id.String())
	if g.lib, err = tidwall.Open(own, libraryOptions()); err != nil {
		return err
	}
	if g.file, err = fsys.Open(filepath.Join(own, segment)); err != nil {
		return err
	}
	if err := zeroFill(g.file, size); err != nil {
		return err
	}
	if err := g.file.Sync(); err != nil {
		return err
	}
	if err := fsys.SyncDir(own); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// libraryOptions keep the library from ever making a second segment or syncing
// on its own. A fresh copy each time: the library changes what it is given.
func libraryOptions() *tidwall.Options {
	return &tidwall.Options{
		NoSync:      true,
		SegmentSize: math.MaxInt,
		LogFormat:   tidwall.Binary,
		AllowEmpty:  true,
		DirPerms:    0o700,
		FilePerms:   0o600,
	}
}

// zeroFill writes zeros bit by bit, waiting for the disk in between: commits
// that sync meanwhile must not wait behind all of it.
func zeroFill(f vfs.File, size int64) error {
	zeros := make([]byte, min(size, fillStep))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		n := min(size-off, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], off); err != nil {
			return err
		}
		if err := vfs.WriteOut(f, off, n); err != nil {
			return err
		}
	}
	return nil
}

const fillStep = 256 << 10

// write appends records through the library, in one system call.
func (g *generation) write(b *tidwall.Batch, records [][]byte) error {
	b.Clear()
	for i, r := range records {
		b.Write(g.index+uint64(i)+1, r)
	}
	g.dirty = true
	if err := g.lib.WriteBatch(b); err != nil {
		return err
	}
	g.index += uint64(len(records))
	return nil
}

func (g *generation) sync() error {
	if !g.dirty {
		return nil
	}
	if err := g.file.Sync(); err != nil {
		return err
	}
	g.dirty = false
	return nil
}

// seal cuts the file at its exact end and lets go of it.
func (g *generation) seal() (Generation, error) {
	if err := g.file.Truncate(g.written); err != nil {
		return Generation{}, err
	}
	if err := g.file.Sync(); err != nil {
		return Generation{}, err
	}
	if err := g.lib.Close(); err != nil {
		return Generation{}, err
	}
	g.lib = nil
	return Generation{ID: g.id, First: g.first, Sealed: true, Last: g.end.LSN, Length: g.written, Chain: g.end.Hash}, g.close()
}

// close lets go of our descriptor. The library's, unless seal or abandon has
// closed it, is left to the finalizer of its os.File: closing it through the
// library would sync it, and after a failure it must not be touched (promise 6).
func (g *generation) close() error {
	if g.file == nil {
		return nil
	}
	f := g.file
	g.file = nil
	return f.Close()
}

// abandon lets go of a generation that holds no record, of the library's
// descriptor too: it syncs, but make has synced all there is.
func (g *generation) abandon() error {
	_ = g.lib.Close()
	g.lib = nil
	return g.close()
}

// CutBack makes the file of an old, unsealed generation as long as g says and
// syncs it: what recovery does before the manifest calls it sealed. Nothing may
// still need the bytes behind.
func CutBack(fsys vfs.FS, dir string, g Generation) error {
	f, err := fsys.Open(filepath.Join(dir, g.ID.Path()))
	if err != nil {
		return fmt.Errorf("wal: cut generation %s at byte %d: %w", g.ID, g.Length, err)
	}
	defer f.Close()
	if err := f.Truncate(g.Length); err != nil {
		return fmt.Errorf("wal: cut generation %s at byte %d: %w", g.ID, g.Length, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("wal: sync generation %s after cutting it: %w", g.ID, err)
	}
	return nil
}

// Remove deletes a generation that the manifest no longer, or never, named. One
// that is partly or wholly gone already is no error.
func Remove(fsys vfs.FS, dir string, id GenID) error {
	for _, name := range []string{id.Path(), id.String()} {
		if err := fsys.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("wal: remove generation %s: %w", id, err)
		}
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("wal: remove generation %s: %w", id, err)
	}
	return nil
}

// List names the generations that have a directory below dir, known or not, and
// leaves out whatever else lies there.
func List(fsys vfs.FS, dir string) ([]GenID, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: list generations: %w", err)
	}
	var ids []GenID
	for _, n := range names {
		if id, err := ParseGenID(n.Name); err == nil && n.Mode.IsDir() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func newGenID(random io.Reader) (GenID, error) {
	var b [8]byte
	for {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 0, err
		}
		if id := GenID(le.Uint64(b[:])); id != 0 {
			return id, nil
		}
	}
}
