package txn

import (
	"errors"
	"fmt"

	"github.com/quire-db/quire/wal"
)

// Errors at Begin and in use.
var (
	ErrClosed       = errors.New("txn: the manager is closed")
	ErrTxDone       = errors.New("txn: the transaction has ended already")
	ErrExpired      = errors.New("txn: the transaction ran past its deadline and was rolled back; begin it again")
	ErrReadOnly     = errors.New("txn: write in a read-only transaction")
	ErrNoVolume     = errors.New("txn: no such volume")
	ErrVolumeExists = errors.New("txn: a volume of that name exists already")
	ErrVolumeGone   = errors.New("txn: the volume was deleted in this transaction")
	ErrPageSize     = errors.New("txn: wrong page size")
	ErrPageRange    = errors.New("txn: page number out of range")
	ErrSavepoint    = errors.New("txn: the savepoint is not one of this transaction, or was rolled back")
)

// Errors of Commit.
var (
	// ErrConflict: the transaction was rolled back, because another one
	// committed first. Every *ConflictError is one. Run it again (Update does).
	ErrConflict = errors.New("txn: conflict")
	// ErrUnknownOutcome: whether the transaction committed is known after
	// reopening only. Every *UnknownError is one.
	ErrUnknownOutcome = errors.New("txn: outcome unknown")
	// ErrPoisoned: an earlier write or sync failed, and the manager writes no
	// more. Every *PoisonedError is one. Reads go on; reopening recovers.
	ErrPoisoned = errors.New("txn: poisoned")
)

// ConflictError names what a transaction read, or wrote under snapshot
// isolation, and another transaction changed before it could commit. Every
// ErrConflict of Commit is one: errors.As finds it with a *ConflictError.
type ConflictError struct {
	Volume wal.VolumeID // zero when only a name is concerned
	Name   string       // of the volume
	Page   uint64       // the first page concerned, when What is "page" or "range"
	Tag    string       // of the volume, when What is "tag"
	What   string       // "page", "range", "size", "name", "existence", "tag", or "base" of a fork or tag
}

func (e *ConflictError) Error() string {
	subject := fmt.Sprintf("volume %q", e.Name)
	switch e.What {
	case "page", "range":
		subject = fmt.Sprintf("page %d of volume %q", e.Page, e.Name)
	case "size":
		subject = fmt.Sprintf("the size of volume %q", e.Name)
	case "name":
		subject = fmt.Sprintf("the name %q", e.Name)
	case "tag":
		subject = fmt.Sprintf("tag %q of volume %q", e.Tag, e.Name)
	case "base":
		subject = fmt.Sprintf("what volume %q was to begin from", e.Name)
	}
	return "txn: conflict: " + subject + " was changed by a transaction that committed first; nothing was written, run the transaction again"
}

// Is makes every ConflictError an ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// UnknownError says that a transaction was handed to the log and its fate is
// not known: the wait for it was given up, or the write failed.
type UnknownError struct {
	Txn   wal.TxnID
	LSN   wal.LSN // it has, if it committed
	Cause error
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("txn: outcome of transaction %s (LSN %d if it committed) is unknown: %v; it is whole or absent, ask Manager.Outcome for it after reopening", e.Txn, e.LSN, e.Cause)
}

// Is makes every UnknownError an ErrUnknownOutcome.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknownOutcome }

func (e *UnknownError) Unwrap() error { return e.Cause }

// PoisonedError says why the manager writes no more and by how much what is
// visible exceeds what is known to be durable.
type PoisonedError struct {
	Cause   error
	Visible wal.LSN // the published LSN
	Durable wal.LSN // the highest LSN known synced; buffered commits above it may be lost
}

func (e *PoisonedError) Error() string {
	s := fmt.Sprintf("txn: writing has stopped: %v; everything up to LSN %d is durable", e.Cause, e.Durable)
	if e.Visible > e.Durable {
		s += fmt.Sprintf(", LSN %d to %d are visible and may be lost", e.Durable+1, e.Visible)
	}
	return s + "; reads go on, close and reopen the store to recover"
}

// Is makes every PoisonedError an ErrPoisoned.
func (e *PoisonedError) Is(target error) bool { return target == ErrPoisoned }

func (e *PoisonedError) Unwrap() error { return e.Cause }
