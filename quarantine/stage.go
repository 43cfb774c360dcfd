package quarantine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

var errSealed = errors.New("quarantine: the stage is sealed")

// spillBytes is how much is placed in the heap at once: runs that long keep
// the list of a transaction's extents short.
const spillBytes = 1 << 20

// Stage is what one transaction has staged. It is not for concurrent use. The
// one who began it will call Release.
type Stage struct {
	area    *Area
	txn     wal.TxnID
	volumes map[wal.VolumeID]*Pages
	epoch   uint64 // counts Mark and RollbackTo: what index parts may be changed
	marks   []mark
	marked  uint64  // ids of savepoints given out
	bytes   int64   // in memory
	ledger  *ledger // nil until something spills
	sealed  bool
	adopted bool

	appended []heap.Extent // by Sealed.Append
}

// Savepoint is a state of a stage to go back to.
type Savepoint struct{ id uint64 }

// mark is a savepoint: of every volume the index, and how many images it had.
type mark struct {
	id      uint64
	volumes map[*Pages]index
	images  map[*Pages]uint32
}

// Volume is the stage's part for a volume, made on the first call. The page
// size must be a valid one, the same each time.
func (s *Stage) Volume(id wal.VolumeID, pageSize uint32) *Pages {
	p := s.volumes[id]
	if p == nil {
		if !wal.ValidPageSize(pageSize) {
			panic(fmt.Sprintf("quarantine: page size %d", pageSize))
		}
		p = &Pages{stage: s, volume: id, class: heap.ClassFor(int(pageSize)), index: index{cut: wal.MaxPages}}
		s.volumes[id] = p
	}
	if p.PageSize() != pageSize {
		panic(fmt.Sprintf("quarantine: volume %s has pages of %d bytes, not %d", id, p.PageSize(), pageSize))
	}
	return p
}

// Mark makes a savepoint. It costs little; the first change of a page after it
// copies a chunk of index, and page images that it needs are kept.
func (s *Stage) Mark() Savepoint {
	s.marked++
	m := mark{s.marked, make(map[*Pages]index, len(s.volumes)), make(map[*Pages]uint32, len(s.volumes))}
	for _, p := range s.volumes {
		m.volumes[p], m.images[p] = p.index, p.images.n
		p.fresh, p.free = p.images.n, nil
	}
	s.marks = append(s.marks, m)
	s.epoch++
	return Savepoint{s.marked}
}

// RollbackTo goes back to a savepoint, which stays one; those made later are
// gone. Going to one that is gone is an error, and nothing changed.
func (s *Stage) RollbackTo(sp Savepoint) error {
	i, ok := slices.BinarySearchFunc(s.marks, sp.id, func(m mark, id uint64) int { return cmp.Compare(m.id, id) })
	if s.sealed || !ok {
		return fmt.Errorf("quarantine: roll back: there is no savepoint %d", sp.id)
	}
	m := s.marks[i]
	s.marks = s.marks[:i+1]
	s.epoch++
	var errs []error
	for _, p := range s.volumes {
		before, known := m.volumes[p]
		if !known {
			before.cut = wal.MaxPages
		}
		p.index, p.fresh, p.free = before, m.images[p], nil // zero for a volume it does not know
		errs = append(errs, s.area.heap.ReleaseAll(extentsOf(p.forget(p.fresh))))
	}
	return errors.Join(errs...)
}

// forget frees the images from id on, and returns the slots that they had.
func (p *Pages) forget(from uint32) (slots []heap.Slot) {
	for id := from; id < p.images.n; id++ {
		m := p.images.at(id)
		if m.loaded() {
			p.unload(m)
		}
		if m.slot() != 0 {
			slots = append(slots, m.slot())
		}
	}
	p.images.truncate(from)
	return slots
}

// extentsOf sorts slots and joins consecutive ones.
func extentsOf(slots []heap.Slot) (list []heap.Extent) {
	slices.Sort(slots)
	for _, s := range slots {
		if n := len(list); n > 0 && list[n-1].First+heap.Slot(list[n-1].Count) == s {
			list[n-1].Count++
			continue
		}
		list = append(list, heap.Extent{First: s, Count: 1})
	}
	return list
}

// room makes sure that n more bytes may be in memory, spilling what is there.
func (s *Stage) room(n int) error {
	limits := s.area.limits
	if s.bytes+int64(n) <= limits.StageBytes && s.area.bytes.Load()+int64(n) <= limits.TotalBytes || s.bytes == 0 {
		return nil
	}
	return s.spill()
}

// count counts bytes that came to memory or left it.
func (s *Stage) count(n int) {
	s.bytes += int64(n)
	s.area.bytes.Add(int64(n))
}

// spill writes all images in memory to the heap. After an error those not yet
// written stay in memory.
func (s *Stage) spill() error {
	for _, p := range s.volumes {
		if err := p.spill(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pages) spill() error {
	var homeless []uint32
	for i := len(p.memory) - 1; i >= 0; i-- { // backwards: unload moves the last
		m := p.memory[i]
		if m.home == 0 {
			homeless = append(homeless, m.id)
			continue
		}
		if err := p.stage.area.heap.Write(m.home, m.buf.bytes); err != nil {
			return err
		}
		p.spilled(m.id, m.home)
	}
	slices.SortFunc(homeless, func(a, b uint32) int { return cmp.Compare(p.inMemory(a).page, p.inMemory(b).page) })
	for run := range slices.Chunk(homeless, spillBytes/p.pageBytes()) {
		if err := p.place(run); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pages) inMemory(id uint32) *memory { return &p.memory[p.images.at(id).place()] }

// place writes images that have no slot yet to new ones, consecutive as far as
// the heap can.
func (p *Pages) place(ids []uint32) error {
	data := make([]byte, 0, len(ids)*p.pageBytes())
	for _, id := range ids {
		data = append(data, p.inMemory(id).buf.bytes...)
	}
	extents, err := p.stage.area.heap.Place(p.class, data)
	if err != nil {
		return err
	}
	if err := p.stage.note(p.class, extents); err != nil {
		return errors.Join(err, p.stage.area.heap.ReleaseAll(extents))
	}
	for _, e := range extents {
		for i := range e.Count {
			p.spilled(ids[0], e.First+heap.Slot(i))
			ids = ids[1:]
		}
	}
	return nil
}

// spilled says that an image in memory now lies in slot.
func (p *Pages) spilled(id uint32, slot heap.Slot) {
	mem, m := p.inMemory(id), p.images.at(id)
	m.hash = wal.HashPage(mem.page, mem.buf.bytes)
	mem.home = slot
	p.unload(m)
}

// note writes to the stage's ledger what it holds in the heap.
func (s *Stage) note(class heap.Class, extents []heap.Extent) (err error) {
	if s.ledger == nil {
		if s.ledger, err = s.area.newLedger(s.txn); err != nil {
			return err
		}
	}
	return s.ledger.append(class, extents)
}

// Release ends the stage: its memory is given back, and its slots unless they
// were adopted. What Seal returned must not be used any more.
func (s *Stage) Release() error {
	var errs []error
	s.sealed = true
	for _, p := range s.volumes {
		if slots := p.forget(0); !s.adopted {
			errs = append(errs, s.area.heap.ReleaseAll(extentsOf(slots)))
		}
	}
	if !s.adopted {
		errs = append(errs, s.area.heap.ReleaseAll(s.appended))
	}
	s.volumes, s.marks = nil, nil
	if s.ledger != nil {
		errs = append(errs, s.ledger.remove())
		s.ledger = nil
	}
	return errors.Join(errs...)
}
