// Package backuptest is for tests of backup: a store that lives, what it held at each
// moment, and an archive of it.
//
//	s := backuptest.New(t, seed, archive, backuptest.Changes{...}, txn.Options{})
//	s.Live(10)
//	s.Ship()
//	s.Snapshot(true)
//	s.Live(5)
//	held := s.Held() // of what is restored later it is the proof
package backuptest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

var ctx = context.Background()

// Must ends a test that has an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Store is a store that lives, and its archive.
type Store struct {
	T        testing.TB
	R        *rand.Rand
	Dir      string
	Options  txn.Options
	M        *txn.Manager
	Changes  Changes
	Archive  objects.Store
	Shipping ship.Options
	Begun    wal.Position   // where the store was restored, if it was
	Snaps    []wal.Position // that were taken
}

// New makes a store, which is closed when the test ends.
func New(t testing.TB, seed uint64, archive objects.Store, c Changes, o txn.Options) *Store {
	t.Helper()
	o.Create = true
	s := &Store{
		T: t, R: rand.New(rand.NewPCG(seed, 5)), Dir: filepath.Join(t.TempDir(), "store"), Options: o,
		Changes: c, Archive: archive, Shipping: ship.Options{MaxBytes: 20 << 10},
	}
	s.Open()
	t.Cleanup(func() { Must(t, s.M.Close()) })
	return s
}

// Open opens the store, anew or another one.
func (s *Store) Open() {
	s.T.Helper()
	var err error
	s.M, _, err = txn.Open(s.Dir, s.Options)
	Must(s.T, err)
}

func (s *Store) disk() vfs.FS {
	if s.Options.FS != nil {
		return s.Options.FS
	}
	return vfs.OS()
}

// State is what a store held at a position.
type State struct {
	Head    pagestore.Head
	Volumes uint64
	Digest  wal.PageHash // of all that they hold
}

// Time is when it did.
func (s State) Time() time.Time { return time.Unix(0, s.Head.Time) }

// Held is what the store holds now.
func (s *Store) Held() State {
	s.T.Helper()
	return Held(s.T, s.disk(), s.Dir)
}

// Held is what a store holds, which may be open.
func Held(t testing.TB, disk vfs.FS, dir string) State {
	t.Helper()
	v, err := recovery.View(disk, dir, 0)
	Must(t, err)
	n, d, err := v.Snapshot().Digest()
	Must(t, errors.Join(err, v.Close()))
	return State{v.Snapshot().Head, n, d}
}

// Changes are those of a store that lives.
type Changes struct {
	PageSizes []uint32
	Most      int    // pages that one of them writes, at most
	Pages     uint64 // of a volume, at most
}

// Live changes volumes, tags and forks at random, up to n times: what is refused changes
// nothing.
func (s *Store) Live(n int) {
	s.T.Helper()
	for range n {
		_, err := s.M.Update(ctx, s.Change)
		if !errors.Is(err, txn.ErrVolumeExists) && !errors.Is(err, txn.ErrStaged) {
			Must(s.T, err)
		}
	}
}

// Change is one change. It is refused when it forks to a volume that is there.
func (s *Store) Change(tx *txn.Tx) error {
	name := fmt.Sprint("v", s.R.IntN(5))
	v, err := tx.Volume(name)
	if errors.Is(err, txn.ErrNoVolume) {
		v, err = tx.CreateVolume(name, txn.VolumeOptions{PageSize: s.Changes.PageSizes[s.R.IntN(len(s.Changes.PageSizes))]})
	}
	if err != nil {
		return err
	}
	switch s.R.IntN(12) {
	case 0:
		return tx.DeleteVolume(name)
	case 1:
		return v.Truncate(s.R.Uint64N(s.Changes.Pages))
	case 2, 3:
		return tx.SetTag(v, fmt.Sprint("t", s.R.IntN(3)), v)
	case 4:
		_, err := tx.Fork(fmt.Sprint("v", s.R.IntN(5)), v)
		return err
	}
	page := make([]byte, v.PageSize())
	for range 1 + s.R.IntN(s.Changes.Most) {
		for i := range page {
			page[i] = byte(s.R.Uint32() >> 28) // compresses
		}
		if err := v.WritePage(s.R.Uint64N(s.Changes.Pages), page); err != nil {
			return err
		}
	}
	return nil
}

// Snapshot takes one into the archive, whole or on the one before.
func (s *Store) Snapshot(whole bool) {
	s.T.Helper()
	var base wal.Position
	if n := len(s.Snaps); n > 0 && !whole {
		base = s.Snaps[n-1]
	}
	m, err := s.M.Backup(ctx, s.Archive, snapshot.Options{Base: base, PartBytes: 64 << 10})
	Must(s.T, err)
	s.Snaps = append(s.Snaps, m.Position)
}
