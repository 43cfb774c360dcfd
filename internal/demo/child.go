package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/quire-db/quire/txn"
)

// Work is the child's part: it opens the store and commits from the plan's
// writers until it is killed, or until orders, its standard input, ends because
// the parent is gone.
func Work(ctx context.Context, dir string, orders io.Reader) error {
	plan, err := loadPlan(dir)
	if err != nil {
		return err
	}
	m, _, err := txn.Open(filepath.Join(dir, storeDir), txn.Options{})
	if err != nil {
		return err
	}
	tries, err := appendTo(filepath.Join(dir, triesFile))
	if err != nil {
		return err
	}
	acks, err := appendTo(filepath.Join(dir, acksFile))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, err := io.Copy(io.Discard, orders)
		cancel(fmt.Errorf("demo: the parent is gone: %v", err))
	}()
	var wg sync.WaitGroup
	for w := range plan.Writers {
		wg.Go(func() { cancel(plan.write(ctx, m, w, tries, acks)) })
	}
	wg.Wait()
	if err := m.Close(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func appendTo(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
}

// write commits as one writer. Each line of tries and acks is one write, so a
// kill leaves no half of one.
func (p *Plan) write(ctx context.Context, m *txn.Manager, writer int, tries, acks io.Writer) error {
	page := make([]byte, PageSize)
	for number := 1; ; number++ {
		if _, err := fmt.Fprintf(tries, "%d %d\n", writer, number); err != nil {
			return err
		}
		c, err := p.commit(ctx, m, commitID{writer, number}, page)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(acks, "%d %s %d %d\n", c.Position.LSN, c.Txn, writer, number); err != nil {
			return err
		}
	}
}

// commit commits what the plan says; page is its to use.
func (p *Plan) commit(ctx context.Context, m *txn.Manager, id commitID, page []byte) (txn.Commit, error) {
	return m.UpdateWith(ctx, txn.TxOptions{Message: message(id.writer, id.number)}, func(tx *txn.Tx) error {
		for i, e := range p.Edits(id.writer, id.number) {
			v, err := tx.Volume(p.Files[e.File].Name)
			if err != nil {
				return err
			}
			p.Fill(page, id.writer, id.number, i)
			if err := v.WritePage(e.Page, page); err != nil {
				return err
			}
		}
		return nil
	})
}
