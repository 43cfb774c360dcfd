package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// maxManifest bounds the plain bytes of a manifest.
const maxManifest = manifestFixed + maxParts*partSize

// Read reads the manifest of the snapshot at a position. One of another history at
// that LSN is ErrDiverged; a zero hash takes any. Where it was merged (Merge) and is still
// there as it was taken, that is what is read: both are whole.
func Read(ctx context.Context, store objects.Store, at wal.Position, identities []age.Identity) (m *Manifest, err error) {
	err = found(ctx, store, at, func(key archive.Key) error {
		m, err = ReadKey(ctx, store, key, at.Hash, identities)
		return err
	})
	return m, err
}

// relists is how often the manifests at a position are looked for anew: one that was
// merged again is deleted when the next one is there.
const relists = 5

// found calls do with the key of a manifest at a position, and with those of merged ones, the
// newest first, until one is there and whole: objects.ErrNotFound when none is there, and
// else the error of the first that is.
func found(ctx context.Context, store objects.Store, at wal.Position, do func(key archive.Key) error) error {
	key := manifestKey(at)
	first := do(key)
	for range relists {
		if !elsewhere(first) {
			return first
		}
		merged, err := mergedOf(ctx, store, key)
		if err != nil {
			return err
		}
		for _, k := range merged {
			err := do(k)
			if !elsewhere(err) {
				return err
			}
			if errors.Is(first, objects.ErrNotFound) {
				first = err
			}
		}
		if len(merged) == 0 || !errors.Is(first, objects.ErrNotFound) {
			return first
		}
	}
	return first
}

// elsewhere reports whether another manifest at the same position may do where one
// failed: it is gone, or damaged.
func elsewhere(err error) bool {
	return errors.Is(err, objects.ErrNotFound) || errors.Is(err, wal.ErrCorrupt)
}

// mergedOf is the manifests of a snapshot that was merged, the newest first.
func mergedOf(ctx context.Context, store objects.Store, key archive.Key) (merged []archive.Key, err error) {
	for item, err := range store.List(ctx, strings.TrimSuffix(key.String(), "manifest")+"merged/") {
		if err != nil {
			return nil, fmt.Errorf("snapshot: list those at LSN %d: %w", key.First, err)
		}
		if k, err := archive.ParseKey(item.Key); err == nil && k.Kind == archive.KindManifest {
			merged = append(merged, k)
		}
	}
	slices.SortFunc(merged, func(a, b archive.Key) int { return cmp.Compare(b.Number, a.Number) })
	return merged, nil
}

// Header reads the header of the manifest of the snapshot at a position:
// objects.ErrNotFound when there is none. It needs no key.
func Header(ctx context.Context, store objects.Store, at wal.Position) (h archive.Header, err error) {
	err = found(ctx, store, at, func(key archive.Key) error {
		h, err = archive.ReadHeader(ctx, store, key)
		return err
	})
	return h, err
}

// ReadKey is Read for a manifest's key; a zero hash takes any.
func ReadKey(ctx context.Context, store objects.Store, key archive.Key, hash wal.Hash, identities []age.Identity) (*Manifest, error) {
	r, size, err := store.Get(ctx, key.String(), 0, -1)
	if err != nil {
		return nil, fmt.Errorf("snapshot: read that at LSN %d: %w", key.First, err)
	}
	defer r.Close()
	o, err := archive.Open(key, r, size, identities)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if hash != (wal.Hash{}) && o.Hash != hash {
		return nil, fmt.Errorf("snapshot: %w: %s is of entry %s, not %s; nothing was changed", ErrDiverged, key, o.Hash, hash)
	}
	plain, err := o.ReadAll(maxManifest)
	if err != nil {
		return nil, err
	}
	return decode(&o.Header, plain)
}

// List is the headers of the manifests of a log's snapshots, the newest first. Those
// that are damaged (wal.ErrCorrupt), or a newer Quire's (wal.ErrVersion), are named
// by the error, which the list of the others comes with.
func List(ctx context.Context, store objects.Store, log wal.TimelineID) ([]archive.Header, error) {
	var list []archive.Header
	var damaged error
	for item, err := range store.List(ctx, archive.KindPrefix(log, archive.KindManifest)) {
		if err != nil {
			return nil, fmt.Errorf("snapshot: list those of timeline %s: %w", log, err)
		}
		key, err := archive.ParseKey(item.Key)
		if err != nil || key.Kind != archive.KindManifest {
			continue // a part, or for whoever verifies the archive to report
		}
		h, err := archive.ReadHeader(ctx, store, key)
		switch {
		case errors.Is(err, objects.ErrNotFound): // deleted since it was listed
		case errors.Is(err, wal.ErrCorrupt), errors.Is(err, wal.ErrVersion):
			damaged = errors.Join(damaged, err)
		case err != nil:
			return nil, err
		default:
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b archive.Header) int { return cmp.Compare(b.Last, a.Last) })
	return slices.CompactFunc(list, func(a, b archive.Header) bool { return a.Last == b.Last }), damaged
}

