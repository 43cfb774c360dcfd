package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/wal"
)

// Errors of consumers.
var (
	ErrNoConsumer = errors.New("txn: no such consumer")
	// ErrConsumerDropped: the consumer lagged behind further than
	// Options.ConsumerLagBytes. Every *DroppedError is one.
	ErrConsumerDropped = errors.New("txn: consumer dropped")
)

// DroppedError says that a consumer was dropped, because it kept more of the
// disk than it may. What it had still to read may be gone: begin anew from a
// snapshot, after DropConsumer and Consumer.
type DroppedError struct {
	Name  string
	Acked wal.Position // its last acknowledgement
	Kept  uint64       // bytes that were kept for it
}

func (e *DroppedError) Error() string {
	return fmt.Sprintf("txn: consumer %q was dropped at LSN %d, since %d bytes were kept for it; drop its name and begin anew from a snapshot",
		e.Name, e.Acked.LSN, e.Kept)
}

// Is makes every DroppedError an ErrConsumerDropped.
func (e *DroppedError) Is(target error) bool { return target == ErrConsumerDropped }

// ConsumerInfo is a consumer as Consumers lists it.
type ConsumerInfo struct {
	Name    string
	Acked   wal.Position
	Dropped bool
	Kept    uint64 // bytes of log and heap that entries behind Acked keep, above the last checkpoint's need; when dropped, those at that time
}

// Consumer is a named position in the log, which survives restarts: from there
// on entries and images are kept. Any number of goroutines may use one.
type Consumer struct {
	m    *Manager
	name string
}

// Limits of consumers.
const (
	MaxConsumers    = manifest.MaxConsumers
	MaxConsumerName = manifest.MaxConsumerName // bytes
)

// consumers guards changes of their positions.
type consumers struct {
	mu    sync.Mutex
	ended bool // the manager is closed: the manifest is not written any more
}

