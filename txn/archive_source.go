package txn

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// archiveSource yields the entries behind a position to package ship, and acknowledges
// now and then what that has shipped. When Close has begun it ends with the last one.
type archiveSource struct {
	a       *archiver
	w       *watcher
	started bool
	acked   wal.Position
	ackedAt time.Time
}

// Next implements ship.Source.
func (s *archiveSource) Next(ctx context.Context) (ship.Entry, error) {
	if !s.started {
		if err := s.w.start(ctx); err != nil {
			return ship.Entry{}, s.w.explain(err)
		}
		s.started = true
	}
	for {
		if err := s.ackDue(); err != nil {
			return ship.Entry{}, err
		}
		if !s.w.waits() {
			return s.entry(ctx)
		}
		if s.a.live.Err() != nil && s.w.tail.next > s.a.m.store.Published().LSN {
			return ship.Entry{}, io.EOF
		}
		if err := s.wait(ctx); err != nil {
			return ship.Entry{}, err
		}
	}
}

// entry reads the next one, which is there.
func (s *archiveSource) entry(ctx context.Context) (ship.Entry, error) {
	e, err := s.w.event(ctx)
	if err != nil {
		return ship.Entry{}, s.w.explain(err)
	}
	images, err := e.Images()
	return ship.Entry{Entry: e.Entry, Images: images}, err
}

// wait returns nil when there may be something to do: an entry, an acknowledgement, the
// end.
func (s *archiveSource) wait(ctx context.Context) error {
	a := s.a
	idle := a.shipped().LSN >= s.w.tail.next-1
	short, cancel := s.short(ctx)
	defer cancel()
	if a.live.Err() == nil {
		defer context.AfterFunc(a.live, cancel)()
	}
	err := s.w.reach(short, s.w.tail.next)
	switch {
	case err == nil && idle:
		a.mu.Lock()
		a.level = a.m.opts.Now()
		a.mu.Unlock()
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && s.unacked():
		return s.ack()
	case err != nil && ctx.Err() == nil && short.Err() != nil:
		return nil // Close has begun
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return s.w.explain(err)
	}
	return nil
}

// short is a context to wait with, until something is to be acknowledged.
func (s *archiveSource) short(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.unacked() {
		return context.WithTimeout(ctx, s.a.o.AckEvery)
	}
	return context.WithCancel(ctx)
}

// unacked reports whether something can be acknowledged: what is shipped, and was
// compared with the entries that were read here.
func (s *archiveSource) unacked() bool {
	at := s.a.shipped().LSN
	return at > s.acked.LSN && at <= s.w.at.LSN
}

// ackDue acknowledges if that was not done for a while.
func (s *archiveSource) ackDue() error {
	if !s.unacked() || s.a.m.opts.Now().Sub(s.ackedAt) < s.a.o.AckEvery {
		return nil
	}
	return s.ack()
}

// ack acknowledges what is durable in the archive. It was read from this log, so it is not
// looked up there again.
func (s *archiveSource) ack() error {
	if !s.unacked() {
		return nil
	}
	at, m := s.a.shipped(), s.a.m
	err := m.editConsumers(func(f *manifest.Facts) ([]manifest.Consumer, error) {
		now, err := consumerIn(f, ArchiveConsumer)
		if err != nil || now.Acked.LSN >= at.LSN {
			return nil, err
		}
		now.Acked = at
		return manifest.WithConsumer(f.Consumers, now), nil
	})
	m.progress.ring()
	if errors.Is(err, manifest.ErrNoSpace) {
		err = nil // it is tried again
	}
	s.ackedAt = m.opts.Now()
	if err == nil {
		s.acked = at
	}
	return err
}
