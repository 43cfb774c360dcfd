package txn

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/wal"
)

// Holds keep old tips: every volume as it was at one LSN. A hold is a session
// fact: it is in memory, and gone when the store is closed.
//
//	state     what holds                                         becomes
//	held      its snapshot can be read, whatever is committed    released (Release, Close), expired
//	released  it keeps nothing                                   -
//	expired   the same, and View says so                         -
//
// Transactions hold what they read in the same way, and consumers keep the log
// and the images that it names. Manager.Holds lists them all, and says what each
// costs: see there. A watcher keeps no tip: only the space of the one log file
// that it is reading.
//
// Limits: Options.MaxHolds at once, Options.HoldTTL unless they name another,
// MaxHoldOwner and MaxHoldReason.

// Errors of holds.
var (
	// ErrNotHeld: nobody holds the LSN, so what it reached may be gone.
	ErrNotHeld = errors.New("txn: nobody holds this LSN; hold the newest, or one that Holds lists")
	// ErrHoldReleased: the hold was released.
	ErrHoldReleased = errors.New("txn: the hold was released")
)

// Limits of what a hold says of itself, in bytes.
const (
	MaxHoldOwner  = 128
	MaxHoldReason = 512
)

// HoldOptions say what to hold, for whom and for how long.
type HoldOptions struct {
	// At is an LSN at which the store is held already, by anybody, or the newest
	// one: that when zero.
	At wal.LSN
	// Owner and Reason are for people. At most MaxHoldOwner and MaxHoldReason
	// bytes of UTF-8.
	Owner, Reason string
	// TTL after which the hold is released: Options.HoldTTL when zero. Renew
	// puts it off.
	TTL time.Duration
}

func (o HoldOptions) validate() error {
	switch {
	case len(o.Owner) > MaxHoldOwner || len(o.Reason) > MaxHoldReason:
		return fmt.Errorf("txn: hold: owner of %d or reason of %d bytes, at most %d and %d: %w",
			len(o.Owner), len(o.Reason), MaxHoldOwner, MaxHoldReason, wal.ErrTooLarge)
	case !utf8.ValidString(o.Owner) || !utf8.ValidString(o.Reason):
		return errors.New("txn: hold: owner or reason is not UTF-8")
	case o.TTL < 0:
		return fmt.Errorf("txn: hold: a TTL of %v", o.TTL)
	}
	return nil
}

// Hold keeps the store as it was at one LSN. Any number of goroutines may use
// one.
type Hold struct {
	m    *Manager
	opts HoldOptions
	lsn  wal.LSN
	made time.Time

	// Guarded by m.holds.mu.
	pin      *pagestore.Hold
	deadline time.Time
	place    int   // in m.holds.list
	ended    error // why it may not be used any more; nil while it may
}

// Hold holds the store as it is now, or as it was at an LSN that is held
// already, for the volumes to be read, compared and reset to as they were then,
// until Release or its deadline. It delays nothing; what it keeps on the disk is
// what is overwritten meanwhile, once (Manager.Holds). Cost: the same whatever
// the store holds; with At, a step for each younger LSN that is held.
//
// Errors: ErrNotHeld; wal.ErrTooLarge if there are Options.MaxHolds, or texts
// are too long; ErrClosed; the context's.
func (m *Manager) Hold(ctx context.Context, o HoldOptions) (*Hold, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	h := &Hold{m: m, opts: o, made: m.opts.Now()}
	h.deadline = h.made.Add(m.holdTTL(o.TTL))
	t := &m.holds
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, ErrClosed
	case len(t.list) >= m.opts.MaxHolds:
		return nil, fmt.Errorf("txn: there are %d holds already, release one first: %w", len(t.list), wal.ErrTooLarge)
	}
	var ok bool
	if h.pin, ok = m.store.Hold(o.At); !ok {
		return nil, fmt.Errorf("%w: LSN %d", ErrNotHeld, o.At)
	}
	h.lsn = h.pin.LSN()
	heap.Push(&t.list, h)
	if m.store.HeldInMemory() >= heldInMemory {
		poke(m.keeperPoke)
	}
	return h, nil
}

// heldInMemory is the number of held LSNs at which a checkpoint is made to write
// what only they reach: a few nodes each, which are in memory until then.
const heldInMemory = 1 << 10