// Chain is the snapshots that one needs: the whole one that it goes back to, the
// increments between, and itself at the end. It looks again when one is gone: it may have
// been merged.
func Chain(ctx context.Context, store objects.Store, at wal.Position, identities []age.Identity) (chain []*Manifest, err error) {
	for range 3 {
		if chain, err = tryChain(ctx, store, at, identities); !errors.Is(err, objects.ErrNotFound) || len(chain) == 0 {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return chain, nil
}

// tryChain returns what it has read with the error.
func tryChain(ctx context.Context, store objects.Store, at wal.Position, identities []age.Identity) ([]*Manifest, error) {
	var chain []*Manifest
	for {
		m, err := Read(ctx, store, at, identities)
		if err != nil {
			if n := len(chain); n > 0 {
				err = fmt.Errorf("snapshot: the base of the increment at LSN %d: %w", chain[n-1].Position.LSN, err)
			}
			return chain, err
		}
		chain = append(chain, m)
		if m.Whole() {
			slices.Reverse(chain)
			return chain, nil
		}
		at = m.Base // lower each time
	}
}

// readers is how many parts are in memory: one is read, the others are fetched.
const readers = 3

// Reader reads the portable form of a snapshot. The next parts are fetched, verified and
// decompressed while one is read. It is for one goroutine.
type Reader struct {
	ctx    context.Context
	cancel context.CancelFunc
	parts  chan chan fetched     // in order
	free   chan *archive.Buffers // as many as readers, those in use included
	wg     sync.WaitGroup
	last   *archive.Buffers // of now
	now    []byte
	err    error
}

type fetched struct {
	plain []byte
	in    *archive.Buffers
	err   error
}

// NewReader begins to read. The caller must close it.
func NewReader(ctx context.Context, store objects.Store, m *Manifest, identities []age.Identity) *Reader {
	ctx, cancel := context.WithCancel(ctx)
	r := &Reader{ctx: ctx, cancel: cancel, parts: make(chan chan fetched, readers), free: make(chan *archive.Buffers, readers)}
	for range readers {
		r.free <- new(archive.Buffers)
	}
	r.wg.Go(func() {
		defer close(r.parts)
		for i := range m.Parts {
			select {
			case in := <-r.free:
				part := make(chan fetched, 1)
				r.wg.Go(func() {
					plain, err := m.fetch(ctx, store, i, identities, in)
					part <- fetched{plain, in, err}
				})
				r.parts <- part // no more than there are buffers
			case <-ctx.Done():
				return
			}
		}
	})
	return r
}

// fetch reads and verifies a part.
func (m *Manifest) fetch(ctx context.Context, store objects.Store, i int, identities []age.Identity, in *archive.Buffers) ([]byte, error) {
	key, want := m.PartKey(i), m.Parts[i]
	body, size, err := store.Get(ctx, key.String(), 0, -1)
	if err != nil {
		return nil, fmt.Errorf("snapshot: part %d of %d of that at LSN %d: %w", i+1, len(m.Parts), m.Position.LSN, err)
	}
	defer body.Close()
	o, err := archive.Open(key, body, size, identities)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.Sum != want.Sum || o.Plain != want.Plain || size != want.Size {
		return nil, fmt.Errorf("snapshot: %w", &wal.CorruptError{File: key.String(), Offset: -1, Reason: "it is not the part that the manifest names"})
	}
	return o.Unpack(in, MaxPartBytes)
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.now) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.now)
	r.now = r.now[n:]
	return n, nil
}

// next goes on to the next part.
func (r *Reader) next() {
	if r.last != nil {
		r.free <- r.last
		r.last = nil
	}
	part, more := <-r.parts
	if !more {
		if r.err = r.ctx.Err(); r.err == nil {
			r.err = io.EOF
		}
		return
	}
	f := <-part
	r.now, r.last, r.err = f.plain, f.in, f.err
}

// Close ends the fetching.
func (r *Reader) Close() {
	r.cancel()
	r.wg.Wait()
}
