package txn

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/wal"
)

// Event is one entry that a watcher sees, or progress. It is valid until the
// next one is asked for; what of it is to be kept longer, but for Position, must
// be copied.
type Event struct {
	// Position of the entry. To resume, watch after it.
	Position wal.Position
	// Entry is the whole entry, whatever of it the filter asked for; nil in a
	// progress event, which says that up to Position nothing else was meant for
	// this watcher.
	Entry *wal.Entry

	m   *Manager
	rec *wal.Record
}

// Progress reports whether the event carries no entry.
func (e *Event) Progress() bool { return e.Entry == nil }

// Rows yields the pages that a section of the entry writes, in page order. Those
// it discards are in Section.Delta.Discards. ErrCompacted: the section has more
// than wal.MaxInlineRows rows, which lie beside the log and are gone.
func (e *Event) Rows(s *wal.Section) iter.Seq2[wal.Row, error] {
	return func(yield func(wal.Row, error) bool) {
		body, err := e.body()
		if err != nil {
			yield(wal.Row{}, err)
			return
		}
		for row, err := range s.EachRow(body) {
			if err != nil {
				err = e.lost(err)
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// ReadPage reads the image of a row of the entry into dst, whose length must be
// the volume's page size, and verifies it. ErrCompacted: the image lay in the
// heap and a checkpoint has let go of it since.
func (e *Event) ReadPage(row wal.Row, dst []byte) error {
	if len(dst) != int(row.Locator.Length()) {
		return fmt.Errorf("txn: read page %d of entry %d into %d bytes, its image has %d: %w",
			row.Page, e.Position.LSN, len(dst), row.Locator.Length(), ErrPageSize)
	}
	body, err := e.body()
	if err != nil {
		return err
	}
	if n, err := body.ReadAt(dst, int64(row.Locator.Offset())); n < len(dst) {
		return e.lost(fmt.Errorf("txn: read page %d of entry %d: %w", row.Page, e.Position.LSN, err))
	}
	if wal.HashPage(row.Page, dst) != row.Hash {
		return e.lost(&wal.CorruptError{File: "heap", Offset: -1, LSN: e.Position.LSN,
			Reason: fmt.Sprintf("the image of page %d does not match its hash; nothing was changed, run txnctl recovery verify", row.Page)})
	}
	return nil
}

// Images is the body that the entry's locators point into: what Apply of another
// store wants. It is valid as long as the event; behind checkpoints its
// bytes may be others, which Apply finds out (ErrImage), unless a consumer
// keeps them.
func (e *Event) Images() (io.ReaderAt, error) { return e.body() }

func (e *Event) body() (io.ReaderAt, error) {
	if e.rec == nil {
		return nil, errors.New("txn: a progress event has no pages")
	}
	body, err := apply.BodyOf(e.m.store.Heap(), 0, e.rec)
	if err != nil {
		return nil, e.lost(err)
	}
	return body, nil
}

// lost tells slots that were written anew, since nothing here needed them any
// longer, from damage.
func (e *Event) lost(err error) error {
	if e.m.closed() {
		return ErrClosed
	}
	if errors.Is(err, wal.ErrCorrupt) && len(e.rec.Extents) > 0 && e.m.store.LowWater() > e.Position.LSN {
		return e.m.badPosition(e.Position, ErrCompacted)
	}
	return err
}
