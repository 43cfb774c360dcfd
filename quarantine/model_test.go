package quarantine_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/quarantine"
	"github.com/quire-db/quire/wal"
)

// staged is the plainest description of a stage's part for a volume.
type staged struct {
	pages map[uint64]uint64 // version of the bytes; 0: discarded
	cut   uint64
}

func (v staged) clone() staged { return staged{maps.Clone(v.pages), v.cut} }

func (v staged) find(no uint64) quarantine.Found {
	version, known := v.pages[no]
	switch {
	case known && version > 0:
		return quarantine.Present
	case known || no >= v.cut:
		return quarantine.Discarded
	}
	return quarantine.NotStaged
}

// savepoint of the model and of the stage.
type savepoint struct {
	sp    quarantine.Savepoint
	state map[wal.VolumeID]staged
}

type model struct {
	t       *rapid.T
	disk    *crashfs.FS
	heap    *heap.Heap
	area    *quarantine.Area
	stage   *quarantine.Stage
	state   map[wal.VolumeID]staged
	marks   []savepoint
	version uint64
}

var sizes = map[wal.VolumeID]uint32{{1}: 512, {2}: 4096, {3}: 8192}

// number is mostly a small page number, so that pages meet.
var number = rapid.OneOf(rapid.Uint64Range(0, 200), rapid.Uint64Range(0, 20000), rapid.Uint64Range(0, wal.MaxPages-1))

func (m *model) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) draw(t *rapid.T) (*quarantine.Pages, wal.VolumeID) {
	id := wal.VolumeID{byte(rapid.IntRange(1, 3).Draw(t, "volume"))}
	if _, known := m.state[id]; !known {
		m.state[id] = staged{map[uint64]uint64{}, wal.MaxPages}
	}
	return m.stage.Volume(id, sizes[id]), id
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"write": func(t *rapid.T) {
			p, id := m.draw(t)
			first := number.Draw(t, "first")
			for no := first; no < min(first+rapid.Uint64Range(1, 30).Draw(t, "n"), wal.MaxPages); no++ {
				m.version++
				m.must(p.Write(no, page(int(sizes[id]), no, m.version)))
				m.state[id].pages[no] = m.version
			}
		},
		"full": func(t *rapid.T) {
			p, id := m.draw(t)
			m.disk.Inject(crashfs.FailKind(syscall.ENOSPC, crashfs.Write))
			defer m.disk.Inject(nil)
			for no := range uint64(20) {
				switch err := p.Write(no, page(int(sizes[id]), no, m.version+1)); {
				case err == nil:
					m.version++
					m.state[id].pages[no] = m.version
				case !errors.Is(err, syscall.ENOSPC):
					t.Fatal(err)
				}
			}
		},
		"discard": func(t *rapid.T) {
			p, id := m.draw(t)
			first := number.Draw(t, "first")
			for no := first; no < min(first+rapid.Uint64Range(1, 80).Draw(t, "n"), wal.MaxPages); no++ {
				m.must(p.Discard(no))
				if no < m.state[id].cut || m.state[id].pages[no] > 0 {
					m.state[id].pages[no] = 0
				}
			}
		},
		"truncate": func(t *rapid.T) {
			p, id := m.draw(t)
			no := number.Draw(t, "pages")
			m.must(p.Truncate(no))
			v := m.state[id]
			maps.DeleteFunc(v.pages, func(page, _ uint64) bool { return page >= no })
			v.cut = min(v.cut, no)
			m.state[id] = v
		},
		"mark": func(*rapid.T) {
			state := map[wal.VolumeID]staged{}
			for id, v := range m.state {
				state[id] = v.clone()
			}
			m.marks = append(m.marks, savepoint{m.stage.Mark(), state})
		},
		"rollback": func(t *rapid.T) {
			if len(m.marks) == 0 {
				t.Skip("no savepoint")
			}
			i := rapid.IntRange(0, len(m.marks)-1).Draw(t, "savepoint")
			m.must(m.stage.RollbackTo(m.marks[i].sp))
			m.marks = m.marks[:i+1]
			known := m.state
			m.state = map[wal.VolumeID]staged{}
			for id := range known {
				m.state[id] = staged{map[uint64]uint64{}, wal.MaxPages}
				if v, ok := m.marks[i].state[id]; ok {
					m.state[id] = v.clone()
				}
			}
		},
		"seal":  func(t *rapid.T) { m.seal(t) },
		"crash": func(t *rapid.T) { m.release(t, 0) },
		"":      m.check,
	}
}

