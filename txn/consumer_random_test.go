package txn_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// fedStore is a store with consumers, and what each of its entries wrote.
type fedStore struct {
	*rig
	rand    *rand.Rand
	wrote   map[wal.LSN]map[uint64]uint64
	at      []wal.Position // by LSN
	acked   map[string]wal.LSN
	readers []*txn.Tx
}

// A random life with consumers that lag, acknowledge, come and go, readers that
// hold old states, checkpoints, and reopening: at any time each consumer reads
// every entry behind its position, with the images that it was committed with.
func TestConsumersInRandomHistories(t *testing.T) {
	for seed := range uint64(4) {
		r := newRig(t, txn.Options{GenerationBytes: wal.MinGenerationBytes, StageBytes: 64 << 10, CheckpointEvery: -1})
		s := &fedStore{rig: r, rand: rand.New(rand.NewPCG(seed, 7)), wrote: map[wal.LSN]map[uint64]uint64{}, acked: map[string]wal.LSN{}}
		r.volume("v", 1)
		s.at = make([]wal.Position, r.Stats().Head.LSN, 1<<10)
		s.at = append(s.at, r.Stats().Head)
		for range 250 {
			s.step()
		}
		s.letGo()
		s.read("", len(s.at))
		// With nobody left all is let go of.
		for name := range s.acked {
			if err := r.DropConsumer(name); err != nil {
				t.Fatal(err)
			}
		}
		s.write()
		r.checkpoint()
		eventually(t, "all limbo slots are free", func() bool { return r.Stats().Pages.LimboSlots == 0 })
	}
}

func (s *fedStore) step() {
	name := string(rune('a' + s.rand.IntN(3)))
	_, there := s.acked[name]
	switch s.rand.IntN(20) {
	case 0, 1, 2:
		s.checkpoint()
	case 3:
		s.letGo()
		if err := s.reopen(); err != nil {
			s.t.Fatal(err)
		}
	case 4:
		s.readers = append(s.readers, s.begin(txn.TxOptions{ReadOnly: true}))
	case 5:
		s.letGo()
	case 6, 7:
		s.acknowledge(name, there)
	case 8:
		if there && s.rand.IntN(3) == 0 {
			if err := s.DropConsumer(name); err != nil {
				s.t.Fatal(err)
			}
			delete(s.acked, name)
		}
	case 9, 10:
		s.read(name, 12)
	default:
		s.write()
	}
}

func (s *fedStore) letGo() {
	for _, tx := range s.readers {
		tx.Rollback()
	}
	s.readers = nil
}

// acknowledge goes on by a few entries, or makes the consumer.
func (s *fedStore) acknowledge(name string, there bool) {
	c := s.consumer(name)
	if !there {
		at, err := c.Acked()
		if err != nil || at != s.at[len(s.at)-1] {
			s.t.Fatalf("it begins at %v: %v", at, err)
		}
		s.acked[name] = at.LSN
		return
	}
	to := min(s.acked[name]+wal.LSN(s.rand.IntN(8)), wal.LSN(len(s.at)-1))
	s.ack(name, s.at[to])
	s.acked[name] = to
}

// write commits one page, a few, or more than memory holds.
func (s *fedStore) write() {
	pages := map[uint64]uint64{}
	for range []int{1, 3, 20, 30}[s.rand.IntN(4)] {
		pages[s.rand.Uint64N(40)] = s.rand.Uint64()
	}
	c := s.update(func(tx *txn.Tx) error {
		var errs []error
		for no, value := range pages {
			errs = append(errs, put(tx, "v", no, value))
		}
		return errors.Join(errs...)
	})
	s.wrote[c.Position.LSN] = pages
	s.at = append(s.at, c.Position)
}

// read reads at most n entries of one consumer, or of all.
func (s *fedStore) read(name string, n int) {
	for each, acked := range s.acked {
		if name == "" || each == name {
			s.readOne(each, acked, min(wal.LSN(len(s.at)-1), acked+wal.LSN(n)))
		}
	}
}

func (s *fedStore) readOne(name string, from, to wal.LSN) {
	if from == to {
		return
	}
	buf := make([]byte, wal.DefaultPageSize)
	for e, err := range s.consumer(name).Watch(context.Background(), txn.WatchOptions{}) {
		if from++; err != nil || e.Position != s.at[from] {
			s.t.Fatalf("consumer %s, entry %d: %v", name, from, err)
		}
		pages := 0
		for row, err := range e.Rows(&e.Entry.Sections[0]) {
			if err == nil {
				err = e.ReadPage(row, buf)
			}
			if err != nil || !bytes.Equal(buf, pageOf(s.wrote[from][row.Page])) {
				s.t.Fatalf("consumer %s, page %d of entry %d: %v", name, row.Page, from, err)
			}
			pages++
		}
		if pages != len(s.wrote[from]) {
			s.t.Fatalf("consumer %s, entry %d: %d pages, want %d", name, from, pages, len(s.wrote[from]))
		}
		if from == to {
			return
		}
	}
}
