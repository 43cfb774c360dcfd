package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/quire-db/quire/internal/vfs"
)

// record takes the next record of generation i, or sets bad.
func (s *scan) record(i int) error {
	r, err := s.w.record()
	if reason, ok := err.(badFrame); ok {
		s.bad = &bad{i, s.w.off, s.w.next, string(reason)}
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.header(r.Frame); err != nil || r.Kind == FrameMark {
		return err
	}
	if reason := s.foreign(r); reason != "" {
		s.bad = &bad{i, r.Offset, r.LSN, reason}
		return nil
	}
	s.pending = append(s.pending, point{
		pos: Position{r.Timeline, r.LSN, r.Hash}, epoch: r.Entry.Epoch, time: r.Entry.Time,
		gen: i, offset: r.Offset, end: s.w.off, images: len(r.Extents) > 0 && !r.Exempt,
	})
	s.settle()
	return nil
}

// header takes what any valid header says, wherever it was found.
func (s *scan) header(f Frame) error {
	if f.Manifest > s.in.ManifestSeq {
		return &CorruptError{File: f.Gen.file(), Offset: -1, LSN: f.LSN,
			Reason: fmt.Sprintf("a record was written under manifest record %d, the manifest ends at %d: an older one was put back", f.Manifest, s.in.ManifestSeq)}
	}
	s.durable = max(s.durable, f.Durable)
	s.seen = max(s.seen, f.LSN)
	return nil
}

// foreign says why an entry that continues the log is not of this history.
func (s *scan) foreign(r *Record) string {
	e := r.Entry
	switch {
	case e.Last == s.in.Checkpoint && r.Hash != s.in.CheckpointHash:
		return "its hash is not the one the checkpoint names"
	case e.Last <= s.in.Checkpoint:
	case e.Kind == KindTimeline && e.Epoch < s.epoch:
		return fmt.Sprintf("it begins epoch %d, behind epoch %d", e.Epoch, s.epoch)
	case e.Kind == KindTimeline:
		s.timeline, s.epoch = e.Timeline, e.Epoch
	case e.Timeline != s.timeline || e.Epoch != s.epoch:
		return fmt.Sprintf("it belongs to timeline %s, epoch %d; entry %d to %s, epoch %d", e.Timeline, e.Epoch, r.LSN-1, s.timeline, s.epoch)
	}
	return ""
}

// settle moves on past the entries that are known durable by now.
func (s *scan) settle() {
	n := 0
	for n < len(s.pending) && s.pending[n].pos.LSN <= s.durable {
		n++
	}
	for _, p := range s.pending[:n] {
		s.keepTo(p)
	}
	s.pending = append(s.pending[:0], s.pending[n:]...)
}

func (s *scan) keepTo(p point) {
	g := &s.keep[p.gen]
	if g.Length == 0 {
		g.First = p.pos.LSN
	}
	g.Last, g.Length, g.Chain = p.pos.LSN, p.end, p.pos.Hash
	if p.pos.LSN >= s.settled.pos.LSN {
		s.settled = p
	}
}

const searchAhead = 128 << 10 // bytes

var zeros [searchAhead]byte

// search looks through the file from off for valid headers, whatever surrounds
// them.
func (s *scan) search(off int64) error {
	buf := make([]byte, searchAhead)
	for {
		n, err := s.w.file.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return fmt.Errorf("wal: scan generation %s: %w", s.w.id, err)
		}
		if found := eachFrame(buf[:n], s.w.id, s.header); found != nil {
			return found
		}
		if err == io.EOF {
			return nil
		}
		off += int64(n - frameHeader + 1)
	}
}

// judge applies the rule. After it, what is left is valid or to be cut.
func (s *scan) judge() error {
	s.settle()
	if s.bad == nil && s.w.next <= s.durable {
		s.bad = &bad{len(s.in.Generations) - 1, s.w.off, s.w.next, "the log ends here"}
	}
	if s.bad != nil && s.bad.lsn <= s.durable {
		return s.corruptAt(*s.bad)
	}
	if err := s.checkImages(); err != nil {
		return err
	}
	if s.in.Clean == 0 {
		return nil
	}
	if s.bad != nil {
		return s.corruptAt(*s.bad)
	}
	if len(s.pending) > 0 {
		p := s.pending[0]
		return s.corruptAt(bad{p.gen, p.offset, p.pos.LSN, "it lies behind the end of the log"})
	}
	return nil
}

