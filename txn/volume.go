package txn

import (
	"fmt"
	"io"
	"iter"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/quarantine"
	"github.com/quire-db/quire/wal"
)

// Volume is one volume as a transaction sees it: its snapshot, and over it
// what the transaction staged. It ends with the transaction.
type Volume struct {
	tx      *Tx
	id      wal.VolumeID
	created bool // by this transaction
	base    pagestore.Volume
	pages   *quarantine.Pages // nil until the first write
	reads   readSet
	tagRead map[wal.RefName]wal.LSN // tags that were looked up: when they changed last
	views   map[wal.RefName]*Volume // what they point to, opened by At
	listed  bool                    // all tags were
	volumeState

	// Of a state that a tag points to, and, when created, of the change of a tag.
	ref  wal.RefName
	drop bool // the change deletes the tag

	from *apply.From  // of a fork or the change of a tag: where it begins
	key  wal.VolumeID // under which its pages are staged
}

// volumeState is what a savepoint restores.
type volumeState struct {
	attrs   wal.VolumeAttrs
	size    uint64 // in pages
	written uint64 // the size that its written pages need
	exact   bool   // a Truncate set the size, else it only grew
	deleted bool
}

func stateOf(base pagestore.Volume) volumeState {
	return volumeState{attrs: base.Attrs, size: base.Tree.Pages()}
}

// ID, Name and PageSize (in bytes) of the volume.
func (v *Volume) ID() wal.VolumeID { return v.id }
func (v *Volume) Name() string     { return v.attrs.Name }
func (v *Volume) PageSize() int    { return int(v.attrs.PageSize) }

// use locks the transaction if the volume may be read.
func (v *Volume) use() error {
	if err := v.tx.use(); err != nil {
		return err
	}
	switch {
	case v.deleted:
		v.tx.mu.Unlock()
		return fmt.Errorf("%w: %q", ErrVolumeGone, v.attrs.Name)
	case v.from != nil:
		v.tx.mu.Unlock()
		return fmt.Errorf("%w: %q", ErrNotYet, v.attrs.Name)
	}
	return nil
}

func (v *Volume) useForWriting() error {
	if v.tx.opts.ReadOnly {
		return ErrReadOnly
	}
	if v.ref != "" {
		return v.errTagged()
	}
	return v.use()
}

func (v *Volume) errTagged() error {
	return fmt.Errorf("%w: %q of volume %q", ErrTagged, v.ref, v.attrs.Name)
}

// Size is in pages. It counts as read.
func (v *Volume) Size() (uint64, error) {
	if err := v.use(); err != nil {
		return 0, err
	}
	defer v.tx.mu.Unlock()
	return v.readSize(), nil
}

func (v *Volume) readSize() uint64 {
	if !v.exact {
		v.reads.size = true
	}
	return v.size
}

// ReadPage reads page no into dst, PageSize bytes. Pages below the size that
// were never written read as zeros. Errors: ErrPageRange from the size on,
// ErrPageSize, a *wal.CorruptError when stored bytes are not what was written.
func (v *Volume) ReadPage(no uint64, dst []byte) error {
	if err := v.checkLength(len(dst)); err != nil {
		return err
	}
	if err := v.use(); err != nil {
		return err
	}
	defer v.tx.mu.Unlock()
	v.tx.m.yield(v.tx)
	return v.readPage(no, dst)
}

func (v *Volume) checkLength(n int) error {
	if n != v.PageSize() {
		return fmt.Errorf("%w: volume %q has pages of %d bytes, the buffer %d", ErrPageSize, v.attrs.Name, v.PageSize(), n)
	}
	return nil
}

func (v *Volume) readPage(no uint64, dst []byte) error {
	if no >= v.size {
		return fmt.Errorf("%w: page %d of volume %q, which has %d", ErrPageRange, no, v.attrs.Name, v.readSize())
	}
	if v.pages != nil {
		found, err := v.pages.Read(no, dst)
		if err != nil || found != quarantine.NotStaged {
			return v.wrap("read", no, err)
		}
	}
	if v.created || no >= v.cut() {
		clear(dst)
		return nil
	}
	v.reads.addPage(no)
	return v.wrap("read", no, v.base.Read(no, dst))
}

