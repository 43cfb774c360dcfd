package ship

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/quire-db/quire/wal"
)

// Entry is a durable entry with the body that its locators point into.
type Entry struct {
	*wal.Entry
	Images io.ReaderAt // nil when it names no bytes
}

// Source yields the durable entries of a store, in order.
type Source interface {
	// Next returns the next entry, valid until the next call, and waits for it
	// until the context ends: the entry it waited for is returned by the next call
	// then. io.EOF: there will be no more.
	Next(ctx context.Context) (Entry, error)
}

// Func is a Source that is a function.
type Func func(ctx context.Context) (Entry, error)

// Next implements Source.
func (f Func) Next(ctx context.Context) (Entry, error) { return f(ctx) }

// Poll is a Source that asks next again after a while when it answers io.EOF, as a
// recovery.Tail does.
func Poll(next func() (Entry, error), every time.Duration) Source {
	return Func(func(ctx context.Context) (Entry, error) {
		for {
			e, err := next()
			if err != io.EOF {
				return e, err
			}
			select {
			case <-ctx.Done():
				return Entry{}, ctx.Err()
			case <-time.After(every):
			}
		}
	})
}

// Pull is a Source that is an iterator, as txn.Manager.Watch makes one. The
// iterator goes on when the next entry is asked for, and gets a context that
// stop ends. stop waits until the iterator has returned.
func Pull(ctx context.Context, begin func(ctx context.Context) iter.Seq2[Entry, error]) (src Source, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	p := &pull{asked: make(chan struct{}), given: make(chan pulled), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.run(ctx, begin)
	}()
	return p, func() {
		cancel()
		<-p.ended
	}
}

type pull struct {
	asked   chan struct{}
	given   chan pulled
	ended   chan struct{}
	waiting bool  // an entry was asked for and not yet returned
	err     error // the last answer, if it was one
}

type pulled struct {
	e   Entry
	err error
}

// run moves the iterator whenever it is asked.
func (p *pull) run(ctx context.Context, begin func(ctx context.Context) iter.Seq2[Entry, error]) {
	if !p.await(ctx) {
		return
	}
	last := pulled{err: io.EOF}
	for e, err := range begin(ctx) {
		if err != nil {
			last.err = err
			break
		}
		if !p.give(ctx, pulled{e: e}) || !p.await(ctx) {
			return
		}
	}
	p.give(ctx, last)
}

func (p *pull) await(ctx context.Context) bool {
	select {
	case <-p.asked:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *pull) give(ctx context.Context, g pulled) bool {
	select {
	case p.given <- g:
		return true
	case <-ctx.Done():
		return false
	}
}

var errStopped = errors.New("ship: the source of entries was stopped")

// Next implements Source.
func (p *pull) Next(ctx context.Context) (Entry, error) {
	if p.err != nil {
		return Entry{}, p.err
	}
	if !p.waiting {
		select {
		case p.asked <- struct{}{}:
			p.waiting = true
		case <-p.ended:
			return Entry{}, errStopped
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		}
	}
	select {
	case g := <-p.given:
		p.waiting = false
		p.err = g.err
		return g.e, g.err
	case <-p.ended:
		return Entry{}, errStopped
	case <-ctx.Done():
		return Entry{}, ctx.Err()
	}
}
