package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// uid is 16 bytes that tell things of a test apart.
func uid(b byte) (u [16]byte) {
	u[0], u[15] = b, b
	return u
}

// genesisEntry is LSN 1.
func genesisEntry() *Entry {
	return &Entry{
		Kind: KindTimeline, First: 1, Last: 1, Timeline: uid(1), Epoch: 1, Txn: uid(2), Time: 1,
		Begin: &BeginTimeline{Store: uid(3), PageAlgo: AlgoXXH3, HashAlgo: AlgoSHA256, Reason: "init"},
	}
}

// promotionEntry begins another timeline at LSN 8.
func promotionEntry() *Entry {
	return &Entry{
		Kind: KindTimeline, First: 8, Last: 8, Timeline: uid(4), Epoch: 2, Prev: Hash{7}, Txn: uid(5), Time: 80,
		Begin: &BeginTimeline{
			Parent: uid(1), ParentLSN: 7, ParentHash: Hash{7}, Store: uid(6),
			PageAlgo: AlgoXXH3, HashAlgo: AlgoSHA256, Reason: "promoted",
		},
	}
}

// rowOf is a row of page no, whose image is the nth of the body.
func rowOf(no uint64, n int) Row {
	return Row{no, HashPage(no, []byte{byte(no)}), RawLocator(uint64(n)*4096, 4096)}
}

func rowsOf(n int, page func(i int) uint64) []Row {
	out := make([]Row, n)
	for i := range out {
		out[i] = rowOf(page(i), i)
	}
	return out
}

func stateOf(pages uint64) State { return State{4096, pages, Sum{pages, 2}} }

// writeEntry is a commit of one page in a volume of 10 pages.
func writeEntry() *Entry {
	tip := Expect{LSN: 6, State: stateOf(10)}
	ref := Ref{Volume: uid(9)}
	return &Entry{
		Kind: KindTransaction, First: 7, Last: 7, Timeline: uid(1), Epoch: 1, Prev: Hash{6}, Txn: uid(2),
		Actor: uid(8), Seq: 41, Time: 70,
		Sections: []Section{{
			Ref: ref, Action: ActionSet, Expect: tip, Base: Base{ref, tip.LSN, tip.State},
			Result: stateOf(10), Seq: 2, PrevChange: 6,
			Delta: Delta{Rows: []Row{rowOf(3, 0)}},
		}},
	}
}

// fullEntry uses every field: a creation with discards of a fork's base, a named ref
// of the same volume, a deletion, all extensions.
func fullEntry() *Entry {
	e := writeEntry()
	e.Exts = []Extension{
		{ExtMessage, false, []byte("grüße")}, {ExtMetadata, true, []byte{0, 1}}, {ExtRequestDigest, true, make([]byte, 32)},
		{ExtGroup, false, []byte{2}}, {900, false, nil}, {900, false, []byte("kept")},
	}
	base := Base{Ref{uid(9), "tags/v1"}, 5, stateOf(12)}
	e.Sections = append(e.Sections,
		Section{Ref: Ref{uid(9), "tags/v0"}, Action: ActionDelete, Expect: Expect{4, stateOf(2)}, Seq: 2, PrevChange: 4},
		Section{
			Ref: Ref{Volume: uid(10)}, Action: ActionSet, Base: base, Result: stateOf(11), Seq: 1,
			Attrs:    &VolumeAttrs{Name: "mail/älpha", PageSize: 4096, PageAlgo: AlgoXXH3, Mode: ModeLocal},
			RefAttrs: []RefAttr{{1, []byte("x")}, {7, nil}},
			Delta:    Delta{Discards: []PageRange{{0, 2}, {4, 3}}, Rows: rowsOf(2, func(i int) uint64 { return uint64(2 + 5*i) })},
		},
		Section{Ref: Ref{uid(10), "origin"}, Action: ActionSet, Base: base, Result: base.State, Seq: 1},
	)
	return e
}

