package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// Verify reads every object of an archive, and says what is wrong with it and what can be
// read. With the identities, or where nothing is encrypted, every entry and image is
// verified; else headers, chains and checksums of what is stored. What is within
// snapshots is not looked at, but that each of their objects is whole. What is packed
// or deleted meanwhile may be reported as missing.
//
// The error is that of a context that ended or a store that cannot be listed;
// everything else is in the report. Memory: about 200 bytes an object.
func Verify(ctx context.Context, store objects.Store, o ReadOptions) (*Report, error) {
	r, err := newReader(store, o)
	if err != nil {
		return nil, err
	}
	v := &verifier{Reader: r, ctx: ctx, report: new(Report), logs: map[wal.TimelineID]*verified{}, refs: map[uuid.UUID]bool{}}
	if err := v.list(); err != nil {
		return nil, err
	}
	v.format()
	for _, l := range v.logs {
		v.log(l)
	}
	v.joins()
	v.blobs()
	v.report.sort()
	return v.report, ctx.Err()
}

type verifier struct {
	*Reader
	ctx    context.Context
	report *Report
	keys   []archive.Key // of no log
	logs   map[wal.TimelineID]*verified
	refs   map[uuid.UUID]bool // blobs that objects name; true once they were read
}

// verified is a log under verification.
type verified struct {
	timeline wal.TimelineID
	keys     []archive.Key
	start    *archive.Start
	floor    wal.LSN
	trim     wal.LSN
	mark     wal.LSN
	objects  []archive.Header // that are whole

	manifests map[wal.LSN][]archive.Header // of snapshots, merged ones too; zero for those that are not whole
	parts     map[archive.Key]bool         // of snapshots; true for those that are whole
}

func (v *verifier) add(key archive.Key, kind ProblemKind, err error) {
	v.addText(key.String(), kind, err)
}

func (v *verifier) addText(key string, kind ProblemKind, err error) {
	p := &v.report.Problems
	switch n := len(*p); {
	case n < maxProblems:
		*p = append(*p, Problem{Key: key, Kind: kind, Err: err})
	case n == maxProblems:
		*p = append(*p, Problem{Kind: kind, Err: fmt.Errorf("ship: there are more problems, of which this is the first: %s: %w", key, err)})
	}
}

// fail adds the error of an object that was read.
func (v *verifier) fail(key archive.Key, err error) {
	switch {
	case errors.Is(err, wal.ErrCorrupt), errors.Is(err, wal.ErrTooLarge):
		v.add(key, Damaged, err)
	case errors.Is(err, objects.ErrNotFound):
		v.add(key, Missing, err)
	default:
		v.add(key, Unreadable, err)
	}
}

// list takes down all keys.
func (v *verifier) list() error {
	foreign := map[string]error{}
	err := v.place.each(v.ctx, "", v.take, func(key string, err error) {
		if len(foreign) <= maxProblems {
			foreign[key] = err
		}
	})
	if err != nil {
		return err
	}
	for key, err := range foreign {
		kind := Foreign
		if strings.HasPrefix(key, objects.ProbePrefix) {
			kind, err = Leftover, errors.New("ship: a probe of the place was interrupted; one a day later removes it")
		}
		v.addText(key, kind, err)
	}
	return nil
}

// take takes down a key.
func (v *verifier) take(k archive.Key, _ int64) {
	if k.Log == (wal.TimelineID{}) {
		v.keys = append(v.keys, k)
		return
	}
	l := v.logs[k.Log]
	if l == nil {
		l = &verified{timeline: k.Log, manifests: map[wal.LSN][]archive.Header{}, parts: map[archive.Key]bool{}}
		v.logs[k.Log] = l
	}
	l.keys = append(l.keys, k)
}

func (v *verifier) format() {
	f, err := archive.ReadFormat(v.ctx, v.place)
	if err != nil {
		v.fail(archive.Key{Kind: archive.KindFormat}, err)
		return
	}
	v.count(0)
	v.report.Archive = f.Archive
}

func (v *verifier) count(bytes int64) {
	v.report.Objects++
	v.report.Bytes += uint64(bytes)
}

// log verifies the objects of a log, then what they are together.
func (v *verifier) log(l *verified) {
	for _, k := range l.keys {
		if v.ctx.Err() == nil {
			v.object(l, k)
		}
	}
	slices.SortFunc(l.objects, func(a, b archive.Header) int { return compare(a.First, b.First, a.Last, b.Last) })
	if l.start == nil && !slices.ContainsFunc(v.report.Problems, func(p Problem) bool { return p.Key == startKey(l.timeline).String() }) {
		v.add(startKey(l.timeline), Missing, errors.New("ship: the log has objects, and no start"))
	}
	v.stale(l)
	v.chain(l)
	v.floors(l)
	v.snapshots(l)
}

func startKey(log wal.TimelineID) archive.Key { return archive.Key{Kind: archive.KindStart, Log: log} }

// object verifies one object of a log but for its place in it.
func (v *verifier) object(l *verified, k archive.Key) {
	switch k.Kind {
	case archive.KindStart:
		s, err := archive.ReadStart(v.ctx, v.place, k.Log)
		if err != nil {
			v.fail(k, err)
			return
		}
		l.start = &s
		v.count(0)
	case archive.KindFloor, archive.KindTrim, archive.KindMark:
		v.note(l, k)
	case archive.KindAppend, archive.KindPack:
		h, err := v.entries(k)
		if err != nil {
			v.fail(k, err)
			return
		}
		l.objects = append(l.objects, h)
	case archive.KindManifest, archive.KindPart:
		v.snapshot(l, k)
	}
}