// cut is the page from which on a Truncate dropped the base's pages.
func (v *Volume) cut() uint64 {
	if v.pages == nil {
		return wal.MaxPages
	}
	return v.pages.Cut()
}

func (v *Volume) wrap(op string, no uint64, err error) error {
	if err != nil {
		return fmt.Errorf("txn: %s page %d of volume %q: %w", op, no, v.attrs.Name, err)
	}
	return nil
}

// WritePage stages a copy of src, PageSize bytes, as page no, and grows the
// volume to hold it. A page of zeros is as good as a discarded one. Errors:
// ErrPageRange beyond wal.MaxPages, ErrPageSize, wal.ErrTooLarge.
func (v *Volume) WritePage(no uint64, src []byte) error {
	if err := v.checkLength(len(src)); err != nil {
		return err
	}
	if err := v.useForWriting(); err != nil {
		return err
	}
	defer v.tx.mu.Unlock()
	return v.writePage(no, src)
}

func (v *Volume) writePage(no uint64, src []byte) error {
	if no >= wal.MaxPages {
		return fmt.Errorf("%w: page %d of volume %q, the limit is %d", ErrPageRange, no, v.attrs.Name, uint64(wal.MaxPages))
	}
	if v.tx.staged+int64(v.attrs.PageSize) > v.tx.m.opts.MaxTxBytes {
		return fmt.Errorf("txn: write page %d of volume %q: the transaction would have more than %d bytes: %w",
			no, v.attrs.Name, v.tx.m.opts.MaxTxBytes, wal.ErrTooLarge)
	}
	if err := v.change(func(p *quarantine.Pages) error { return p.Write(no, src) }); err != nil {
		return v.wrap("write", no, err)
	}
	v.size, v.written = max(v.size, no+1), max(v.written, no+1)
	return nil
}

// change changes what is staged of the volume, and counts it.
func (v *Volume) change(f func(*quarantine.Pages) error) error {
	p := v.tx.pagesFor(v)
	before := p.Len()
	err := f(p)
	v.tx.staged += int64(p.Len()-before) * int64(v.attrs.PageSize)
	if err != nil {
		return v.tx.m.failed(err)
	}
	return nil
}

// DiscardPage makes page no absent: it reads as zeros and takes no space.
// Pages from the size on are absent already: then the size counts as read.
func (v *Volume) DiscardPage(no uint64) error {
	if err := v.useForWriting(); err != nil {
		return err
	}
	defer v.tx.mu.Unlock()
	if no >= v.size {
		v.readSize()
		return nil
	}
	return v.wrap("discard", no, v.change(func(p *quarantine.Pages) error { return p.Discard(no) }))
}

// Truncate sets the size in pages. What it drops reads as zeros if the volume
// grows again. Errors: ErrPageRange beyond wal.MaxPages.
func (v *Volume) Truncate(pages uint64) error {
	if err := v.useForWriting(); err != nil {
		return err
	}
	defer v.tx.mu.Unlock()
	if pages > wal.MaxPages {
		return fmt.Errorf("%w: %d pages for volume %q, the limit is %d", ErrPageRange, pages, v.attrs.Name, uint64(wal.MaxPages))
	}
	if err := v.change(func(p *quarantine.Pages) error { return p.Truncate(pages) }); err != nil {
		return fmt.Errorf("txn: truncate volume %q: %w", v.attrs.Name, err)
	}
	v.size, v.exact = pages, true
	v.written = min(v.written, pages)
	return nil
}

