package wal

import (
	"errors"
	"fmt"
)

// Sentinels, grouped by when they happen.
var (
	// ErrCorrupt: bytes that were durable are not what was written. Every
	// *CorruptError is one. Nothing was changed.
	ErrCorrupt = errors.New("corrupt")
	// ErrVersion: written by a newer Quire. Nothing was changed.
	ErrVersion = errors.New("format is newer than this program")
	// ErrTooLarge: beyond a limit that an option or the format sets.
	ErrTooLarge = errors.New("too large")
)

// CorruptError says where stored bytes are not what was written.
type CorruptError struct {
	File   string // path below the store's directory, or of the store
	Offset int64  // byte in File; -1 when the whole file is meant
	LSN    LSN    // the entry concerned; 0 when none is
	Reason string // what is wrong and what was expected
}

func (e *CorruptError) Error() string {
	s := "corrupt: " + e.File
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at byte %d", e.Offset)
	}
	if e.LSN != 0 {
		s += fmt.Sprintf(" (LSN %d)", e.LSN)
	}
	return s + ": " + e.Reason
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
