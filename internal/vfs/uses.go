package vfs

import (
	"math"
	"sync/atomic"
)

// uses counts the calls that are using a descriptor, so that closing it can
// wait for them: two atomic additions a call and no lock.
type uses struct {
	n      atomic.Int64 // calls under way, plus closing once close was called
	closed atomic.Bool
	idle   chan struct{} // has a token when n came down to closing
}

// closing makes n negative whatever the number of calls.
const closing = math.MinInt64 / 2

func (u *uses) init() { u.idle = make(chan struct{}, 1) }

// begin starts a use, to be ended by end; false when the descriptor is closed.
func (u *uses) begin() bool {
	if u.n.Add(1) > 0 {
		return true
	}
	u.end()
	return false
}

func (u *uses) end() {
	if u.n.Add(-1) == closing {
		select {
		case u.idle <- struct{}{}:
		default:
		}
	}
}

// close lets no further use begin and waits for those under way. It is false
// when it was called before.
func (u *uses) close() bool {
	if u.closed.Swap(true) {
		return false
	}
	if u.n.Add(closing) != closing {
		<-u.idle
	}
	return true
}
