package backup

import (
	"context"
	"fmt"
	"io"

	"github.com/quire-db/quire/apply/pagestore"
)

// bufferBytes is how much Export gathers for one write.
const bufferBytes = 256 << 10

// Export writes the first length bytes of a volume to w, zeros where pages are
// absent. progress, when there is one, is told now and then how many bytes are
// written. The volume's snapshot must stay held. Errors: wal.ErrCorrupt, those
// of w, the context's. Memory: 256 KiB and one page.
func Export(ctx context.Context, v pagestore.Volume, length int64, w io.Writer, progress func(done int64)) error {
	e := exporter{ctx: ctx, w: w, progress: progress, buf: make([]byte, 0, bufferBytes), left: length}
	if err := e.run(v); err != nil {
		return fmt.Errorf("backup: export volume %q: %w", v.Attrs.Name, err)
	}
	return nil
}

type exporter struct {
	ctx      context.Context
	w        io.Writer
	progress func(int64)
	buf      []byte // gathered
	done     int64  // bytes gathered so far, and before
	left     int64  // bytes still to be gathered
}

func (e *exporter) run(v pagestore.Volume) error {
	page := make([]byte, v.Attrs.PageSize)
	for p, err := range v.Pages(0, pagesFor(e.left, len(page))) {
		if err != nil {
			return err
		}
		if err := e.zeros(int64(p.Page)*int64(len(page)) - e.done); err != nil {
			return err
		}
		if err := v.Read(p.Page, page); err != nil {
			return err
		}
		if err := e.add(page); err != nil {
			return err
		}
	}
	if err := e.zeros(e.left); err != nil {
		return err
	}
	return e.flush()
}

// add gathers b, or what is wanted of it.
func (e *exporter) add(b []byte) error {
	b = b[:min(int64(len(b)), e.left)]
	e.done, e.left = e.done+int64(len(b)), e.left-int64(len(b))
	if len(e.buf)+len(b) > cap(e.buf) {
		if err := e.flush(); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, b...)
	return nil
}

var noBytes [64 << 10]byte

func (e *exporter) zeros(n int64) error {
	for n > 0 {
		some := min(n, int64(len(noBytes)))
		if err := e.add(noBytes[:some]); err != nil {
			return err
		}
		n -= some
	}
	return nil
}

func (e *exporter) flush() error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	if err == nil && e.progress != nil {
		e.progress(e.done)
	}
	return err
}

// pagesFor is the number of pages that length bytes need.
func pagesFor(length int64, pageSize int) uint64 {
	return uint64(length)/uint64(pageSize) + min(1, uint64(length)%uint64(pageSize))
}
