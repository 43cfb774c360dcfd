package wal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
)

// DeltaID is the identity of a change of content: SHA-256 of the page size,
// pages and sum of base and result, the number of discards u32, the discards, the
// number of rows u64, and the first page u64 and the digest of each MaxInlineRows
// rows (the first page too, since a search for a page trusts it before it reads a
// chunk). It names no LSN, timeline or volume, so a delta keeps it wherever it is
// carried. s must be valid.
func (s *Section) DeltaID() Hash {
	var scratch [256]byte
	d := &s.Delta
	b := le.AppendUint32(scratch[:0], s.Result.PageSize)
	b = appendContent(b, s.Base.State)
	b = appendContent(b, s.Result)
	b = le.AppendUint32(b, uint32(len(d.Discards)))
	b = appendDiscards(b, d.Discards)
	b = le.AppendUint64(b, d.RowCount())
	if len(d.Rows) > 0 {
		b = appendDigest(b, d.Rows[0].Page, d.rowDigest())
	}
	for i := range d.Chunks {
		b = appendDigest(b, d.Chunks[i].FirstPage, d.Chunks[i].Digest)
	}
	return sha256.Sum256(b)
}

func appendDigest(dst []byte, firstPage uint64, digest Hash) []byte {
	dst = le.AppendUint64(dst, firstPage)
	return append(dst, digest[:]...)
}

// RowCount is the number of rows, inline or in chunks.
func (d *Delta) RowCount() uint64 {
	n := uint64(len(d.Rows))
	for i := range d.Chunks {
		n += uint64(d.Chunks[i].Rows)
	}
	return n
}

func (d *Delta) rowDigest() Hash {
	if d.Digest != (Hash{}) {
		return d.Digest
	}
	return DigestRows(d.Rows)
}

// DigestRows is SHA-256 of the page u64 and the hash of each row: of the rows of
// one chunk, or of all inline rows. Locators are left out, so rows can be digested
// before their images have a place. Cost: 12 nanoseconds a row.
func DigestRows(rows []Row) Hash {
	var scratch [1536]byte // 64 rows
	h := sha256.New()
	b := scratch[:0]
	for i := range rows {
		if len(b) == len(scratch) {
			h.Write(b)
			b = b[:0]
		}
		b = le.AppendUint64(b, rows[i].Page)
		b = append(b, rows[i].Hash[:]...)
	}
	h.Write(b)
	h.Sum(b[:0])
	return Hash(scratch[:sha256.Size])
}

// ChunkOf describes rows, at most MaxInlineRows, whose AppendRows lies at offset
// of the body. All chunks of a delta but the last are full.
func ChunkOf(rows []Row, offset uint64) Chunk {
	return Chunk{
		FirstPage: rows[0].Page,
		Rows:      uint32(len(rows)),
		Digest:    DigestRows(rows),
		Offset:    offset,
		Length:    uint32(len(rows) * RowSize),
	}
}

// EachRow yields the rows of a valid section in page order, inline or from the
// chunks in body, which is not read when there are none. The rows of a chunk are
// yielded after its digest and all of them were checked; a chunk that fails is a
// *CorruptError and ends the rows, as does an error of body. Memory: one chunk.
func (s *Section) EachRow(body io.ReaderAt) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for i := range s.Delta.Rows {
			if !yield(s.Delta.Rows[i], nil) {
				return
			}
		}
		rule := s.rowRule()
		for i := range s.Delta.Chunks {
			rows, err := s.Delta.Chunks[i].read(body, &rule)
			if err != nil {
				yield(Row{}, err)
				return
			}
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// read returns the rows of the chunk, all checked.
func (c *Chunk) read(body io.ReaderAt, rule *rowRule) ([]Row, error) {
	b := make([]byte, c.Length)
	if n, err := body.ReadAt(b, int64(c.Offset)); n < len(b) && err == io.EOF {
		return nil, c.corrupt(fmt.Sprintf("the body ends after %d of its %d bytes", n, len(b)))
	} else if n < len(b) {
		return nil, fmt.Errorf("wal: read %d rows at byte %d of an entry's body, nothing was changed: %w", c.Rows, c.Offset, err)
	}
	rows, err := DecodeRows(b, int(c.Rows))
	if err != nil {
		return nil, err
	}
	if DigestRows(rows) != c.Digest {
		return nil, c.corrupt("the rows do not have the digest that the entry names")
	}
	if rows[0].Page != c.FirstPage {
		return nil, c.corrupt(fmt.Sprintf("the first row is page %d, the entry says %d", rows[0].Page, c.FirstPage))
	}
	if err := rule.check(rows); errors.Is(err, ErrVersion) {
		return nil, fmt.Errorf("wal: cannot read the rows at byte %d of an entry's body, nothing was changed: %w", c.Offset, err)
	} else if err != nil {
		return nil, c.corrupt(err.Error())
	}
	return rows, nil
}

func (c *Chunk) corrupt(reason string) error {
	return &CorruptError{File: "entry body", Offset: int64(c.Offset), Reason: "row chunk: " + reason}
}
