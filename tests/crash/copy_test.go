package crash

import (
	"io/fs"
	"path"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/recovery"
)

// copied is another disk with the same files, durable, in a directory that is
// not the one they were in.
func copied(t *testing.T, from *crashfs.FS) *crashfs.FS {
	to := crashfs.New()
	must(t, to.Mkdir("/other")) // so that the store's directory is another one
	must(t, to.SyncDir("/"))
	copyDir(t, from, to, store)
	must(t, to.SyncDir("/"))
	return to
}

func copyDir(t *testing.T, from, to *crashfs.FS, dir string) {
	must(t, to.Mkdir(dir))
	entries, err := from.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Mode&fs.ModeDir != 0 {
			copyDir(t, from, to, name)
			continue
		}
		copyFile(t, from, to, name, e.Size)
	}
	must(t, to.SyncDir(dir))
}

func copyFile(t *testing.T, from, to vfs.FS, name string, size int64) {
	in, err := from.OpenRead(name)
	must(t, err)
	out, err := to.Create(name)
	must(t, err)
	b := make([]byte, size)
	if size > 0 {
		_, err = in.ReadAt(b, 0)
		must(t, err)
		_, err = out.WriteAt(b, 0)
		must(t, err)
	}
	must(t, out.Sync())
	must(t, out.Close())
	must(t, in.Close())
}

// TestHookedCopy cuts the power at every operation of the opening that takes a
// copy, of a store that was closed or killed, for one of its own. It begins its
// timeline once.
func TestHookedCopy(t *testing.T) {
	hooked(t)
	e := &enumeration{t: t}
	for seed, end := range []func(*life) error{(*life).close, func(*life) error { return nil }} {
		l := newLife(bay{"/record"}, crashfs.New(), uint64(seed)+1)
		must(t, l.all([]func() error{l.open, l.bursts, l.checkpoint, l.bursts}))
		states, err := l.rec.states([]state{{}, {}})
		must(t, err)
		states = states[:l.o.Stats().Head.LSN+1] // there may have been fewer entries than were possible
		id := l.o.Stats().Pages.Store
		must(t, end(l))
		disk := copied(t, l.disk.Cut(l.disk.Ops(), crashfs.KillOnly)) // as of one moment: it may still be open
		if end := l.o.Stats(); end.Poisoned == "" {                   // killed: it was still open
			l.o.unmount()
			_ = l.o.Close()
		}
		h := &history{name: "copy", disk: disk, begin: disk.Ops(), states: append(states, states[len(states)-1]), asked: l.rec.requests}
		h.acks = []ack{{h.begin, 0}}
		o, err := bay{"/record"}.open(disk)
		must(t, err)
		done := disk.Ops()
		must(t, o.close())
		for k := h.begin; k <= disk.Ops(); k++ {
			for _, m := range models(k, 1) {
				checkCopy(e, point{h, k, m}, id, k >= done)
			}
		}
	}
	t.Log(&e.counts)
}

// checkCopy opens what a cut left of a copy.
func checkCopy(e *enumeration, p point, original [16]byte, opened bool) {
	defer e.guard(p)
	e.counts.points.Add(1)
	o, err := bay{"/bay0"}.open(p.h.disk.Cut(p.k, p.model))
	if err != nil {
		e.fail(p, &e.counts.refused, "%v", err)
		return
	}
	last := len(p.h.states) - 1
	switch began := o.rep.Began; {
	case int(o.rep.Last) != last:
		e.fail(p, &e.counts.partial, "it ends at LSN %d, want %d: %+v", o.rep.Last, last, o.rep)
	case began != "" && (opened || began != recovery.ReasonCopy || !o.rep.Copied):
		e.fail(p, &e.counts.partial, "it begins a timeline: %+v", o.rep)
	case o.Stats().Pages.Store == original:
		e.fail(p, &e.counts.partial, "it has the UUID of the original")
	default:
		if err := compare(o.Manager, p.h.states[last]); err != nil {
			e.fail(p, &e.counts.partial, "%v", err)
		}
	}
	if err := o.close(); err != nil {
		e.fail(p, &e.counts.unclean, "close: %v", err)
	}
}
