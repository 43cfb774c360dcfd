package recovery_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
)

// fed is a store whose checkpoint reaches none of the images that its consumer
// has still to read; each of them holds old. It returns the directory as a kill
// left it.
func fed(t *testing.T, old []byte) (closed, killed string) {
	dir, b := build(t, 1, txn.Options{})
	if _, err := b.m.Consumer(context.Background(), "feed"); err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{old, []byte("newer   "), []byte("newest  ")} {
		b.update(func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				v, err = tx.CreateVolume("v", txn.VolumeOptions{})
			}
			for no := uint64(0); no < 40 && err == nil; no++ {
				err = v.WritePage(no, bytes.Repeat(content, 512))
			}
			return err
		})
		if err := b.m.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	killed = b.kill(dir)
	return dir, killed
}

// Verify reads what consumers have still to read, says what slots it takes, and
// finds damage there; opening keeps it.
func TestVerifyReadsWhatConsumersNeed(t *testing.T) {
	old := []byte("old old ")
	for name, pick := range map[string]func(closed, killed string) string{
		"closed": func(closed, _ string) string { return closed },
		"killed": func(_, killed string) string { return killed },
	} {
		t.Run(name, func(t *testing.T) {
			dir := pick(fed(t, old))
			if rep := verifytest.Clean(t, dir); rep.Slots.Consumers != 80 || rep.Slots.Current < 40 {
				t.Errorf("%+v", rep.Slots)
			}
			m, _, err := txn.Open(dir, txn.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			verifytest.Clean(t, dir)
			flipIn(t, filepath.Join(dir, "heap"), bytes.Repeat(old, 512))
			rep, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
			if err != nil || len(rep.Problems) != 1 || rep.Problems[0].LSN != 2 {
				t.Errorf("%v, %+v", err, rep)
			}
		})
	}
}

// flipIn changes one bit of the first place below dir that holds content.
func flipIn(t *testing.T, dir string, content []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, content); i >= 0 {
			b[i+100] ^= 4
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the content is nowhere")
}
