package wal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Validate holds e to the rules of format.go. The error of what only a newer
// Quire may do is ErrVersion, that of a number beyond a limit ErrTooLarge.
func (e *Entry) Validate() error {
	if err := e.check(); err != nil {
		return fmt.Errorf("wal: entry %d is not valid, nothing was written: %w", e.First, err)
	}
	return nil
}

func (e *Entry) check() error {
	if err := e.checkHeader(); err != nil {
		return err
	}
	if err := e.checkBegin(); err != nil {
		return err
	}
	if err := checkExtensions(e.Exts); err != nil {
		return err
	}
	if len(e.Sections) > MaxSections {
		return tooMany("sections", len(e.Sections), MaxSections)
	}
	for i := range e.Sections {
		s := &e.Sections[i]
		if i > 0 && compareRefs(&e.Sections[i-1].Ref, &s.Ref) >= 0 {
			return fmt.Errorf("section %d (volume %s, ref %q) does not come after the one before", i, s.Ref.Volume, s.Ref.Name)
		}
		if err := s.check(e); err != nil {
			return fmt.Errorf("section %d (volume %s, ref %q): %w", i, s.Ref.Volume, s.Ref.Name, err)
		}
	}
	return nil
}

func (e *Entry) checkHeader() error {
	isRange := e.Kind == KindRange
	switch {
	case e.Kind < KindTransaction || e.Kind > KindRange:
		return fmt.Errorf("kind %d is unknown", e.Kind)
	case e.Flags != 0:
		return fmt.Errorf("flags %#x are unknown", e.Flags)
	case e.First == 0:
		return errors.New("LSN 0 names no entry")
	case e.Last < e.First || e.Last > e.First && !isRange:
		return fmt.Errorf("last LSN %d does not go with a first of %d", e.Last, e.First)
	case e.First == 1 && e.Kind == KindTransaction:
		return errors.New("LSN 1 does not begin a timeline")
	case (e.Prev == Hash{}) != (e.First == 1):
		return errors.New("only LSN 1 has, and must have, a previous hash of zero")
	case e.Timeline == TimelineID{}:
		return errors.New("no timeline")
	case e.Txn == TxnID{} && !isRange:
		return errors.New("no transaction ID")
	case e.Actor == ActorID{} && e.Seq != 0:
		return fmt.Errorf("seq %d without an actor", e.Seq)
	case e.Time <= 0:
		return fmt.Errorf("time %d is not after 1970", e.Time)
	}
	return nil
}

func (e *Entry) checkBegin() error {
	b := e.Begin
	if (b != nil) != (e.Kind == KindTimeline) {
		return errors.New("only a begin-timeline entry has, and must have, a Begin")
	}
	if b == nil {
		return nil
	}
	first := e.First == 1
	switch {
	case len(e.Sections) != 0:
		return errors.New("a begin-timeline entry has no sections")
	case (b.Parent == TimelineID{}) != first, b.Parent == e.Timeline, b.ParentLSN != e.First-1, b.ParentHash != e.Prev:
		return fmt.Errorf("parent %s/%d/%x is not another timeline that ends where this one begins", b.Parent, b.ParentLSN, b.ParentHash[:8])
	case b.Store == [16]byte{}:
		return errors.New("no store")
	case b.PageAlgo != AlgoXXH3 || b.HashAlgo != AlgoSHA256:
		return fmt.Errorf("hash algorithms %d and %d: %w", b.PageAlgo, b.HashAlgo, ErrVersion)
	case len(b.Reason) > MaxReasonBytes:
		return tooMany("bytes of reason", len(b.Reason), MaxReasonBytes)
	case !utf8.ValidString(b.Reason):
		return errors.New("the reason is not UTF-8")
	}
	return nil
}

// known says that this version understands the type, not only its name.
func (t ExtType) known() bool { return t >= ExtMessage && t <= ExtRequestDigest }

func checkExtensions(exts []Extension) error {
	if len(exts) > MaxExtensions {
		return tooMany("extensions", len(exts), MaxExtensions)
	}
	var before ExtType
	for _, x := range exts {
		switch {
		case x.Type == 0, x.Type < before, x.Type == before && x.Type.known():
			return fmt.Errorf("extension type %d does not come after %d", x.Type, before)
		case x.Critical && !x.Type.known():
			return fmt.Errorf("critical extension of type %d: %w", x.Type, ErrVersion)
		case len(x.Bytes) > MaxExtensionBytes:
			return tooMany("bytes of extension", len(x.Bytes), MaxExtensionBytes)
		case x.Type == ExtMessage && !utf8.Valid(x.Bytes):
			return errors.New("the message is not UTF-8")
		}
		before = x.Type
	}
	return nil
}

