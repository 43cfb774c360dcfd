package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/wal"
)

// place is the store of objects, whose calls are repeated until they answer.
type place struct {
	store  objects.Store
	retry  Retry
	failed func(err error) // told of each try that failed; may be nil
}

// settled are the answers that no repetition changes.
var settled = []error{
	objects.ErrExists, objects.ErrNotFound, objects.ErrKey, objects.ErrForeign, objects.ErrUnfit, objects.ErrFailed,
	wal.ErrCorrupt, wal.ErrVersion, wal.ErrTooLarge, archive.ErrLocked,
}

func isSettled(err error) bool {
	for _, s := range settled {
		if errors.Is(err, s) {
			return true
		}
	}
	return err == nil
}

// call makes a call until its answer is settled.
func (p *place) call(ctx context.Context, do func(ctx context.Context) error) error {
	for try := 0; ; try++ {
		err := p.once(ctx, do)
		if isSettled(err) {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if p.failed != nil {
			p.failed(err)
		}
		if try+1 == p.retry.Tries {
			return fmt.Errorf("ship: given up after %d tries: %w", try+1, err)
		}
		if e := p.retry.Sleep(ctx, p.retry.wait(try)); e != nil {
			return errors.Join(e, err)
		}
	}
}

func (p *place) once(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.retry.Call)
	defer cancel()
	return do(ctx)
}

// put puts an object; when it is unknown whether that was done, again, which may
// find that it was: objects.ErrExists.
func (p *place) put(ctx context.Context, key archive.Key, b []byte) error {
	return p.call(ctx, func(ctx context.Context) error {
		err := p.store.Put(ctx, key.String(), objects.Bytes(b))
		if errors.Is(err, objects.ErrUnknown) && !errors.Is(err, objects.ErrExists) {
			return fmt.Errorf("ship: %w", unsettled{err})
		}
		return err
	})
}

// unsettled hides what an unknown outcome is beside, so that it is tried again.
type unsettled struct{ err error }

func (u unsettled) Error() string { return u.err.Error() }

func (p *place) delete(ctx context.Context, key archive.Key) error {
	return p.call(ctx, func(ctx context.Context) error { return p.store.Delete(ctx, key.String()) })
}

// small reads an object that has at most limit bytes.
func (p *place) small(ctx context.Context, key archive.Key, limit int64) (b []byte, err error) {
	b, size, err := p.part(ctx, key, limit)
	if err == nil && size > limit {
		return nil, corrupt(key, fmt.Sprintf("it has %d bytes, at most %d are right", size, limit))
	}
	return b, err
}

// part reads the first n bytes of an object, and its size.
func (p *place) part(ctx context.Context, key archive.Key, n int64) (b []byte, size int64, err error) {
	err = p.call(ctx, func(ctx context.Context) error {
		var r io.ReadCloser
		if r, size, err = p.store.Get(ctx, key.String(), 0, n); err != nil {
			return err
		}
		b, err = io.ReadAll(io.LimitReader(r, n))
		return errors.Join(err, r.Close())
	})
	return b, size, err
}

// get begins to read an object. Each of its reads has as long as a call.
func (p *place) get(ctx context.Context, key archive.Key) (r io.ReadCloser, size int64, err error) {
	err = p.call(ctx, func(context.Context) error {
		s := &stream{limit: p.retry.Call}
		ctx, cancel := context.WithCancelCause(ctx)
		s.cancel = cancel
		s.timer = time.AfterFunc(s.limit, func() { cancel(errSlow) })
		s.body, size, err = p.store.Get(ctx, key.String(), 0, -1)
		s.timer.Stop()
		if err != nil {
			err = because(ctx, err)
			cancel(nil)
			return err
		}
		s.ctx, r = ctx, s
		return nil
	})
	return r, size, err
}

// stream is an object that is read.
type stream struct {
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer // that cancels; it runs during a read
	limit  time.Duration
}

var errSlow = errors.New("the store of objects does not answer")

// because says what ended the context of a call.
func because(ctx context.Context, err error) error {
	if context.Cause(ctx) == errSlow {
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return err
}

func (s *stream) Read(p []byte) (int, error) {
	s.timer.Reset(s.limit)
	n, err := s.body.Read(p)
	s.timer.Stop()
	if err != nil && err != io.EOF {
		err = because(s.ctx, err)
	}
	return n, err
}

func (s *stream) Close() error {
	s.timer.Stop()
	err := s.body.Close()
	s.cancel(nil)
	return err
}

// header reads what a sealed object says of itself.
func (p *place) header(ctx context.Context, key archive.Key) (archive.Header, error) {
	b, size, err := p.part(ctx, key, archive.HeaderBytes)
	if err != nil {
		return archive.Header{}, err
	}
	return archive.DecodeHeader(key, size, b)
}

// each yields the keys below a prefix. Those that are none of an archive are
// told to foreign, or left out when that is nil. A list that is cut off begins anew with
// again.
func (p *place) each(ctx context.Context, prefix string, again func(), key func(k archive.Key, size int64), foreign func(key string, err error)) error {
	return p.call(ctx, func(ctx context.Context) error {
		again()
		for item, err := range p.store.List(ctx, prefix) {
			if err != nil {
				return err
			}
			k, err := archive.ParseKey(item.Key)
			switch {
			case err == nil:
				key(k, item.Size)
			case foreign != nil:
				foreign(item.Key, err)
			}
		}
		return nil
	})
}

// highest is the highest LSN that keys of a kind have in a log; 0 when there is none.
func (p *place) highest(ctx context.Context, log wal.TimelineID, kind archive.Kind) (max archive.Key, err error) {
	err = p.each(ctx, archive.KindPrefix(log, kind), func() { max = archive.Key{} }, func(k archive.Key, _ int64) {
		if k.Kind == kind && (k.First > max.First && kind != archive.KindPack || k.Last > max.Last) {
			max = k
		}
	}, nil)
	return max, err
}

// start reads where a log begins: objects.ErrNotFound when there is none.
func (p *place) start(ctx context.Context, log wal.TimelineID) (archive.Start, error) {
	b, err := p.small(ctx, archive.Key{Kind: archive.KindStart, Log: log}, smallBytes)
	if err != nil {
		return archive.Start{}, err
	}
	return archive.DecodeStart(log, b)
}

// smallBytes is more than FORMAT, a start and a note have.
const smallBytes = 4096

func corrupt(key archive.Key, reason string) error {
	return fmt.Errorf("ship: %w", &wal.CorruptError{File: key.String(), Offset: -1, LSN: key.First, Reason: reason})
}
