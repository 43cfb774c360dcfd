package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// interrupted ends when it was looked at for so many times.
type interrupted struct {
	context.Context
	left   atomic.Int64
	cancel func()
}

func interruptedAfter(looks int64) *interrupted {
	c := &interrupted{}
	c.left.Store(looks)
	c.Context, c.cancel = context.WithCancel(context.Background())
	return c
}

func (c *interrupted) look() {
	if c.left.Add(-1) < 0 {
		c.cancel()
	}
}

func (c *interrupted) Done() <-chan struct{} { c.look(); return c.Context.Done() }
func (c *interrupted) Err() error            { c.look(); return c.Context.Err() }

// An interruption is a good end of follow, whatever it waits for at that moment; and it goes on
// where it stood.
func TestFollowInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, _, err := txn.Open(filepath.Join(dir, "store"), txn.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	devNull, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer devNull.Close()
	follow := func(ctx context.Context, once bool) error {
		a := newApp(devNull, devNull, devNull)
		a.dir = filepath.Join(dir, "store")
		return (&followRun{app: a, to: filepath.Join(dir, "second"), once: once}).run(ctx)
	}
	for looks := range int64(14) {
		_, err := m.Update(context.Background(), func(tx *txn.Tx) error {
			_, err := tx.CreateVolume(fmt.Sprint("v", looks), txn.VolumeOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := follow(interruptedAfter(looks), false); err != nil {
			t.Errorf("looked at %d times: %v", looks, err)
		}
	}
	if err := follow(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	found, err := recovery.Examine(vfs.OS(), filepath.Join(dir, "second"))
	if head := m.Stats().Head; err != nil || found.Scan.Last != head.LSN || found.Scan.Hash != head.Hash {
		t.Errorf("it is at %+v, the store at %v: %v", found.Scan, head, err)
	}
}
