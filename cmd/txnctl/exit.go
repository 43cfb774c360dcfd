package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// Exit codes: stable, and written down in the help of the root.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitCorrupt  = 3
	exitLocked   = 4
	exitConflict = 5
	exitRefused  = 6
)

const exitCodes = `Exit codes:
  0  fine
  1  failed
  2  usage: the command line was not understood, nothing was done
  3  corruption found
  4  the store is locked: another process has it open
  5  conflict: somebody else's change came first, nothing was written
  6  cannot restore to that point: the archive lacks what leads there`

// errReported ends a command whose output said already what is wrong.
var errReported = errors.New("reported")

// errProblems ends recovery verify and backup verify, whose outputs list them.
var errProblems = fmt.Errorf("%w: %w", errReported, wal.ErrCorrupt)

// usageError is a command line that makes no sense.
type usageError string

func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// conflictError is somebody else's change that came first.
type conflictError string

func (e conflictError) Error() string        { return string(e) }
func (e conflictError) Is(target error) bool { return target == txn.ErrConflict }

// corruptArchive says that an archive has lost its FORMAT.
type corruptArchive struct{ text string }

func (e corruptArchive) Error() string        { return e.text }
func (e corruptArchive) Is(target error) bool { return target == wal.ErrCorrupt }

// corruptStore says that what is damaged is the store, of a command that has to do with
// an archive, too.
type corruptStore struct{ err error }

func (e corruptStore) Error() string { return e.err.Error() }
func (e corruptStore) Unwrap() error { return e.err }

// ofStore marks what a command finds damaged in the store.
func ofStore(err error) error {
	if errors.Is(err, wal.ErrCorrupt) {
		return corruptStore{err}
	}
	return err
}

// whatNext says what helps who found something damaged.
func whatNext(err error, command string) string {
	var store corruptStore
	var lost corruptArchive
	var damaged *wal.CorruptError
	switch of := strings.HasPrefix(command, "txnctl backup") || command == "txnctl restore"; {
	case errors.As(err, &lost), errors.As(err, &damaged) && damaged.File == archive.FormatKey:
		return "All else in the archive may be whole, but is not looked at without its FORMAT. Put back a copy of that,\n" +
			"or the FORMAT of any other archive, since it says nothing of what is in one; then: txnctl backup verify URL"
	case !of || errors.As(err, &store):
		return "txnctl recovery verify lists all that is wrong."
	case errors.As(err, &damaged) && isAppend(damaged.File) && command != "txnctl restore":
		return "txnctl backup verify URL lists all that is wrong, and what can be restored.\n" +
			"Put back a copy of that object; if there is none, and the store is there, delete it: then\n" +
			"txnctl backup archive URL puts again what the store's log still has, or says what is missing."
	}
	return "txnctl backup verify URL lists all that is wrong, and what can be restored."
}

// isAppend reports whether a key is that of entries as they were shipped.
func isAppend(key string) bool {
	k, err := archive.ParseKey(key)
	return err == nil && k.Kind == archive.KindAppend
}

// exitCode sorts errors; what is found first wins.
func (a *app) exitCode(err error) int {
	var usage usageError
	var locked *vfs.LockedError
	switch {
	case err == nil:
		return exitOK
	case !a.began, errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, restore.ErrRefused):
		return exitRefused
	case errors.Is(err, wal.ErrCorrupt):
		return exitCorrupt
	case errors.As(err, &locked):
		return exitLocked
	case errors.Is(err, txn.ErrConflict), errors.Is(err, ship.ErrDiverged), errors.Is(err, ship.ErrAhead), errors.Is(err, snapshot.ErrDiverged), errors.Is(err, repair.ErrDiverged):
		return exitConflict
	}
	return exitFailed
}

// complain prints an error, and what can be done about it.
func (a *app) complain(err error, code int, command string) {
	name := "txnctl:"
	if coloured(a.err) {
		name = style("31").paint(name)
	}
	a.note("%s %s", name, strings.ReplaceAll(err.Error(), "\n", "; "))
	switch code {
	case exitUsage:
		a.note("See %s --help.", command)
	case exitLocked:
		a.note("One process has a store open at a time. ls, stat, log, show, follow, status and export work beside it.")
	case exitCorrupt:
		a.note("Nothing was changed. %s", whatNext(err, command))
	}
}
