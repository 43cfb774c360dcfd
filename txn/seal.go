package txn

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/quarantine"
	"github.com/quire-db/quire/wal"
)

// sealed is a transaction ready to be sequenced: its images are hashed and,
// if they are many, in their final place.
type sealed struct {
	tx     *Tx
	vols   []sealedVolume // that change, and tags of volumes, ascending by ref
	body   *quarantine.Sealed
	image  []byte        // the body, until it is written to where it stays
	slots  []heap.Extent // where it stays, when not in the log
	synced bool          // the slots are durable already
	owned  bool          // an entry names the slots, or may
}

// sealedVolume is one section to be.
type sealedVolume struct {
	v      *Volume
	pages  *quarantine.Pages // nil when no page was touched
	digest wal.Hash          // of the rows, when they are few
	rows   []wal.Row         // when they are few
	chunks []wal.Chunk       // when they are many
}

// seal does all that needs no order among transactions. When it fails, what it
// returns holds the slots and the memory taken until then, for giveUp to release.
func (tx *Tx) seal(ctx context.Context) (*sealed, error) {
	s := &sealed{tx: tx}
	if err := ctx.Err(); err != nil {
		return s, err
	}
	if tx.stage != nil {
		var err error
		if s.body, err = tx.stage.Seal(); err != nil {
			return s, err
		}
	}
	for _, v := range tx.vols {
		if v.changes() {
			s.vols = append(s.vols, sealedVolume{v: v, pages: v.pages})
		}
	}
	slices.SortFunc(s.vols, func(a, b sealedVolume) int {
		return a.compare(b.v.id, b.v.ref)
	})
	if len(s.vols) > maxSections {
		return s, s.adviseOn(wal.ErrTooLarge)
	}
	if err := s.checkSources(); err != nil {
		return s, err
	}
	for i := range s.vols {
		if err := s.index(&s.vols[i]); err != nil {
			return s, err
		}
	}
	if err := s.place(); err != nil {
		return s, err
	}
	return s, s.prefetch()
}

// maxSections is more than a record has room for, at 160 bytes and more each. It
// is looked at before many of them keep the sequencer busy.
const maxSections = wal.MaxRecord / 160

// compare orders sections by ref.
func (sv *sealedVolume) compare(id wal.VolumeID, ref wal.RefName) int {
	return cmp.Or(bytes.Compare(sv.v.id[:], id[:]), cmp.Compare(sv.v.ref, ref))
}

// sets is the volume or tag that the transaction sets or drops under a ref, or nil.
func (s *sealed) sets(id wal.VolumeID, ref wal.RefName) *Volume {
	i, ok := slices.BinarySearchFunc(s.vols, ref, func(sv sealedVolume, ref wal.RefName) int { return sv.compare(id, ref) })
	if !ok {
		return nil
	}
	return s.vols[i].v
}

// changes reports whether the transaction changes the volume, or the tag.
func (v *Volume) changes() bool {
	switch {
	case v.ref != "":
		return v.created && !v.deleted && !v.tx.drops(v.id)
	case v.deleted:
		return !v.created
	case v.created:
		return true
	case v.attrs != v.base.Attrs:
		return true
	}
	if v.pages == nil {
		return false
	}
	return v.pages.Len() > 0 || v.pages.Discarding() || v.exact || v.size != v.base.Tree.Pages()
}

