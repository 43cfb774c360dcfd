package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// state is what a store holds: its volumes by name. It is never changed.
type state map[string]*volume

// volume is one of a state.
type volume struct {
	pageSize int
	size     uint64 // in pages
	pages    map[uint64][]byte
	tags     map[string]*volume // what they point to
}

// effect is a step of a transaction, done to a state that nobody else has.
type effect func(state)

// names are all that a volume may have.
var names = []string{"a", "b", "c", "shared", "tiny", "sparse", "spare", "moved", "fork", "fork2"}

// after is the state with the effects of a transaction.
func (s state) after(effects []effect) state {
	s = maps.Clone(s)
	for _, e := range effects {
		e(s)
	}
	return s
}

// edit is a volume to be changed.
func (s state) edit(name string) *volume {
	v := *s[name]
	v.pages = maps.Clone(v.pages)
	s[name] = &v
	return &v
}

func create(name string, pageSize int) effect {
	return func(s state) { s[name] = &volume{pageSize: pageSize, pages: map[uint64][]byte{}} }
}

func rename(from, to string) effect {
	return func(s state) { s[to] = s[from]; delete(s, from) }
}

func remove(name string) effect { return func(s state) { delete(s, name) } }

func write(name string, no uint64, page []byte) effect {
	return func(s state) {
		v := s.edit(name)
		v.pages[no] = page
		v.size = max(v.size, no+1)
	}
}

func discard(name string, no uint64) effect {
	return func(s state) { delete(s.edit(name).pages, no) }
}

func truncate(name string, size uint64) effect {
	return func(s state) {
		v := s.edit(name)
		v.size = size
		maps.DeleteFunc(v.pages, func(no uint64, _ []byte) bool { return no >= size })
	}
}

// ack says that from an operation on everything up to an LSN must survive.
type ack struct {
	op  int
	lsn wal.LSN
}

// history is the disk of a store's life and what the store must hold at each
// LSN. Recording it is over before anybody cuts it.
type history struct {
	name   string
	disk   *crashfs.FS
	begin  int   // the first operation at which it may be cut
	acks   []ack // ascending
	states []state
	asked  requests
	feeds  []ack // what the consumer had acknowledged; ascending
	depth  int   // how often a recovery was crashed to get here
}

// acked is the LSN that a cut after operation k must leave.
func (h *history) acked(k int) wal.LSN {
	n := sort.Search(len(h.acks), func(i int) bool { return h.acks[i].op > k })
	if n == 0 {
		return 0
	}
	return h.acks[n-1].lsn
}

// recorder collects what the transactions of a life did.
type recorder struct {
	mu      sync.Mutex
	acks    []ack
	feeds   []ack
	effects map[wal.LSN][]effect
	spare   int // LSNs of which nobody heard: those of entries that change none of this

	requests requests
}

func newRecorder() *recorder { return &recorder{effects: map[wal.LSN][]effect{}, requests: requests{}} }

// committed notes a transaction; op is the number of operations so far when it
// was acknowledged as durable, negative when it never was.
func (r *recorder) committed(lsn wal.LSN, op int, effects []effect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if effects != nil {
		r.effects[lsn] = effects
	}
	if op < 0 {
		return
	}
	if n := len(r.acks); n > 0 {
		lsn, op = max(lsn, r.acks[n-1].lsn), max(op, r.acks[n-1].op)
	}
	r.acks = append(r.acks, ack{op, lsn})
}

// opened notes that the store ends at an LSN: what was behind it has not been.
func (r *recorder) opened(last wal.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.effects, func(lsn wal.LSN, _ []effect) bool { return lsn > last })
	maps.DeleteFunc(r.requests, func(lsn wal.LSN, _ request) bool { return lsn > last })
}

// states are those of all LSNs, behind the ones that are known.
func (r *recorder) states(known []state) ([]state, error) {
	states := slices.Clone(known)
	for len(r.effects) > 0 {
		lsn := wal.LSN(len(states))
		effects, ok := r.effects[lsn]
		if !ok && r.spare > 0 {
			r.spare--
		} else if !ok {
			return nil, fmt.Errorf("no transaction has LSN %d, %d have later ones", lsn, len(r.effects))
		}
		states = append(states, states[lsn-1].after(effects))
		delete(r.effects, lsn)
	}
	for range r.spare {
		states = append(states, states[len(states)-1])
	}
	return states, nil
}

