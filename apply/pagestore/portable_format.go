package pagestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/wal"
)

// The portable form of a snapshot: what Snapshot.Export writes and Loader reads.
// It holds the log facts of one LSN and the pages of all tips that these keep,
// and names no slot. It is whole, or what tells a snapshot from an earlier one
// (its base). It is a sequence of items; integers are little-endian.
//
//	item    bytes                                      is
//	record  'R', key length u16, value length u16,     a record of the catalogue
//	        key, value                                 (records.go, requests_format.go)
//	kept    'K', length u16, length u16, first, last   from the one key to the other the base has
//	                                                   what there is; never in a whole snapshot
//	tip     'T', key length u16, from u8, zero u8,     a lineage or tip record without its root,
//	        of: lineage 12 B, LSN u64,                 and what its tree is made of: from, then
//	        pages u64, present u64, sum 16 B,          the parts that follow
//	        key, record 54 B
//	part    'P', height u8, zero u16, first page u64,  see pagetree.Part; for each new page, then
//	        places u64, new places u64,                for each again, its image
//	        {birth u64, hash 16 B} each, images
//	end     'E', items u64, images u64                 how many there were; nothing follows
//
// from is
//
//	0  nothing: an empty tree
//	1  the kept tip that of names: the one before it in its lineage, or the origin
//	2  the base's tip of that LSN of the lineage, current or kept; no part follows
//	3  the base's current tip of the lineage
//
// and of is zero but for 1.
//
// Tips come by lineage, and by age in a lineage, its own record at the end; all of
// them before the first other record. Records and ranges come by key, those whose
// keys begin with one letter together. What of the base is in no range kept, and
// of whose key there is no record, is gone.
//
// A sequence is valid if and only if its items are, it ends with an end whose
// numbers are right, every part fits its tree (Part.Check), every image has its
// hash, and every tree has the pages, the number present and the sum that its tip
// says. Another version is another form of archive objects: there is none here.
const (
	itemRecord = 'R'
	itemKept   = 'K'
	itemTip    = 'T'
	itemPart   = 'P'
	itemEnd    = 'E'
)

type treeFrom uint8

const (
	fromNothing treeFrom = iota
	fromKept
	fromSame
	fromCurrent
)

const (
	recordItemFixed = 5
	tipItemFixed    = 57
	partItemFixed   = 28
	pageRowSize     = 24
	endItemSize     = 17
)

// portable is an item in its parts.
type portable struct {
	kind        byte
	key         string
	value       []byte // record
	first, last string // kept
	tip         portableTip
	part        pagetree.Part
	items       uint64 // end
	pages       uint64
}

type portableTip struct {
	from  treeFrom
	of    tipID
	state wal.State // without its page size, which the record has
	count uint64
	rec   []byte // fixed part of a lineage or tip record
}

func appendRecord(dst []byte, key string, value []byte) []byte {
	dst = append(dst, itemRecord)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(key)))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(value)))
	return append(append(dst, key...), value...)
}

func appendKept(dst []byte, first, last string) []byte {
	dst = append(dst, itemKept)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(first)))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(last)))
	return append(append(dst, first...), last...)
}

func appendTip(dst []byte, key string, from treeFrom, of tipID, r *lineageRecord) []byte {
	dst = append(dst, itemTip)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(key)))
	dst = append(dst, byte(from), 0)
	dst = append(dst, make([]byte, tipIDSize)...)
	putLineage(dst[len(dst)-tipIDSize:], of.Lineage)
	binary.LittleEndian.PutUint64(dst[len(dst)-8:], uint64(of.Tip))
	dst = binary.LittleEndian.AppendUint64(dst, r.Tree.Pages())
	dst = binary.LittleEndian.AppendUint64(dst, r.Tree.Count())
	sum := r.Tree.Sum().Hash()
	dst = append(dst, sum[:]...)
	return r.appendFixed(append(dst, key...))
}

// appendPart leaves the images to whoever writes them.
func appendPart(dst []byte, p pagetree.Part) []byte {
	dst = append(dst, itemPart, byte(p.Height), 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, p.First)
	dst = binary.LittleEndian.AppendUint64(dst, p.Bits)
	dst = binary.LittleEndian.AppendUint64(dst, p.New)
	for _, e := range p.Pages {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Birth))
		dst = append(dst, e.Hash[:]...)
	}
	return dst
}

func appendEnd(dst []byte, items, images uint64) []byte {
	dst = append(dst, itemEnd)
	dst = binary.LittleEndian.AppendUint64(dst, items)
	return binary.LittleEndian.AppendUint64(dst, images)
}

// maxPartImages is the most bytes of images that one part has.
func maxPartImages(pageSize int) int { return 64 * pageSize }

// portableReader reads items. What it returned is valid until the next call.
type portableReader struct {
	r        io.Reader
	pageSize int // of images: that of the last tip
	buf      []byte
	images   []byte // of all parts that were read, one behind the other, until the caller takes them
	items    uint64 // read, the end not counted
	pages    uint64 // images read
}

// next returns the next item; the one of kind itemEnd is the last.
func (r *portableReader) next() (it portable, err error) {
	if err := r.read(1); err != nil {
		return it, err
	}
	switch it.kind = r.buf[0]; it.kind {
	case itemRecord, itemKept:
		err = r.strings(&it)
	case itemTip:
		err = r.tip(&it)
	case itemPart:
		err = r.part(&it)
	case itemEnd:
		err = r.end(&it)
	default:
		return it, r.bad(fmt.Sprintf("its kind is %#x", it.kind))
	}
	r.items++
	return it, err
}

