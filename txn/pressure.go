package txn

import (
	"context"
	"sync"
	"time"
)

// payloadWeight is how many bytes of payload beside the log count as one byte
// of log when deciding on a checkpoint: payload is not replayed, but the space
// it replaces is free only after the checkpoint.
const payloadWeight = 4

// pressure is how far writing is ahead of checkpointing (promise 12). Commits
// feel it gradually: none up to the bound, then a delay that grows, and at
// twice the bound they wait for the checkpoint.
type pressure struct {
	limit int64

	mu      sync.Mutex
	written int64         // weighed bytes since the last checkpoint began
	relief  chan struct{} // closed when written falls
	retry   time.Time     // no checkpoint before, after one failed
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
	if p.relief != nil {
		close(p.relief)
		p.relief = nil
	}
	return n
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

// feel delays a commit as the pressure asks for.
func (p *pressure) feel(ctx context.Context, stop <-chan struct{}) error {
	p.mu.Lock()
	over := p.written - p.limit
	var relief chan struct{}
	if over >= p.limit {
		if p.relief == nil {
			p.relief = make(chan struct{})
		}
		relief = p.relief
	}
	p.mu.Unlock()
	if over <= 0 {
		return nil
	}
	var timer <-chan time.Time
	if relief == nil {
		timer = time.After(time.Duration(over) * maxDelay / time.Duration(p.limit))
	}
	select {
	case <-timer:
	case <-relief:
	case <-ctx.Done():
		return ctx.Err()
	case <-stop:
	}
	return nil
}
