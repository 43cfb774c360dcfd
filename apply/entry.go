package apply

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

var (
	// ErrMismatch: an entry, or a transaction, does not fit the state it is
	// applied to. Nothing was changed.
	ErrMismatch = errors.New("does not fit the state it is applied to")
	// ErrUnsupported: an entry uses what this version reserves for later ones.
	ErrUnsupported = errors.New("not supported by this version")
)

// MismatchError says which promise of an entry does not hold here (promise 3).
type MismatchError struct {
	LSN       wal.LSN
	Volume    wal.VolumeID
	What      string // "previous hash", "expected state", "base", "result", "place", "name", ...
	Want, Got string
}

func (e *MismatchError) Error() string {
	s := fmt.Sprintf("apply: entry %d", e.LSN)
	if e.Volume != (wal.VolumeID{}) {
		s += ", volume " + e.Volume.String()
	}
	return fmt.Sprintf("%s: its %s is %s, here it is %s; nothing was applied", s, e.What, e.Want, e.Got)
}

// Is makes every MismatchError an ErrMismatch.
func (e *MismatchError) Is(target error) bool { return target == ErrMismatch }

// Body is where the images of an entry lie.
type Body struct {
	io.ReaderAt                            // the body's bytes: index chunks are read through it
	Addr        func(offset uint64) uint64 // of the image at an offset of the body
	Extents     []heap.Extent              // slots the entry brought; empty when it lies in the log
	Index       []heap.Extent              // those that hold index chunks: only the log needs them
}

// Entry applies an entry of the log, or of a leader, to the draft with the
// code that sequencing uses. Everything it says about the state before and
// after is checked: first what can be checked without a change, then the
// results, and a draft whose result was wrong must be dropped. An entry that
// the draft has already applied is skipped (promise 3).
func Entry(d *pagestore.Draft, e *wal.Entry, hash wal.Hash, body Body) error {
	if e.Last <= d.Head.LSN {
		return nil
	}
	p, err := PrepareEntry(d, e, body)
	if err != nil {
		return err
	}
	return p.Apply(hash, body)
}

func follows(d *pagestore.Draft, e *wal.Entry) error {
	bad := func(what string, want, got any) error {
		return &MismatchError{LSN: e.First, What: what, Want: fmt.Sprint(want), Got: fmt.Sprint(got)}
	}
	switch {
	case e.Kind == wal.KindRange:
		return fmt.Errorf("apply: entry %d is a range entry: %w", e.First, ErrUnsupported)
	case e.First != d.Head.LSN+1:
		return bad("LSN", e.First, d.Head.LSN+1)
	case e.Prev != d.Head.Hash:
		return bad("previous hash", e.Prev, d.Head.Hash)
	case e.Kind == wal.KindTransaction && e.Timeline != d.Head.Timeline:
		return bad("timeline", e.Timeline, d.Head.Timeline)
	case e.Kind == wal.KindTransaction && e.Epoch != d.Head.Epoch:
		return bad("epoch", e.Epoch, d.Head.Epoch)
	case e.Kind == wal.KindTimeline && e.First > 1 && e.Begin.Parent != d.Head.Timeline:
		return bad("parent timeline", e.Begin.Parent, d.Head.Timeline)
	case e.Kind == wal.KindTimeline && e.First > 1 && e.Epoch <= d.Head.Epoch:
		return bad("epoch", e.Epoch, fmt.Sprintf("%d already", d.Head.Epoch))
	case e.Time <= d.Head.Time:
		return bad("time", e.Time, fmt.Sprintf("not after %d", d.Head.Time))
	}
	return nil
}

func changesOf(e *wal.Entry, body Body) ([]Change, error) {
	changes := make([]Change, len(e.Sections))
	for i := range e.Sections {
		var err error
		if changes[i], err = changeOf(&e.Sections[i], body); err != nil {
			return nil, fmt.Errorf("section %d: %w", i, err)
		}
	}
	return changes, nil
}

func changeOf(s *wal.Section, body Body) (Change, error) {
	c := Change{Volume: s.Ref.Volume, Name: s.Ref.Name, Cut: NoCut, Images: noImages}
	if s.Action == wal.ActionDelete { // has no base
		c.Delete = true
		return c, nil
	}
	c.Create, c.Attrs = s.Ref.Name == "" && s.Expect.LSN == 0, s.Attrs
	switch own := s.Base.Ref == s.Ref; {
	case s.Ref.Name == "" && !c.Create && (!own || s.Base.LSN != s.Expect.LSN):
		return c, fmt.Errorf("a volume's current tip is set to what is not relative to it: %w", ErrUnsupported)
	case own && (c.Create || c.Name != ""), c.Name != "" && c.Attrs != nil:
		return c, fmt.Errorf("ref %q is relative to itself, or has the attributes of a volume: %w", s.Ref.Name, ErrUnsupported)
	}
	if s.Base.LSN != 0 && (c.Create || c.Name != "") {
		c.From = &From{s.Base.Ref, s.Base.LSN, s.Base.State}
	}
	images, err := imagesOf(s, body)
	if err != nil {
		return c, err
	}
	if s.Result.Pages < s.Base.State.Pages {
		c.Cut = s.Result.Pages
	}
	if len(s.Delta.Discards) > 0 {
		c.Discards = slices.Values(s.Delta.Discards)
	}
	c.Size, c.Exact = s.Result.Pages, true
	c.Images, c.Len = slices.Values(images), len(images)
	return c, nil
}

func noImages(func(Image) bool) {}

// imagesOf lists the images of a section: 32 bytes for each in memory.
func imagesOf(s *wal.Section, body Body) ([]Image, error) {
	images := make([]Image, 0, s.Delta.RowCount())
	for row, err := range s.EachRow(body) {
		if err != nil {
			return nil, err
		}
		if row.Locator.Encoding() != wal.EncodingRaw {
			return nil, fmt.Errorf("page %d has encoding %d: %w", row.Page, row.Locator.Encoding(), ErrUnsupported)
		}
		images = append(images, Image{row.Page, row.Hash, row.Locator.Offset()})
	}
	return images, nil
}

func checkBefore(e *wal.Entry, results []Result) error {
	for i, r := range results {
		s := &e.Sections[i]
		bad := func(what string, want, got any) error {
			return &MismatchError{e.First, s.Ref.Volume, what, fmt.Sprint(want), fmt.Sprint(got)}
		}
		switch {
		case s.Expect.LSN != r.Expect:
			return bad("expected tip", s.Expect.LSN, r.Expect)
		case s.Expect.State != r.Before:
			return bad("expected state", s.Expect.State, r.Before)
		case s.Action == wal.ActionSet && s.Base.State != r.Base.State:
			return bad("base", s.Base.State, r.Base.State)
		case s.PrevChange != r.Changed:
			return bad("previous change", s.PrevChange, r.Changed)
		case s.Seq != r.Seq:
			return bad("seq", s.Seq, r.Seq)
		case s.Action == wal.ActionSet && !slices.Equal(s.Delta.Discards, r.Discards):
			return bad("discards", s.Delta.Discards, r.Discards)
		}
	}
	return nil
}

func checkAfter(e *wal.Entry, results []Result) error {
	for i, r := range results {
		s := &e.Sections[i]
		if s.Action == wal.ActionSet && s.Result != r.After {
			return &MismatchError{e.First, s.Ref.Volume, "result", fmt.Sprint(s.Result), fmt.Sprint(r.After)}
		}
	}
	return nil
}
