package archive

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/quire-db/quire/wal"
)

// layout says where in the payload the runs of a body lie.
type layout struct {
	runs     []Run
	starts   []uint64 // of the runs, in the payload
	byOffset []uint32 // the runs, ascending in the body
	size     uint64   // of the payload
}

func layOut(runs []Run) layout {
	l := layout{runs: runs, starts: make([]uint64, len(runs)), byOffset: make([]uint32, len(runs))}
	for i, r := range runs {
		l.starts[i], l.byOffset[i] = l.size, uint32(i)
		l.size += r.Length
	}
	slices.SortFunc(l.byOffset, func(a, b uint32) int { return cmp.Compare(runs[a].Offset, runs[b].Offset) })
	return l
}

// overlap reports whether two runs have bytes in common.
func (l *layout) overlap() bool {
	var end uint64
	for _, i := range l.byOffset {
		if l.runs[i].Offset < end {
			return true
		}
		end = l.runs[i].Offset + l.runs[i].Length
	}
	return false
}

// find is where n bytes of the body from off on lie in the payload. They must
// lie within one run.
func (l *layout) find(off, n uint64) (at uint64, ok bool) {
	i := sort.Search(len(l.byOffset), func(i int) bool { return l.runs[l.byOffset[i]].Offset > off }) - 1
	if i < 0 {
		return 0, false
	}
	r, start := l.runs[l.byOffset[i]], l.starts[l.byOffset[i]]
	if off-r.Offset > r.Length || n > r.Length-(off-r.Offset) {
		return 0, false
	}
	return start + off - r.Offset, true
}

// read fills p with the payload from byte at on, out of the whole body.
func (l *layout) read(body io.ReaderAt, p []byte, at uint64) error {
	i := sort.Search(len(l.starts), func(i int) bool { return l.starts[i] > at }) - 1
	for ; len(p) > 0; i++ {
		skip := at - l.starts[i]
		piece := p[:min(uint64(len(p)), l.runs[i].Length-skip)]
		if n, err := body.ReadAt(piece, int64(l.runs[i].Offset+skip)); n < len(piece) {
			return fmt.Errorf("%d bytes at byte %d of its body: %w", len(piece), l.runs[i].Offset+skip, noEOF(err))
		}
		p, at = p[len(piece):], at+uint64(len(piece))
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF || err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// named collects the ranges of a body that an entry names: in the order of
// naming, which is that in which they will be read, so that who reads a body that lies
// in blobs needs each blob once.
type named struct{ runs []Run }

func (s *named) add(off, n uint64) error {
	last := len(s.runs) - 1
	if last >= 0 && s.runs[last].Offset+s.runs[last].Length == off {
		s.runs[last].Length += n
		return nil
	}
	if len(s.runs) == MaxRuns {
		s.merge() // the order is given up
		if len(s.runs) > MaxRuns/2 {
			return fmt.Errorf("its body lies in more than %d pieces: %w", MaxRuns/2, wal.ErrTooLarge)
		}
	}
	s.runs = append(s.runs, Run{off, n})
	return nil
}

// merge makes one run of those that overlap or touch, and leaves them ascending.
func (s *named) merge() {
	all := s.runs
	slices.SortFunc(all, func(a, b Run) int { return cmp.Compare(a.Offset, b.Offset) })
	s.runs = all[:0]
	for _, r := range all {
		last := len(s.runs) - 1
		if last < 0 || r.Offset > s.runs[last].Offset+s.runs[last].Length {
			s.runs = append(s.runs, r)
			continue
		}
		s.runs[last].Length = max(s.runs[last].Length, r.Offset+r.Length-s.runs[last].Offset)
	}
}

// layOutOf lays out what an entry names of its body: first the index chunks,
// then the images in the order of their rows. Where ranges overlap, or are too
// many, all are in the order of the body. Only chunks are read.
func layOutOf(e *wal.Entry, body io.ReaderAt) (layout, error) {
	var s named
	for i := range e.Sections {
		for _, c := range e.Sections[i].Delta.Chunks {
			if err := s.add(c.Offset, uint64(c.Length)); err != nil {
				return layout{}, err
			}
		}
	}
	for i := range e.Sections {
		for row, err := range e.Sections[i].EachRow(body) {
			if err == nil {
				err = s.add(row.Locator.Offset(), uint64(row.Locator.Length()))
			}
			if err != nil {
				return layout{}, err
			}
		}
	}
	l := layOut(s.runs)
	if l.overlap() {
		s.merge()
		l = layOut(s.runs)
	}
	return l, nil
}

// runBody is an entry's body made from its payload.
type runBody struct {
	layout
	payload func(p []byte, at uint64) error
}

// ReadAt implements io.ReaderAt for ranges that the entry names.
func (b *runBody) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	at, ok := b.find(uint64(off), uint64(len(p)))
	if off < 0 || !ok {
		return 0, fmt.Errorf("archive: the archive does not hold %d bytes at byte %d of the entry's body: %w", len(p), off, wal.ErrCorrupt)
	}
	if err := b.payload(p, at); err != nil {
		return 0, err
	}
	return len(p), nil
}
