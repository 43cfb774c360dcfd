//go:build disks

package disks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// numbers says how many commits of each writer there are.
type numbers [writers]int

func (n numbers) sum() (s int) {
	for _, k := range n {
		s += k
	}
	return s
}

// place is a page, origin the edit that wrote it last.
type place struct {
	writer, kind int
	page         uint64
}

type origin struct{ number, edit int }

// oracle is what a store must hold after so many commits of each writer.
type oracle struct {
	at    numbers
	pages map[place]origin // present
}

func newOracle() *oracle { return &oracle{pages: map[place]origin{}} }

// advance goes on to later numbers.
func (o *oracle) advance(to numbers) {
	for w := range writers {
		for ; o.at[w] < to[w]; o.at[w]++ {
			number := o.at[w] + 1
			for i, e := range edits(w, number) {
				p := place{w, e.kind, e.page}
				if e.discard {
					delete(o.pages, p)
				} else {
					o.pages[p] = origin{number, i}
				}
			}
		}
	}
}

// source is a state that can be read: of a store that is open, or is looked at.
type source interface {
	lsn() wal.LSN
	pages(volume string, size uint64) iter.Seq2[txn.Page, error]
}

// read is what a source says of itself: its LSN and the writers' numbers.
func read(s source) (last wal.LSN, n numbers, err error) {
	if s.lsn() < created {
		return s.lsn(), n, nil
	}
	for w := range writers {
		for k := range kinds {
			number := 0
			for p, err := range s.pages(volumeName(w, k), 1) {
				if err != nil {
					return 0, n, err
				}
				number = numberOf(p.Data)
			}
			if k > 0 && number != n[w] {
				return 0, n, fmt.Errorf("half a commit: the volumes of writer %d are at its commits %d and %d", w, n[w], number)
			}
			n[w] = number
		}
	}
	if want := wal.LSN(created + n.sum()); s.lsn() != want {
		return 0, n, fmt.Errorf("%v commits were found, which end at LSN %d; the store ends at %d", n, want, s.lsn())
	}
	return s.lsn(), n, nil
}

// compare reads everything of a source, which is at the oracle's numbers.
func (o *oracle) compare(s source) error {
	if s.lsn() < created {
		return nil
	}
	present, want := 0, make([]byte, kinds[0].pageSize)
	for w := range writers {
		for k, kind := range kinds {
			for p, err := range s.pages(volumeName(w, k), kind.pages) {
				if err != nil {
					return err
				}
				from, ok := o.pages[place{w, k, p.No}]
				if !ok {
					return fmt.Errorf("%s: page %d is there", volumeName(w, k), p.No)
				}
				fill(want[:kind.pageSize], w, from.number, from.edit)
				if !bytes.Equal(p.Data, want[:kind.pageSize]) {
					return fmt.Errorf("%s: page %d is not what commit %d wrote", volumeName(w, k), p.No, from.number)
				}
				present++
			}
		}
	}
	if present != len(o.pages) {
		return fmt.Errorf("%d pages are there, want %d", present, len(o.pages))
	}
	return nil
}

// opened is a transaction as a source.
type opened struct{ tx *txn.Tx }

func (o opened) lsn() wal.LSN { return o.tx.LSN() }

func (o opened) pages(volume string, size uint64) iter.Seq2[txn.Page, error] {
	v, err := o.tx.Volume(volume)
	if err != nil {
		return failed(err)
	}
	return v.Pages(0, size)
}

func failed(err error) iter.Seq2[txn.Page, error] {
	return func(yield func(txn.Page, error) bool) { yield(txn.Page{}, err) }
}

// viewed is a snapshot as a source.
type viewed struct{ snap *pagestore.Snapshot }

func (v viewed) lsn() wal.LSN { return v.snap.LSN() }

func (v viewed) pages(volume string, size uint64) iter.Seq2[txn.Page, error] {
	id, ok, err := v.snap.VolumeID(volume)
	if err == nil && !ok {
		err = fmt.Errorf("there is no %s", volume)
	}
	if err != nil {
		return failed(err)
	}
	vol, _, err := v.snap.Volume(id)
	if err != nil {
		return failed(err)
	}
	return func(yield func(txn.Page, error) bool) {
		buf := make([]byte, vol.Attrs.PageSize)
		for it, err := range vol.Pages(0, size) {
			if err == nil {
				err = vol.Read(it.Page, buf)
			}
			if !yield(txn.Page{No: it.Page, Data: buf}, err) || err != nil {
				return
			}
		}
	}
}

// look checks a store that nobody has open, changing nothing: Verify is content,
// and what it holds is what the acknowledgements allow. The oracle goes on to
// what was found.
func (o *oracle) look(dir string, a acks) error {
	rep, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
	if err == nil && !rep.Clean {
		err = fmt.Errorf("it found %v", rep.Problems)
	}
	if err != nil {
		return fmt.Errorf("Verify: %w", err)
	}
	v, err := recovery.View(vfs.OS(), dir, 0)
	if err != nil {
		return fmt.Errorf("View: %w", err)
	}
	defer v.Close()
	last, n, err := read(viewed{v.Snapshot()})
	if err != nil {
		return err
	}
	if last != rep.Last {
		return fmt.Errorf("View ends at LSN %d, Verify at %d", last, rep.Last)
	}
	if err := a.allow(last, n); err != nil {
		return err
	}
	o.advance(n)
	return o.compare(viewed{v.Snapshot()})
}

// reopen checks a store by opening it: what is there is what look found. It is
// closed again, and is clean.
func (o *oracle) reopen(dir string) error {
	m, _, err := txn.Open(dir, options())
	if err != nil {
		return err
	}
	err = m.View(context.Background(), func(tx *txn.Tx) error {
		_, n, err := read(opened{tx})
		if err == nil && n != o.at {
			err = fmt.Errorf("opening found commits %v, looking %v", n, o.at)
		}
		return errors.Join(err, o.compare(opened{tx}))
	})
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	rep, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
	if err == nil && (!rep.Clean || !rep.ClosedCleanly) {
		err = fmt.Errorf("Verify of the closed store: closed cleanly: %v, %v", rep.ClosedCleanly, rep.Problems)
	}
	return err
}