// Pages yields the numbers and bytes of the present pages in [from, to),
// ascending; the bytes are valid until the next one. The range counts as read,
// absent pages too. The volume must not be written meanwhile.
func (v *Volume) Pages(from, to uint64) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		if err := v.use(); err != nil {
			yield(Page{}, err)
			return
		}
		to = min(to, v.size)
		if !v.created {
			v.reads.addRange(from, min(to, v.cut()))
		}
		v.reads.size = v.reads.size || !v.exact
		buf := make([]byte, v.PageSize())
		// The lock is held between the yields: the snapshot must not be released
		// while its nodes are read.
		for no, err := range v.present(from, to) {
			if err == nil {
				err = v.readStaged(no, buf)
			}
			v.tx.mu.Unlock()
			if err != nil {
				yield(Page{}, fmt.Errorf("txn: iterate volume %q: %w", v.attrs.Name, err))
				return
			}
			if !yield(Page{no, buf}, nil) {
				return
			}
			if err := v.use(); err != nil {
				yield(Page{}, err)
				return
			}
		}
		v.tx.mu.Unlock()
	}
}

// Page is a present page met by Volume.Pages.
type Page struct {
	No   uint64
	Data []byte
}

// readStaged reads a page of a range that already counts as read.
func (v *Volume) readStaged(no uint64, dst []byte) error {
	if v.pages != nil {
		if found, err := v.pages.Read(no, dst); err != nil || found != quarantine.NotStaged {
			return err
		}
	}
	return v.base.Read(no, dst)
}

// present merges the base's pages with the staged ones.
func (v *Volume) present(from, to uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		staged := func(func(uint64) bool) {}
		if v.pages != nil {
			staged = v.pages.Present(from, to)
		}
		next, stop := iter.Pull(staged)
		defer stop()
		s, more := next()
		for no, err := range v.basePages(from, min(to, v.cut())) {
			if err != nil {
				yield(0, err)
				return
			}
			for more && s < no {
				if !yield(s, nil) {
					return
				}
				s, more = next()
			}
			if more && s == no {
				s, more = next()
			} else if v.pages != nil && v.pages.Find(no) == quarantine.Discarded {
				continue
			}
			if !yield(no, nil) {
				return
			}
		}
		for ; more; s, more = next() {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (v *Volume) basePages(from, to uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		if v.created {
			return
		}
		for p, err := range v.base.Pages(from, to) {
			if !yield(p.Page, err) {
				return
			}
		}
	}
}

// ReadAt implements io.ReaderAt over the pages; the end is that of the last
// page.
func (v *Volume) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrPageRange, off)
	}
	if err := v.use(); err != nil {
		return 0, err
	}
	defer v.tx.mu.Unlock()
	var page []byte
	for n < len(p) {
		no, in := v.split(off + int64(n))
		if no >= v.size {
			v.readSize()
			return n, io.EOF
		}
		dst := p[n:]
		if in == 0 && len(dst) >= v.PageSize() {
			if err := v.readPage(no, dst[:v.PageSize()]); err != nil {
				return n, err
			}
			n += v.PageSize()
			continue
		}
		if page == nil {
			page = make([]byte, v.PageSize())
		}
		if err := v.readPage(no, page); err != nil {
			return n, err
		}
		n += copy(dst, page[in:])
	}
	return n, nil
}

func (v *Volume) split(off int64) (page uint64, in int) {
	return uint64(off) / uint64(v.PageSize()), int(uint64(off) % uint64(v.PageSize()))
}

// WriteAt implements io.WriterAt over the pages and grows the volume. A page
// written in part counts as read.
func (v *Volume) WriteAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrPageRange, off)
	}
	if err := v.useForWriting(); err != nil {
		return 0, err
	}
	defer v.tx.mu.Unlock()
	for n < len(p) {
		no, in := v.split(off + int64(n))
		part := p[n:][:min(len(p)-n, v.PageSize()-in)]
		if err := v.writePart(no, in, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

func (v *Volume) writePart(no uint64, in int, part []byte) error {
	if len(part) == v.PageSize() {
		return v.writePage(no, part)
	}
	page := make([]byte, v.PageSize())
	if no < v.size {
		if err := v.readPage(no, page); err != nil {
			return err
		}
	} else {
		v.readSize()
	}
	copy(page[in:], part)
	return v.writePage(no, page)
}