// chunkedEntry has 5,000 rows, of every second page, and the body that holds them.
func chunkedEntry() (*Entry, []byte) {
	e := writeEntry()
	s := &e.Sections[0]
	s.Result.Pages = 10_000
	all := rowsOf(5000, func(i int) uint64 { return 2 * uint64(i) })
	s.Delta = Delta{}
	var body []byte
	for part := range slices.Chunk(all, MaxInlineRows) {
		s.Delta.Chunks = append(s.Delta.Chunks, ChunkOf(part, uint64(len(body))))
		body = AppendRows(body, part)
	}
	return e, body
}

func rangeEntry() *Entry {
	e := writeEntry()
	e.Kind, e.First, e.Last, e.Prev, e.Txn = KindRange, 1, 7, Hash{}, TxnID{}
	s := &e.Sections[0]
	s.Expect, s.Base, s.PrevChange, s.Seq = Expect{}, Base{}, 0, 5
	return e
}

func TestChunkedRowsAreRead(t *testing.T) {
	e, body := chunkedEntry()
	var got []Row
	for r, err := range e.Sections[0].EachRow(bytes.NewReader(body)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if want := rowsOf(5000, func(i int) uint64 { return 2 * uint64(i) }); !slices.Equal(got, want) {
		t.Fatal("rows of the body are not those that went in")
	}
}

// Inline rows need no body.
func TestInlineRowsAreRead(t *testing.T) {
	s := &fullEntry().Sections[2]
	var got []Row
	for r := range s.EachRow(nil) {
		got = append(got, r)
	}
	if !slices.Equal(got, s.Delta.Rows) {
		t.Fatalf("%v", got)
	}
}

// The rows may be left at any of them.
func TestEachRowStops(t *testing.T) {
	e, body := chunkedEntry()
	for _, s := range []*Section{&e.Sections[0], &writeEntry().Sections[0]} {
		for range s.EachRow(bytes.NewReader(body)) {
			break
		}
	}
}

// An error of the body is no corruption.
func TestEachRowPassesReadErrorOn(t *testing.T) {
	e, _ := chunkedEntry()
	for _, err := range e.Sections[0].EachRow(failingBody{}) {
		if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	}
}

type failingBody struct{}

func (failingBody) ReadAt([]byte, int64) (int, error) { return 7, os.ErrDeadlineExceeded }

// A body that was changed yields the rows of whole chunks before the change, then
// a typed error, never a row of a bad chunk.
func TestEachRowRefusesBadBody(t *testing.T) {
	second := MaxInlineRows * RowSize
	cases := map[string]struct {
		damage func(s *Section, body []byte) []byte
		rows   int
		want   error
	}{
		"flip in page":   {func(_ *Section, b []byte) []byte { b[40] ^= 1; return b }, 0, ErrCorrupt},
		"flip in hash":   {func(_ *Section, b []byte) []byte { b[second+9] ^= 1; return b }, MaxInlineRows, ErrCorrupt},
		"flip in length": {func(_ *Section, b []byte) []byte { b[second+29] ^= 1; return b }, MaxInlineRows, ErrCorrupt},
		"encoding":       {func(_ *Section, b []byte) []byte { b[second+31] |= 0x10; return b }, MaxInlineRows, ErrVersion},
		"cut short":      {func(_ *Section, b []byte) []byte { return b[:len(b)-1] }, MaxInlineRows, ErrCorrupt},
		"no body":        {func(*Section, []byte) []byte { return nil }, 0, ErrCorrupt},
		"first page":     {func(s *Section, b []byte) []byte { s.Delta.Chunks[1].FirstPage++; return b }, MaxInlineRows, ErrCorrupt},
		"beyond size":    {func(s *Section, b []byte) []byte { s.Result.Pages = 9998; return b }, MaxInlineRows, ErrCorrupt},
		"discarded":      {func(s *Section, b []byte) []byte { s.Delta.Discards = []PageRange{{4, 1}}; return b }, 0, ErrCorrupt},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e, body := chunkedEntry()
			body = c.damage(&e.Sections[0], body)
			n := 0
			var last error
			for _, err := range e.Sections[0].EachRow(bytes.NewReader(body)) {
				if last = err; err == nil {
					n++
				}
			}
			if n != c.rows || !errors.Is(last, c.want) {
				t.Fatalf("%d rows and %v, want %d and %v", n, last, c.rows, c.want)
			}
		})
	}
}