// snapshot verifies an object of a snapshot.
func (v *verifier) snapshot(l *verified, k archive.Key) {
	h, err := v.stored(k)
	if err != nil {
		v.fail(k, err)
	}
	if k.Kind == archive.KindManifest {
		l.manifests[k.First] = append(l.manifests[k.First], h)
	} else {
		l.parts[k] = err == nil
	}
}

// snapshots compares the parts that are there with those that manifests name: their
// number is in the clear.
func (v *verifier) snapshots(l *verified) {
	for _, manifests := range l.manifests {
		for _, h := range manifests {
			v.parts(l, h)
		}
	}
	for k, sound := range l.parts {
		named := slices.ContainsFunc(l.manifests[k.First], func(h archive.Header) bool { return h.ID == uuid.Nil || h.ID == k.ID })
		if sound && !named {
			v.add(k, Leftover, errors.New("ship: no manifest names it: the snapshot was not completed, or lost its manifest"))
		}
	}
}

// parts finds those missing that a manifest names.
func (v *verifier) parts(l *verified, h archive.Header) {
	k := archive.Key{Kind: archive.KindPart, Log: l.timeline, First: h.First, ID: h.ID}
	for ; uint64(k.Number) < h.Items && k.Check() == nil; k.Number++ {
		if _, there := l.parts[k]; !there {
			v.add(k, Missing, errors.New("ship: the snapshot's manifest names it"))
		}
	}
}

func (v *verifier) note(l *verified, k archive.Key) {
	b, err := archive.ReadObject(v.ctx, v.place, k, archive.SmallBytes)
	if err == nil {
		err = archive.CheckNote(k, b)
	}
	switch {
	case err != nil:
		v.fail(k, err)
		return
	case k.Kind == archive.KindFloor:
		l.floor = max(l.floor, k.First)
	case k.Kind == archive.KindTrim:
		l.trim = max(l.trim, k.First)
	default:
		l.mark = max(l.mark, k.First)
	}
	v.count(int64(len(b)))
}

// entries verifies an object of entries, all of them if they can be read.
func (v *verifier) entries(k archive.Key) (h archive.Header, err error) {
	var blobs []uuid.UUID
	err = v.open(v.ctx, k, func(o *archive.Opened) error {
		h, blobs = o.Header, o.Blobs
		if o.Kind == archive.KindSkip {
			_, err := o.ReadAll(0)
			return err
		}
		return v.eachEntry(o)
	})
	if errors.Is(err, archive.ErrLocked) {
		v.report.Locked++
		h, blobs, err = v.check(k)
	}
	for _, id := range blobs { // also when one of them is what is wrong
		if !v.refs[id] {
			v.refs[id] = false
		}
	}
	if err == nil {
		v.count(h.Size())
	}
	return h, err
}

// eachEntry verifies every entry with its images. What is wrong with a blob is
// the blob's problem, too, and that of the object which needs it.
func (v *verifier) eachEntry(o *archive.Opened) error {
	fetch := v.fetch(v.ctx)
	entries, err := archive.NewEntries(o, func(b archive.BlobRef) ([]byte, error) {
		plain, err := fetch(b)
		if err == nil && !v.refs[b.ID] {
			v.refs[b.ID] = true
			v.count(int64(len(plain)))
		}
		return plain, err
	})
	n := uint64(0)
	for err == nil {
		var item *archive.Item
		if item, err = entries.Next(); err == nil && len(item.Blobs) > 0 {
			err = item.Verify()
		}
		n++
	}
	if err == io.EOF {
		v.report.Entries += n - 1
		return nil
	}
	return err
}

// check verifies what needs no key.
func (v *verifier) check(k archive.Key) (h archive.Header, blobs []uuid.UUID, err error) {
	r, size, err := v.place.Get(v.ctx, k.String(), 0, -1)
	if err != nil {
		return h, nil, err
	}
	h, blobs, err = archive.Check(k, r, size)
	return h, blobs, errors.Join(err, r.Close())
}

func (v *verifier) stored(k archive.Key) (archive.Header, error) {
	h, _, err := v.check(k)
	if err == nil {
		v.count(h.Size())
	}
	return h, err
}

// blobs verifies those that were not read as part of an entry, and that none is missing.
func (v *verifier) blobs() {
	there := map[uuid.UUID]bool{}
	for _, k := range v.keys {
		if k.Kind != archive.KindBlob || v.ctx.Err() != nil {
			continue
		}
		there[k.ID] = true
		read, needed := v.refs[k.ID]
		if read {
			continue
		}
		h, err := v.stored(k)
		switch {
		case err != nil:
			v.fail(k, err)
		case !needed:
			v.add(k, Leftover, fmt.Errorf("ship: no object names the blob, which was put for entry %d of timeline %s", h.First, h.Log))
		}
	}
	for id := range v.refs {
		if !there[id] && v.ctx.Err() == nil {
			v.add(archive.Key{Kind: archive.KindBlob, ID: id}, Missing, errors.New("ship: an object of entries names the blob"))
		}
	}
}
