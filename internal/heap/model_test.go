package heap_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// model is a heap beside the plainest description of what it must do: a set of
// slots in use, what was written to each, and which call each frame belongs to.
type model struct {
	t      *rapid.T
	disk   *crashfs.FS
	h      *heap.Heap
	used   map[heap.Slot]heap.Class
	data   map[heap.Slot][]byte
	frames map[heap.Slot]int // of classes below 4 KiB, by first slot: the call
	calls  int
}

func (m *model) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

// hand notes slots that a call returned.
func (m *model) hand(call int, class heap.Class, list ...heap.Extent) {
	for _, e := range list {
		for i := range e.Count {
			s := e.First + heap.Slot(i)
			if _, twice := m.used[s]; twice {
				m.t.Fatalf("slot %v was handed out twice", s)
			}
			m.used[s] = class
			m.frame(call, s, class)
		}
	}
}

func (m *model) frame(call int, s heap.Slot, class heap.Class) {
	per := heap.Slot(max(1, 4096>>class))
	frame := s &^ (per - 1)
	owner, known := m.frames[frame]
	if known && owner != call {
		for i := range per {
			if _, used := m.used[frame+i]; used && frame+i != s {
				m.t.Fatalf("slot %v shares a frame with %v of another call", s, frame+i)
			}
		}
	}
	m.frames[frame] = call
}

func (m *model) drawUsed() (heap.Slot, heap.Class) {
	slots := slices.Sorted(maps.Keys(m.used))
	if len(slots) == 0 {
		m.t.Skip("nothing in use")
	}
	s := rapid.SampledFrom(slots).Draw(m.t, "slot")
	return s, m.used[s]
}

func (m *model) actions() map[string]func(*rapid.T) {
	class := rapid.Map(rapid.IntRange(int(heap.MinClass), int(heap.MaxClass)), func(c int) heap.Class { return heap.Class(c) })
	return map[string]func(*rapid.T){
		"alloc": func(t *rapid.T) {
			c, n := class.Draw(t, "class"), rapid.IntRange(0, 70).Draw(t, "n")
			least := rapid.IntRange(0, 20).Draw(t, "contiguous")
			got, err := m.h.Alloc(c, n, least)
			m.must(err)
			for i, e := range got {
				if n -= int(e.Count); i < len(got)-1 && int(e.Count) < least {
					t.Fatalf("extent %d of %v is shorter than %d", i, got, least)
				}
			}
			if n != 0 {
				t.Fatalf("%v has %d slots too few", got, n)
			}
			m.calls++
			m.hand(m.calls, c, got...)
		},
		"batch": func(t *rapid.T) {
			b, c := m.h.Batch(), class.Draw(t, "class")
			m.calls++
			for range rapid.IntRange(0, 20).Draw(t, "n") {
				s, err := b.Slot(c)
				m.must(err)
				m.hand(m.calls, c, heap.Extent{First: s, Count: 1})
			}
			m.must(b.Close())
		},
		"place": func(t *rapid.T) {
			c, n := class.Draw(t, "class"), rapid.IntRange(1, 40).Draw(t, "n")
			data := bytes.Repeat([]byte{byte(n)}, n*c.Bytes())
			got, err := m.h.Place(c, data)
			m.must(err)
			m.calls++
			m.hand(m.calls, c, got...)
			for _, e := range got {
				for i := range e.Count {
					m.data[e.First+heap.Slot(i)] = data[:c.Bytes()]
				}
			}
		},
		"write": func(t *rapid.T) {
			s, c := m.drawUsed()
			m.data[s] = content(s, c, rapid.Uint64().Draw(t, "version"))
			m.must(m.h.Write(s, m.data[s]))
		},
		"release": func(t *rapid.T) {
			s, c := m.drawUsed()
			e := heap.Extent{First: s}
			for n := rapid.IntRange(1, 30).Draw(t, "n"); n > 0 && m.used[s] == c; n, s = n-1, s+1 {
				e.Count++
				delete(m.used, s)
				delete(m.data, s)
			}
			m.must(m.h.Release(e))
			if m.h.Release(e) == nil {
				t.Fatalf("%v was released twice", e)
			}
		},
		"fill": func(t *rapid.T) {
			_, err := m.h.Fill()
			m.must(err)
		},
		"reopen": func(t *rapid.T) {
			m.must(m.h.Sync())
			known := m.h.Files()
			m.disk = m.disk.Cut(m.disk.Ops(), crashfs.Posix)
			h, err := heap.Open(small(m.disk), known)
			m.must(err)
			m.h = h
			for s := range m.used {
				m.must(h.MarkUsed(heap.Extent{First: s, Count: 1}))
			}
			m.must(h.RemoveLeftovers())
		},
		"": m.check,
	}
}

func (m *model) check(t *rapid.T) {
	var used, bytesUsed int64
	for _, f := range m.h.Files() {
		for e := range m.h.Used(f.Number) {
			for i := range e.Count {
				if m.used[e.First+heap.Slot(i)] != f.Class {
					t.Fatalf("slot %v of class %d is in use, the model does not know it", e.First+heap.Slot(i), f.Class)
				}
				used++
				bytesUsed += int64(f.Class.Bytes())
			}
		}
	}
	st := m.h.Stats()
	if used != int64(len(m.used)) || st.Used != bytesUsed || st.Used+st.Free > st.Bytes {
		t.Fatalf("%d slots in use, the model has %d; %+v", used, len(m.used), st)
	}
	for s, want := range m.data {
		got := make([]byte, len(want))
		if m.must(m.h.ReadSlot(s, got)); !bytes.Equal(got, want) {
			t.Fatalf("slot %v reads otherwise", s)
		}
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := crashfs.New()
		h, err := heap.Open(small(disk), nil)
		if err != nil {
			t.Fatal(err)
		}
		m := &model{t: t, disk: disk, h: h, used: map[heap.Slot]heap.Class{}, data: map[heap.Slot][]byte{}, frames: map[heap.Slot]int{}}
		t.Repeat(m.actions())
	})
}
