package txn

import (
	"fmt"

	"github.com/quire-db/quire/wal"
)

// Reset stages what makes the volume read as another does: an older state of
// it, which a transaction begun then still holds, or any volume of the same page
// size in an open transaction of the same manager. Its cost is that of the
// differences. Names stay as they are.
//
// The pages are written, not shared: what they were reset to can be dropped.
// All of the volume counts as read: when another transaction commits a change
// to it first, Commit ends with a conflict, and nothing of that change is lost.
// (Under snapshot isolation only pages that the reset writes do conflict.)
// Neither volume may have staged writes. After an error some pages may be
// staged; RollbackTo takes them back. Errors: ErrStaged, ErrIncomparable, those
// of WritePage.
func (v *Volume) Reset(to *Volume) error {
	if v.tx.opts.ReadOnly {
		return ErrReadOnly
	}
	if v.ref != "" {
		return v.errTagged()
	}
	size, err := to.Size()
	if err != nil {
		return fmt.Errorf("txn: reset volume %q: %w", v.attrs.Name, err)
	}
	page := make([]byte, v.PageSize())
	for d, err := range Diff(v, to, 0, wal.MaxPages) {
		if err == nil {
			err = v.resetPage(d, to, page)
		}
		if err != nil {
			return fmt.Errorf("txn: reset volume %q: %w", v.attrs.Name, err)
		}
	}
	if now, err := v.Size(); err != nil || now == size {
		return err
	}
	return v.Truncate(size)
}

func (v *Volume) resetPage(d PageDiff, to *Volume, page []byte) error {
	if !d.InB {
		return v.DiscardPage(d.Page)
	}
	if err := to.ReadPage(d.Page, page); err != nil {
		return err
	}
	return v.WritePage(d.Page, page)
}
