// Package archivetest makes histories of entries with bodies for the tests of
// what archives them, without a store: the same ones for the same calls.
package archivetest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/quire-db/quire/wal"
)

// Made is an entry and its body, parts of which the entry does not name.
type Made struct {
	Entry *wal.Entry
	Hash  wal.Hash
	Body  []byte
}

// Images reads the body.
func (m Made) Images() io.ReaderAt { return bytes.NewReader(m.Body) }

// Position of the entry.
func (m Made) Position() wal.Position {
	return wal.Position{Timeline: m.Entry.Timeline, LSN: m.Entry.Last, Hash: m.Hash}
}

// Compare ends a test in which an entry or its images are other bytes than those made.
func (m Made) Compare(t testing.TB, e *wal.Entry, images io.ReaderAt) {
	t.Helper()
	got, err := wal.AppendEntry(nil, e)
	want, err2 := wal.AppendEntry(nil, m.Entry)
	if err := errors.Join(err, err2); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("entry %d has other bytes: %v", m.Entry.First, err)
	}
	for i := range m.Entry.Sections {
		for row, err := range m.Entry.Sections[i].EachRow(m.Images()) {
			if err != nil {
				t.Fatal(err)
			}
			page := make([]byte, row.Locator.Length())
			_, err := images.ReadAt(page, int64(row.Locator.Offset()))
			if err != nil || !bytes.Equal(page, m.Body[row.Locator.Offset():][:len(page)]) {
				t.Fatalf("entry %d has another image of page %d: %v", m.Entry.First, row.Page, err)
			}
		}
	}
}

// History is a writer's: entry after entry, all of one volume with pages of
// PageSize bytes.
type History struct {
	Head   wal.Position
	Epoch  uint64
	random *rand.ChaCha8
	time   int64
	state  wal.State
	pages  map[uint64]wal.PageHash
	seq    uint64
	last   wal.LSN // that changed the volume
	volume wal.VolumeID
}

// PageSize of the volume, in bytes.
const PageSize = 512

// New is a history without entries. Histories of other seeds differ in everything.
func New(seed byte) *History {
	h := &History{random: rand.NewChaCha8([32]byte{seed}), time: 1767323045123456789, pages: map[uint64]wal.PageHash{}}
	h.state.PageSize = PageSize
	h.volume = wal.VolumeID(h.id())
	return h
}

func (h *History) id() (id [16]byte) {
	_, _ = h.random.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// Fork is a history that goes on from the same entry and differs from there on.
func (h *History) Fork(seed byte) *History {
	f := *h
	f.random = rand.NewChaCha8([32]byte{seed, 1})
	f.pages = map[uint64]wal.PageHash{}
	for no, hash := range h.pages {
		f.pages[no] = hash
	}
	return &f
}

func (h *History) header(kind wal.Kind) *wal.Entry {
	h.time += 1_000_000_007
	return &wal.Entry{
		Kind: kind, First: h.Head.LSN + 1, Last: h.Head.LSN + 1, Timeline: h.Head.Timeline, Epoch: h.Epoch,
		Prev: h.Head.Hash, Txn: wal.TxnID(h.id()), Time: h.time,
	}
}

func (h *History) finish(e *wal.Entry, body []byte) Made {
	if err := e.Validate(); err != nil {
		panic(err) // of this package
	}
	m := Made{Entry: e, Hash: e.Hash(), Body: body}
	h.Head = m.Position()
	return m
}

// Begin begins a timeline.
func (h *History) Begin() Made {
	parent := h.Head
	h.Head.Timeline = h.id()
	h.Epoch++
	e := h.header(wal.KindTimeline)
	e.Begin = &wal.BeginTimeline{
		Parent: parent.Timeline, ParentLSN: parent.LSN, ParentHash: parent.Hash, Store: h.id(),
		PageAlgo: wal.AlgoXXH3, HashAlgo: wal.AlgoSHA256, Reason: "test",
	}
	return h.finish(e, nil)
}

// Write commits n pages from page first on, in a body whose images lie in an
// order of their own with gaps between some. More than wal.MaxInlineRows are
// indexed by chunks in the body.
func (h *History) Write(first uint64, n int) Made {
	e := h.header(wal.KindTransaction)
	s := wal.Section{Ref: wal.Ref{Volume: h.volume}, Action: wal.ActionSet, Seq: h.seq + 1, PrevChange: h.last}
	if h.last == 0 {
		s.Attrs = &wal.VolumeAttrs{Name: "volume", PageSize: PageSize, PageAlgo: wal.AlgoXXH3}
	} else {
		s.Expect = wal.Expect{LSN: h.last, State: h.state}
		s.Base = wal.Base{Ref: s.Ref, LSN: h.last, State: h.state}
	}
	rows, body := h.rows(first, n)
	s.Delta.Rows = rows
	if n > wal.MaxInlineRows {
		s.Delta.Rows = nil
		for len(rows) > 0 {
			k := min(len(rows), wal.MaxInlineRows)
			s.Delta.Chunks = append(s.Delta.Chunks, wal.ChunkOf(rows[:k], uint64(len(body))))
			body = wal.AppendRows(body, rows[:k])
			rows = rows[k:]
		}
	}
	s.Result = h.state
	e.Sections = []wal.Section{s}
	h.seq, h.last = s.Seq, e.First
	return h.finish(e, body)
}

// rows writes the images in blocks of 8 pages, the last block first, with a gap before
// every third of them.
func (h *History) rows(first uint64, n int) (rows []wal.Row, body []byte) {
	rows = make([]wal.Row, n)
	const block = 8
	for b := (n - 1) / block; b >= 0; b-- {
		if b%3 == 0 {
			body = append(body, make([]byte, 100)...)
		}
		for i := b * block; i < min(n, (b+1)*block); i++ {
			page := make([]byte, PageSize)
			_, _ = h.random.Read(page[:PageSize/2]) // half of it is compressible
			no := first + uint64(i)
			rows[i] = wal.Row{Page: no, Hash: wal.HashPage(no, page), Locator: wal.RawLocator(uint64(len(body)), PageSize)}
			body = append(body, page...)
			h.set(no, rows[i].Hash)
		}
	}
	return rows, body
}

func (h *History) set(no uint64, hash wal.PageHash) {
	if old, ok := h.pages[no]; ok {
		h.state.Sum = h.state.Sum.Sub(old)
	}
	h.pages[no] = hash
	h.state.Sum = h.state.Sum.Add(hash)
	h.state.Pages = max(h.state.Pages, no+1)
}
