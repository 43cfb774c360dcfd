package txn_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// rig is a store under test on a disk that can be told to fail. When the test
// ends the store is closed and all of it verified.
type rig struct {
	*txn.Manager
	t    testing.TB
	dir  string
	opts txn.Options
	disk *faulty
}

func newRig(t testing.TB, o txn.Options) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), opts: o, disk: &faulty{FS: vfs.OS()}}
	r.opts.FS, r.opts.Create = r.disk, true
	r.open()
	t.Cleanup(func() {
		r.disk.fail(nil)
		if err := r.Close(); err != nil && !errors.Is(err, txn.ErrPoisoned) {
			t.Errorf("close: %v", err)
		}
		verifytest.Clean(t, r.dir)
	})
	return r
}

func (r *rig) open() {
	r.t.Helper()
	m, _, err := txn.Open(r.dir, r.opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Manager = m
}

// reopen closes and opens the store, and returns what Close said.
func (r *rig) reopen() error {
	r.t.Helper()
	err := r.Close()
	r.disk.fail(nil)
	r.open()
	return err
}

// update commits f, which must succeed.
func (r *rig) update(f func(*txn.Tx) error) txn.Commit {
	r.t.Helper()
	c, err := r.Update(context.Background(), f)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// volume makes a volume with pages 0 to n-1 written, page no with pageOf(no+1).
func (r *rig) volume(name string, n uint64) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error {
		v, err := tx.CreateVolume(name, txn.VolumeOptions{})
		for no := uint64(0); no < n && err == nil; no++ {
			err = v.WritePage(no, pageOf(no+1))
		}
		return err
	})
}

// put commits one page.
func (r *rig) put(name string, no, value uint64) {
	r.t.Helper()
	r.update(func(tx *txn.Tx) error { return put(tx, name, no, value) })
}

// get reads one page's value in a transaction of its own.
func (r *rig) get(name string, no uint64) (value uint64) {
	r.t.Helper()
	err := r.View(context.Background(), func(tx *txn.Tx) (err error) {
		value, err = get(tx, name, no)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return value
}

func (r *rig) begin(o txn.TxOptions) *txn.Tx {
	r.t.Helper()
	tx, err := r.Begin(context.Background(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(tx.Rollback)
	return tx
}

// pageOf is a page of 4096 bytes that holds a value.
func pageOf(value uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, value), wal.DefaultPageSize/8)
}

func put(tx *txn.Tx, name string, no, value uint64) error {
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	return v.WritePage(no, pageOf(value))
}

func get(tx *txn.Tx, name string, no uint64) (uint64, error) {
	v, err := tx.Volume(name)
	if err != nil {
		return 0, err
	}
	p := make([]byte, v.PageSize())
	if err := v.ReadPage(no, p); err != nil {
		return 0, err
	}
	value := binary.LittleEndian.Uint64(p)
	if !bytes.Equal(p, pageOf(value)) {
		return 0, errors.New("the page is torn")
	}
	return value, nil
}

// eventually waits for what another goroutine does.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// faulty is a disk that fails, or waits, as a rule says. op is "create", "read",
// "write", "grow" (a write beyond the end), "truncate", "sync", "syncdir", "rename", "remove" or "mkdir".
type faulty struct {
	vfs.FS
	mu   sync.Mutex
	rule func(op, name string) error
}

func (f *faulty) fail(rule func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rule = rule
}

// failing is a rule: these operations on names that contain part fail.
func failing(err error, part string, ops ...string) func(op, name string) error {
	return func(op, name string) error {
		for _, o := range ops {
			if o == op && strings.Contains(name, part) {
				return err
			}
		}
		return nil
	}
}

func (f *faulty) ask(op, name string) error {
	f.mu.Lock()
	rule := f.rule
	f.mu.Unlock()
	if rule == nil {
		return nil
	}
	return rule(op, name)
}

func (f *faulty) do(op, name string, do func() error) error {
	if err := f.ask(op, name); err != nil {
		return err
	}
	return do()
}

func (f *faulty) file(op, name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	if err := f.ask(op, name); err != nil {
		return nil, err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

func (f *faulty) Create(name string) (vfs.File, error)   { return f.file("create", name, f.FS.Create) }
func (f *faulty) Open(name string) (vfs.File, error)     { return f.file("open", name, f.FS.Open) }
func (f *faulty) OpenRead(name string) (vfs.File, error) { return f.file("open", name, f.FS.OpenRead) }
func (f *faulty) Rename(from, to string) error {
	return f.do("rename", from, func() error { return f.FS.Rename(from, to) })
}
func (f *faulty) Remove(name string) error {
	return f.do("remove", name, func() error { return f.FS.Remove(name) })
}
func (f *faulty) Mkdir(name string) error {
	return f.do("mkdir", name, func() error { return f.FS.Mkdir(name) })
}
func (f *faulty) SyncDir(name string) error {
	return f.do("syncdir", name, func() error { return f.FS.SyncDir(name) })
}

type faultyFile struct {
	vfs.File
	disk *faulty
	name string
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.ask("write", f.name); err != nil {
		return 0, err
	}
	if size, err := f.File.Size(); err == nil && off+int64(len(p)) > size {
		if err := f.disk.ask("grow", f.name); err != nil {
			return 0, err
		}
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.disk.ask("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) Truncate(size int64) error {
	return f.disk.do("truncate", f.name, func() error { return f.File.Truncate(size) })
}

func (f *faultyFile) Sync() error { return f.disk.do("sync", f.name, f.File.Sync) }