// peek is the states of a store's life from its beginning, so far.
func (r *recorder) peek() ([]state, error) {
	r.mu.Lock()
	c := recorder{effects: maps.Clone(r.effects), spare: r.spare}
	r.mu.Unlock()
	return c.states([]state{{}, {}})
}

// wrong says how a store differs from what it must hold.
type wrong struct{ what string }

func (w *wrong) Error() string { return w.what }

func wrongf(format string, args ...any) error { return &wrong{fmt.Sprintf(format, args...)} }

// compare reads everything a store holds.
func compare(m *txn.Manager, want state) error {
	return m.View(context.Background(), func(tx *txn.Tx) error { return compareAll(tx, want) })
}

// compareNow compares what is visible with the state at that LSN, also while commits
// become visible whose callers have gone.
func compareNow(m *txn.Manager, states []state) error {
	return m.View(context.Background(), func(tx *txn.Tx) error {
		if tx.LSN() >= wal.LSN(len(states)) {
			return wrongf("it is at LSN %d, only %d were ever given", tx.LSN(), len(states)-1)
		}
		if err := compareAll(tx, states[tx.LSN()]); err != nil {
			return fmt.Errorf("at LSN %d: %w", tx.LSN(), err)
		}
		return nil
	})
}

func compareAll(tx *txn.Tx, want state) error {
	for _, name := range names {
		if err := compareVolume(tx, name, want[name]); err != nil {
			return fmt.Errorf("volume %q: %w", name, err)
		}
	}
	return nil
}

func compareVolume(tx *txn.Tx, name string, want *volume) error {
	v, err := tx.Volume(name)
	switch {
	case want == nil && errors.Is(err, txn.ErrNoVolume):
		return nil
	case err != nil:
		return err
	case want == nil:
		return wrongf("it is there")
	}
	if err := compareContent(v, want); err != nil {
		return err
	}
	return compareTags(tx, name, want)
}

func compareContent(v *txn.Volume, want *volume) error {
	if v.PageSize() != want.pageSize {
		return wrongf("pages of %d bytes, want %d", v.PageSize(), want.pageSize)
	}
	size, err := v.Size()
	if err != nil {
		return err
	}
	if size != want.size {
		return wrongf("%d pages, want %d", size, want.size)
	}
	present, err := comparePresent(v, want)
	if err != nil {
		return err
	}
	return compareAbsent(v, want, present)
}

// comparePresent reads by iteration.
func comparePresent(v *txn.Volume, want *volume) (present map[uint64]bool, err error) {
	present = map[uint64]bool{}
	for p, err := range v.Pages(0, want.size) {
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(p.Data, want.pages[p.No]) {
			return nil, wrongf("page %d holds %.8x, want %.8x", p.No, p.Data, want.pages[p.No])
		}
		present[p.No] = true
	}
	return present, nil
}

// compareAbsent reads, page by page, what the iteration did not show.
func compareAbsent(v *txn.Volume, want *volume, present map[uint64]bool) error {
	zeros, buf := make([]byte, want.pageSize), make([]byte, want.pageSize)
	for no := range want.some() {
		if present[no] {
			continue
		}
		if page := want.pages[no]; page != nil && !bytes.Equal(page, zeros) {
			return wrongf("page %d is absent, want %.8x", no, page)
		}
		if err := v.ReadPage(no, buf); err != nil {
			return err
		}
		if !bytes.Equal(buf, zeros) {
			return wrongf("page %d is absent and reads as %.8x", no, buf)
		}
	}
	return nil
}

// some yields the pages below the size, of a large volume those that were
// written and their neighbours.
func (v *volume) some() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for no := range min(v.size, 64) {
			if !yield(no) {
				return
			}
		}
		for no := range v.pages {
			for n := no; n < min(no+2, v.size); n++ {
				if !yield(n) {
					return
				}
			}
		}
	}
}
