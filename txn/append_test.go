//go:build crashfs

package txn_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
)

// TestHookedAppendFails fails the append of a group, wholly or in the middle of
// its record: run by TestAppendFails, since the library writes it.
func TestHookedAppendFails(t *testing.T) {
	ctx := context.Background()
	for _, short := range []int{-1, 0, 1, 100, 500, 2000} {
		t.Run(fmt.Sprint(short), func(t *testing.T) {
			disk := crashfs.New()
			root := fmt.Sprintf("/append%d", short+1)
			unmount := tidwallfs.Mount(root, disk)
			defer func() { unmount() }()
			if err := errors.Join(disk.Mkdir(root), disk.SyncDir("/")); err != nil {
				t.Fatal(err)
			}
			r := &rig{t: t, dir: root + "/store", opts: txn.Options{FS: disk, Create: true}}
			r.open()
			r.volume("v", 2)
			r.put("v", 1, 20)
			tx, open := r.begin(txn.TxOptions{}), r.begin(txn.TxOptions{})
			if err := errors.Join(put(tx, "v", 0, 5), put(open, "v", 1, 6)); err != nil {
				t.Fatal(err)
			}
			disk.Inject(func(o crashfs.Op) error {
				switch {
				case o.Kind != crashfs.Write || !strings.Contains(o.Name, "/wal/"):
					return nil
				case short < 0:
					return errDisk
				}
				return &crashfs.ShortWrite{N: min(short, o.Length), Err: fmt.Errorf("%w: %w", errDisk, syscall.ENOSPC)}
			})
			_, err := tx.Commit(ctx)
			var unknown *txn.UnknownError
			if !errors.As(err, &unknown) || unknown.Txn != tx.ID() || !errors.Is(err, errDisk) {
				t.Fatalf("commit: %v", err)
			}
			disk.Inject(nil)
			if p := r.poisoned(errDisk); p.Visible != p.Durable || p.Durable != unknown.LSN-1 {
				t.Errorf("%v; the entry had LSN %d", p, unknown.LSN)
			}
			if _, err := open.Commit(ctx); !errors.Is(err, txn.ErrPoisoned) || errors.Is(err, txn.ErrUnknownOutcome) {
				t.Errorf("commit of an open transaction: %v", err)
			}
			if r.get("v", 0) != 1 || r.get("v", 1) != 20 {
				t.Error("readers see what is not there, or miss what is")
			}
			if err := r.Close(); !errors.Is(err, txn.ErrPoisoned) {
				t.Errorf("close: %v", err)
			}
			for _, image := range []*crashfs.FS{disk.Cut(disk.Ops(), crashfs.Posix), disk.Cut(disk.Ops(), crashfs.Random(1)), disk} {
				unmount()
				unmount = tidwallfs.Mount(root, image)
				r.opts.FS = image
				r.open()
				if got := r.get("v", 0); got != 1 && got != 5 || r.get("v", 1) != 20 {
					t.Errorf("after reopening page 0 is %d", got)
				}
				r.put("v", 0, 30)
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				verifytest.CleanFS(t, image, r.dir)
			}
		})
	}
}
