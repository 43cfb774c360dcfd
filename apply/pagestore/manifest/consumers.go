package manifest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/quire-db/quire/wal"
)

// Consumer is a named position: what lies behind it in the log is kept.
type Consumer struct {
	Name    string // 1 to MaxConsumerName bytes
	Acked   wal.Position
	Dropped bool   // it lagged too far behind; nothing is kept for it any more
	Kept    uint64 // bytes that were kept for it when it was dropped
}

// Limits of consumers. All their positions are one part of a record.
const (
	MaxConsumers    = 64
	MaxConsumerName = 255
)

// Consumer finds one by its name.
func (f *Facts) Consumer(name string) (Consumer, bool) {
	i, ok := slices.BinarySearchFunc(f.Consumers, name, byName)
	if !ok {
		return Consumer{}, false
	}
	return f.Consumers[i], true
}

// WithConsumer is the list of consumers with c in it, in the place of the one
// with its name. The list given stays as it is.
func WithConsumer(list []Consumer, c Consumer) []Consumer {
	list = slices.Clone(list)
	i, ok := slices.BinarySearchFunc(list, c.Name, byName)
	if ok {
		list[i] = c
		return list
	}
	return slices.Insert(list, i, c)
}

func byName(c Consumer, name string) int { return cmp.Compare(c.Name, name) }

// Needed is the low-water mark that a checkpoint at LSN c may set: the smallest
// LSN that recovery or a consumer still needs. It never goes back.
func (f *Facts) Needed(c wal.LSN) wal.LSN {
	low := c + 1
	for _, x := range f.Consumers {
		if !x.Dropped {
			low = min(low, x.Acked.LSN+1)
		}
	}
	return max(low, f.LowWater)
}

// Kept is the smallest LSN whose entry and images are surely there: a consumer
// may not begin before it.
func (f *Facts) Kept() wal.LSN {
	if f.LowWater == 0 {
		return f.Checkpoint.LSN + 1
	}
	return f.LowWater
}

// checkConsumers checks the consumers that there will be against the low-water
// mark that there will be, and against those before.
func (f *Facts) checkConsumers(e Edit) error {
	list := f.Consumers
	if e.Consumers != nil {
		list = *e.Consumers
		if err := checkConsumerNames(list); err != nil {
			return err
		}
	}
	low := max(f.LowWater, e.LowWater)
	for _, c := range list {
		if !c.Dropped && c.Acked.LSN+1 < low {
			return fmt.Errorf("consumer %q at LSN %d, the low-water mark is %d", c.Name, c.Acked.LSN, low)
		}
		if before, ok := f.Consumer(c.Name); ok && c.Acked.LSN < before.Acked.LSN {
			return fmt.Errorf("consumer %q at LSN %d after %d", c.Name, c.Acked.LSN, before.Acked.LSN)
		}
	}
	return nil
}

func checkConsumerNames(list []Consumer) error {
	if len(list) > MaxConsumers {
		return fmt.Errorf("%d consumers, at most %d: %w", len(list), MaxConsumers, wal.ErrTooLarge)
	}
	for i, c := range list {
		if len(c.Name) == 0 || len(c.Name) > MaxConsumerName {
			return fmt.Errorf("a consumer's name of %d bytes, from 1 to %d: %w", len(c.Name), MaxConsumerName, wal.ErrTooLarge)
		}
		if i > 0 && list[i-1].Name >= c.Name {
			return fmt.Errorf("consumer %q is named twice, or out of order", c.Name)
		}
	}
	return nil
}

func appendConsumers(b []byte, list []Consumer) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, c := range list {
		b = append(append(b, byte(len(c.Name))), c.Name...)
		b = append(b, c.Acked.Timeline[:]...)
		b = binary.LittleEndian.AppendUint64(b, uint64(c.Acked.LSN))
		b = append(b, c.Acked.Hash[:]...)
		dropped := byte(0)
		if c.Dropped {
			dropped = 1
		}
		b = binary.LittleEndian.AppendUint64(append(b, dropped), c.Kept)
	}
	return b
}

func (r *reader) consumers() *[]Consumer {
	list := make([]Consumer, r.count(consumerBytes))
	for i := range list {
		c := &list[i]
		c.Name = string(r.take(int(r.u8())))
		c.Acked = wal.Position{Timeline: wal.TimelineID(r.take(16)), LSN: wal.LSN(r.u64()), Hash: wal.Hash(r.take(32))}
		dropped := r.u8()
		c.Dropped, r.bad = dropped == 1, r.bad || dropped > 1
		c.Kept = r.u64()
	}
	return &list
}
