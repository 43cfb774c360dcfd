package repair

import (
	"errors"
	"fmt"
	"io"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// build makes the store by the way that loses nothing: through the log, or else by way
// of the damaged store's own checkpoint. When both lose something, the one that comes
// further says what, and is gone once more when that is accepted.
func (r *repairing) build() error {
	clean := r.got
	err := r.through()
	if err == nil || !errors.Is(err, restore.ErrRefused) || !r.own.Trusted() && !r.o.AcceptLoss {
		return err
	}
	way := r.through
	if r.own.Trusted() {
		if e := r.anew(clean); e != nil {
			return e
		}
		other := r.patch()
		if other == nil || r.ctx.Err() != nil || vfs.IsFull(other) {
			return other
		}
		if further(other, err) {
			err, way = other, r.patch
		}
	}
	var lost *LossError
	if !r.o.AcceptLoss || !errors.As(err, &lost) {
		return err
	}
	if e := r.anew(clean); e != nil {
		return e
	}
	if err = way(); errors.As(err, &lost) {
		r.got.Lost, err = lost, nil
	}
	return err
}

// further reports whether a way that ended with error a is to be preferred to one that
// ended with b.
func further(a, b error) bool {
	var x, y *LossError
	return errors.As(a, &x) && (!errors.As(b, &y) || x.At.LSN > y.At.LSN)
}

// anew throws away what was made so far.
func (r *repairing) anew(clean Repaired) (err error) {
	r.got, r.at, r.begun = clean, wal.Position{}, wal.Position{}
	if r.replica != nil {
		err = r.replica.Close()
		r.replica = nil
	}
	if !r.o.DryRun {
		err = errors.Join(err, r.discard())
	}
	return err
}

// through goes from a snapshot through the log.
func (r *repairing) through() error {
	for _, step := range []func() error{r.base, r.walk, r.judge} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// patch makes the store as it was at the damaged one's checkpoint: of a snapshot, and
// what that checkpoint has that is younger. So nothing of the damaged store is read that
// the snapshot has, and no entry is needed that comes before the checkpoint.
func (r *repairing) patch() error {
	own, err := r.own.Checkpoint()
	if err != nil {
		return err
	}
	return errors.Join(r.patchWith(own), own.Close())
}

func (r *repairing) patchWith(own *recovery.Viewed) error {
	at := own.Snapshot().Head.Position
	if at.LSN == 0 {
		return fmt.Errorf("the damaged store has no checkpoint: %w", wal.ErrCorrupt)
	}
	list, err := r.candidates()
	if err != nil {
		return err
	}
	var tried []error
	for _, c := range patchable(list, at.LSN) {
		err := r.patched(c, own)
		if err == nil {
			return r.onFrom(c, own.Snapshot().Head)
		}
		if r.ctx.Err() != nil || vfs.IsFull(err) {
			return err
		}
		tried = append(tried, err)
	}
	return errors.Join(tried...)
}

// patchable are the candidates that are not behind a checkpoint, the newest first: the
// less of the damaged store has to be read. The zero one is the last: nothing but the
// damaged store is read then.
func patchable(list []candidate, at wal.LSN) (usable []candidate) {
	for _, c := range list {
		if c.LSN <= at {
			usable = append(usable, c)
		}
	}
	sortNewest(usable)
	return usable
}

// onFrom goes on behind the checkpoint.
func (r *repairing) onFrom(c candidate, head pagestore.Head) error {
	r.at, r.begun = head.Position, head.Position
	r.got.Time, r.got.Base, r.got.Checkpoint, r.got.LogFrom = timeOf(head.Time), c, head.Position, head.LSN+1
	if !r.o.DryRun {
		r.got.Compared = head.LSN
	}
	if err := r.open(); err != nil {
		return err
	}
	if err := r.walk(); err != nil {
		return err
	}
	return r.judge()
}

// patched makes the store of a snapshot and what is younger.
func (r *repairing) patched(c candidate, own *recovery.Viewed) error {
	var chain []*snapshot.Manifest
	if c.LSN != 0 {
		var err error
		if chain, err = snapshot.Chain(r.ctx, r.store, c, r.o.Identities); err != nil {
			return err
		}
	}
	if r.o.DryRun {
		return r.rehearse(chain, own)
	}
	if err := r.discard(); err != nil {
		return err
	}
	l, err := r.loader(own.Facts())
	if err != nil {
		return err
	}
	for _, m := range chain {
		if err := r.load(l, m); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if c.LSN < own.Snapshot().LSN() {
		if err := l.LoadFrom(own.Snapshot(), nil); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if err := agree(l, own.Snapshot()); err != nil {
		return errors.Join(err, l.Close())
	}
	return l.Finish()
}

// agree proves what was loaded by the damaged store's catalogue: what of it is older than the
// snapshot was not read before.
func agree(l *pagestore.Loader, own *pagestore.Snapshot) error {
	volumes, digest, err := l.Digest()
	if err != nil {
		return err
	}
	n, want, err := own.Digest()
	if err == nil && (n != volumes || digest != want) {
		err = fmt.Errorf("%w: at the checkpoint they are %d volumes with digest %s, in the damaged store %d with %s", snapshot.ErrDiverged, volumes, digest, n, want)
	}
	return err
}

// loader begins a new store, in the timeline and epoch that the damaged one has.
func (r *repairing) loader(f manifest.Facts) (*pagestore.Loader, error) {
	dir := r.place.making()
	if err := r.o.Disk.Mkdir(dir); err != nil {
		return nil, err
	}
	o := f.Options
	o.Created = r.o.Now().UnixNano()
	head := pagestore.Head{Position: wal.Position{Timeline: f.Timeline}, Epoch: f.Epoch}
	return snapshot.NewLoader(pagestore.Options{FS: r.o.Disk, Dir: dir, CacheBytes: loadCacheBytes}, head, o)
}

// loadCacheBytes is what restore takes unless it is told otherwise.
const loadCacheBytes = 64 << 20

// load loads a snapshot, and compares its digest.
func (r *repairing) load(l *pagestore.Loader, m *snapshot.Manifest) error {
	r.progress(Progress{Step: "load", LSN: m.Position.LSN, Done: 0, Of: m.Plain()})
	return m.Load(r.ctx, r.store, l, r.o.Identities, nil)
}

// rehearse reads what patched would.
func (r *repairing) rehearse(chain []*snapshot.Manifest, own *recovery.Viewed) error {
	since := wal.LSN(0)
	for _, m := range chain {
		in := snapshot.NewReader(r.ctx, r.store, m, r.o.Identities)
		_, err := io.Copy(io.Discard, in)
		in.Close()
		if err != nil {
			return err
		}
		since = m.Position.LSN
	}
	if _, _, err := own.Snapshot().Digest(); err != nil || since == own.Snapshot().LSN() {
		return err
	}
	_, err := own.Snapshot().Export(io.Discard, since)
	return err
}
