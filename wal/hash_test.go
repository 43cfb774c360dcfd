package wal

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
)

// content is the encoding of e with all its images and chunks in one place.
func content(e *Entry) string {
	for i := range e.Sections {
		d := &e.Sections[i].Delta
		for j := range d.Rows {
			d.Rows[j].Locator = 0
		}
		for j := range d.Chunks {
			d.Chunks[j].Offset = 0
		}
	}
	return string(encodeAnyway(e))
}

// Two entries have the same hash exactly when they differ in placement at most:
// tried with every bit of two entries that together have all there is.
func TestHashCoversAllButPlacement(t *testing.T) {
	large, _ := chunkedEntry()
	for _, e := range []*Entry{fullEntry(), large} {
		b := encodeAnyway(e)
		byHash, byContent := map[Hash]string{}, map[string]Hash{}
		valid := 0
		for bit := range len(b) * 8 {
			b[bit/8] ^= 1 << (bit % 8)
			if got, err := DecodeEntry(b); err == nil {
				h, c := got.Hash(), content(got)
				if before, ok := byHash[h]; ok && before != c {
					t.Errorf("bit %d: another content has this hash", bit)
				}
				if before, ok := byContent[c]; ok && before != h {
					t.Errorf("bit %d: this content has another hash", bit)
				}
				byHash[h], byContent[c] = c, h
				valid++
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		if valid < 1000 || len(byHash) == valid {
			t.Errorf("%d of %d flips are valid, of %d contents: the test shows nothing", valid, len(b)*8, len(byHash))
		}
	}
}

// The hash by the words of DESIGN 5, written a second time and plainly.
func TestHashIsAsSpecified(t *testing.T) {
	for name, e := range goldenEntries() {
		want := appendPreamble(nil, e)
		for i := range e.Sections {
			want = appendSection(want, &e.Sections[i])
			want = append(want, plainDeltaID(&e.Sections[i])...)
		}
		if got := e.Hash(); got != sha256.Sum256(want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func plainDeltaID(s *Section) []byte {
	h := sha256.New()
	put := func(v any) { binary.Write(h, binary.LittleEndian, v) }
	put(s.Result.PageSize)
	for _, st := range []State{s.Base.State, s.Result} {
		put(st.Pages)
		put(st.Sum)
	}
	put(uint32(len(s.Delta.Discards)))
	put(s.Delta.Discards)
	n := len(s.Delta.Rows)
	for _, c := range s.Delta.Chunks {
		n += int(c.Rows)
	}
	put(uint64(n))
	if len(s.Delta.Rows) > 0 {
		rows := sha256.New()
		for _, r := range s.Delta.Rows {
			binary.Write(rows, binary.LittleEndian, r.Page)
			rows.Write(r.Hash[:])
		}
		put(s.Delta.Rows[0].Page)
		h.Write(rows.Sum(nil))
	}
	for _, c := range s.Delta.Chunks {
		put(c.FirstPage)
		h.Write(c.Digest[:])
	}
	return h.Sum(nil)
}

// A delta carried to another volume, LSN and timeline keeps its id.
func TestDeltaIDIsPortable(t *testing.T) {
	s := fullEntry().Sections[2]
	want := s.DeltaID()
	s.Ref, s.Base.Ref, s.Base.LSN, s.Expect = Ref{uid(77), "push"}, Ref{uid(78), "remote"}, 900, Expect{901, stateOf(3)}
	s.Seq, s.PrevChange, s.Attrs, s.RefAttrs = 8, 902, nil, nil
	for i := range s.Delta.Rows {
		s.Delta.Rows[i].Locator = RawLocator(1<<30, 4096)
	}
	if got := s.DeltaID(); got != want {
		t.Fatalf("delta id %s became %s", want, got)
	}
}

// A digest known beforehand stands for hashing the rows.
func TestKnownDigest(t *testing.T) {
	e := writeEntry()
	e.Sections[0].Delta.Digest = DigestRows(e.Sections[0].Delta.Rows)
	if e.Hash() != writeEntry().Hash() {
		t.Fatal("the digest of the rows changed the hash")
	}
}

// Digests do not depend on how rows are cut for hashing.
func TestDigestRowsOfAnyNumber(t *testing.T) {
	all := rowsOf(200, func(i int) uint64 { return uint64(i) })
	seen := map[Hash]bool{}
	for n := range len(all) + 1 {
		h := sha256.New()
		for _, r := range all[:n] {
			h.Write(slices.Concat(binary.LittleEndian.AppendUint64(nil, r.Page), r.Hash[:]))
		}
		got := DigestRows(all[:n])
		if got != Hash(h.Sum(nil)) || seen[got] {
			t.Fatalf("%d rows: %s", n, got)
		}
		seen[got] = true
	}
}

// Many sections go through Hash in pieces.
func TestHashOfManySections(t *testing.T) {
	e := writeEntry()
	one := e.Sections[0]
	e.Sections = nil
	for i := range 300 {
		s := one
		s.Ref.Volume[1] = byte(i >> 8)
		s.Ref.Volume[2] = byte(i)
		e.Sections = append(e.Sections, s)
	}
	want := appendPreamble(nil, e)
	for i := range e.Sections {
		want = append(appendSection(want, &e.Sections[i]), plainDeltaID(&e.Sections[i])...)
	}
	if err := e.Validate(); err != nil || e.Hash() != sha256.Sum256(want) {
		t.Fatalf("%s, %v", e.Hash(), err)
	}
}

func BenchmarkHash(b *testing.B) {
	e := writeEntry()
	b.ReportAllocs()
	for b.Loop() {
		e.Hash()
	}
}

func BenchmarkDigestRows4096(b *testing.B) {
	rows := rowsOf(MaxInlineRows, func(i int) uint64 { return uint64(i) })
	b.ReportAllocs()
	for b.Loop() {
		DigestRows(rows)
	}
}
