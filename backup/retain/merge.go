package retain

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Merge says how snapshots are merged before others go. Those that stay only because another
// one is an increment on them are merged into it: snapshot.Merge. The archive does not
// grow by that, since only those are that nothing else needs. A whole one is merged once the
// increments have half as many bytes, so that what is written is at most three times as
// much as what was taken since.
type Merge struct {
	// Dir is a directory that is there: stores are made in it, one after the other, as large
	// as that of which the snapshots are.
	Dir        string
	Disk       vfs.FS // the operating system's when nil
	CacheBytes int64  // as of snapshot.MergeOptions
	// Seal says how what is merged is stored. Snapshots that are encrypted are merged only if
	// it has recipients.
	Seal archive.SealOptions
}

// Merged is a snapshot that was, or is to be, merged with those before it.
type Merged struct {
	At, Base wal.Position // the base is zero when it becomes a whole one
	With     int          // that many before it
}

// ErrNotMerged: an encrypted snapshot could have been merged.
var ErrNotMerged = errors.New("it is encrypted, and nobody was named for whom it is to be: name the recipients")

// merges plans what is to be merged.
func (p *planner) merges(o *Merge) {
	children := map[*snap]int{}
	for _, s := range p.snaps {
		if s.keep != nil && s.base != nil {
			children[s.base]++
		}
	}
	for _, s := range p.snaps {
		if s.keep == nil || s.err != nil || !s.picked() && children[s] < 2 {
			continue
		}
		m := s.merged(children)
		switch {
		case m.With == 0:
		case s.header.Encryption != archive.EncryptionNone && len(o.Seal.Recipients) == 0:
			p.out.Problems = append(p.out.Problems, fmt.Errorf("the snapshot at LSN %d of timeline %s: %w", s.First, s.Log, ErrNotMerged))
		default:
			p.out.Merged = append(p.out.Merged, m)
		}
	}
}

// picked reports whether the policy wants the snapshot for itself.
func (s *snap) picked() bool {
	return s.keep != nil && s.keep[0] != ReasonBase && s.keep[0] != ReasonDamaged
}

// merged says with which of those before it a snapshot is to be merged: those that nothing
// else needs, the whole one if it is worth it.
func (s *snap) merged(children map[*snap]int) Merged {
	m, bytes, base := Merged{At: s.header.Position()}, s.m.Stored(), s.base
	for base != nil && !base.picked() && children[base] == 1 && (base.base != nil || bytes >= base.m.Stored()/2) {
		bytes += base.m.Stored()
		base = base.base
		m.With++
	}
	if base != nil {
		m.Base = base.header.Position()
	}
	return m
}

// all merges, one after the other. What is damaged stays as it is, and is one of the failures.
func (o *Merge) all(ctx context.Context, store objects.Store, list []Merged, with Options) (done []Merged, failures []error, err error) {
	for i, m := range list {
		_, err := snapshot.Merge(ctx, store, m.At, m.Base, snapshot.MergeOptions{
			Dir: filepath.Join(o.Dir, fmt.Sprint("merge-", i)), Disk: o.Disk, CacheBytes: o.CacheBytes,
			Identities: with.Identities, Seal: o.Seal, Pin: with.Pin, Retry: with.Retry,
		})
		switch {
		case err == nil, errors.Is(err, snapshot.ErrTaken): // somebody else has merged it
			done = append(done, m)
		case damaged(err):
			failures = append(failures, fmt.Errorf("the snapshot at LSN %d of timeline %s could not be merged: %w", m.At.LSN, m.At.Timeline, err))
		default:
			return nil, nil, err
		}
	}
	return done, failures, nil
}
