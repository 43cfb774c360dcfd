package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// numbered is a heap whose slots of 512 bytes hold their own name, and count
// how often they are read.
type numbered struct {
	reads atomic.Int64
	bad   heap.Slot // reads back with a bit flipped
	err   error
}

func (n *numbered) Class(file uint32) (heap.Class, error) {
	if file != 1 {
		return 0, &wal.CorruptError{File: "heap", Reason: "no such file"}
	}
	return 9, nil
}

func (n *numbered) ReadSlot(s heap.Slot, dst []byte) error {
	n.reads.Add(1)
	binary.LittleEndian.PutUint64(dst, uint64(s))
	if s == n.bad {
		dst[300] ^= 4
	}
	return n.err
}

func refOf(i uint32) Ref {
	slot := heap.MakeSlot(1, i)
	b := make([]byte, 512)
	binary.LittleEndian.PutUint64(b, uint64(slot))
	return Ref{Slot: slot, Birth: 5, Check: wal.HashPage(uint64(slot), b)}
}

func decode(b []byte) (any, int, error) { return binary.LittleEndian.Uint64(b), 512, nil }

func TestCacheKeeps(t *testing.T) {
	var slots numbered
	c := NewCache(&slots, 1<<20)
	for range 3 {
		for i := range uint32(100) {
			v, err := c.Load(refOf(i), decode)
			if err != nil || v != uint64(heap.MakeSlot(1, i)) {
				t.Fatalf("slot %d: %v, %v", i, v, err)
			}
		}
	}
	if n := slots.reads.Load(); n != 100 {
		t.Errorf("%d reads of 100 nodes", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	var slots numbered
	const limit = 1 << 20
	c := NewCache(&slots, limit)
	for i := range uint32(20_000) {
		if _, err := c.Load(refOf(i), decode); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 && c.Bytes() > limit {
			t.Fatalf("%d bytes of %d", c.Bytes(), limit)
		}
	}
	if c.Bytes() < limit/2 {
		t.Errorf("only %d bytes of %d are used", c.Bytes(), limit)
	}
}

// A few nodes asked for all the time stay while many pass by once.
func TestCacheKeepsWhatIsAskedFor(t *testing.T) {
	var slots numbered
	c := NewCache(&slots, 1<<20)
	hot := func() {
		for i := range uint32(100) {
			if _, err := c.Load(refOf(i), decode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range uint32(20_000) {
		if i%200 == 0 {
			hot()
		}
		if _, err := c.Load(refOf(1000+i), decode); err != nil {
			t.Fatal(err)
		}
	}
	before := slots.reads.Load()
	hot()
	if n := slots.reads.Load() - before; n > 10 {
		t.Errorf("%d of 100 hot nodes had gone", n)
	}
}

func TestCacheVerifies(t *testing.T) {
	slots := numbered{bad: heap.MakeSlot(1, 7)}
	c := NewCache(&slots, 1<<20)
	never := func([]byte) (any, int, error) { t.Error("unverified bytes were decoded"); return nil, 0, nil }
	_, err := c.Load(refOf(7), never)
	var corrupt *wal.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != "heap/00000001" || corrupt.Offset != 4096+7*512 || corrupt.LSN != 5 {
		t.Errorf("flipped bit: %v", err)
	}
	if _, err := c.Load(Ref{Slot: heap.MakeSlot(2, 0)}, never); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("no such file: %v", err)
	}
}

func TestCacheErrors(t *testing.T) {
	slots := numbered{err: fmt.Errorf("disk says no")}
	c := NewCache(&slots, 1<<20)
	if _, err := c.Load(refOf(1), decode); !errors.Is(err, slots.err) || errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("read error: %v", err)
	}
	slots.err = nil
	fail := func(err error) func([]byte) (any, int, error) {
		return func([]byte) (any, int, error) { return nil, 0, err }
	}
	if _, err := c.Load(refOf(1), fail(errors.New("odd"))); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("undecodable: %v", err)
	}
	if _, err := c.Load(refOf(1), fail(wal.ErrVersion)); !errors.Is(err, wal.ErrVersion) || errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("newer: %v", err)
	}
	if c.Bytes() != 0 {
		t.Errorf("%d bytes are kept of nothing", c.Bytes())
	}
}

// A slot that was reused is another node: what is kept of the old one is not
// taken for it.
func TestCacheKnowsReusedSlots(t *testing.T) {
	var slots numbered
	c := NewCache(&slots, 1<<20)
	old := refOf(1)
	if _, err := c.Load(old, decode); err != nil {
		t.Fatal(err)
	}
	again := old
	again.Birth = 9
	if _, err := c.Load(again, decode); err != nil || slots.reads.Load() != 2 {
		t.Errorf("%d reads, %v", slots.reads.Load(), err)
	}
	again.Check[0]++
	if _, err := c.Load(again, decode); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("another check: %v", err)
	}
}

// The decoder owns the bytes it is given.
func TestCacheGivesBytesAway(t *testing.T) {
	var slots numbered
	c := NewCache(&slots, 1<<20)
	keep := func(b []byte) (any, int, error) { return b, len(b), nil }
	first, err := c.Load(refOf(1), keep)
	if err != nil {
		t.Fatal(err)
	}
	was := bytes.Clone(first.([]byte))
	if _, err := c.Load(refOf(2), keep); err != nil || !bytes.Equal(first.([]byte), was) {
		t.Errorf("a node's bytes changed under it: %v", err)
	}
}

func TestCacheConcurrent(t *testing.T) {
	var slots numbered
	c := NewCache(&slots, 64<<10)
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(g, g))
			for range 5000 {
				i := rnd.Uint32N(500)
				if v, err := c.Load(refOf(i), decode); err != nil || v != uint64(heap.MakeSlot(1, i)) {
					t.Errorf("slot %d: %v, %v", i, v, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if c.Bytes() > 64<<10 {
		t.Errorf("%d bytes of %d", c.Bytes(), 64<<10)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	var slots numbered
	c := NewCache(&slots, 1<<20)
	ref := refOf(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Load(ref, decode); err != nil {
			b.Fatal(err)
		}
	}
}