// index makes the rows of a volume, in chunks of the body when they are many.
func (s *sealed) index(sv *sealedVolume) error {
	if sv.pages == nil || sv.v.deleted {
		return nil
	}
	if sv.pages.Len() <= wal.MaxInlineRows {
		sv.rows = slices.AppendSeq(make([]wal.Row, 0, sv.pages.Len()), s.body.Rows(sv.pages))
		sv.digest = wal.DigestRows(sv.rows)
		return nil
	}
	rows := make([]wal.Row, 0, wal.MaxInlineRows)
	for row := range s.body.Rows(sv.pages) {
		if rows = append(rows, row); len(rows) == cap(rows) {
			if err := s.chunk(sv, rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return s.chunk(sv, rows)
}

func (s *sealed) chunk(sv *sealedVolume, rows []wal.Row) error {
	offset, err := s.body.Append(wal.AppendRows(nil, rows))
	if err != nil {
		return err
	}
	sv.chunks = append(sv.chunks, wal.ChunkOf(rows, offset))
	return nil
}

// place takes the body to where it will stay, unless it is small and may go to
// the log. When the last group's bodies did not fit there, the heap is synced
// anyway, and the log is spared. A body that is not large only gets its slots
// here: the flusher writes those of a whole group at once.
func (s *sealed) place() error {
	if s.body == nil || s.body.Size() == 0 {
		return nil
	}
	m := s.tx.m
	if s.body.InHeap() {
		var err error
		s.slots, err = s.body.Body()
		s.synced = true
		return err
	}
	s.image = s.body.AppendBody(m.buffers.get(int(s.body.Size())))
	share := m.opts.InlineBytes
	if len(s.image) <= share && m.lastPayload.Load() <= int64(share) {
		return nil
	}
	if err := s.allocate(); err != nil || len(s.image) < largeBody {
		return err
	}
	h := m.store.Heap()
	if err := h.WritePieces(s.pieces(nil)); err != nil {
		return err
	}
	h.StartSync(startBytes) // here, beside others who write theirs, not in the flusher
	s.dropImage()
	return nil
}

// startBytes is how much committers let gather for one write-out: each costs
// the processor about as much as writing 16 pages.
const startBytes = 384 << 10

// largeBody is from how many bytes on a committer writes its body itself.
const largeBody = 64 << 10

// allocate takes slots for a body in memory: for each volume those of its page
// size, then those of the index chunks.
func (s *sealed) allocate() error {
	h := s.tx.m.store.Heap()
	left := len(s.image)
	for _, p := range slices.Collect(s.body.Volumes()) {
		if p.Len() == 0 {
			continue
		}
		left -= p.Len() * int(p.PageSize())
		if err := s.alloc(h, heap.ClassFor(int(p.PageSize())), p.Len()); err != nil {
			return err
		}
	}
	if left > 0 {
		return s.alloc(h, indexClass, (left+indexClass.Bytes()-1)/indexClass.Bytes())
	}
	return nil
}

const indexClass heap.Class = 12

func (s *sealed) alloc(h *heap.Heap, class heap.Class, n int) error {
	got, err := h.Alloc(class, n, 1)
	if err != nil {
		return fmt.Errorf("txn: no space for %d pages, nothing was written: %w", n, err)
	}
	s.slots = append(s.slots, got...)
	return nil
}

// pieces appends the body, which is in memory, as it is to be written to its
// slots.
func (s *sealed) pieces(to []heap.Piece) []heap.Piece {
	h, data := s.tx.m.store.Heap(), s.image
	for _, e := range s.slots {
		n := len(data)
		if class, err := h.Class(e.First.File()); err == nil {
			n = min(n, int(e.Count)<<class) // the last index chunk may be shorter
		}
		to = append(to, heap.Piece{Slots: e, Data: data[:n]})
		data = data[n:]
	}
	return to
}

// dropImage gives the body's memory back.
func (s *sealed) dropImage() {
	if s.image != nil {
		s.tx.m.buffers.put(s.image)
		s.image = nil
	}
}

// buffers are the memory of bodies, used again.
type buffers struct{ pool sync.Pool }

// get is an empty buffer that holds n bytes.
func (b *buffers) get(n int) []byte {
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= n {
		return (*p)[:0]
	}
	return make([]byte, 0, n)
}

func (b *buffers) put(p []byte) { b.pool.Put(&p) }

// prefetch reads the nodes that sequencing will need, so that it finds them in
// memory.
func (s *sealed) prefetch() error {
	if err := s.warmRequest(); err != nil {
		return err
	}
	for i := range s.vols {
		sv := &s.vols[i]
		if sv.pages == nil || sv.v.created {
			continue
		}
		last := uint64(wal.MaxPages)
		for no := range sv.pages.Present(0, wal.MaxPages) {
			if no/64 == last {
				continue
			}
			last = no / 64
			if _, _, err := sv.v.base.Lookup(no); err != nil {
				return fmt.Errorf("txn: seal volume %q: %w", sv.v.attrs.Name, err)
			}
		}
	}
	return nil
}

// release gives the slots back that no entry will name.
func (s *sealed) release() error {
	if s.owned || s.body == nil || s.body.InHeap() || len(s.slots) == 0 {
		return nil // the stage owns them, or an entry
	}
	return s.tx.m.store.Heap().ReleaseAll(s.slots)
}

// change is what the volume's section says, as package apply takes it.
func (sv *sealedVolume) change(s *sealed) apply.Change {
	v := sv.v
	c := apply.Change{Volume: v.id, Name: v.ref, Delete: v.deleted || v.drop, From: v.from, Cut: apply.NoCut, Images: noImages}
	if c.Delete {
		return c
	}
	if c.Create = v.created && v.ref == ""; c.Create || v.setsAttrs() {
		c.Attrs = &v.attrs
	}
	if c.Size, c.Exact = v.written, v.exact || v.created && v.from == nil; c.Exact {
		c.Size = v.size
	}
	if sv.pages == nil {
		return c
	}
	if cut := sv.pages.Cut(); cut < wal.MaxPages {
		c.Cut = cut
	}
	if sv.pages.Discarding() {
		c.Discards = sv.pages.Discards()
	}
	c.Len = sv.pages.Len()
	c.Images = sv.images(s)
	return c
}

// setsAttrs reports whether the section says what the volume's attributes are.
func (v *Volume) setsAttrs() bool { return v.ref == "" && (v.created || v.attrs != v.base.Attrs) }

func noImages(func(apply.Image) bool) {}

func (sv *sealedVolume) images(s *sealed) iter.Seq[apply.Image] {
	rows := s.body.Rows(sv.pages)
	if sv.rows != nil {
		rows = slices.Values(sv.rows)
	}
	return func(yield func(apply.Image) bool) {
		for r := range rows {
			if !yield(apply.Image{Page: r.Page, Hash: r.Hash, Offset: r.Locator.Offset()}) {
				return
			}
		}
	}
}
