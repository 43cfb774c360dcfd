package txn_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// access is one call of a transaction, and what it gave.
type access struct {
	volume string
	page   uint64
	write  bool
	size   bool // the size was read, not a page
	value  uint64
}

type history struct {
	lsn   wal.LSN // of the commit, or of the snapshot of one that wrote nothing
	empty bool
	calls []access
}

// Transactions of many goroutines, over two volumes, read, write, iterate and
// ask for sizes. Done again one after the other in the order of their LSNs,
// everything they read must come out the same.
func TestConcurrentHistoriesAreSerial(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointBytes: 128 << 10, InlineBytes: 8 << 10, GenerationBytes: wal.MinGenerationBytes, StageBytes: 16 << 10})
	names := []string{"a", "b"}
	for _, name := range names {
		r.volume(name, 0)
	}
	var mu sync.Mutex
	var all []history
	var value atomic.Uint64
	var wg sync.WaitGroup
	began := time.Now()
	enough := func() bool { // on a slow machine that takes longer than a second
		s, took := r.Stats(), time.Since(began)
		return took > time.Second && s.Conflicts > 0 && s.Checkpoints > 0 || took > time.Minute
	}
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			for !enough() {
				var h history
				o := txn.TxOptions{Durability: txn.Durability(rng.IntN(2))}
				c, err := r.UpdateWith(ctx, o, func(tx *txn.Tx) error {
					h = history{}
					for range 1 + rng.IntN(5) {
						if err := h.call(tx, rng, names[rng.IntN(2)], &value); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				h.lsn, h.empty = c.Position.LSN, c.Empty
				mu.Lock()
				all = append(all, h)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if s := r.Stats(); s.Conflicts == 0 || s.Checkpoints == 0 {
		t.Errorf("%d conflicts and %d checkpoints: nothing was tested", s.Conflicts, s.Checkpoints)
	}
	replaySerially(t, all)
}

// call makes one random call and notes what it gave.
func (h *history) call(tx *txn.Tx, rng *rand.Rand, name string, value *atomic.Uint64) error {
	v, err := tx.Volume(name)
	if err != nil {
		return err
	}
	no := rng.Uint64N(30)
	switch rng.IntN(8) {
	case 0, 1, 2:
		x := value.Add(1)
		h.calls = append(h.calls, access{volume: name, page: no, write: true, value: x})
		return v.WritePage(no, pageOf(x))
	case 3:
		size, err := v.Size()
		h.calls = append(h.calls, access{volume: name, size: true, value: size})
		return err
	case 4: // a range: a read of every page in it
		seen := map[uint64]uint64{}
		for p, err := range v.Pages(no, no+5) {
			if err != nil {
				return err
			}
			seen[p.No] = valueIn(p.Data)
		}
		for i := no; i < no+5; i++ {
			h.calls = append(h.calls, access{volume: name, page: i, value: seen[i]})
		}
		return nil
	case 5:
		h.calls = append(h.calls, access{volume: name, page: no, write: true})
		return v.WritePage(no, make([]byte, 4096))
	default:
		x, err := get(tx, name, no)
		if errors.Is(err, txn.ErrPageRange) {
			x, err = 0, nil
		}
		h.calls = append(h.calls, access{volume: name, page: no, value: x})
		return err
	}
}

func valueIn(page []byte) uint64 {
	var x uint64
	for i := range 8 {
		x |= uint64(page[i]) << (8 * i)
	}
	return x
}

func replaySerially(t *testing.T, all []history) {
	slices.SortFunc(all, func(a, b history) int {
		switch {
		case a.lsn != b.lsn:
			return int(int64(a.lsn) - int64(b.lsn))
		case a.empty == b.empty:
			return 0
		case b.empty: // who wrote nothing has read what the entry left
			return -1
		}
		return 1
	})
	pages, sizes := map[access]uint64{}, map[string]uint64{}
	for _, h := range all {
		for _, c := range h.calls {
			key := access{volume: c.volume, page: c.page}
			switch {
			case c.write:
				pages[key] = c.value
				sizes[c.volume] = max(sizes[c.volume], c.page+1)
			case c.size && sizes[c.volume] != c.value:
				t.Fatalf("LSN %d read size %d of %q, in the order of commits it is %d", h.lsn, c.value, c.volume, sizes[c.volume])
			case !c.size && pages[key] != c.value:
				t.Fatalf("LSN %d read %d in page %d of %q, in the order of commits it is %d", h.lsn, c.value, c.page, c.volume, pages[key])
			}
		}
	}
}

// register is a page that is written, read, and compared and set.
type register struct {
	page     uint64
	op       string
	old, new uint64
}

var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byPage := map[uint64][]porcupine.Operation{}
		for _, o := range history {
			no := o.Input.(register).page
			byPage[no] = append(byPage[no], o)
		}
		var parts [][]porcupine.Operation
		for _, p := range byPage {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		in, now, got := input.(register), state.(uint64), output.(uint64)
		switch in.op {
		case "read":
			return got == now, now
		case "write":
			return true, in.new
		}
		if now != in.old { // compare and set: says what it found
			return got == now, now
		}
		return got == now, in.new
	},
}

// Each page is a register that is linearizable in real time: what a commit that
// has returned wrote, everything that begins later sees (promise 11).
func TestLinearizable(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{CheckpointBytes: 64 << 10})
	r.volume("v", 0)
	r.update(func(tx *txn.Tx) error { v, err := tx.Volume("v"); return errors.Join(err, v.Truncate(4)) })
	began := time.Now()
	var mu sync.Mutex
	var ops []porcupine.Operation
	var value atomic.Uint64
	var wg sync.WaitGroup
	for client := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(client), 3))
			var seen uint64
			for range 60 {
				in := register{page: rng.Uint64N(4), old: seen, new: value.Add(1), op: []string{"read", "write", "cas"}[rng.IntN(3)]}
				call := time.Since(began)
				out, err := in.run(ctx, r, txn.Durability(rng.IntN(2)))
				if err != nil {
					t.Error(err)
					return
				}
				seen = out
				mu.Lock()
				ops = append(ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: int64(call), Return: int64(time.Since(began))})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if res := porcupine.CheckOperationsTimeout(registers, ops, 20*time.Second); res == porcupine.Illegal {
		t.Error("not linearizable")
	} else if res == porcupine.Unknown {
		t.Log("the check took too long")
	}
}