func (m *Manager) holdTTL(ttl time.Duration) time.Duration {
	if ttl == 0 {
		return m.opts.HoldTTL
	}
	return ttl
}

// LSN is the one that is held: with At zero that of the newest commit then.
func (h *Hold) LSN() wal.LSN { return h.lsn }

// View runs f in a read-only transaction that reads what the hold keeps. It
// holds by itself: releasing the hold meanwhile does not end it. Errors:
// ErrHoldReleased, ErrExpired, ErrClosed, those of Begin and f.
func (h *Hold) View(ctx context.Context, f func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	snap, err := h.acquire()
	if err != nil {
		return err
	}
	tx, err := h.m.beginOn(ctx, snap, TxOptions{ReadOnly: true, Message: h.opts.Reason})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return f(tx)
}

func (h *Hold) acquire() (*pagestore.Snapshot, error) {
	h.m.holds.mu.Lock()
	defer h.m.holds.mu.Unlock()
	if err := h.use(); err != nil {
		return nil, err
	}
	return h.pin.Acquire(), nil
}

// Renew puts the deadline off, to a TTL from now; Options.HoldTTL when zero.
// Errors: those of View.
func (h *Hold) Renew(ttl time.Duration) error {
	if ttl < 0 {
		return fmt.Errorf("txn: hold: a TTL of %v", ttl)
	}
	h.m.holds.mu.Lock()
	defer h.m.holds.mu.Unlock()
	if err := h.use(); err != nil {
		return err
	}
	h.deadline = h.m.opts.Now().Add(h.m.holdTTL(ttl))
	heap.Fix(&h.m.holds.list, h.place)
	return nil
}

// Release ends the hold. It may be called again, and at any time.
func (h *Hold) Release() {
	h.m.holds.mu.Lock()
	defer h.m.holds.mu.Unlock()
	h.end(ErrHoldReleased)
}

// use is why the hold may not be used. Its deadline holds whenever the expirer
// comes by. Callers hold m.holds.mu.
func (h *Hold) use() error {
	if h.ended == nil && !h.m.opts.Now().Before(h.deadline) {
		h.expire()
	}
	return h.ended
}

func (h *Hold) expire() {
	h.end(ErrExpired)
	h.m.stats.holdsExpired.Add(1)
	h.m.log.Warn().Str("owner", h.opts.Owner).Str("reason", h.opts.Reason).Uint64("lsn", uint64(h.lsn)).
		Time("deadline", h.deadline).Msg("hold past its deadline was released")
}

// end releases what is kept. Callers hold m.holds.mu.
func (h *Hold) end(why error) {
	if h.ended != nil {
		return
	}
	h.ended = why
	heap.Remove(&h.m.holds.list, h.place)
	if h.pin.Release() {
		poke(h.m.keeperPoke)
	}
	h.pin = nil
}

// holdTable has the holds that were made and not released. Its lock is taken
// before those of the page store.
type holdTable struct {
	mu     sync.Mutex
	list   holdHeap
	closed bool
}

func (t *holdTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.list)
}

// close ends all.
func (t *holdTable) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for len(t.list) > 0 {
		t.list[len(t.list)-1].end(ErrClosed)
	}
}

// expireHolds releases what is past its deadline: nothing abandoned keeps old
// tips for ever. Cost: that of those.
func (m *Manager) expireHolds() {
	now := m.opts.Now()
	m.holds.mu.Lock()
	defer m.holds.mu.Unlock()
	for len(m.holds.list) > 0 && !now.Before(m.holds.list[0].deadline) {
		m.holds.list[0].expire()
	}
}

// holdHeap is a heap of package container/heap, the next deadline first.
type holdHeap []*Hold

func (l holdHeap) Len() int           { return len(l) }
func (l holdHeap) Less(i, j int) bool { return l[i].deadline.Before(l[j].deadline) }
func (l holdHeap) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].place, l[j].place = i, j
}

// Push is heap.Interface's.
func (l *holdHeap) Push(x any) {
	h := x.(*Hold)
	h.place = len(*l)
	*l = append(*l, h)
}

// Pop is heap.Interface's.
func (l *holdHeap) Pop() any {
	last := len(*l) - 1
	h := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return h
}
