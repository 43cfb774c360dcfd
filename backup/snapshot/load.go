package snapshot

import (
	"context"
	"io"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/objects"
)

// NewLoader makes a store in a directory that is there, empty: a follower of the timeline
// and epoch at head, with a UUID of its own, to be loaded with what that is. Of o, only the
// disk, the directory and CacheBytes count.
func NewLoader(o pagestore.Options, head pagestore.Head, facts manifest.Options) (*pagestore.Loader, error) {
	if err := pagestore.Create(o.FS, o.Dir, manifest.Facts{
		Store: uuid.Must(uuid.NewV7()), Timeline: head.Timeline, Epoch: head.Epoch, Node: manifest.Node{Role: manifest.Follower}, Options: facts,
	}); err != nil {
		return nil, err
	}
	return pagestore.NewLoader(pagestore.Options{FS: o.FS, Dir: o.Dir, CacheBytes: o.CacheBytes})
}

// Load loads a snapshot behind those that it follows from, and proves what that becomes by
// its digest. What is read goes through watch, unless that is nil.
func (m *Manifest) Load(ctx context.Context, store objects.Store, l *pagestore.Loader, identities []age.Identity, watch func(io.Reader) io.Reader) error {
	parts := NewReader(ctx, store, m, identities)
	defer parts.Close()
	var in io.Reader = parts
	if watch != nil {
		in = watch(in)
	}
	if err := l.Load(m.Head(), in); err != nil {
		return err
	}
	volumes, digest, err := l.Digest()
	if err != nil {
		return err
	}
	return m.Prove(volumes, digest)
}
