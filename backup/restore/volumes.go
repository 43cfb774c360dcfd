package restore

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Kept is a volume that was asked for by name, as it is in the state restored.
type Kept struct {
	ID   wal.VolumeID
	Name string
	Refs []KeptRef // its own tip first, then its tags by name
}

// KeptRef is a tip and what it holds.
type KeptRef struct {
	Ref   wal.RefName // of a tag; empty for the volume's own
	State wal.State
}

// errWhole: a follower cannot leave volumes out.
var errWhole = errors.New("a follower has the old history, with all its volumes: restore volumes without it")

// wanted follows what becomes of the volumes that are asked for.
type wanted struct {
	names []string
	ids   map[wal.VolumeID]string // of those that were seen, by what they were asked for by
	gone  map[string]string       // what last took one away
}

func newWanted(names []string) *wanted {
	w := &wanted{names: slices.Clone(names), ids: map[wal.VolumeID]string{}, gone: map[string]string{}}
	for _, name := range names {
		if id, err := uuid.Parse(name); err == nil {
			w.ids[wal.VolumeID(id)] = name
		}
	}
	return w
}

// begin notes those that a snapshot has.
func (w *wanted) begin(s *pagestore.Snapshot) error {
	for _, name := range w.names {
		id, ok, err := s.VolumeID(name)
		if err != nil {
			return err
		}
		if ok {
			w.ids[id] = name
		}
	}
	return nil
}

// entry notes what an entry does to them.
func (w *wanted) entry(e *wal.Entry) {
	if len(w.names) == 0 {
		return
	}
	for i := range e.Sections {
		s := &e.Sections[i]
		if s.Ref.Name != "" {
			continue
		}
		name, known := w.ids[s.Ref.Volume]
		switch {
		case s.Action == wal.ActionDelete && known:
			w.gone[name] = fmt.Sprintf("LSN %d deleted it", e.Last)
		case s.Attrs == nil:
		case slices.Contains(w.names, s.Attrs.Name):
			w.ids[s.Ref.Volume] = s.Attrs.Name
		case known && name != s.Ref.Volume.String():
			w.gone[name] = fmt.Sprintf("LSN %d renamed it to %q", e.Last, s.Attrs.Name)
		}
	}
}

