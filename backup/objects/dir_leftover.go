package objects

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/quire-db/quire/internal/vfs"
)

// LeftoverAge is how old a file that no Put has finished must be before it is
// removed, if nobody holds the lock on it. The age covers the moment between
// making a file and locking it, the lock a Put that takes longer.
const LeftoverAge = time.Hour

// tempName says when a file was begun, in milliseconds since 1970, so that its
// age does not depend on the file's dates.
func tempName(begun time.Time, id uuid.UUID) string {
	return fmt.Sprintf("%013d-%s", begun.UnixMilli(), id)
}

// begunAt is the inverse of tempName; ok is false for other names.
func begunAt(name string) (begun time.Time, ok bool) {
	ms, id, _ := strings.Cut(name, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, false
	}
	begun = time.UnixMilli(n)
	parsed, err := uuid.Parse(id)
	return begun, err == nil && tempName(begun, parsed) == name
}

// removeLeftovers removes what dead processes left in putDir. Its errors do
// not matter: leftovers waste space and do nothing else.
func (d *Dir) removeLeftovers() {
	dir := filepath.Join(d.root, putDir)
	_ = d.disk.EachEntry(dir, func(e vfs.Entry) bool {
		name := filepath.Join(dir, e.Name)
		begun, ok := begunAt(e.Name)
		if !ok || !e.Mode.IsRegular() || d.now().Sub(begun) < LeftoverAge {
			return true
		}
		if _, held, err := d.disk.LockHolder(name); err == nil && !held {
			_ = d.disk.Remove(name)
		}
		return true
	})
}
