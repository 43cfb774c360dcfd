package bench

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quire-db/quire/internal/vfs"
)

// floor is a plain file that takes the same bytes in groups, written and
// synced one after the other: the least a commit can cost on its disk.
type floor struct {
	f     vfs.File
	limit int64 // bytes; from there it starts again at byte 0
	grows bool  // it is cut to nothing at the start of a slice beyond limit
	off   int64

	mu      sync.Mutex
	open    *pile
	spare   []byte
	waiting atomic.Int32 // writers in commit

	wake     chan struct{}
	stop     chan struct{}
	ended    chan struct{}
	expected int
	syncTook time.Duration
	syncs    atomic.Uint64
}

// pile is what gathered for one write.
type pile struct {
	small   []byte
	large   [][]byte
	members int
	done    chan struct{}
	err     error
}

const (
	grownLimit   = 1 << 30
	writtenBytes = 256 << 20
	largePayload = 32 << 10 // bytes; not worth copying from there on
)

// newFloor makes the file. One that does not grow is written once first.
func newFloor(ctx context.Context, fsys vfs.FS, dir, name string, grows bool) (*floor, error) {
	path := filepath.Join(dir, name)
	f, err := fsys.Create(path)
	if err != nil {
		return nil, err
	}
	fl := &floor{f: f, limit: writtenBytes, grows: grows,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	if grows {
		fl.limit = grownLimit
	} else {
		err = writeThrough(ctx, f, writtenBytes)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), fsys.Remove(path))
	}
	go fl.flusher()
	return fl, nil
}

// writeThrough writes size bytes that no disk can leave out, and syncs them.
func writeThrough(ctx context.Context, f vfs.File, size int64) error {
	l := newLoad(0, 256, 4096, 256)
	for off := int64(0); off < size; off += int64(len(l.buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.next()
		if _, err := f.WriteAt(l.buf, off); err != nil {
			return err
		}
	}
	return f.Sync()
}

// close ends the flusher and removes the file.
func (fl *floor) close(fsys vfs.FS, path string) error {
	close(fl.stop)
	<-fl.ended
	return errors.Join(fl.f.Close(), fsys.Remove(path))
}

// begin readies the file for a slice.
func (fl *floor) begin() error {
	if !fl.grows || fl.off < fl.limit {
		return nil
	}
	fl.off = 0
	return errors.Join(fl.f.Truncate(0), fl.f.Sync())
}

// commit hands the bytes over and waits until they are synced.
func (fl *floor) commit(_ context.Context, l *load) error {
	fl.waiting.Add(1)
	defer fl.waiting.Add(-1)
	p := fl.join(l.buf)
	poke(fl.wake)
	<-p.done
	return p.err
}

func (fl *floor) join(b []byte) *pile {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.open == nil {
		fl.open = &pile{done: make(chan struct{}), small: fl.spare[:0]}
		fl.spare = nil
	}
	p := fl.open
	p.members++
	if len(b) >= largePayload {
		p.large = append(p.large, b)
	} else {
		p.small = append(p.small, b...)
	}
	return p
}

func (fl *floor) flusher() {
	defer close(fl.ended)
	for {
		select {
		case <-fl.wake:
			fl.gather()
			for fl.flush() {
				fl.gather()
			}
		case <-fl.stop:
			return
		}
	}
}

// gather waits for who is likely to come back, as the engine's flusher does.
func (fl *floor) gather() {
	if fl.expected <= 1 || fl.syncTook < 40*time.Microsecond {
		return
	}
	timer := time.NewTimer(fl.syncTook / 4)
	defer timer.Stop()
	for n := fl.joined(); n > 0 && n < fl.expected; n = fl.joined() {
		select {
		case <-fl.wake:
		case <-timer.C:
			return
		}
	}
}

func (fl *floor) joined() int {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.open == nil {
		return 0
	}
	return fl.open.members
}

// flush writes and syncs what has gathered, and reports whether there was any.
func (fl *floor) flush() bool {
	fl.mu.Lock()
	p := fl.open
	fl.open = nil
	fl.mu.Unlock()
	if p == nil {
		return false
	}
	p.err = fl.write(p)
	began := time.Now()
	fl.expected = int(fl.waiting.Load())
	if p.err == nil {
		p.err = fl.f.Sync()
	}
	fl.syncTook = time.Since(began)
	fl.syncs.Add(1)
	fl.mu.Lock()
	fl.spare = p.small
	fl.mu.Unlock()
	close(p.done)
	return true
}

func (fl *floor) write(p *pile) error {
	for _, b := range append(p.large, p.small) {
		if len(b) == 0 {
			continue
		}
		if !fl.grows && fl.off+int64(len(b)) > fl.limit {
			fl.off = 0
		}
		if _, err := fl.f.WriteAt(b, fl.off); err != nil {
			return err
		}
		fl.off += int64(len(b))
	}
	return nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