// encodeAnyway encodes what AppendEntry would refuse.
func encodeAnyway(e *Entry) []byte {
	b := appendPreamble(nil, e)
	for i := range e.Sections {
		b = appendDelta(appendSection(b, &e.Sections[i]), &e.Sections[i].Delta)
	}
	return b
}

// Every rule of format.go refuses what breaks it and nothing else, on the way in
// and, where it can be encoded at all, on the way out.
func TestRules(t *testing.T) {
	section := func(change func(s *Section)) func(e *Entry) {
		return func(e *Entry) { change(&e.Sections[0]) }
	}
	delta := func(change func(d *Delta)) func(e *Entry) {
		return func(e *Entry) { change(&e.Sections[0].Delta) }
	}
	ext := func(x ...Extension) func(e *Entry) {
		return func(e *Entry) { e.Exts = x }
	}
	begin := func(change func(b *BeginTimeline)) func(e *Entry) {
		return func(e *Entry) { change(e.Begin) }
	}
	chunky := func() *Entry { e, _ := chunkedEntry(); return e }
	deleting := func() *Entry {
		e := fullEntry()
		e.Exts, e.Sections = nil, e.Sections[1:2]
		return e
	}
	cases := []struct {
		from   func() *Entry
		change func(e *Entry)
		want   string
	}{
		{writeEntry, func(e *Entry) { e.Kind = 0 }, "kind 0 is unknown"},
		{writeEntry, func(e *Entry) { e.Kind = 4 }, "kind 4 is unknown"},
		{writeEntry, func(e *Entry) { e.Flags = 1 }, "flags 0x1 are unknown"},
		{writeEntry, func(e *Entry) { e.First, e.Last = 0, 0 }, "LSN 0 names no entry"},
		{writeEntry, func(e *Entry) { e.Last = 8 }, "last LSN 8"},
		{rangeEntry, func(e *Entry) { e.First = 8 }, "last LSN 7"},
		{writeEntry, func(e *Entry) { e.First, e.Last, e.Prev = 1, 1, Hash{} }, "LSN 1 does not begin"},
		{writeEntry, func(e *Entry) { e.Prev = Hash{} }, "previous hash"},
		{genesisEntry, func(e *Entry) { e.Prev = Hash{1} }, "previous hash"},
		{writeEntry, func(e *Entry) { e.Timeline = TimelineID{} }, "no timeline"},
		{writeEntry, func(e *Entry) { e.Txn = TxnID{} }, "no transaction"},
		{writeEntry, func(e *Entry) { e.Actor = ActorID{} }, "seq 41 without"},
		{writeEntry, func(e *Entry) { e.Time = 0 }, "time 0"},
		{writeEntry, func(e *Entry) { e.Time = -1 }, "time -1"},

		{promotionEntry, begin(func(b *BeginTimeline) { b.Parent = TimelineID{} }), "parent"},
		{promotionEntry, begin(func(b *BeginTimeline) { b.Parent = uid(4) }), "parent"},
		{promotionEntry, begin(func(b *BeginTimeline) { b.ParentLSN = 6 }), "parent"},
		{promotionEntry, begin(func(b *BeginTimeline) { b.ParentHash = Hash{6} }), "parent"},
		{genesisEntry, begin(func(b *BeginTimeline) { b.Parent = uid(7) }), "parent"},
		{genesisEntry, begin(func(b *BeginTimeline) { b.Store = uid(0) }), "no store"},
		{genesisEntry, begin(func(b *BeginTimeline) { b.PageAlgo = 2 }), "newer"},
		{genesisEntry, begin(func(b *BeginTimeline) { b.HashAlgo = 0 }), "newer"},
		{genesisEntry, begin(func(b *BeginTimeline) { b.Reason = "\xff" }), "not UTF-8"},
		{genesisEntry, func(e *Entry) { e.Sections = writeEntry().Sections }, "no sections"},

		{writeEntry, ext(Extension{0, false, nil}), "extension type 0"},
		{writeEntry, ext(Extension{ExtMessage, false, nil}, Extension{ExtMessage, false, nil}), "extension type 1"},
		{writeEntry, ext(Extension{9, false, nil}, Extension{8, false, nil}), "extension type 8"},
		{writeEntry, ext(Extension{ExtSource, true, nil}), "newer"},
		{writeEntry, ext(Extension{4, true, nil}), "newer"},
		{writeEntry, ext(Extension{ExtMessage, false, []byte{0xff}}), "not UTF-8"},
		{writeEntry, ext(Extension{ExtMetadata, false, make([]byte, MaxExtensionBytes+1)}), "too large"},

		{fullEntry, func(e *Entry) { slices.Reverse(e.Sections) }, "does not come after"},
		{fullEntry, func(e *Entry) { e.Sections[1] = e.Sections[0] }, "does not come after"},
		{writeEntry, section(func(s *Section) { s.Ref.Volume = VolumeID{} }), "no volume"},
		{writeEntry, section(func(s *Section) { s.Ref.Name = "a\x00" }), "control character"},
		{writeEntry, section(func(s *Section) { s.Base.Ref.Name = " a" }), "white space"},
		{writeEntry, section(func(s *Section) { s.Base.Ref.Volume = VolumeID{} }), "no volume"},
		{writeEntry, section(func(s *Section) { s.Action = 3 }), "action 3"},
		{writeEntry, section(func(s *Section) { s.Seq = 0 }), "seq of the ref"},
		{writeEntry, section(func(s *Section) { s.PrevChange = 7 }), "not older"},
		{writeEntry, section(func(s *Section) { s.Seq = 1 }), "change 1"},
		{writeEntry, section(func(s *Section) { s.PrevChange = 0 }), "change 2"},
		{writeEntry, section(func(s *Section) { s.PrevChange = 5 }), "expects LSN 6"},
		{writeEntry, section(func(s *Section) { s.Expect.LSN = 0 }), "without an LSN"},
		{writeEntry, section(func(s *Section) { s.Expect.State.PageSize = 100 }), "page size 100"},
		{writeEntry, section(func(s *Section) { s.Base.LSN = 0 }), "without an LSN"},
		{writeEntry, section(func(s *Section) { s.Base.LSN = 7 }), "not older"},
		{writeEntry, section(func(s *Section) { s.Base.State.PageSize = 512 }), "on a base of 512"},
		{writeEntry, section(func(s *Section) { s.Base.State.Pages = MaxPages + 1 }), "too large"},
		{writeEntry, section(func(s *Section) { s.Result.PageSize = 0 }), "page size 0"},
		{writeEntry, section(func(s *Section) { s.Result.PageSize = 128 << 10 }), "page size 131072"},
		{writeEntry, section(func(s *Section) { s.Result.Pages = MaxPages + 1 }), "too large"},
		{writeEntry, section(func(s *Section) { s.Result.Pages = 0 }), "sum"},
		{deleting, section(func(s *Section) { s.Expect = Expect{} }), "expects to be absent"},
		{deleting, section(func(s *Section) { s.Base = writeEntry().Sections[0].Base }), "a deletion has no"},
		{deleting, section(func(s *Section) { s.Result = stateOf(1) }), "a deletion has no"},
		{deleting, section(func(s *Section) { s.Attrs = fullEntry().Sections[2].Attrs }), "a deletion has no"},
		{deleting, section(func(s *Section) { s.RefAttrs = make([]RefAttr, 1) }), "a deletion has no"},
		{deleting, delta(func(d *Delta) { d.Rows = rowsOf(1, func(int) uint64 { return 0 }) }), "a deletion has no"},
		{fullEntry, func(e *Entry) { e.Sections[2].Attrs.PageSize = 512 }, "in a volume of 512"},
		{fullEntry, func(e *Entry) { e.Sections[2].Attrs.PageAlgo = 2 }, "newer"},
		{fullEntry, func(e *Entry) { e.Sections[2].Attrs.Mode = 1 }, "newer"},
		{fullEntry, func(e *Entry) { e.Sections[2].Attrs.Name = "a\nb" }, "control character"},
		{fullEntry, func(e *Entry) { slices.Reverse(e.Sections[2].RefAttrs) }, "type 1 does not come after 7"},
		{writeEntry, section(func(s *Section) { s.RefAttrs = make([]RefAttr, 1) }), "type 0 does not come after 0"},
		{writeEntry, section(func(s *Section) { s.RefAttrs = []RefAttr{{1, make([]byte, MaxRefAttrBytes+1)}} }), "too large"},
		{writeEntry, section(func(s *Section) { s.RefAttrs = make([]RefAttr, MaxRefAttrs+1) }), "too large"},

		{writeEntry, delta(func(d *Delta) { d.Discards = []PageRange{{1, 0}} }), "maximal run"},
		{writeEntry, delta(func(d *Delta) { d.Discards = []PageRange{{4, 1}, {5, 1}} }), "maximal run"},
		{writeEntry, delta(func(d *Delta) { d.Discards = []PageRange{{4, 2}, {5, 1}} }), "maximal run"},
		{writeEntry, delta(func(d *Delta) { d.Discards = []PageRange{{9, 2}} }), "in 10"},
		{writeEntry, delta(func(d *Delta) { d.Discards = []PageRange{{1, 1<<64 - 1}} }), "in 10"},
		{writeEntry, delta(func(d *Delta) { d.Discards = []PageRange{{3, 1}} }), "which is discarded"},
		{writeEntry, section(func(s *Section) { s.Base = Base{}; s.Delta.Discards = []PageRange{{4, 1}} }), "in 0"},
		{writeEntry, delta(func(d *Delta) { d.Discards = make([]PageRange, MaxDiscards+1) }), "too large"},
		{writeEntry, delta(func(d *Delta) { d.Rows[0].Page = 10 }), "in 10 pages"},
		{writeEntry, delta(func(d *Delta) { d.Rows = []Row{rowOf(3, 0), rowOf(3, 1)} }), "from 4 on"},
		{writeEntry, delta(func(d *Delta) { d.Rows[0].Locator |= 1 << 60 }), "newer"},
		{writeEntry, delta(func(d *Delta) { d.Rows[0].Locator |= 2 << 60 }), "newer"},
		{writeEntry, delta(func(d *Delta) { d.Rows[0].Locator |= 3 << 60 }), "newer"},
		{writeEntry, delta(func(d *Delta) { d.Rows[0].Locator |= 15 << 60 }), "newer"},
		{writeEntry, delta(func(d *Delta) { d.Rows[0].Locator = RawLocator(0, 512) }), "512 bytes for a page of 4096"},
		{writeEntry, delta(func(d *Delta) { d.Rows[0].Locator = RawLocator(MaxBody-4095, 4096) }), "too large"},
		{chunky, delta(func(d *Delta) { d.Rows = make([]Row, MaxInlineRows+1) }), "too large"},
		{chunky, delta(func(d *Delta) { d.Rows = []Row{rowOf(1, 0)} }), "all lie in chunks"},
		{chunky, delta(func(d *Delta) { d.Chunks = d.Chunks[:1] }), "all lie in chunks"},
		{chunky, delta(func(d *Delta) { d.Chunks[0].Rows--; d.Chunks[0].Length -= RowSize }), "4095 rows"},
		{chunky, delta(func(d *Delta) { d.Chunks[1].Rows = 4097 }), "4097 rows"},
		{chunky, delta(func(d *Delta) { d.Chunks = append(d.Chunks, Chunk{FirstPage: 9999}) }), "904 rows"},
		{chunky, delta(func(d *Delta) { d.Chunks[1].FirstPage = 4095 }), "from 4096 on"},
		{chunky, delta(func(d *Delta) { d.Chunks[1].FirstPage = 9999 }), "in 10000 pages"},
		{chunky, delta(func(d *Delta) { d.Chunks[1].FirstPage = 1<<64 - 1 }), "in 10000 pages"},
		{chunky, delta(func(d *Delta) { d.Chunks[1].Length = 1 }), "has 1 bytes"},
		{chunky, delta(func(d *Delta) { d.Chunks[1].Offset = 1<<64 - 1 }), "too large"},
		{chunky, delta(func(d *Delta) { d.Chunks = make([]Chunk, MaxChunks+1); d.Chunks[0].Rows = 4097 }), "too large"},
		{writeEntry, func(e *Entry) { e.Sections = make([]Section, MaxSections+1) }, "too large"},
	}
	for _, c := range cases {
		e := c.from()
		c.change(e)
		checkRefused(t, "Validate", e.Validate(), c.want)
		dst := []byte("dst")
		dst, err := AppendEntry(dst, e)
		checkRefused(t, "AppendEntry", err, c.want)
		if string(dst) != "dst" {
			t.Errorf("%s: AppendEntry refused, but wrote", c.want)
		}
		_, err = DecodeEntry(encodeAnyway(e))
		checkRefused(t, "DecodeEntry", err, c.want)
		if newer := c.want == "newer"; errors.Is(err, ErrVersion) != newer || errors.Is(err, ErrCorrupt) == newer {
			t.Errorf("%s: DecodeEntry: wrong sentinel: %v", c.want, err)
		}
	}
}

