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
	runs   []Run
	starts []uint64 // of the runs, in the payload
	size   uint64   // of the payload
}

func layOut(runs []Run) layout {
	l := layout{runs: runs, starts: make([]uint64, len(runs))}
	for i, r := range runs {
		l.starts[i] = l.size
		l.size += r.Length
	}
	return l
}

// find is where n bytes of the body from off on lie in the payload. They must
// lie within one run.
func (l *layout) find(off, n uint64) (at uint64, ok bool) {
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].Offset > off }) - 1
	if i < 0 || off-l.runs[i].Offset > l.runs[i].Length || n > l.runs[i].Length-(off-l.runs[i].Offset) {
		return 0, false
	}
	return l.starts[i] + off - l.runs[i].Offset, true
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

// named collects ranges of a body that an entry names, in any order.
type named struct {
	runs  []Run // ascending, maximal
	fresh []Run // not yet among them
}

const freshRuns = 1 << 16

func (s *named) add(off, n uint64) error {
	if last := len(s.fresh) - 1; last >= 0 && s.fresh[last].Offset+s.fresh[last].Length == off {
		s.fresh[last].Length += n
		return nil
	}
	s.fresh = append(s.fresh, Run{off, n})
	if len(s.fresh) < freshRuns {
		return nil
	}
	return s.fold()
}

// fold merges the fresh ranges.
func (s *named) fold() error {
	all := append(s.runs, s.fresh...)
	slices.SortFunc(all, func(a, b Run) int { return cmp.Compare(a.Offset, b.Offset) })
	s.runs, s.fresh = all[:0], s.fresh[:0]
	for _, r := range all {
		last := len(s.runs) - 1
		if last < 0 || r.Offset > s.runs[last].Offset+s.runs[last].Length {
			s.runs = append(s.runs, r)
			continue
		}
		s.runs[last].Length = max(s.runs[last].Length, r.Offset+r.Length-s.runs[last].Offset)
	}
	if len(s.runs) > MaxRuns {
		return fmt.Errorf("its body lies in more than %d pieces: %w", MaxRuns, wal.ErrTooLarge)
	}
	return nil
}

// runsOf is what an entry names of its body. Only chunks are read.
func runsOf(e *wal.Entry, body io.ReaderAt) ([]Run, error) {
	var s named
	for i := range e.Sections {
		for _, c := range e.Sections[i].Delta.Chunks {
			if err := s.add(c.Offset, uint64(c.Length)); err != nil {
				return nil, err
			}
		}
		for row, err := range e.Sections[i].EachRow(body) {
			if err == nil {
				err = s.add(row.Locator.Offset(), uint64(row.Locator.Length()))
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return s.runs, s.fold()
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
