package crashfs

import (
	"errors"
	"fmt"
)

// ErrCrashed is returned by every call after the crash: the process that
// called is dead.
var ErrCrashed = errors.New("crashed")

// Op is one call to the file system.
type Op struct {
	Index  int // 1 for the first change; a read has the index of the change before it
	Kind   Kind
	Name   string // as the caller wrote it; of a rename or link the old name
	Offset int64  // of a read, write or truncate
	Length int    // bytes of a read or write
}

func (o Op) String() string {
	return fmt.Sprintf("%d: %s %s %d+%d", o.Index, o.Kind, o.Name, o.Offset, o.Length)
}

// Kind of an Op.
type Kind string

// Kinds. The last three change nothing and are not counted.
const (
	Create   Kind = "create"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	SyncDir  Kind = "syncdir"
	Rename   Kind = "rename"
	Link     Kind = "link"
	Remove   Kind = "remove"
	Mkdir    Kind = "mkdir"
	Open     Kind = "open"
	Read     Kind = "read"
	List     Kind = "list"
)

// Counted reports whether the operation may change the disk: those are counted
// and are where a cut is possible.
func (k Kind) Counted() bool { return k != Open && k != Read && k != List }

// Fault decides about each call before it is carried out: an error makes it
// fail with that error. It may be called by several goroutines at once and
// must not call the file system. A write that fails with a *ShortWrite is done
// in part. A failed sync leaves open what reached the disk, and no later sync
// writes it.
type Fault func(Op) error

// FailAt makes the counted operation k fail.
func FailAt(k int, err error) Fault {
	return func(o Op) error { return when(o.Kind.Counted() && o.Index == k, err) }
}

// FailFrom makes the counted operation k and all after it fail.
func FailFrom(k int, err error) Fault {
	return func(o Op) error { return when(o.Kind.Counted() && o.Index >= k, err) }
}

// FailKind makes all operations of these kinds fail.
func FailKind(err error, kinds ...Kind) Fault {
	return func(o Op) error {
		for _, k := range kinds {
			if o.Kind == k {
				return err
			}
		}
		return nil
	}
}

func when(cond bool, err error) error {
	if cond {
		return err
	}
	return nil
}

// ShortWrite makes a write stop after N bytes with Err.
type ShortWrite struct {
	N   int
	Err error
}

func (e *ShortWrite) Error() string {
	return fmt.Sprintf("short write of %d bytes: %v", e.N, e.Err)
}

func (e *ShortWrite) Unwrap() error { return e.Err }
