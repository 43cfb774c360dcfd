//go:build crashfs

package txn_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
	"github.com/quire-db/quire/txn"
)

// A fork of a held state whose first entry, that of the tag, fails was not made:
// that is known, and its error says nothing else.
func TestHookedForkWhoseTagFails(t *testing.T) {
	disk := crashfs.New()
	const root = "/forked"
	defer tidwallfs.Mount(root, disk)()
	if err := errors.Join(disk.Mkdir(root), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: root + "/store", opts: txn.Options{FS: disk, Create: true}}
	r.open()
	r.write("v", 1, 2)
	tx := r.begin(txn.TxOptions{ReadOnly: true})
	old := open(t, tx, "v")
	r.write("v", 3)
	disk.Inject(func(o crashfs.Op) error {
		if o.Kind == crashfs.Write && strings.Contains(o.Name, "/wal/") {
			return errDisk
		}
		return nil
	})
	_, err := r.Manager.Fork(context.Background(), "f", old)
	if !errors.Is(err, errDisk) || errors.Is(err, txn.ErrUnknownOutcome) {
		t.Errorf("fork: %v", err)
	}
	disk.Inject(nil)
	tx.Rollback()
	if err := r.Close(); !errors.Is(err, txn.ErrPoisoned) {
		t.Errorf("close: %v", err)
	}
	r.open()
	tx = r.begin(txn.TxOptions{ReadOnly: true})
	old = open(t, tx, "v")
	if got := valuesOf(t, old, 9); len(got) != 2 || got[0] != 3 {
		t.Errorf("%v", got)
	}
	r.write("v", 4)
	r.forkHeld("f", old) // drops what is left
	tx.Rollback()
	r.are(contents{"v": {4, 2}, "f": {3, 2}, "f@origin": {4, 2}})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
