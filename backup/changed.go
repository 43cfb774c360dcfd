package backup

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// Volume is what a file is compared with; a *txn.Volume is one. Pages below
// Size, in pages, can be read.
type Volume interface {
	Name() string
	PageSize() int // bytes
	Size() (uint64, error)
	ReadPage(no uint64, dst []byte) error
}

// Comparison says what Changed found.
type Comparison struct {
	Length  int64  // of the file in bytes
	Pages   uint64 // that it needs
	Changed uint64 // of those, how many differ
	Before  uint64 // size of the volume in pages
}

// Changed reads a new version of a file to its end and visits, in order, each
// page that differs from the volume's; the last one is padded with zeros. visit
// may write the page it is given to the volume; the bytes are valid until it
// returns. The volume's size is left to the caller: it is to be c.Pages. Cost:
// one read of file and volume. Memory: two pages.
func Changed(ctx context.Context, old Volume, file io.Reader, visit func(no uint64, page []byte) error) (c Comparison, err error) {
	if c.Before, err = old.Size(); err != nil {
		return c, err
	}
	page, was := make([]byte, old.PageSize()), make([]byte, old.PageSize())
	for {
		n, end := io.ReadFull(file, page)
		if end == io.EOF {
			return c, nil
		}
		if end != nil && end != io.ErrUnexpectedEOF {
			return c, fmt.Errorf("backup: read the new version of volume %q at byte %d: %w", old.Name(), c.Length, end)
		}
		if err := ctx.Err(); err != nil {
			return c, err
		}
		clear(page[n:])
		if err := c.page(old, page, was, visit); err != nil {
			return c, err
		}
		c.Length += int64(n)
		if end != nil {
			return c, nil
		}
	}
}

// page compares the next page. Beyond the volume's size it differs from zeros.
func (c *Comparison) page(old Volume, page, was []byte, visit func(uint64, []byte) error) error {
	no := c.Pages
	c.Pages++
	clear(was)
	if no < c.Before {
		if err := old.ReadPage(no, was); err != nil {
			return err
		}
	}
	if bytes.Equal(page, was) {
		return nil
	}
	c.Changed++
	return visit(no, page)
}