// read reads n more bytes of the item into buf.
func (r *portableReader) read(n int) error {
	if n > cap(r.buf) {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	return r.fill(r.buf)
}

func (r *portableReader) fill(b []byte) error {
	_, err := io.ReadFull(r.r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return r.bad("the form ends in it, or before its end")
	}
	return err
}

// bad says what is wrong with the item that is being read.
func (r *portableReader) bad(reason string) error {
	return &wal.CorruptError{File: "snapshot", Offset: -1, Reason: fmt.Sprintf("item %d is not valid: %s", r.items, reason)}
}

func (r *portableReader) strings(it *portable) error {
	if err := r.read(recordItemFixed - 1); err != nil {
		return err
	}
	a, b := int(binary.LittleEndian.Uint16(r.buf)), int(binary.LittleEndian.Uint16(r.buf[2:]))
	if it.kind == itemKept && (a == 0 || b == 0 || b > catalogue.MaxKey) || a == 0 || a > catalogue.MaxKey || b > catalogue.MaxValue {
		return r.bad(fmt.Sprintf("its lengths are %d and %d", a, b))
	}
	if err := r.read(a + b); err != nil {
		return err
	}
	if it.kind == itemKept {
		if it.first, it.last = string(r.buf[:a]), string(r.buf[a:]); it.last < it.first || it.first[0] != it.last[0] {
			return r.bad(fmt.Sprintf("it is from %q to %q", it.first, it.last))
		}
		return nil
	}
	it.key, it.value = string(r.buf[:a]), append([]byte(nil), r.buf[a:]...)
	return nil
}

func (r *portableReader) tip(it *portable) error {
	if err := r.read(tipItemFixed - 1); err != nil {
		return err
	}
	n := int(binary.LittleEndian.Uint16(r.buf))
	t := &it.tip
	t.from = treeFrom(r.buf[2])
	t.of = tipID{getLineage(r.buf[4:]), wal.LSN(binary.LittleEndian.Uint64(r.buf[16:]))}
	t.state.Pages = binary.LittleEndian.Uint64(r.buf[24:])
	t.count = binary.LittleEndian.Uint64(r.buf[32:])
	t.state.Sum = wal.Sum{}.Add(wal.PageHash(r.buf[40:56]))
	if n == 0 || n > catalogue.MaxKey || t.from > fromCurrent || r.buf[3] != 0 || (t.of != tipID{}) != (t.from == fromKept) || t.state.Pages > wal.MaxPages {
		return r.bad("a field is out of bounds")
	}
	if err := r.read(n + lineageRecordFixed); err != nil {
		return err
	}
	it.key, t.rec = string(r.buf[:n]), append([]byte(nil), r.buf[n:]...)
	rec, err := decodeFixed(t.rec)
	if err != nil {
		return err
	}
	t.state.PageSize, r.pageSize = rec.PageSize, int(rec.PageSize)
	return nil
}

func (r *portableReader) part(it *portable) error {
	if r.pageSize == 0 {
		return r.bad("it is a part of nothing")
	}
	if err := r.read(partItemFixed - 1); err != nil {
		return err
	}
	p := &it.part
	p.Height = int(r.buf[0])
	p.First = binary.LittleEndian.Uint64(r.buf[3:])
	p.Bits = binary.LittleEndian.Uint64(r.buf[11:])
	p.New = binary.LittleEndian.Uint64(r.buf[19:])
	if r.buf[1] != 0 || r.buf[2] != 0 {
		return r.bad("bytes that are zero are not")
	}
	n := bits.OnesCount64(p.New)
	if err := r.read(n * pageRowSize); err != nil {
		return err
	}
	for rows := r.buf; len(rows) > 0; rows = rows[pageRowSize:] {
		p.Pages = append(p.Pages, pagetree.Entry{Birth: wal.LSN(binary.LittleEndian.Uint64(rows)), Hash: wal.PageHash(rows[8:24])})
	}
	at, more := len(r.images), n*r.pageSize
	if at+more > cap(r.images) {
		r.images = append(make([]byte, 0, max(placeBytes, at)+maxPartImages(r.pageSize)), r.images...)
	}
	r.images = r.images[:at+more]
	if err := r.fill(r.images[at:]); err != nil {
		return err
	}
	return r.checkImages(p, r.images[at:])
}

func (r *portableReader) checkImages(p *pagetree.Part, images []byte) error {
	for i, rest := 0, p.New; rest != 0; i++ {
		no := p.First + uint64(bits.TrailingZeros64(rest))
		if wal.HashPage(no, images[i*r.pageSize:(i+1)*r.pageSize]) != p.Pages[i].Hash {
			return r.bad(fmt.Sprintf("the image of page %d does not have its hash", no))
		}
		rest &= rest - 1
		r.pages++
	}
	return nil
}

func (r *portableReader) end(it *portable) error {
	if err := r.read(endItemSize - 1); err != nil {
		return err
	}
	it.items, it.pages = binary.LittleEndian.Uint64(r.buf), binary.LittleEndian.Uint64(r.buf[8:])
	if it.items != r.items || it.pages != r.pages {
		return r.bad(fmt.Sprintf("there were %d items and %d images, it says %d and %d", r.items, r.pages, it.items, it.pages))
	}
	switch n, err := io.ReadFull(r.r, make([]byte, 1)); {
	case n > 0:
		return r.bad("something follows the end")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
