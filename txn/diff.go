package txn

import (
	"errors"
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore"
)

// ErrStaged: a volume with changes that are not committed was to be compared,
// forked or tagged.
var ErrStaged = errors.New("txn: the volume or tag has changes that are not committed; commit them, or compare, fork or tag in another transaction")

// ErrIncomparable: volumes of different page sizes or stores.
var ErrIncomparable = pagestore.ErrIncomparable

// PageDiff is a page that reads differently in two volumes. A page that is in
// one of them only reads as zeros in the other; one in neither does not differ.
type PageDiff struct {
	Page     uint64
	InA, InB bool // present
}

// Diff yields the pages of [from, to) that read differently in a and b,
// ascending. The volumes may be two states of one, in transactions begun at
// different times, or two volumes; of one manager, and of one page size. Its
// cost is that of the differences, whatever the volumes hold and whether or not
// they have a history in common. Sizes are not compared. In a transaction that
// writes, the range and the size count as read in its volume. Errors: ErrStaged,
// ErrIncomparable, those of a transaction that has ended.
//
// The transactions must not be used by another goroutine meanwhile; between two
// pages the caller may read both volumes.
func Diff(a, b *Volume, from, to uint64) iter.Seq2[PageDiff, error] {
	return func(yield func(PageDiff, error) bool) {
		d := differ{a, b}
		if err := d.begin(from, to); err != nil {
			yield(PageDiff{}, err)
			return
		}
		for c, err := range a.base.Diff(b.base, from, to) {
			d.unlock()
			if err != nil {
				yield(PageDiff{}, fmt.Errorf("txn: compare volumes %q and %q: %w", a.attrs.Name, b.attrs.Name, err))
				return
			}
			if !yield(PageDiff{c.Page, c.A.Addr != 0, c.B.Addr != 0}, nil) {
				return
			}
			if err := d.lock(); err != nil {
				yield(PageDiff{}, err)
				return
			}
		}
		d.unlock()
	}
}

// differ holds both transactions while their snapshots are read.
type differ struct{ a, b *Volume }

// begin locks both, if they can be compared.
func (d differ) begin(from, to uint64) error {
	if err := d.lock(); err != nil {
		return err
	}
	for _, v := range []*Volume{d.a, d.b} {
		if v.created || v.deleted || v.changes() {
			d.unlock()
			return fmt.Errorf("%w: %q", ErrStaged, v.attrs.Name)
		}
	}
	for _, v := range []*Volume{d.a, d.b} {
		v.reads.addRange(from, min(to, v.readSize()))
	}
	return nil
}

// lock takes the two transactions in the order given: each belongs to the
// goroutine that compares, so nobody waits for them in another order but the
// expirer, who takes one at a time.
func (d differ) lock() error {
	if err := d.a.use(); err != nil {
		return err
	}
	if d.a.tx == d.b.tx {
		return nil
	}
	if err := d.b.use(); err != nil {
		d.a.tx.mu.Unlock()
		return err
	}
	return nil
}

func (d differ) unlock() {
	d.a.tx.mu.Unlock()
	if d.a.tx != d.b.tx {
		d.b.tx.mu.Unlock()
	}
}