// check compares every page known, and some that are not.
func (m *model) check(t *rapid.T) {
	for id, v := range m.state {
		p := m.stage.Volume(id, sizes[id])
		var present []uint64
		for no, version := range v.pages {
			m.checkPage(t, p, v, no)
			m.checkPage(t, p, v, no+1)
			if version > 0 {
				present = append(present, no)
			}
		}
		slices.Sort(present)
		if got := slices.Collect(p.Present(0, wal.MaxPages)); !slices.Equal(got, present) || p.Len() != len(present) {
			t.Fatalf("volume %s: %d pages %v, want %v", id, p.Len(), got, present)
		}
		if p.Cut() != v.cut {
			t.Fatalf("volume %s: cut at %d, want %d", id, p.Cut(), v.cut)
		}
		m.checkDiscards(t, p, v)
	}
}

func (m *model) checkPage(t *rapid.T, p *quarantine.Pages, v staged, no uint64) {
	if no >= wal.MaxPages {
		return
	}
	dst, want := make([]byte, p.PageSize()), v.find(no)
	found, err := p.Read(no, dst)
	if m.must(err); found != want || p.Find(no) != want {
		t.Fatalf("page %d: found %d, want %d", no, found, want)
	}
	if found == quarantine.Present && !bytes.Equal(dst, page(len(dst), no, v.pages[no])) {
		t.Fatalf("page %d reads otherwise", no)
	}
}

func (m *model) checkDiscards(t *rapid.T, p *quarantine.Pages, v staged) {
	end, n := uint64(0), 0
	for run := range p.Discards() {
		if run.Count == 0 || n > 0 && run.First <= end || run.First+run.Count > v.cut {
			t.Fatalf("run %+v behind %d, cut at %d", run, end, v.cut)
		}
		for no := run.First; no < run.First+run.Count; no++ {
			if version, known := v.pages[no]; !known || version > 0 {
				t.Fatalf("page %d is not discarded", no)
			}
			n++
		}
		end = run.First + run.Count
	}
	for no, version := range v.pages {
		if version == 0 && no < v.cut {
			n--
		}
	}
	if n != 0 {
		t.Fatalf("%d discarded pages too many", n)
	}
}

// seal checks that rows and body give the state, and that the heap holds the
// body's slots and no more.
func (m *model) seal(t *rapid.T) {
	b, err := m.stage.Seal()
	m.must(err)
	extents, err := b.Body()
	m.must(err)
	body := b.AppendBody(nil)
	if b.InHeap() {
		body = make([]byte, b.Size())
		reader, err := m.heap.Body(extents)
		m.must(err)
		if _, err := reader.ReadAt(body, 0); err != nil && len(body) > 0 {
			t.Fatal(err)
		}
	}
	if uint64(len(body)) != b.Size() {
		t.Fatalf("body of %d bytes, said %d", len(body), b.Size())
	}
	seen := make([]bool, len(body)/512)
	for p := range b.Volumes() {
		v, next := m.state[p.Volume()], uint64(0)
		for row := range b.Rows(p) {
			at, size := row.Locator.Offset(), uint64(row.Locator.Length())
			image := body[at : at+size]
			if row.Page < next || !bytes.Equal(image, page(int(size), row.Page, v.pages[row.Page])) || wal.HashPage(row.Page, image) != row.Hash {
				t.Fatalf("row %+v does not fit its image", row)
			}
			next = row.Page + 1
			for i := at / 512; i < (at+size)/512; i++ {
				if seen[i] {
					t.Fatalf("row %+v shares bytes with another", row)
				}
				seen[i] = true
			}
		}
	}
	if slices.Contains(seen, false) {
		t.Fatal("the body has bytes of no row")
	}
	adopted := rapid.Bool().Draw(t, "adopt")
	if adopted && b.InHeap() {
		b.Adopt()
		m.release(t, int64(b.Size()))
		m.must(m.heap.ReleaseAll(extents))
	} else {
		m.release(t, 0)
	}
}

// release ends the stage and begins another.
func (m *model) release(t *rapid.T, left int64) {
	m.must(m.stage.Release())
	if used := m.heap.Stats().Used; used != left || m.area.Bytes() != 0 {
		t.Fatalf("%d bytes of the heap in use, want %d; %d in memory", used, left, m.area.Bytes())
	}
	if files, err := m.disk.ReadDir("quarantine"); err != nil || len(files) != 0 {
		t.Fatalf("ledgers left: %v, %v", files, err)
	}
	m.stage, m.state, m.marks = m.area.Begin(txn), map[wal.VolumeID]staged{}, nil
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, disk: crashfs.New(), state: map[wal.VolumeID]staged{}}
		var err error
		m.heap, err = heap.Open(heap.Options{FS: m.disk, Dir: "heap", Store: store, MaxFileBytes: 4 << 20}, nil)
		m.must(err)
		limit := rapid.SampledFrom([]int64{1, 20 << 10, 4 << 20}).Draw(t, "limit")
		m.area, err = quarantine.Open(m.disk, "quarantine", m.heap, quarantine.Limits{StageBytes: limit})
		m.must(err)
		m.stage = m.area.Begin(txn)
		t.Repeat(m.actions())
	})
}
