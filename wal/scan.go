package wal

import (
	"fmt"

	"github.com/quire-db/quire/internal/vfs"
)

// ScanInput is what the manifest knows of the log.
type ScanInput struct {
	FS             vfs.FS
	Dir            string
	Generations    []Generation // in order; the first one's First is known
	Checkpoint     LSN
	CheckpointHash Hash // of entry Checkpoint
	Timeline       TimelineID
	Epoch          uint64 // of Timeline, both at Checkpoint
	Clean          LSN    // last entry when the store was closed; 0 when it was not
	ManifestSeq    uint64 // of the manifest's last record

	// CheckImages verifies the images of a record that is not known durable. An
	// ErrCorrupt makes the record invalid, other errors end the scan.
	CheckImages func(*Record) error
}

// ScanResult says what the log holds.
type ScanResult struct {
	Last     LSN   // of the last valid entry; Checkpoint when none is later
	Hash     Hash  // of entry Last
	Time     int64 // of entry Last in nanoseconds since 1970; 0 when the log does not hold it
	Timeline TimelineID
	Epoch    uint64 // at Last

	// Durable is the highest LSN known to have been synced. What lies above was
	// read from the page cache and has to be written anew before it is believed.
	Durable Position
	// Keep are the generations given, cut and sealed at Durable, without those
	// that have no entry left.
	Keep []Generation
	Cut  *Cut // nil when nothing has to be
}

// Cut is what lies behind the last valid entry.
type Cut struct {
	Gen     GenID
	Offset  int64
	LSN     LSN    // that has no valid frame
	Bytes   int64  // of all parts
	Entries int    // that may have been acknowledged; at least one when it cannot be told
	Reason  string // what is wrong at Offset
	Parts   []Tail // one for each generation concerned
}

// Tail is the bytes at the end of a generation's file that are not zeros.
type Tail struct {
	Gen    GenID
	Offset int64
	Bytes  int64
}

// Scan reads the whole log and decides by the rule of DESIGN 7 what of it is
// valid. b is the first LSN without a valid frame; D the largest of the bounds
// of sealed generations, the LSNs before those that open ones are known to
// begin with, the checkpoint, the clean mark and the durable marks of all valid
// headers, also behind b. A header counts without its payload: its mark was true
// when it was written, and it has a checksum of its own.
//
//	b <= D  *CorruptError: bytes that were durable are gone
//	b >  D  everything from b on is to be cut, valid or not
//
// Nothing is changed on disk. Cost: one pass; decoding and hashing each entry.
func Scan(in ScanInput) (*ScanResult, error) {
	s, err := newScan(in)
	if err != nil {
		return nil, err
	}
	defer s.w.close()
	for i := range in.Generations {
		if err := s.generation(i); err != nil {
			return nil, err
		}
	}
	if err := s.judge(); err != nil {
		return nil, err
	}
	return s.result()
}

// scan is the state of a Scan.
type scan struct {
	in       ScanInput
	w        walker
	keep     []Generation
	ends     []int64 // of the valid frames of each generation, marks included, where it simply ends
	durable  LSN     // D so far
	seen     LSN     // highest LSN in a valid header
	timeline TimelineID
	epoch    uint64
	settled  point   // the last entry up to durable
	pending  []point // the entries above
	bad      *bad
}

// point is an entry found valid.
type point struct {
	pos    Position
	epoch  uint64
	time   int64
	gen    int // index in Generations
	offset int64
	end    int64
	images bool // to be checked unless it is durable
}

// bad is where valid records end although more bytes follow.
type bad struct {
	gen    int
	offset int64
	lsn    LSN
	reason string
}

func newScan(in ScanInput) (*scan, error) {
	s := &scan{
		in:      in,
		w:       walker{fs: in.FS, dir: in.Dir, next: in.Checkpoint + 1, chain: in.CheckpointHash, chained: true},
		durable: max(in.Checkpoint, in.Clean), timeline: in.Timeline, epoch: in.Epoch,
		settled: point{pos: Position{in.Timeline, in.Checkpoint, in.CheckpointHash}, epoch: in.Epoch},
	}
	for _, g := range in.Generations {
		if g.Sealed {
			s.durable = max(s.durable, g.Last)
		}
		if g.First != 0 {
			s.durable = max(s.durable, g.First-1)
		}
		s.keep = append(s.keep, Generation{ID: g.ID, First: g.First, Sealed: true, Last: g.First - 1})
	}
	s.ends = make([]int64, len(in.Generations))
	if len(in.Generations) == 0 {
		return s, nil
	}
	first := in.Generations[0]
	if first.First == 0 || first.First > in.Checkpoint+1 {
		return nil, &CorruptError{File: first.ID.file(), Offset: -1, LSN: in.Checkpoint + 1,
			Reason: fmt.Sprintf("the log begins at LSN %d, behind the checkpoint at %d", first.First, in.Checkpoint)}
	}
	if first.First <= in.Checkpoint {
		s.w.next, s.w.chained = first.First, false
	}
	return s, nil
}

// generation goes through one file: record by record as long as all is well,
// then only for the headers in it.
func (s *scan) generation(i int) error {
	g := s.in.Generations[i]
	if err := s.w.enter(g.ID); err != nil {
		return err
	}
	if s.bad == nil && g.First != 0 && g.First != s.w.next {
		s.bad = &bad{i, 0, s.w.next, fmt.Sprintf("the generation begins at LSN %d, entry %d was expected", g.First, s.w.next)}
	}
	switch {
	case g.Sealed:
		return s.sealed(i, g)
	case s.bad == nil:
		return s.open(i)
	}
	return s.search(0)
}

// sealed verifies a generation that was synced to its last byte.
func (s *scan) sealed(i int, g Generation) error {
	size, err := s.w.file.Size()
	if err != nil {
		return fmt.Errorf("wal: scan generation %s: %w", g.ID, err)
	}
	if size != g.Length {
		return s.corrupt(fmt.Sprintf("the sealed generation has %d bytes, not %d", size, g.Length))
	}
	for s.bad == nil && s.w.off < g.Length {
		if err := s.record(i); err != nil {
			return err
		}
	}
	if s.bad != nil {
		return s.corruptAt(*s.bad)
	}
	if s.w.next != g.Last+1 || s.w.chained && s.w.chain != g.Chain {
		return s.corrupt(fmt.Sprintf("the sealed generation does not end with entry %d and its hash", g.Last))
	}
	return nil
}

// open reads a generation that may end anywhere.
func (s *scan) open(i int) error {
	for s.bad == nil && superseded(s.in.Generations, i, s.w.next) < 0 {
		before := s.w.off
		if err := s.record(i); err != nil {
			return err
		}
		if s.bad != nil {
			s.ends[i] = before
			return s.tail(before)
		}
	}
	return nil
}

// tail decides whether a file simply ends at off, with zeros at most behind.
func (s *scan) tail(off int64) error {
	end, err := lastByte(s.w.file, off)
	if err != nil {
		return fmt.Errorf("wal: scan generation %s: %w", s.w.id, err)
	}
	if end == off {
		s.bad = nil
		return nil
	}
	return s.search(off)
}
