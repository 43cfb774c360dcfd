package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// commitPages writes n pages of a volume, which it makes.
func commitPages(t *testing.T, m *txn.Manager, n int, fill byte) wal.LSN {
	t.Helper()
	c, err := m.Update(context.Background(), func(tx *txn.Tx) error {
		v, err := tx.Volume("v")
		if errors.Is(err, txn.ErrNoVolume) {
			v, err = tx.CreateVolume("v", txn.VolumeOptions{})
		}
		for no := 0; no < n && err == nil; no++ {
			err = v.WritePage(uint64(no), bytes.Repeat([]byte{fill}, 4096))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Position.LSN
}

// next waits for the tail's next entry, and reads its images.
func next(t *testing.T, tail *recovery.Tail) *wal.Record {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		rec, body, err := tail.Next()
		if err == io.EOF && time.Now().Before(end) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		page := make([]byte, 4096)
		for i := range rec.Entry.Sections {
			for row, err := range rec.Entry.Sections[i].EachRow(body) {
				if err == nil {
					_, err = body.ReadAt(page, int64(row.Locator.Offset()))
				}
				if err != nil || wal.HashPage(row.Page, page) != row.Hash {
					t.Fatalf("entry %d, page %d: %v", rec.LSN, row.Page, err)
				}
			}
		}
		return rec
	}
}

// A tail gets every entry with its images beside the writer, also those in
// files of the log and the heap that were made since it began.
func TestTailBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	m, _, err := txn.Open(dir, txn.Options{Create: true, GenerationBytes: wal.MinGenerationBytes})
	if err != nil {
		t.Fatal(err)
	}
	tail, err := recovery.OpenTail(vfs.OS(), dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	var last wal.LSN
	for i := range 60 {
		want := commitPages(t, m, []int{1, 3, 200, 1200}[i%4], byte(i+1))
		for last < want {
			if rec := next(t, tail); rec.LSN != last+1 {
				t.Fatalf("entry %d comes behind %d", rec.LSN, last)
			}
			last++
		}
		if tail.Gone(last) {
			t.Error("what was committed a moment ago is gone")
		}
		if i == 30 { // all was read: it misses nothing
			if err := m.Checkpoint(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := tail.Next(); err != io.EOF {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTailOfWhatIsGone(t *testing.T) {
	dir := t.TempDir()
	if _, err := recovery.OpenTail(vfs.OS(), dir, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	var last wal.LSN
	for range 2 { // the second has a file of the log of its own
		m, _, err := txn.Open(dir, txn.Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		commitPages(t, m, 3, 1)
		last = commitPages(t, m, 3, 2)
		if err := m.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := recovery.OpenTail(vfs.OS(), dir, 1); !errors.Is(err, wal.ErrCompacted) {
		t.Error(err)
	}
	tail, err := recovery.OpenTail(vfs.OS(), dir, last)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	if !tail.Gone(1) || !tail.Gone(last) || tail.Gone(last+1) {
		t.Error("gone:", tail.Gone(1), tail.Gone(last), tail.Gone(last+1))
	}
}
