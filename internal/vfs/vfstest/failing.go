package vfstest

import (
	"errors"
	"sync/atomic"

	"github.com/quire-db/quire/internal/vfs"
)

var errGone = errors.New("the disk is gone")

// Failing is a disk that changes no names any more after a number of calls, nor locks any.
type Failing struct {
	vfs.Linker
	left atomic.Int64
}

// After is a disk that is gone after so many calls that change or lock a name.
func After(calls int64, disk vfs.Linker) *Failing {
	f := &Failing{Linker: disk}
	f.left.Store(calls)
	return f
}

// Left is how many calls are left; below 0 are those that failed.
func (f *Failing) Left() int64 { return f.left.Load() }

func (f *Failing) do(call func() error) error {
	if f.left.Add(-1) < 0 {
		return errGone
	}
	return call()
}

// Create fails once the disk is gone.
func (f *Failing) Create(name string) (file vfs.File, err error) {
	err = f.do(func() error { file, err = f.Linker.Create(name); return err })
	return file, err
}

// Mkdir fails once the disk is gone.
func (f *Failing) Mkdir(name string) error {
	return f.do(func() error { return f.Linker.Mkdir(name) })
}

// Remove fails once the disk is gone.
func (f *Failing) Remove(name string) error {
	return f.do(func() error { return f.Linker.Remove(name) })
}

// SyncDir fails once the disk is gone.
func (f *Failing) SyncDir(name string) error {
	return f.do(func() error { return f.Linker.SyncDir(name) })
}

// Rename fails once the disk is gone.
func (f *Failing) Rename(from, to string) error {
	return f.do(func() error { return f.Linker.Rename(from, to) })
}

// Lock fails once the disk is gone.
func (f *Failing) Lock(name, owner string) (release func() error, err error) {
	err = f.do(func() error { release, err = f.Linker.Lock(name, owner); return err })
	return release, err
}