// run does the operation and returns what the page held.
func (in register) run(ctx context.Context, r *rig, d txn.Durability) (found uint64, err error) {
	if in.op == "read" {
		err = r.View(ctx, func(tx *txn.Tx) error { found, err = get(tx, "v", in.page); return err })
		return found, err
	}
	_, err = r.UpdateWith(ctx, txn.TxOptions{Durability: d}, func(tx *txn.Tx) error {
		if in.op == "write" {
			return put(tx, "v", in.page, in.new)
		}
		if found, err = get(tx, "v", in.page); err != nil || found != in.old {
			return err
		}
		return put(tx, "v", in.page, in.new)
	})
	return found, err
}

// Commits that are given up at any moment are whole or absent, as their error
// says; the rest goes on.
func TestCommitsGivenUp(t *testing.T) {
	r := newRig(t, txn.Options{CheckpointBytes: 64 << 10, InlineBytes: 6 << 10})
	const writers, pages = 8, 3
	for w := range writers {
		r.volume(fmt.Sprint(w), pages)
	}
	var wg sync.WaitGroup
	end := time.Now().Add(time.Second)
	var acked, refused, unknown atomic.Int64
	for w := range writers {
		wg.Go(func() {
			name := fmt.Sprint(w)
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			for i := uint64(100); time.Now().Before(end); i++ {
				var before uint64
				if err := r.View(context.Background(), func(tx *txn.Tx) (err error) { before, err = get(tx, name, 0); return err }); err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(1500))*time.Microsecond)
				_, err := r.Update(ctx, func(tx *txn.Tx) error {
					for no := range uint64(pages) {
						if err := put(tx, name, no, i); err != nil {
							return err
						}
					}
					return nil
				})
				cancel()
				want := map[uint64]bool{}
				switch {
				case err == nil:
					acked.Add(1)
					want[i] = true
				case errors.Is(err, txn.ErrUnknownOutcome):
					unknown.Add(1)
					var u *txn.UnknownError
					if errors.As(err, &u) {
						eventually(t, "the unknown commit's fate", func() bool { return r.Stats().Published >= u.LSN })
					}
					want[i], want[before] = true, true
				case errors.Is(err, context.DeadlineExceeded):
					refused.Add(1)
					want[before] = true
				default:
					t.Error(err)
					return
				}
				if err := r.View(context.Background(), func(tx *txn.Tx) error {
					first, err := get(tx, name, 0)
					if err != nil {
						return err
					}
					if !want[first] {
						return fmt.Errorf("writer %d holds %d, want one of %v", w, first, want)
					}
					for no := range uint64(pages) {
						if got, err := get(tx, name, no); err != nil || got != first && first >= 100 {
							return fmt.Errorf("writer %d: page %d is %d, page 0 is %d: %v", w, no, got, first, err)
						}
					}
					return nil
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d committed, %d rolled back, %d unknown", acked.Load(), refused.Load(), unknown.Load())
	if s := r.Stats(); s.OpenTxs != 0 || s.StagedBytes != 0 || s.Poisoned != "" {
		t.Errorf("left behind: %d transactions, %d bytes staged, %s", s.OpenTxs, s.StagedBytes, s.Poisoned)
	}
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
}
