package objects

import (
	"errors"
	"fmt"
)

// What a call answers; the package documentation has the table.
var (
	ErrExists   = errors.New("there is an object of that key already")
	ErrUnknown  = errors.New("it is unknown whether that was done: do it again, which is safe")
	ErrFailed   = errors.New("an earlier sync failed, so nothing is written any more: open the store again when the disk is well")
	ErrNotFound = errors.New("there is no such object")
	ErrChecksum = errors.New("the bytes are not those they should be: nothing was put")
	ErrKey      = errors.New("not a valid key")
	ErrForeign  = errors.New("something that is no object is in the way: move it out of the store")
	ErrUnfit    = errors.New("the store cannot be used")
)

// Error is an error of a Store.
type Error struct {
	Call  string // "put", "get", "list", "delete", "open" or "probe"
	Store string // its String
	Key   string // or prefix
	Err   error  // one of this package's, what the system said, or both
}

func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("objects: %s %s: %v", e.Call, e.Store, e.Err)
	}
	return fmt.Sprintf("objects: %s %s, key %q: %v", e.Call, e.Store, e.Key, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// because is sentinel with the reason that the system gave.
func because(sentinel, reason error) error { return fmt.Errorf("%w: %w", sentinel, reason) }
