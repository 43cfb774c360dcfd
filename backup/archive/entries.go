package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/quire-db/quire/wal"
)

// Item is an entry of an archive. It is valid until the next one is asked for.
type Item struct {
	Entry  *wal.Entry
	Hash   wal.Hash
	Images io.ReaderAt // the entry's body, as far as the entry names it
	Blobs  []BlobRef   // in which it lies; none when it came with the entry
	Size   int64       // bytes of entry and payload
}

// Position of the entry.
func (i *Item) Position() wal.Position {
	return wal.Position{Timeline: i.Entry.Timeline, LSN: i.Entry.Last, Hash: i.Hash}
}

// Verify reads every image and index chunk of the entry and compares it with
// its hash: wal.ErrCorrupt when one does not fit.
func (i *Item) Verify() error {
	for n := range i.Entry.Sections {
		s := &i.Entry.Sections[n]
		var page []byte
		for row, err := range s.EachRow(i.Images) {
			if err != nil {
				return err
			}
			if len(page) != int(row.Locator.Length()) {
				page = make([]byte, row.Locator.Length())
			}
			if _, err := i.Images.ReadAt(page, int64(row.Locator.Offset())); err != nil {
				return err
			}
			if wal.HashPage(row.Page, page) != row.Hash {
				return &wal.CorruptError{File: "archived entry", Offset: -1, LSN: i.Entry.First,
					Reason: fmt.Sprintf("the image of page %d of volume %s does not match its hash", row.Page, s.Ref.Volume)}
			}
		}
	}
	return nil
}

// Entries reads the entries of an opened append or pack, in order. It is for one
// goroutine.
type Entries struct {
	o     *Opened
	r     *bufio.Reader
	fetch Fetch

	next   wal.LSN
	before wal.Hash
	time   int64
	blobs  []uuid.UUID // of the object, not yet met
	err    error       // sticks
}

// Fetch returns the plain bytes of a blob, which are verified against r.
type Fetch func(r BlobRef) ([]byte, error)

// NewEntries reads the entries of o. fetch is called when an image is
// read that lies in a blob.
func NewEntries(o *Opened, fetch Fetch) (*Entries, error) {
	if o.Kind != KindAppend && o.Kind != KindPack {
		return nil, o.corrupt("it holds no entries")
	}
	return &Entries{o: o, r: bufio.NewReaderSize(o, 64<<10), fetch: fetch, next: o.First, before: o.Before, blobs: o.Blobs}, nil
}

// Next returns the next entry, verified: its place in the history, and, unless
// they lie in blobs, its images. io.EOF comes when the object was verified to its
// end. Errors: wal.ErrCorrupt, wal.ErrVersion, those of whatever is read.
//
// Memory: MaxEntryBytes, InlineBytes and 28 bytes for each run; reading images in blobs
// keeps three of these.
func (r *Entries) Next() (*Item, error) {
	if r.err != nil {
		return nil, r.err
	}
	item, err := r.read()
	if err != nil {
		r.err = err
		return nil, err
	}
	return item, nil
}

func (r *Entries) read() (*Item, error) {
	head := make([]byte, frameBytes)
	n, err := io.ReadFull(r.r, head)
	if err == io.EOF {
		return nil, r.end()
	}
	if err != nil {
		return nil, r.cut(n, err)
	}
	h, reason := decodeFrameHead(head)
	if reason != "" {
		return nil, r.corrupt(reason)
	}
	return r.frame(h)
}

// frame reads a frame behind its head.
func (r *Entries) frame(h frameHead) (*Item, error) {
	b := make([]byte, h.entry)
	if n, err := io.ReadFull(r.r, b); err != nil {
		return nil, r.cut(n, err)
	}
	e, err := wal.DecodeEntry(b)
	if errors.Is(err, wal.ErrVersion) {
		return nil, fmt.Errorf("archive: %s: %w", r.o.name, err)
	}
	if err != nil {
		return nil, r.corrupt(err.Error())
	}
	item := &Item{Entry: e, Hash: e.Hash(), Size: int64(len(b)) + int64(h.payload)}
	if item.Hash != h.hash {
		return nil, r.corrupt(fmt.Sprintf("entry %d has hash %s, its frame says %s", e.First, item.Hash, h.hash))
	}
	if reason := r.misplaced(e); reason != "" {
		return nil, r.corrupt(reason)
	}
	if err := r.body(item, h); err != nil {
		return nil, err
	}
	r.next, r.before, r.time = e.Last+1, item.Hash, e.Time
	return item, nil
}

// misplaced says why the entry is not the one that comes next; empty when it is.
func (r *Entries) misplaced(e *wal.Entry) string {
	h := &r.o.Header
	switch {
	case e.Kind == wal.KindRange:
		return "it has a range entry"
	case e.First != r.next || e.First > h.Last:
		return fmt.Sprintf("it has entry %d where %d of up to %d belongs", e.First, r.next, h.Last)
	case e.Prev != r.before:
		return fmt.Sprintf("entry %d follows hash %s, the one before has %s", e.First, e.Prev, r.before)
	case e.Timeline != h.Log || e.Epoch != h.Epoch:
		return fmt.Sprintf("entry %d is of timeline %s and epoch %d, the header says %s and %d", e.First, e.Timeline, e.Epoch, h.Log, h.Epoch)
	case e.First == h.First && e.Time != h.FirstTime, e.Time <= r.time:
		return fmt.Sprintf("entry %d has time %d behind %d", e.First, e.Time, max(r.time, h.FirstTime))
	}
	return ""
}