func checkRefused(t *testing.T, who string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", who, err, want)
	}
}

// What only a struct can get wrong, since it has no encoding.
func TestRulesBeforeEncoding(t *testing.T) {
	cases := map[string]func(e *Entry){
		"Begin in a transaction": func(e *Entry) { e.Begin = genesisEntry().Begin },
		"no Begin":               func(e *Entry) { e.Kind, e.Sections = KindTimeline, nil },
		"too many extensions":    func(e *Entry) { e.Exts = make([]Extension, MaxExtensions+1) },
		"long ref name":          func(e *Entry) { e.Sections[0].Ref.Name = RefName(strings.Repeat("a", 256)) },
		"attributes, no name":    func(e *Entry) { e.Sections[0].Attrs = &VolumeAttrs{PageSize: 4096, PageAlgo: AlgoXXH3} },
		"long reason": func(e *Entry) {
			*e = *genesisEntry()
			e.Begin.Reason = strings.Repeat("a", MaxReasonBytes+1)
		},
	}
	for name, change := range cases {
		e := writeEntry()
		change(e)
		if _, err := AppendEntry(nil, e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWordsForNumbers(t *testing.T) {
	got := fmt.Sprint(KindTransaction, KindTimeline, KindRange, Kind(4), ActionSet, ActionDelete, Action(0),
		ExtMessage, ExtMetadata, ExtRequestDigest, ExtSource, ExtGroup, ExtOrigin, ExtReadSet, ExtRangeEndHash, ExtType(900))
	want := "transaction begin-timeline range 4 set delete 0 " +
		"message metadata request-digest source group origin read-set range-end-hash 900"
	if got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}