// Consumer returns the consumer of that name, made if there is none: then it
// begins with what is committed from now on, or a little before. Whoever needs
// the store's content too takes a snapshot after this. Errors: a *DroppedError
// if it was dropped; wal.ErrTooLarge if there are MaxConsumers, or the name is
// empty or longer than MaxConsumerName; the context's, while what is committed
// becomes durable; a full disk.
func (m *Manager) Consumer(ctx context.Context, name string) (*Consumer, error) {
	c := &Consumer{m, name}
	if len(name) == 0 || len(name) > MaxConsumerName {
		return nil, fmt.Errorf("txn: a consumer's name of %d bytes, from 1 to %d: %w", len(name), MaxConsumerName, wal.ErrTooLarge)
	}
	if _, err := c.facts(); err == nil {
		return c, nil
	} else if !errors.Is(err, ErrNoConsumer) {
		return nil, err
	}
	head := m.store.Published().Position
	if err := m.waitUntil(ctx, func() bool { return m.durable() >= head.LSN }); err != nil {
		return nil, err
	}
	err := m.editConsumers(func(f *manifest.Facts) ([]manifest.Consumer, error) {
		if _, ok := f.Consumer(name); ok {
			return nil, nil // somebody else was faster
		}
		if len(f.Consumers) >= MaxConsumers {
			return nil, fmt.Errorf("txn: there are %d consumers already, drop one first: %w", MaxConsumers, wal.ErrTooLarge)
		}
		if head.LSN+1 < f.Kept() { // a checkpoint went by
			head = wal.Position{Timeline: f.Timeline, LSN: f.Checkpoint.LSN, Hash: f.Checkpoint.Hash}
		}
		return manifest.WithConsumer(f.Consumers, manifest.Consumer{Name: name, Acked: head}), nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Consumers lists all, dropped ones too, by name.
func (m *Manager) Consumers() []ConsumerInfo {
	var list []ConsumerInfo
	for _, c := range m.store.Facts().Consumers {
		info := ConsumerInfo{Name: c.Name, Acked: c.Acked, Dropped: c.Dropped, Kept: c.Kept}
		if !c.Dropped {
			info.Kept = m.store.KeptFor(c.Acked.LSN)
		}
		list = append(list, info)
	}
	return list
}

// DropConsumer forgets a consumer. What was kept for it is freed behind the next
// checkpoint. ErrNoConsumer if there is none.
func (m *Manager) DropConsumer(name string) error {
	return m.editConsumers(func(f *manifest.Facts) ([]manifest.Consumer, error) {
		if _, ok := f.Consumer(name); !ok {
			return nil, noConsumer(name)
		}
		return slices.DeleteFunc(slices.Clone(f.Consumers), func(c manifest.Consumer) bool { return c.Name == name }), nil
	})
}

// Name of the consumer.
func (c *Consumer) Name() string { return c.name }

// Acked is the last position that was acknowledged, or where it began.
func (c *Consumer) Acked() (wal.Position, error) {
	f, err := c.facts()
	return f.Acked, err
}

// facts are what the manifest says of it.
func (c *Consumer) facts() (manifest.Consumer, error) {
	facts := c.m.store.Facts()
	return consumerIn(&facts, c.name)
}

func consumerIn(f *manifest.Facts, name string) (manifest.Consumer, error) {
	c, ok := f.Consumer(name)
	switch {
	case !ok:
		return c, noConsumer(name)
	case c.Dropped:
		return c, &DroppedError{Name: name, Acked: c.Acked, Kept: c.Kept}
	}
	return c, nil
}

func noConsumer(name string) error { return fmt.Errorf("%w: %q", ErrNoConsumer, name) }

// Ack says that the consumer needs nothing up to pos any more. It is durable
// when Ack returns. Positions only rise: to acknowledge an earlier one after a
// later one is no error and no change. Errors: ErrFuture and ErrDiverged if it
// is no position of this store; *DroppedError; ErrNoConsumer; ErrPoisoned; a full
// disk, which leaves it as it was.
//
// Cost: one synced write, so acknowledge many entries at once. See prover, too.
func (c *Consumer) Ack(ctx context.Context, pos wal.Position) error {
	before, err := c.facts()
	if err != nil {
		return err
	}
	if pos.LSN < before.Acked.LSN {
		return nil
	}
	m := c.m
	if pos.LSN > m.store.Published().LSN {
		return m.badPosition(pos, ErrFuture)
	}
	if err := m.waitUntil(ctx, func() bool { return m.durable() >= pos.LSN }); err != nil {
		return err
	}
	if pos.LSN == before.Acked.LSN {
		return m.compare(pos, before.Acked)
	}
	if err := m.prove(pos); err != nil && !errors.Is(err, ErrCompacted) { // dropped meanwhile: the edit tells
		return err
	}
	err = m.editConsumers(func(f *manifest.Facts) ([]manifest.Consumer, error) {
		now, err := consumerIn(f, c.name)
		if err != nil || now.Acked.LSN >= pos.LSN {
			return nil, err
		}
		now.Acked = pos
		return manifest.WithConsumer(f.Consumers, now), nil
	})
	m.progress.ring()
	return err
}

// Watch is Manager.Watch behind what was acknowledged, or behind o.After if that
// is later. It ends with a *DroppedError if the consumer is dropped, and never
// with ErrCompacted.
func (c *Consumer) Watch(ctx context.Context, o WatchOptions) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		facts, err := c.facts()
		if err != nil {
			yield(nil, err)
			return
		}
		if o.After.LSN < facts.Acked.LSN {
			o.After = facts.Acked
		}
		for e, err := range c.m.Watch(ctx, o) {
			if errors.Is(err, ErrCompacted) {
				_, dropped := c.facts()
				err = cmp.Or(dropped, err)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// editConsumers makes durable the list of consumers that edit computes; a nil
// list leaves it.
func (m *Manager) editConsumers(edit func(*manifest.Facts) ([]manifest.Consumer, error)) error {
	m.consumers.mu.Lock()
	defer m.consumers.mu.Unlock()
	if m.consumers.ended {
		return ErrClosed
	}
	if err := m.poisoned(); err != nil {
		return err
	}
	var refused error
	err := m.store.EditConsumers(func(f *manifest.Facts) (list []manifest.Consumer, err error) {
		list, refused = edit(f)
		return list, refused
	})
	switch {
	case err == nil || refused != nil:
		return err
	case !errors.Is(err, manifest.ErrNoSpace):
		m.poison(err)
	}
	return m.failed(fmt.Errorf("txn: consumers: %w", err))
}

// acknowledged is how many consumers need nothing up to lsn any more. Those that
// were dropped do not count.
func (m *Manager) acknowledged(lsn wal.LSN) (n int) {
	for _, c := range m.store.Facts().Consumers {
		if !c.Dropped && c.Acked.LSN >= lsn {
			n++
		}
	}
	return n
}

// dropLaggards drops consumers for which more is kept than
// Options.ConsumerLagBytes, before a checkpoint, which then frees it.
func (m *Manager) dropLaggards() error {
	limit := uint64(m.opts.ConsumerLagBytes)
	for _, c := range m.Consumers() {
		if c.Dropped || c.Kept <= limit {
			continue
		}
		err := m.editConsumers(func(f *manifest.Facts) ([]manifest.Consumer, error) {
			now, err := consumerIn(f, c.Name)
			if err != nil || now.Acked.LSN > c.Acked.LSN {
				return nil, nil // it went, or got on, meanwhile
			}
			now.Dropped, now.Kept = true, c.Kept
			return manifest.WithConsumer(f.Consumers, now), nil
		})
		if err != nil {
			return err
		}
		m.log.Error().Str("consumer", c.Name).Uint64("acked", uint64(c.Acked.LSN)).Uint64("kept_bytes", c.Kept).
			Uint64("limit_bytes", limit).Msg("consumer dropped: it lags too far behind, the next checkpoint lets go of what it had still to read")
		m.stats.consumersDropped.Add(1)
	}
	return nil
}

// endConsumers keeps everybody from the manifest, which is about to be closed.
func (m *Manager) endConsumers() {
	m.consumers.mu.Lock()
	defer m.consumers.mu.Unlock()
	m.consumers.ended = true
}