// body reads runs, blobs and payload.
func (r *Entries) body(item *Item, h frameHead) error {
	var runs []Run
	err := readTable(r.r, int(h.runs), runBytes, func(b []byte) { runs = append(runs, decodeRun(b)) })
	if err == nil {
		err = readTable(r.r, int(h.blobs), blobBytes, func(b []byte) { item.Blobs = append(item.Blobs, decodeBlob(b)) })
	}
	if err != nil {
		return r.cut(0, err)
	}
	body := &runBody{layout: layOut(runs)}
	for _, reason := range []string{body.check(h.payload), checkBlobs(item.Blobs, h.payload), r.meet(item.Blobs)} {
		if reason != "" {
			return r.corrupt(reason)
		}
	}
	item.Images = body
	if h.blobs > 0 {
		body.payload = (&blobPayload{blobs: item.Blobs, fetch: r.fetch}).read
		return nil
	}
	payload := make([]byte, h.payload)
	if n, err := io.ReadFull(r.r, payload); err != nil {
		return r.cut(n, err)
	}
	body.payload = func(p []byte, at uint64) error { copy(p, payload[at:]); return nil }
	if err := item.Verify(); err != nil {
		return r.corrupt(err.Error())
	}
	return nil
}

// meet takes the blobs of an entry off those that the object names.
func (r *Entries) meet(blobs []BlobRef) string {
	for _, b := range blobs {
		if len(r.blobs) == 0 || r.blobs[0] != b.ID {
			return fmt.Sprintf("an entry lies in blob %s, which the object does not name there", b.ID)
		}
		r.blobs = r.blobs[1:]
	}
	return ""
}

// end is io.EOF if the object held what its header says.
func (r *Entries) end() error {
	h := &r.o.Header
	switch {
	case r.next != h.Last+1:
		return r.corrupt(fmt.Sprintf("its entries end before %d, the header says %d", r.next, h.Last))
	case r.before != h.Hash || r.time != h.LastTime:
		return r.corrupt(fmt.Sprintf("its last entry has hash %s and time %d, the header says %s and %d", r.before, r.time, h.Hash, h.LastTime))
	case len(r.blobs) > 0:
		return r.corrupt(fmt.Sprintf("no entry lies in %d of the blobs that it names", len(r.blobs)))
	}
	return io.EOF
}

// cut is for a frame that could not be read to its end.
func (r *Entries) cut(n int, err error) error {
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	return r.corrupt(fmt.Sprintf("its plain bytes end within a frame (%d bytes of a field)", n))
}

func (r *Entries) corrupt(reason string) error {
	return fmt.Errorf("archive: %w", &wal.CorruptError{File: r.o.name, Offset: -1, LSN: r.next, Reason: reason})
}

// OpenBlob reads the blob of r out of the object that src reads from its beginning.
// Memory: BlobBytes.
func OpenBlob(r BlobRef, src io.Reader, size int64, identities []age.Identity) ([]byte, error) {
	key := Key{Kind: KindBlob, ID: r.ID}
	o, err := Open(key, src, size, identities)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	b, err := o.ReadAll(BlobBytes)
	if err != nil {
		return nil, err
	}
	if !r.Fits(b) {
		return nil, corrupt(key.String(), "it is not the blob that the entry names")
	}
	return b, nil
}

// blobPayload reads a payload that lies in blobs. It keeps the first one, where
// the index is, and the last two others, since an image may lie in both.
type blobPayload struct {
	blobs []BlobRef
	fetch Fetch
	first fetched
	kept  [2]fetched // the last used first
}

type fetched struct {
	id    uuid.UUID
	bytes []byte
}

func (b *blobPayload) read(p []byte, at uint64) error {
	var begin uint64
	for _, ref := range b.blobs {
		if len(p) == 0 {
			return nil
		}
		if at < begin+ref.Length {
			plain, err := b.get(ref)
			if err != nil {
				return err
			}
			n := copy(p, plain[at-begin:])
			p, at = p[n:], at+uint64(n)
		}
		begin += ref.Length
	}
	return nil
}

func (b *blobPayload) get(ref BlobRef) ([]byte, error) {
	keep := &b.first
	if ref.ID != b.blobs[0].ID {
		if keep = &b.kept[0]; keep.id != ref.ID {
			b.kept[0], b.kept[1] = b.kept[1], b.kept[0]
		}
	}
	if keep.id == ref.ID {
		return keep.bytes, nil
	}
	*keep = fetched{} // before another one takes memory
	plain, err := b.fetch(ref)
	if err != nil {
		return nil, err
	}
	if !ref.Fits(plain) {
		return nil, corrupt(Key{Kind: KindBlob, ID: ref.ID}.String(), "it is not the blob that the entry names")
	}
	*keep = fetched{ref.ID, plain}
	return plain, nil
}