// find looks the volumes up in the state that was to be restored, and those that come
// along with them.
func (r *restoring) find(s *pagestore.Snapshot) error {
	r.got.Of = r.got.Volumes
	for _, name := range r.o.Volumes {
		ok, err := r.findOne(s, name)
		if err == nil && !ok {
			err = r.noVolume(s, name)
		}
		if err != nil {
			return err
		}
	}
	r.got.Kept = slices.Clone(r.kept)
	slices.SortFunc(r.got.Kept, func(a, b Kept) int { return strings.Compare(a.Name, b.Name) })
	for _, name := range r.o.Along {
		if _, err := r.findOne(s, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *restoring) findOne(s *pagestore.Snapshot, name string) (bool, error) {
	v, ok, err := lookUp(s, name)
	if err != nil || !ok || r.keeps(v.ID) {
		return ok, err
	}
	k, err := keptOf(s, v)
	r.kept = append(r.kept, k)
	return true, err
}

func (r *restoring) keeps(id wal.VolumeID) bool {
	return slices.ContainsFunc(r.kept, func(k Kept) bool { return k.ID == id })
}

// lookUp finds a volume by name, or else by UUID.
func lookUp(s *pagestore.Snapshot, name string) (v pagestore.Volume, ok bool, err error) {
	id, ok, err := s.VolumeID(name)
	if err != nil {
		return v, false, err
	}
	if !ok {
		parsed, err := uuid.Parse(name)
		if err != nil {
			return v, false, nil
		}
		id = wal.VolumeID(parsed)
	}
	return s.Volume(id)
}

func keptOf(s *pagestore.Snapshot, v pagestore.Volume) (Kept, error) {
	k := Kept{ID: v.ID, Name: v.Attrs.Name, Refs: []KeptRef{{State: v.State()}}}
	for t, err := range s.Tags(v.ID) {
		if err != nil {
			return k, err
		}
		k.Refs = append(k.Refs, KeptRef{Ref: t.Ref, State: t.State()})
	}
	return k, nil
}

func (r *restoring) noVolume(s *pagestore.Snapshot, name string) error {
	e := &NoVolumeError{Name: name, At: r.got.Position, Gone: r.wanted.gone[name]}
	for v, err := range s.Volumes() {
		if err != nil {
			return err
		}
		if len(e.Near) < maxNear && near(v.Attrs.Name, name) {
			e.Near = append(e.Near, v.Attrs.Name)
		}
	}
	return e
}

// maxNear bounds NoVolumeError.Near.
const maxNear = 5

// near reports whether one name may have been meant by another.
func near(name, meant string) bool {
	a, b := strings.ToLower(name), strings.ToLower(meant)
	return strings.Contains(a, b) || strings.Contains(b, a) || distance(a, b) <= 2 && len(b) > 2
}

// distance is how many bytes must be changed, added or left out to make a of b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// dropAtOnce is how many volumes one transaction deletes.
const dropAtOnce = 256

// dropOthers deletes all volumes that were not asked for, on the timeline which the
// whole store was promoted to and that nobody will see.
func (r *restoring) dropOthers(whole Replica) error {
	snap, release := whole.Acquire()
	defer release()
	var names []string
	drop := func() error {
		err := whole.Delete(r.ctx, names)
		names = names[:0]
		return err
	}
	for v, err := range snap.Volumes() {
		if err != nil {
			return err
		}
		if r.keeps(v.ID) {
			continue
		}
		if names = append(names, v.Attrs.Name); len(names) == dropAtOnce {
			if err := drop(); err != nil {
				return err
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return drop()
}

// extract makes a store of what is left in the whole one, so that it takes no more
// space than that, and returns where it stands.
func (r *restoring) extract(whole Replica) (at wal.Position, err error) {
	if err := r.dropOthers(whole); err != nil {
		return at, err
	}
	if at, err = whole.Settle(r.ctx); err != nil {
		return at, err
	}
	snap, release := whole.Acquire()
	defer release()
	l, err := r.newLoader(r.staged(), snap.Head, whole.PageSize())
	if err != nil {
		return at, err
	}
	if err := l.LoadFrom(snap, func(in io.Reader) io.Reader {
		return &counted{r: r, in: in, step: "extract", lsn: snap.LSN()}
	}); err != nil {
		return at, errors.Join(err, l.Close())
	}
	if err := r.sameDigest(snap, l); err != nil {
		return at, errors.Join(err, l.Close())
	}
	return at, l.Finish()
}

func (r *restoring) sameDigest(snap *pagestore.Snapshot, l *pagestore.Loader) error {
	volumes, digest, err := snap.Digest()
	if err != nil {
		return err
	}
	n, d, err := l.Digest()
	if err == nil && (n != volumes || d != digest || n != uint64(len(r.kept))) {
		err = fmt.Errorf("%d volumes with digest %s became %d with %s: they are thrown away", volumes, digest, n, d)
	}
	return err
}

// keep opens the store of the volumes, proves that each is what it was in the whole
// one, and promotes it: from here on it is like any store that was restored.
func (r *restoring) keep(at wal.Position) (err error) {
	if err = vfs.RemoveAll(r.o.Disk, r.scratch()); err == nil {
		err = r.o.Disk.SyncDir(filepath.Dir(r.staged())) // before there is a store that nobody looks beside
	}
	if err != nil {
		return err
	}
	if r.replica, err = r.o.Open(r.staged(), false); err != nil {
		return err
	}
	err = r.proveAt(at)
	if err == nil {
		err = r.proveKept()
	}
	if err == nil {
		err = r.promote()
	}
	return errors.Join(err, r.replica.Close())
}

func (r *restoring) proveKept() error {
	snap, release := r.replica.Acquire()
	defer release()
	for _, want := range r.kept {
		v, ok, err := snap.Volume(want.ID)
		if err != nil {
			return err
		}
		var got Kept
		if ok {
			if got, err = keptOf(snap, v); err != nil {
				return err
			}
		}
		if got.Name != want.Name || !slices.Equal(got.Refs, want.Refs) {
			return fmt.Errorf("volume %q has %v, in the state restored it had %v: it is thrown away", want.Name, got.Refs, want.Refs)
		}
	}
	return nil
}
