package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/quire-db/quire/backup"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
)

// memory is a volume as Changed sees it.
type memory struct {
	pageSize int
	pages    [][]byte
}

func (m *memory) Name() string          { return "memory" }
func (m *memory) PageSize() int         { return m.pageSize }
func (m *memory) Size() (uint64, error) { return uint64(len(m.pages)), nil }

func (m *memory) ReadPage(no uint64, dst []byte) error {
	copy(dst, m.pages[no])
	return nil
}

func (m *memory) write(no uint64, page []byte) error {
	for uint64(len(m.pages)) <= no {
		m.pages = append(m.pages, make([]byte, m.pageSize))
	}
	m.pages[no] = bytes.Clone(page)
	return nil
}

// content is the first n bytes, zeros beyond the end.
func (m *memory) content(n int) []byte {
	b := append(bytes.Join(m.pages, nil), make([]byte, n)...)
	return b[:n]
}

func memoryOf(b []byte, pageSize int) *memory {
	m := &memory{pageSize: pageSize}
	for off := 0; off < len(b); off += pageSize {
		page := make([]byte, pageSize)
		copy(page, b[off:])
		m.pages = append(m.pages, page)
	}
	return m
}

// Changed makes any version of a file of any other, and visits no page that is
// the same.
func TestChangedMakesTheNewVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 0, 1}), 0, 40)
		old, file := few.Draw(t, "old"), few.Draw(t, "new")
		m := memoryOf(old, 4)
		var visited uint64
		c, err := backup.Changed(context.Background(), m, iotest.OneByteReader(bytes.NewReader(file)), func(no uint64, page []byte) error {
			visited++
			if no < uint64(len(m.pages)) && bytes.Equal(page, m.pages[no]) {
				t.Fatalf("page %d is the same", no)
			}
			return m.write(no, page)
		})
		if err != nil || c.Length != int64(len(file)) || c.Pages != uint64(len(file)+3)/4 || c.Changed != visited {
			t.Fatal(c, err)
		}
		if got := m.content(len(file)); !bytes.Equal(got, file) {
			t.Fatalf("made %v", got)
		}
	})
}

func TestChangedStopsAtErrors(t *testing.T) {
	ctx, bad := context.Background(), errors.New("bad")
	none := func(uint64, []byte) error { return nil }
	if _, err := backup.Changed(ctx, memoryOf(nil, 4), iotest.ErrReader(bad), none); !errors.Is(err, bad) {
		t.Error("reader:", err)
	}
	if _, err := backup.Changed(ctx, memoryOf(nil, 4), bytes.NewReader([]byte("x")), func(uint64, []byte) error { return bad }); !errors.Is(err, bad) {
		t.Error("visit:", err)
	}
	ended, end := context.WithCancel(ctx)
	end()
	if _, err := backup.Changed(ended, memoryOf(nil, 4), bytes.NewReader([]byte("x")), none); !errors.Is(err, context.Canceled) {
		t.Error("context:", err)
	}
}

// filled is a store with one volume, "v", of pages at holes and ends.
func filled(t testing.TB, pages uint64, at ...uint64) (dir string, content []byte) {
	t.Helper()
	dir = t.TempDir()
	m, _, err := txn.Open(dir, txn.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	content = make([]byte, pages*4096)
	_, err = m.Update(context.Background(), func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{})
		if err != nil {
			return err
		}
		for _, no := range at {
			page := content[no*4096:][:4096]
			for i := range page {
				page[i] = byte(rand.Uint32())
			}
			if err := v.WritePage(no, page); err != nil {
				return err
			}
		}
		return v.Truncate(pages)
	})
	if err := errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, content
}

func TestExport(t *testing.T) {
	for _, c := range []struct {
		pages uint64
		at    []uint64
	}{
		{0, nil}, {1, []uint64{0}}, {3, nil}, {200, []uint64{0, 1, 70, 199}}, {200, []uint64{5}},
	} {
		dir, content := filled(t, c.pages, c.at...)
		v, err := recovery.View(vfs.OS(), dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		id, _, _ := v.Snapshot().VolumeID("v")
		vol, _, err := v.Snapshot().Volume(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []int64{0, 1, 4096, 5000, int64(len(content)) - 1, int64(len(content))} {
			if length < 0 || length > int64(len(content)) {
				continue
			}
			var out bytes.Buffer
			var told int64
			err := backup.Export(context.Background(), vol, length, &out, func(done int64) { told = done })
			if err != nil || !bytes.Equal(out.Bytes(), content[:length]) || told != length {
				t.Errorf("%d pages, %d bytes: got %d, told %d, %v", c.pages, length, out.Len(), told, err)
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkExport(b *testing.B) {
	var at []uint64
	for no := range uint64(4096) {
		at = append(at, no)
	}
	dir, content := filled(b, 4096, at...)
	v, err := recovery.View(vfs.OS(), dir, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	id, _, _ := v.Snapshot().VolumeID("v")
	vol, _, err := v.Snapshot().Volume(id)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if err := backup.Export(context.Background(), vol, int64(len(content)), io.Discard, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChanged(b *testing.B) {
	content := make([]byte, 16<<20)
	m := memoryOf(content, 4096)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := backup.Changed(context.Background(), m, bytes.NewReader(content), nil); err != nil {
			b.Fatal(err)
		}
	}
}
