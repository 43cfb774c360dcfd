package txn

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// payloadWeight is how many bytes of payload beside the log count as one byte
// of log when deciding on a checkpoint: payload is not replayed, but the space
// it replaces is free only after the checkpoint.
const payloadWeight = 4

// pinWeight is how many bytes of log a tag or fork counts as: the nodes of what it
// keeps stay in memory until the next checkpoint.
const pinWeight = 16 << 10

// pressure is how far writing is ahead of checkpointing (promise 12). Commits
// feel it gradually: none up to the bound, then a delay that grows, and at
// twice the bound they wait for the checkpoint. When that fails they are refused.
type pressure struct {
	limit int64

	mu      sync.Mutex
	written int64     // weighed bytes since the last checkpoint began
	relief  *relief   // of those who wait now; nil when nobody does
	retry   time.Time // no checkpoint before, after one failed
	ended   bool      // no checkpoint relieves anybody any more
	poison  error     // why nothing may be written any more
}

// relief is what commits that are held wait for.
type relief struct {
	over chan struct{} // closed when the wait is over
	err  error         // why they are refused; set before that
}

func (p *pressure) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written += n
}

// begin says that a checkpoint covers what was written so far.
func (p *pressure) begin() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.written
	p.written = 0
	p.wake(nil)
	return n
}

// failed refuses those who wait for a checkpoint that failed. Whoever comes
// later waits for the next one.
func (p *pressure) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(fmt.Errorf("txn: checkpoints are too far behind, nothing was written: %w", err))
}

// end lets nobody wait any more: commits pass, or with poison are refused.
func (p *pressure) end(poison error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.poison == nil {
		p.poison = poison
	}
	p.wake(p.poison)
}

// wake ends the wait of those who wait. Callers hold p.mu.
func (p *pressure) wake(err error) {
	if p.relief != nil {
		p.relief.err = err
		close(p.relief.over)
		p.relief = nil
	}
}

func (p *pressure) level() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written
}

func (p *pressure) retryAfter(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retry = t
}

func (p *pressure) mayRetry(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.After(p.retry)
}

// maxDelay of one commit below twice the bound.
const maxDelay = 10 * time.Millisecond

// feel delays a commit as the pressure asks for, and refuses it when nothing may
// be written any more, or when the checkpoint that it waited for failed.
func (p *pressure) feel(ctx context.Context) error {
	delay, held, err := p.weigh()
	switch {
	case err != nil:
		return err
	case held != nil:
		select {
		case <-held.over:
			return held.err
		case <-ctx.Done():
			return ctx.Err()
		}
	case delay > 0:
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// weigh is how long a commit is delayed, or what it has to wait for, or why it
// is refused.
func (p *pressure) weigh() (delay time.Duration, held *relief, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	over := p.written - p.limit
	switch {
	case p.poison != nil || p.ended || over <= 0:
		return 0, nil, p.poison
	case over < p.limit:
		return time.Duration(over) * maxDelay / time.Duration(p.limit), nil, nil
	}
	if p.relief == nil {
		p.relief = &relief{over: make(chan struct{})}
	}
	return 0, p.relief, nil
}