func compareRefs(a, b *Ref) int {
	if c := bytes.Compare(a.Volume[:], b.Volume[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.Name, b.Name)
}

func (s *Section) check(e *Entry) error {
	if err := s.Ref.check(); err != nil {
		return err
	}
	if err := s.checkExpect(e); err != nil {
		return err
	}
	switch s.Action {
	case ActionDelete:
		return s.checkDelete()
	case ActionSet:
		return s.checkSet(e.First)
	}
	return fmt.Errorf("action %d is unknown", s.Action)
}

func (r *Ref) check() error {
	if r.Volume == (VolumeID{}) {
		return errors.New("no volume")
	}
	if r.Name == "" {
		return nil
	}
	return ValidName(string(r.Name))
}

func (s *Section) checkExpect(e *Entry) error {
	switch {
	case s.Seq == 0:
		return errors.New("seq of the ref is 0, it counts from 1")
	case s.PrevChange >= e.First:
		return fmt.Errorf("previous change at LSN %d is not older than the entry", s.PrevChange)
	case s.Seq == 1 && s.PrevChange != 0, s.Seq > 1 && s.PrevChange == 0 && e.Kind != KindRange:
		return fmt.Errorf("change %d of the ref cannot follow one at LSN %d", s.Seq, s.PrevChange)
	case s.Expect.LSN > s.PrevChange:
		return fmt.Errorf("expects LSN %d of a ref that last changed at %d", s.Expect.LSN, s.PrevChange)
	case s.Expect.LSN == 0 && s.Expect.State != State{}:
		return errors.New("expects a state without an LSN")
	case s.Expect.LSN != 0:
		return s.Expect.State.check()
	}
	return nil
}

func (s *Section) checkDelete() error {
	d := &s.Delta
	switch {
	case s.Expect.LSN == 0:
		return errors.New("deletes a ref that it expects to be absent")
	case s.Base != Base{}, s.Result != State{}, s.Attrs != nil, len(s.RefAttrs)+len(d.Discards)+len(d.Rows)+len(d.Chunks) != 0:
		return errors.New("a deletion has no base, result, attributes or delta")
	}
	return nil
}

func (s *Section) checkSet(first LSN) error {
	if err := s.Result.check(); err != nil {
		return err
	}
	if err := s.checkBase(first); err != nil {
		return err
	}
	if err := s.checkAttrs(); err != nil {
		return err
	}
	if err := s.checkRefAttrs(); err != nil {
		return err
	}
	if err := s.checkDiscards(); err != nil {
		return err
	}
	return s.checkRows()
}

func (s State) check() error {
	switch {
	case !ValidPageSize(s.PageSize):
		return fmt.Errorf("page size %d is not a power of two from %d to %d", s.PageSize, MinPageSize, MaxPageSize)
	case s.Pages > MaxPages:
		return fmt.Errorf("size of %d pages, at most %d: %w", s.Pages, uint64(MaxPages), ErrTooLarge)
	case s.Pages == 0 && s.Sum != Sum{}:
		return fmt.Errorf("sum %s of no pages", s.Sum)
	}
	return nil
}

func (s *Section) checkBase(first LSN) error {
	b := &s.Base
	switch {
	case b.LSN == 0 && *b == Base{}:
		return nil
	case b.LSN == 0:
		return errors.New("a base without an LSN")
	case b.LSN >= first:
		return fmt.Errorf("base at LSN %d is not older than the entry", b.LSN)
	case b.State.PageSize != s.Result.PageSize:
		return fmt.Errorf("page size %d on a base of %d", s.Result.PageSize, b.State.PageSize)
	}
	if err := b.Ref.check(); err != nil {
		return fmt.Errorf("base: %w", err)
	}
	return b.State.check()
}

func (s *Section) checkAttrs() error {
	a := s.Attrs
	switch {
	case a == nil:
		return nil
	case a.PageSize != s.Result.PageSize:
		return fmt.Errorf("page size %d in a volume of %d", s.Result.PageSize, a.PageSize)
	case a.PageAlgo != AlgoXXH3:
		return fmt.Errorf("page hash algorithm %d: %w", a.PageAlgo, ErrVersion)
	case a.Mode != ModeLocal:
		return fmt.Errorf("volume mode %d: %w", a.Mode, ErrVersion)
	}
	return ValidName(a.Name)
}

func (s *Section) checkRefAttrs() error {
	if len(s.RefAttrs) > MaxRefAttrs {
		return tooMany("ref attributes", len(s.RefAttrs), MaxRefAttrs)
	}
	var before uint16
	for _, a := range s.RefAttrs {
		if a.Type <= before {
			return fmt.Errorf("ref attribute type %d does not come after %d", a.Type, before)
		}
		if len(a.Bytes) > MaxRefAttrBytes {
			return tooMany("bytes of ref attribute", len(a.Bytes), MaxRefAttrBytes)
		}
		before = a.Type
	}
	return nil
}

// checkDiscards takes runs that touch for one run cut in two, which is not
// maximal.
func (s *Section) checkDiscards() error {
	d := s.Delta.Discards
	if len(d) > MaxDiscards {
		return tooMany("discards", len(d), MaxDiscards)
	}
	end, limit := uint64(0), min(s.Base.State.Pages, s.Result.Pages)
	for i, r := range d {
		if i > 0 && r.First <= end || r.Count == 0 {
			return fmt.Errorf("discard of %d pages from %d is not a maximal run after page %d", r.Count, r.First, end)
		}
		if r.First >= limit || r.Count > limit-r.First {
			return fmt.Errorf("discard of %d pages from %d in %d", r.Count, r.First, limit)
		}
		end = r.First + r.Count
	}
	return nil
}

func (s *Section) checkRows() error {
	d := &s.Delta
	if len(d.Rows) > MaxInlineRows {
		return tooMany("rows outside of chunks", len(d.Rows), MaxInlineRows)
	}
	if len(d.Chunks) > 0 {
		return s.checkChunks()
	}
	rule := s.rowRule()
	return rule.check(d.Rows)
}

func (s *Section) checkChunks() error {
	d := &s.Delta
	if len(d.Rows) > 0 || d.RowCount() <= MaxInlineRows {
		return fmt.Errorf("%d rows in chunks: from %d rows on all lie in chunks, below none", d.RowCount(), MaxInlineRows+1)
	}
	if len(d.Chunks) > MaxChunks {
		return tooMany("chunks", len(d.Chunks), MaxChunks)
	}
	var next uint64
	for i := range d.Chunks {
		c, last := &d.Chunks[i], i == len(d.Chunks)-1
		switch {
		case c.Rows == 0 || c.Rows > MaxInlineRows || c.Rows < MaxInlineRows && !last:
			return fmt.Errorf("chunk %d has %d rows: all but the last have %d", i, c.Rows, MaxInlineRows)
		case c.FirstPage < next || c.FirstPage >= s.Result.Pages || s.Result.Pages-c.FirstPage < uint64(c.Rows):
			return fmt.Errorf("chunk %d of %d rows from page %d, from %d on, in %d pages", i, c.Rows, c.FirstPage, next, s.Result.Pages)
		case c.Length != c.Rows*RowSize:
			return fmt.Errorf("chunk %d of %d rows has %d bytes", i, c.Rows, c.Length)
		case c.Offset > MaxBody-uint64(c.Length):
			return fmt.Errorf("chunk %d lies at byte %d of the body, which ends at %d: %w", i, c.Offset, uint64(MaxBody), ErrTooLarge)
		}
		next = c.FirstPage + uint64(c.Rows)
	}
	return nil
}

// rowRule holds rows to rule 12, given to check in order, in as many pieces as
// there are chunks.
type rowRule struct {
	next     uint64      // lowest page that the next row may have
	pages    uint64      // of the result
	discards []PageRange // those not wholly before next
	pageSize uint32
}

func (s *Section) rowRule() rowRule {
	return rowRule{pages: s.Result.Pages, discards: s.Delta.Discards, pageSize: s.Result.PageSize}
}

func (r *rowRule) check(rows []Row) error {
	for i := range rows {
		page := rows[i].Page
		if page < r.next || page >= r.pages {
			return fmt.Errorf("row of page %d, from %d on, in %d pages", page, r.next, r.pages)
		}
		if r.discarded(page) {
			return fmt.Errorf("row of page %d, which is discarded", page)
		}
		if err := rows[i].Locator.check(r.pageSize); err != nil {
			return fmt.Errorf("image of page %d: %w", page, err)
		}
		r.next = page + 1
	}
	return nil
}

func (r *rowRule) discarded(page uint64) bool {
	for len(r.discards) > 0 && r.discards[0].First+r.discards[0].Count <= page {
		r.discards = r.discards[1:]
	}
	return len(r.discards) > 0 && r.discards[0].First <= page
}

func (l Locator) check(pageSize uint32) error {
	switch {
	case l.Encoding() != EncodingRaw:
		return fmt.Errorf("encoding %d: %w", l.Encoding(), ErrVersion)
	case l.Length() != pageSize:
		return fmt.Errorf("%d bytes for a page of %d", l.Length(), pageSize)
	case l.Offset() > MaxBody-uint64(l.Length()):
		return fmt.Errorf("at byte %d of the body, which ends at %d: %w", l.Offset(), uint64(MaxBody), ErrTooLarge)
	}
	return nil
}

func tooMany(what string, n, most int) error {
	return fmt.Errorf("%d %s, at most %d: %w", n, what, most, ErrTooLarge)
}