// checkImages verifies the images of entries above D, oldest first. The first
// that fails is where the log ends.
func (s *scan) checkImages() error {
	for i, p := range s.pending {
		if !p.images || s.in.CheckImages == nil {
			continue
		}
		r, err := s.again(p)
		if err == nil {
			err = s.in.CheckImages(r)
		}
		if reason, ok := err.(badFrame); ok || errors.Is(err, ErrCorrupt) {
			if !ok {
				reason = badFrame("its images are not what was written: " + err.Error())
			}
			s.bad = &bad{p.gen, p.offset, p.pos.LSN, string(reason)}
			s.pending = s.pending[:i]
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// again reads the record at p once more.
func (s *scan) again(p point) (*Record, error) {
	if err := s.w.enter(s.in.Generations[p.gen].ID); err != nil {
		return nil, err
	}
	s.w.off, s.w.next, s.w.chained = p.offset, p.pos.LSN, false
	s.w.win.start = p.offset
	return s.w.record()
}

func (s *scan) result() (*ScanResult, error) {
	last := s.settled
	if n := len(s.pending); n > 0 {
		last = s.pending[n-1]
	}
	res := &ScanResult{
		Last: last.pos.LSN, Hash: last.pos.Hash, Time: last.time, Timeline: last.pos.Timeline, Epoch: last.epoch,
		Durable: s.settled.pos,
	}
	for i, g := range s.keep {
		if s.in.Generations[i].Sealed {
			res.Keep = append(res.Keep, s.in.Generations[i])
		} else if g.Length > 0 {
			g.Length = s.keptEnd(i)
			res.Keep = append(res.Keep, g)
		}
	}
	if s.bad == nil {
		return res, nil
	}
	var err error
	res.Cut, err = s.cut()
	return res, err
}

// keptEnd is where a generation is cut. Marks behind the last entry stay where
// the next generation goes on: half a mark, which a crash leaves of one that was
// being cut away, would pass for damage before an entry that is known to be durable.
func (s *scan) keptEnd(i int) int64 {
	for _, later := range s.keep[i+1:] {
		if later.Length > 0 {
			return max(s.keep[i].Length, s.ends[i])
		}
	}
	return s.keep[i].Length
}

// cut measures what lies from bad on, in all files.
func (s *scan) cut() (*Cut, error) {
	b := s.bad
	c := &Cut{
		Gen: s.in.Generations[b.gen].ID, Offset: b.offset, LSN: b.lsn, Reason: b.reason,
		Entries: 1 + int(max(s.seen, b.lsn)-b.lsn),
	}
	off := b.offset
	for _, g := range s.in.Generations[b.gen:] {
		if err := s.w.enter(g.ID); err != nil {
			return nil, err
		}
		end, err := lastByte(s.w.file, off)
		if err != nil {
			return nil, fmt.Errorf("wal: measure the tail of generation %s: %w", g.ID, err)
		}
		if end > off {
			c.Parts = append(c.Parts, Tail{g.ID, off, end - off})
			c.Bytes += end - off
		}
		off = 0
	}
	return c, nil
}

// corrupt is about the file being read.
func (s *scan) corrupt(reason string) error {
	return &CorruptError{File: s.w.id.file(), Offset: -1, LSN: s.w.next, Reason: reason}
}

func (s *scan) corruptAt(b bad) error {
	file := "wal"
	if b.gen >= 0 {
		file = s.in.Generations[b.gen].ID.file()
	}
	return &CorruptError{File: file, Offset: b.offset, LSN: b.lsn,
		Reason: fmt.Sprintf("%s; entries up to %d were durable", b.reason, s.durable)}
}

// lastByte is the offset behind the last byte from off on that is not zero; off
// when there is none.
func lastByte(f vfs.File, off int64) (int64, error) {
	end, buf := off, make([]byte, searchAhead)
	for {
		n, err := f.ReadAt(buf, off)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			end = off + int64(len(bytes.TrimRight(buf[:n], "\x00")))
		}
		if err == io.EOF {
			return end, nil
		}
		if err != nil {
			return 0, err
		}
		off += int64(n)
	}
}
